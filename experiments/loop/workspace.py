"""The only caller of git. Bare repositories and plumbing: no work tree, no index a training could poison."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Container, Iterable, Mapping
from functools import cache
from pathlib import Path

import git

from experiments.loop import merging
from experiments.loop.errors import BranchMoved
from experiments.loop.merging import BothChanged, Entry, Tree

ZERO = "0" * 40
NOTES = "refs/notes/autoresearch"
# Nothing that a repository's own configuration or attributes could make git run.
_SAFE = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.quotePath": "false",
    "diff.external": "",
    "protocol.allow": "never",
    "gc.auto": "0",
    "gc.reflogExpire": "never",
}
_PERSON = ("autoresearch-web", "autoresearch-web@localhost")
_BINARY_BYTES = 8000  # git's own rule: a zero byte among the first so many


@cache
def _options() -> list[str]:
    # Before 2.36 git flushes objects to the disk, and refs not at all; from then on the older name brings a warning.
    flush = {"core.fsync": "all"} if git.Git().version_info >= (2, 36) else {"core.fsyncObjectFiles": "true"}
    return [part for key, value in {**_SAFE, **flush}.items() for part in ("-c", f"{key}={value}")]


class Workspace:
    """The bare repository of one program."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _git(self, *args: str, stdin: bytes | None = None, index: str = "", raw: bool = False) -> str | bytes:
        """Run one git command here. Raises git.GitCommandError with git's own words."""
        command, scratch = git.Git(str(self.path)), {"GIT_INDEX_FILE": index} if index else {}
        command.update_environment(
            GIT_DIR=str(self.path), GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull, GIT_TERMINAL_PROMPT="0",
            HOME=os.devnull, XDG_CONFIG_HOME=os.devnull,  # git before 2.32 knows no GIT_CONFIG_GLOBAL
            GIT_ATTR_NOSYSTEM="1", LC_ALL="C.UTF-8", GIT_AUTHOR_NAME=_PERSON[0], GIT_AUTHOR_EMAIL=_PERSON[1],
            GIT_COMMITTER_NAME=_PERSON[0], GIT_COMMITTER_EMAIL=_PERSON[1], **scratch,
        )
        with tempfile.TemporaryFile() as source:
            source.write(stdin or b"")
            source.seek(0)
            answer = command.execute(
                ["git", *_options(), *args], istream=source, strip_newline_in_stdout=False, stdout_as_string=not raw
            )
        assert isinstance(answer, str | bytes)
        return answer

    def _bytes(self, *args: str) -> bytes:
        answer = self._git(*args, raw=True)
        assert isinstance(answer, bytes)
        return answer

    def _line(self, *args: str, stdin: bytes | None = None, index: str = "") -> str:
        return str(self._git(*args, stdin=stdin, index=index)).strip()

    # Writing

    @classmethod
    def create(cls, path: Path, files: Mapping[str, str], message: str) -> tuple[Workspace, str]:
        """A new bare repository with one commit of `files`. Returns it and the commit."""
        path.mkdir(parents=True, exist_ok=True)
        workspace = cls(path)
        workspace._git("init", "--quiet", "--bare", str(path))
        workspace._git("symbolic-ref", "HEAD", "refs/heads/main")
        commit = workspace.commit(None, files, message)
        workspace.set_ref("refs/heads/main", commit)
        return workspace, commit

    def commit(self, parent: str | None, files: Mapping[str, str], message: str) -> str:
        """A commit on `parent` in which `files` have the given texts; no ref points to it yet."""
        entries = self._entries(parent) if parent else {}
        for path, text in files.items():
            entries[path.encode()] = Entry("100644", self._line("hash-object", "-w", "--stdin", stdin=text.encode()))
        return self.commit_tree(self._write_tree(entries), parent, message)

    def _write_tree(self, entries: Tree) -> str:
        lines = (f"{entry.mode} {entry.name}\t".encode() + path + b"\0" for path, entry in entries.items())
        with tempfile.TemporaryDirectory() as folder:
            index = str(Path(folder) / "index")
            self._git("update-index", "-z", "--index-info", stdin=b"".join(lines), index=index)
            return self._line("write-tree", index=index)

    def commit_tree(self, tree: str, parent: str | None, message: str) -> str:
        above = ["-p", parent] if parent else []
        return self._line("commit-tree", tree, *above, "-F", "-", stdin=message.encode())

    def set_ref(self, ref: str, new: str, old: str | None = None) -> None:
        """Set a ref; with `old`, only if it stands there now (ZERO: does not exist), else BranchMoved."""
        try:
            self._git("update-ref", ref, new, *([] if old is None else [old]))
        except git.GitCommandError:
            found = self.ref(ref)
            if old is not None and found != old:
                raise BranchMoved(found) from None
            raise

    def note(self, commit: str, text: str) -> None:
        """Attach the metrics to a commit, as git notes; a second note replaces the first."""
        self._git("notes", f"--ref={NOTES}", "add", "-f", "-F", "-", commit, stdin=text.encode())

    def merge(self, base: str, ours: str, theirs: str) -> str:
        """The tree of `ours` plus what leads from `base` to `theirs` (all commits or trees). Raises MergeConflict."""
        trees = (self._entries(base), self._entries(ours), self._entries(theirs))
        return self._write_tree(merging.merge(*trees, self._merge_blobs))

    def _merge_blobs(self, base: str, ours: str, theirs: str) -> str:
        """A new blob, merged by lines. Raises BothChanged."""
        texts = {name: self._bytes("cat-file", "blob", name) for name in (ours, base, theirs)}
        if any(b"\0" in text[:_BINARY_BYTES] for text in texts.values()):
            raise BothChanged
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                (Path(folder) / name).write_bytes(text)
            try:
                merged = self._bytes("merge-file", "-p", "-q", *(str(Path(folder) / name) for name in texts))
            except git.GitCommandError as error:
                if error.status in range(1, 128):  # as many conflicts; 255 is an error
                    raise BothChanged from None
                raise
        return self._line("hash-object", "-w", "--stdin", stdin=merged)

    # Reading

    def ref(self, name: str) -> str:
        """The commit a ref points to; empty when there is no such ref."""
        try:
            return self._line("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        except git.GitCommandError:
            return ""

    def tree(self, commit: str) -> str:
        return self._line("rev-parse", "--verify", f"{commit}^{{tree}}")

    def diff(self, old: str, new: str) -> str:
        """Unified diff, with no driver or filter of the repository's choosing."""
        return self._text(
            self._git("diff-tree", "-p", "--no-ext-diff", "--no-textconv", "--no-color", "-M", old, new, raw=True)
        )

    def read(self, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """Texts of `paths` at `commit`; a path that is not there is left out."""
        wanted = set(paths)
        return {path: self._text(data) for path, data in self._blobs(commit, wanted)}

    def export(self, commit: str, folder: Path) -> None:
        """Write the commit's files below `folder`: plain files only, no links, no submodules, no .git."""
        for path, data in self._blobs(commit):
            target = folder / path
            if ".git" in target.parts or not target.resolve().is_relative_to(folder.resolve()):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    def _blobs(self, commit: str, wanted: Container[str] | None = None) -> Iterable[tuple[str, bytes]]:
        for path, entry in self._entries(commit).items():
            if entry.is_file and (wanted is None or path.decode(errors="replace") in wanted):
                yield path.decode(errors="replace"), self._bytes("cat-file", "blob", entry.name)

    def _entries(self, commit: str) -> dict[bytes, Entry]:
        listing = self._bytes("ls-tree", "-r", "-z", "--full-tree", commit)
        found = {}
        for line in filter(None, listing.split(b"\0")):
            about, _, path = line.partition(b"\t")
            mode, _, name = about.decode().split()
            found[path] = Entry(mode, name)
        return found

    @staticmethod
    def _text(data: str | bytes) -> str:
        return data if isinstance(data, str) else data.decode(errors="replace")
