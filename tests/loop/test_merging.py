"""Merging trees: what git 2.38's own merge of trees says, and no byte that changes without need."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.loop.errors import MergeConflict
from experiments.loop.workspace import Workspace

Files = Mapping[bytes, tuple[str, bytes]]  # path: mode and content, of a submodule its commit
FILE, RUN, LINK, MODULE = "100644", "100755", "120000", "160000"
TEN = b"".join(b"line %d\n" % number for number in range(10))


def long(side: str) -> bytes:
    return "".join(f"{number}\n\n\n{side} {number}\n\n\n" for number in range(300)).encode()


def git(folder: Path, *args: str, stdin: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *args], cwd=folder, input=stdin, capture_output=True, check=check)


def commit_all(folder: Path, trees: Mapping[str, Files]) -> None:
    """A commit on base for each, named by a branch."""
    stream = b""
    for name, files in trees.items():
        above = b"" if name == "base" else b"from refs/heads/base\n"
        stream += f"commit refs/heads/{name}\ncommitter a <a@b> 1 +0000\ndata 0\n".encode() + above + b"deleteall\n"
        for path, (mode, content) in files.items():
            quoted = b'"' + b"".join(b"\\%03o" % byte for byte in path) + b'"'
            if mode == MODULE:
                stream += b"M 160000 " + content + b" " + quoted + b"\n"
            else:
                stream += f"M {mode} inline ".encode() + quoted + b"\ndata %d\n" % len(content) + content + b"\n"
    git(folder, "fast-import", "--quiet", "--force", stdin=stream)


def content_of(workspace: Workspace, tree: str) -> dict[bytes, tuple[str, bytes]]:
    """As git itself says it."""
    found = {}
    for line in filter(None, git(workspace.path, "ls-tree", "-r", "-z", tree).stdout.split(b"\0")):
        about, _, path = line.partition(b"\t")
        mode, kind, name = about.decode().split()
        found[path] = (mode, name.encode() if kind == "commit" else git(workspace.path, "cat-file", "blob", name).stdout)
    return found


def merged(workspace: Workspace, base: Files, ours: Files, theirs: Files) -> dict[bytes, tuple[str, bytes]]:
    commit_all(workspace.path, {"base": base, "ours": ours, "theirs": theirs})
    return content_of(workspace, workspace.merge("base", "ours", "theirs"))


def conflicts(workspace: Workspace, base: Files, ours: Files, theirs: Files) -> list[str]:
    with pytest.raises(MergeConflict) as conflict:
        merged(workspace, base, ours, theirs)
    return conflict.value.files


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace.create(tmp_path_factory.mktemp("merging") / "r.git", {"train.py": "A = 1\n"}, "start")[0]


SACRED: dict[bytes, tuple[str, bytes]] = {
    b"crlf.txt": (FILE, b"one\r\ntwo\r\n"),
    b"no-newline": (FILE, b"the last line"),
    b"latin-1.py": (FILE, "# größe\n".encode("latin-1")),
    "naïve/ü.txt".encode("latin-1"): (FILE, b"a path that is no UTF-8\n"),
    b'with "quotes"\nand\ttabs': (FILE, b"x\n"),
    b"binary": (FILE, bytes(range(256))),
    b"empty": (FILE, b""),
    b"run.sh": (RUN, b"#!/bin/sh\n"),
    b"link": (LINK, b"../out of here"),
    b"module": (MODULE, b"1" * 40),
}


def test_what_nobody_touches_comes_through_unchanged(workspace: Workspace):
    base = {**SACRED, b"train.py": (FILE, TEN)}
    ours = {**base, b"train.py": (FILE, TEN.replace(b"line 1\n", b"ours\n"))}
    theirs = {**base, b"train.py": (FILE, TEN.replace(b"line 8\n", b"theirs\n"))}
    both = TEN.replace(b"line 1\n", b"ours\n").replace(b"line 8\n", b"theirs\n")
    assert merged(workspace, base, ours, theirs) == {**SACRED, b"train.py": (FILE, both)}


@pytest.mark.parametrize("path", SACRED)
def test_what_one_side_adds_or_removes_or_changes_is_that_sides_to_the_byte(workspace: Workspace, path: bytes):
    entry = SACRED[path]
    base = {b"train.py": (FILE, TEN)}
    ours = {b"train.py": (FILE, TEN + b"more\n")}
    assert merged(workspace, base, ours, {**base, path: entry}) == {**ours, path: entry}
    assert merged(workspace, {**base, path: entry}, {**ours, path: entry}, base) == ours
    before = (FILE, b"before\n")
    assert merged(workspace, {**base, path: before}, {**ours, path: before}, {**base, path: entry}) == {**ours, path: entry}


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        pytest.param(TEN.replace(b"\n", b"\r\n"), b"0\r\n", b"9\r\n", id="windows line ends"),
        pytest.param(TEN[:-1], b"0\n", b"9", id="no newline at the end"),
        pytest.param(TEN.replace(b"line", "größe".encode("latin-1")), b"0\n", b"9\n", id="latin-1"),
    ],
)  # fmt: skip
def test_lines_that_are_merged_keep_their_bytes(workspace: Workspace, base: bytes, ours: bytes, theirs: bytes):
    first, last = base.splitlines(keepends=True)[0], base.splitlines(keepends=True)[-1]
    rest = base[len(first) : -len(last)]
    found = merged(
        workspace, {b"a": (FILE, base)}, {b"a": (FILE, ours + rest + last)}, {b"a": (FILE, first + rest + theirs)}
    )
    assert found == {b"a": (FILE, ours + rest + theirs)}


def test_one_side_makes_it_executable_and_the_other_changes_it(workspace: Workspace):
    base, run, changed = ({b"a": entry} for entry in ((FILE, TEN), (RUN, TEN), (FILE, b"changed\n")))
    assert merged(workspace, base, run, changed) == merged(workspace, base, changed, run) == {b"a": (RUN, b"changed\n")}


def test_both_sides_change_it_and_one_makes_it_executable(workspace: Workspace):
    base, run, changed = ({b"a": entry} for entry in ((FILE, TEN), (RUN, b"0\n" + TEN), (FILE, TEN + b"10\n")))
    both = {b"a": (RUN, b"0\n" + TEN + b"10\n")}
    assert merged(workspace, base, run, changed) == merged(workspace, base, changed, run) == both


@pytest.mark.parametrize(
    ("base", "ours", "theirs"),
    [
        pytest.param((FILE, b"a\n"), (FILE, b"b\n"), (FILE, b"c\n"), id="the same line"),
        pytest.param(None, (FILE, b"b\n"), (FILE, b"c\n"), id="added twice"),
        pytest.param(None, (FILE, b""), (FILE, b"c\n"), id="added twice, once empty"),
        pytest.param((FILE, b"a\n"), None, (FILE, b"c\n"), id="removed here, changed there"),
        pytest.param((FILE, b"a\n"), (FILE, b"b\n"), None, id="changed here, removed there"),
        pytest.param((FILE, b"\0" + TEN), (FILE, b"0\0" + TEN), (FILE, b"\0" + TEN + b"9\n"), id="binary"),
        pytest.param((LINK, b"a"), (LINK, b"b"), (LINK, b"c"), id="links"),
        pytest.param((MODULE, b"1" * 40), (MODULE, b"2" * 40), (MODULE, b"3" * 40), id="submodules"),
        pytest.param((FILE, b"a\n"), (LINK, b"b"), (FILE, b"c\n"), id="a link here, changed there"),
        pytest.param((FILE, long("a")), (FILE, long("b")), (FILE, long("c")), id="300 conflicts in one file"),
    ],
)  # fmt: skip
def test_what_cannot_be_decided_is_a_conflict_that_names_the_path(workspace: Workspace, base, ours, theirs):  # type: ignore[no-untyped-def]
    def tree(entry: tuple[str, bytes] | None) -> Files:
        return {b"same": (FILE, b"x\n"), **(dict.fromkeys((b"z.py", "ü.py".encode()), entry) if entry else {})}

    assert conflicts(workspace, tree(base), tree(ours), tree(theirs)) == ["z.py", "ü.py"]


def test_a_file_where_the_other_side_has_a_folder_is_a_conflict(workspace: Workspace):
    ours, theirs = {b"a": (FILE, b"x\n")}, {b"a/b": (FILE, b"y\n")}
    assert conflicts(workspace, {}, ours, theirs) == ["a"]


def test_a_path_that_is_no_text_is_named_all_the_same(workspace: Workspace):
    name = "ü".encode("latin-1")
    assert conflicts(workspace, {}, {name: (FILE, b"x\n")}, {name: (FILE, b"y\n")}) == ["\ufffd"]


# What git's own merge says. Each line is there once: where lines repeat there is more than one diff, and git's merge of
# trees takes the histogram's where merge-file takes Myers'. No two paths have a line in common, as git would look for
# renames. A file that is added twice and empty once is a conflict to us alone.


def edited(side: str, path: str, base: bytes) -> st.SearchStrategy[bytes]:
    lines = base.splitlines(keepends=True)
    at = st.integers(0, len(lines))
    edits = st.tuples(at, st.sampled_from(["replace", "insert", "remove"]), st.sampled_from([side, "both"]))

    def apply(chosen: list[tuple[int, str, str]]) -> bytes:
        after: list[bytes] = list(lines)
        for place, kind, who in sorted(chosen, reverse=True):
            new = [] if kind == "remove" else [f"{path} {who} {kind} {place}\n".encode()]
            after[place : place + (kind != "insert")] = new
        return b"".join(after) or f"{path} {side}\n".encode()

    return st.lists(edits, max_size=3, unique_by=lambda edit: edit[0]).map(apply)


def entries(side: str, path: str, base: bytes) -> st.SearchStrategy[tuple[str, bytes] | None]:
    texts = edited(side, path, base)
    return st.one_of(
        st.tuples(st.sampled_from([FILE, RUN]), texts),
        st.tuples(st.just(FILE), texts.map(lambda text: text.rstrip(b"\n"))),
        st.tuples(st.just(FILE), texts.map(lambda text: text.replace(b"\n", b"\r\n"))),
        st.tuples(st.just(FILE), texts.map(lambda text: b"\0" + text)),
        st.tuples(st.just(LINK), st.sampled_from([f"{path} x".encode(), f"{path} {side}".encode()])),
        st.tuples(st.just(MODULE), st.sampled_from([b"1" * 40, side.encode().hex().ljust(40, "2").encode()])),
        st.none(),
    )


@st.composite
def three_trees(draw: st.DrawFn) -> tuple[Files, Files, Files]:
    """Files that both sides edit, for the most part."""
    trees: tuple[dict[bytes, tuple[str, bytes]], ...] = ({}, {}, {})
    for path in draw(st.lists(st.sampled_from([b"a", b"d/x", b"\xff", b"d"]), min_size=1, max_size=3, unique=True)):
        word = path.hex()
        text = "".join(f"{word} {line}\n" for line in range(draw(st.integers(1, 12)))).encode()
        ordinary = draw(st.integers(0, 3)) > 0
        found = [(FILE, text) if ordinary else draw(entries("base", word, text))]
        for side in ("ours", "theirs"):
            edit = st.tuples(st.just(FILE), edited(side, word, text))
            found.append(draw(edit if ordinary else st.one_of(st.just(found[0]), edit, entries(side, word, text))))
        for tree, entry in zip(trees, found, strict=True):
            if entry:
                tree[path] = entry
    for tree in trees:
        if b"d" in tree:
            tree.pop(b"d/x", None)
    return trees


VERSION = tuple(int(part) for part in subprocess.check_output(["git", "version"], text=True).split()[2].split(".")[:2])


@pytest.mark.skipif(VERSION < (2, 38), reason="this git merges no trees itself")
@settings(max_examples=60, deadline=None)
@given(trees=three_trees())
def test_it_is_what_gits_own_merge_says(workspace: Workspace, trees: tuple[Files, Files, Files]):
    commit_all(workspace.path, dict(zip(("base", "ours", "theirs"), trees, strict=True)))
    own = git(workspace.path, "-c", "merge.renames=false", "merge-tree", "--write-tree", "ours", "theirs", check=False)
    assert own.returncode in {0, 1}, own.stderr
    try:
        found = workspace.merge("base", "ours", "theirs")
    except MergeConflict:
        found = "conflict"
    assert found == ("conflict" if own.returncode else own.stdout.decode().strip())
