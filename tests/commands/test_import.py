"""manage.py import: a clone, or its table alone, becomes an ended run; bad input is refused and leaves nothing behind."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.urls import reverse

from experiments.importing import gitcall, source, tsv
from experiments.importing.refused import ImportRefused
from experiments.importing.repository import Copy
from experiments.models import Experiment, Move, Program, Run
from experiments.results import results_tsv
from experiments.states import Kind, RunState, State, StateError

pytestmark = pytest.mark.django_db
HEADER = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
TABLE = HEADER + (
    "baseline\t0.997900\t44.0\tkeep\tbaseline\n"
    "bea057b\t0.986041\t43.9\tkeep\thalve batch\n"
    "e05a87d\t0.000000\t0.0\tcrash\tbatch 131K (OOM)\n"
    "187e419\t0.987603\t60.2\tdiscard\tadd 5% warmup\n"
)


@pytest.fixture(autouse=True)
def folders(settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Repositories of the test's own: ids begin again with each test."""
    settings.VAR_DIR, settings.REPOS_DIR = tmp_path / "var", tmp_path / "var" / "repos"


class Clone:
    """An autoresearch clone as its loop leaves it: what was discarded is reset away, the table is not committed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet")
        self.git("symbolic-ref", "HEAD", "refs/heads/master")
        (folder / "train.py").write_text("LR = 0.04\nDEPTH = 8\n")
        (folder / "program.md").write_text("# Aim\n\nLower val_bpb.\n")
        (folder / ".gitignore").write_text("results.tsv\n")
        self.git("add", ".")
        self.git("commit", "--quiet", "-m", "start")
        self.git("checkout", "--quiet", "-b", "autoresearch/mar5")
        self.rows = [(self.head(), "0.997900", "keep", "baseline")]
        self.write()

    def git(self, *args: str) -> str:
        command = ["git", "-C", str(self.folder), "-c", "user.name=a", "-c", "user.email=a@b", *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def head(self) -> str:
        return self.git("rev-parse", "--short=7", "HEAD")

    def attempt(self, text: str, score: str, status: str, title: str) -> str:
        (self.folder / "train.py").write_text(text)
        self.git("commit", "--quiet", "-am", title)
        commit = self.head()
        self.rows.append((commit, score, status, title))
        if status != "keep":
            self.git("reset", "--quiet", "--hard", "HEAD~1")
        self.write()
        return commit

    def write(self) -> None:
        lines = [f"{commit}\t{score}\t44.0\t{status}\t{title}\n" for commit, score, status, title in self.rows]
        (self.folder / "results.tsv").write_text(HEADER + "".join(lines))


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path / "fork")
    made.attempt("LR = 0.05\nDEPTH = 8\n", "0.990000", "keep", "LR up")
    made.attempt("LR = 0.05\nDEPTH = 12\n", "0.995000", "discard", "deeper")
    made.attempt("LR = 9.0\nDEPTH = 8\n", "0.000000", "crash", "LR far up")
    made.attempt("LR = 0.05\nDEPTH = 9\n", "0.985000", "keep", "one block more")
    return made


def bring(*args: object) -> tuple[Run, str]:
    out = io.StringIO()
    call_command("import", *map(str, args), stdout=out)
    return Run.objects.latest("pk"), out.getvalue()


def refused(*args: object) -> str:
    """What is said; and nothing was written."""
    before = [model.objects.count() for model in (Program, Run, Experiment, Move)], repositories()
    with pytest.raises(CommandError) as error:
        call_command("import", *map(str, args), stdout=io.StringIO())
    assert ([model.objects.count() for model in (Program, Run, Experiment, Move)], repositories()) == before
    assert not [path for path in (Path(settings.VAR_DIR) / "imports").glob("*") if not path.name.startswith("job-")]
    return str(error.value)


def repositories() -> list[str]:
    return sorted(path.name for path in Path(settings.REPOS_DIR).glob("*"))


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(text: str | bytes, name: str = "results-h100.tsv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


# A table alone


def test_a_table_becomes_an_ended_run(table):  # type: ignore[no-untyped-def]
    run, said = bring(table(TABLE))
    assert (run.state, run.program.name, run.program.fixed) == (RunState.ENDED, "results-h100", [])
    assert run.source.endswith("results-h100.tsv")
    assert "4 experiments: 2 kept, 1 discarded, 1 failed" in said
    rows = list(run.experiments.values_list("number", "kind", "state", "score", "badges"))
    assert rows == [
        (0, Kind.BASELINE, State.KEPT, 0.9979, ["self-reported"]),
        (1, Kind.IDEA, State.KEPT, 0.986041, ["self-reported"]),
        (2, Kind.IDEA, State.FAILED, None, []),
        (3, Kind.IDEA, State.DISCARDED, 0.987603, ["self-reported"]),
    ]


def test_a_crash_is_never_the_best(table):  # type: ignore[no-untyped-def]
    run, _ = bring(table(TABLE + "7f2a65c\t0.000000\t0.0\tkeep\ttoo good\n8f2a65c\tnan\t44.0\tkeep\tdiverged\n"))
    assert run.best is not None and run.best.number == 1
    reasons = dict(run.experiments.filter(state=State.FAILED).values_list("number", "reason"))
    assert reasons == {2: "oom", 4: "no_score", 5: "nan"}


def test_each_builds_on_the_last_that_was_kept(table):  # type: ignore[no-untyped-def]
    run, _ = bring(table(TABLE))
    parents = [row.parent.number if row.parent else None for row in run.experiments.order_by("number")]
    assert parents == [None, 0, 1, 1]


def test_the_table_comes_out_as_it_went_in(table):  # type: ignore[no-untyped-def]
    run, _ = bring(table(TABLE))
    assert results_tsv(run) == TABLE


def test_rows_without_a_commit_are_kept_too(table):  # type: ignore[no-untyped-def]
    run, _ = bring(table(TABLE + "\t0.99\t44.0\tdiscard\tno hash\n"))
    assert run.experiments.count() == 5
    assert "unknown\t0.990000\t44.0\tdiscard\tno hash\n" in results_tsv(run)


def test_an_imported_run_cannot_go_on(table):  # type: ignore[no-untyped-def]
    run, _ = bring(table(TABLE))
    with pytest.raises(StateError, match="is a record"):
        run.resume(by="owner")


def test_the_same_is_imported_once_and_a_longer_one_again(table):  # type: ignore[no-untyped-def]
    path = table(TABLE)
    run, _ = bring(path)
    assert f"imported before, as {run}" in refused(path)
    again, _ = bring(table(TABLE + "7f2a65c\t0.98\t44.0\tkeep\tmore\n"))
    assert again.experiments.count() == 5


def test_the_folder_of_a_table_will_do(table):  # type: ignore[no-untyped-def]
    run, _ = bring(table(TABLE, "results.tsv").parent)
    assert run.experiments.count() == 4


def test_tsv_alone_will_do(table):  # type: ignore[no-untyped-def]
    run, _ = bring("--tsv", table(TABLE))
    assert run.experiments.count() == 4


def test_times_stay_in_order_where_none_is_known(table):  # type: ignore[no-untyped-def]
    run, _ = bring(table(TABLE))
    ends = list(run.experiments.order_by("number").values_list("finished_at", flat=True))
    assert ends == sorted(set(ends))


# A clone


def test_a_clone_brings_its_diffs(clone: Clone):
    run, said = bring(clone.folder)
    assert (run.program.name, run.tag, run.source) == ("fork", "mar5", f"{clone.folder}#autoresearch/mar5")
    assert "4 with a diff" in said
    diffs = {row.number: row.diff for row in run.experiments.all()}
    assert "-LR = 0.04\n+LR = 0.05\n" in diffs[1]
    assert "+DEPTH = 12" in diffs[2] and "LR = 0.04" not in diffs[2]  # against #1, though it was reset away
    assert diffs[0] == ""
    assert "results.tsv" not in "".join(diffs.values())
    assert run.program.brief.text.startswith("# Aim")


def test_the_clone_is_only_read_and_no_longer_needed(clone: Clone, tmp_path: Path):
    before = clone.git("for-each-ref"), clone.git("status", "--porcelain"), sorted(clone.folder.rglob("*"))
    run, _ = bring(clone.folder)
    assert (clone.git("for-each-ref"), clone.git("status", "--porcelain"), sorted(clone.folder.rglob("*"))) == before
    clone.folder.rename(tmp_path / "gone")
    for row in run.experiments.all():
        assert gitcall.call(run.program.repo, "rev-parse", row.ref).strip() == row.commit
    assert gitcall.call(run.program.repo, "rev-parse", f"refs/heads/{run.branch}").strip() == run.tip
    assert gitcall.call(run.program.repo, "fsck", "--connectivity-only") == ""


def test_a_commit_that_is_gone_says_so(clone: Clone):
    clone.git("reflog", "expire", "--expire=now", "--all")
    clone.git("gc", "--quiet", "--prune=now")
    run, _ = bring(clone.folder)
    gone = run.experiments.get(number=2)
    assert gone.diff == "" and gone.score == 0.995
    assert f"The commit {gone.commit} is not in the repository" in gone.detail
    assert run.experiments.get(number=4).diff


def test_a_parent_that_is_gone_says_so(clone: Clone):
    text = (clone.folder / "results.tsv").read_text().replace(clone.rows[1][0], "0000000").replace("LR up", "another title")
    (clone.folder / "results.tsv").write_text(text)
    run, _ = bring(clone.folder)
    row = run.experiments.get(number=4)
    assert "The commit of #1, its parent, is not there" in row.detail and "+DEPTH = 9" in row.diff


def test_a_stale_hash_is_found_by_its_title(clone: Clone):
    text = (clone.folder / "results.tsv").read_text().replace(clone.rows[1][0], "abcdef0")
    (clone.folder / "results.tsv").write_text(text)
    run, _ = bring(clone.folder)
    row = run.experiments.get(number=1)
    assert row.commit.startswith(clone.rows[1][0]) and row.diff
    assert "abcdef0 is not in the repository; by its title it is" in row.detail


def test_the_word_baseline_is_the_commit_below_the_first(clone: Clone):
    text = (clone.folder / "results.tsv").read_text().replace(clone.rows[0][0], "baseline")
    (clone.folder / "results.tsv").write_text(text)
    run, _ = bring(clone.folder)
    assert run.experiments.get(number=0).commit.startswith(clone.rows[0][0])
    assert run.base_commit.startswith(clone.rows[0][0])


def test_a_branch_is_asked_for_by_its_short_name(clone: Clone):
    clone.git("checkout", "--quiet", "master")
    run, _ = bring(clone.folder, "--branch", "mar5")
    assert run.tag == "mar5"


def test_a_committed_table_of_another_branch(clone: Clone):
    clone.git("add", "--force", "results.tsv")
    clone.git("commit", "--quiet", "-m", "results")
    clone.git("checkout", "--quiet", "master")
    assert "These branches have one: autoresearch/mar5" in refused(clone.folder)
    run, _ = bring(clone.folder, "--branch", "autoresearch/mar5")
    assert run.experiments.count() == 5


def test_two_branches_of_a_clone_are_two_runs_of_one_program(clone: Clone):
    first, _ = bring(clone.folder)
    clone.git("checkout", "--quiet", "-b", "autoresearch/mar6")
    clone.attempt("LR = 0.05\nDEPTH = 10\n", "0.980000", "keep", "and one more")
    second, _ = bring(clone.folder)
    assert first.program == second.program and second.tag == "mar6"
    assert "+DEPTH = 10" in second.experiments.get(number=5).diff
    assert gitcall.call(second.program.repo, "fsck", "--connectivity-only") == ""


def test_a_table_beside_the_clone(clone: Clone, table):  # type: ignore[no-untyped-def]
    path = table((clone.folder / "results.tsv").read_text())
    (clone.folder / "results.tsv").unlink()
    assert "There is no results.tsv on autoresearch/mar5" in refused(clone.folder)
    run, _ = bring(clone.folder, "--tsv", path)
    assert run.experiments.filter(diff__gt="").count() == 4


def test_a_linked_work_tree_is_a_clone_too(clone: Clone, tmp_path: Path):
    clone.git("worktree", "add", "--quiet", str(tmp_path / "tree"), "-b", "autoresearch/apr1")
    run, _ = bring(tmp_path / "tree", "--tsv", clone.folder / "results.tsv")
    assert run.tag == "apr1" and run.experiments.filter(diff__gt="").count() == 4


def test_a_clone_cannot_make_git_run_anything(clone: Clone, tmp_path: Path):
    """Its configuration, hooks and attributes are not ours: a promisor remote would be asked for what is missing."""
    trap = tmp_path / "trap"
    for name, value in {
        "core.repositoryformatversion": "1", "extensions.partialClone": "origin", "remote.origin.promisor": "true",
        "remote.origin.url": str(tmp_path / "nowhere"), "remote.origin.uploadpack": f"touch {trap}; false",
        "core.fsmonitor": f"touch {trap}", "diff.external": f"touch {trap}", "core.sshCommand": f"touch {trap}",
        "uploadpack.packObjectsHook": f"touch {trap}", "diff.x.textconv": f"touch {trap}; cat",
    }.items():  # fmt: skip
        clone.git("config", name, value)
    (clone.folder / ".git" / "info" / "attributes").write_text("*.py diff=x\n")
    with (clone.folder / "results.tsv").open("a") as file:
        file.write("deadbee\t0.99\t44.0\tdiscard\tgone\n")
    run, _ = bring(clone.folder)
    assert run.experiments.count() == 6
    assert not trap.exists()


def test_pages_of_an_imported_run_work(clone: Clone, signed_in):  # type: ignore[no-untyped-def]
    run, _ = bring(clone.folder)
    urls = [reverse(name, args=[run.pk]) for name in ("run", "run-chart", "run-results")]
    urls += [reverse("experiment", args=[row.pk]) for row in run.experiments.all()]
    for url in [*urls, reverse("home"), reverse("program", args=[run.program_id])]:
        assert signed_in.get(url).status_code == 200, url
    table = (clone.folder / "results.tsv").read_text().replace("0.000000\t44.0", "0.000000\t0.0")
    assert signed_in.get(urls[2]).text == table
    answer = signed_in.post(reverse("run-resume", args=[run.pk]), headers={"HX-Request": "true"})
    assert (answer.status_code, "is a record" in answer.text) == (409, True)


# Tables of forks


def read(text: str) -> tsv.Table:
    return tsv.read_table(text.encode())


def test_columns_are_found_by_name_and_others_named():
    table = read(
        "experiment_id\tcommit\ttimestamp\tval_rmse\tpeak_vram_mb\tnum_steps\tmood\tstatus\tdescription\n"
        "2\tbbbbbbb\t2026-03-05T10:10:00Z\t0.5\t2048\t90\tgood\tKEEP \tsecond\n"
        "1\taaaaaaa\t2026-03-05T10:00:00Z\t0.6\t1024\t80\tgood\t keep\tbaseline\n"
    )
    assert (table.metric, table.lower_is_better) == ("val_rmse", True)
    assert [row.commit for row in table.rows] == ["aaaaaaa", "bbbbbbb"]
    assert table.rows[1].summary == {"num_steps": 90.0, "peak_vram_mb": 2048.0}
    assert table.rows[0].at is not None
    assert table.remarks == ("Not read: the column mood.", "The rows were out of order and were sorted.")


def test_a_score_that_rises_is_better_higher():
    table = read("commit\tval_acc\tstatus\na\t0.5\tkeep\nb\t0.6\tkeep\nc\t0.4\tdiscard\n")
    assert (table.metric, table.lower_is_better) == ("val_acc", False)


@pytest.mark.parametrize(
    "data",
    [
        TABLE.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + TABLE.encode(),
        TABLE.replace("\n", "\r\n").encode("utf-16"),  # PowerShell's >
        (TABLE + "\n\n  \n").encode(),
        (TABLE + HEADER).encode(),  # two tables joined
        TABLE.replace(HEADER, HEADER.upper()).encode(),
    ],
)
def test_the_same_table_written_otherwise(data: bytes):
    assert [row.score for row in tsv.read_table(data).rows] == [0.9979, 0.986041, None, 0.987603]


def test_a_table_without_a_header_is_the_upstreams():
    table = read(TABLE.removeprefix(HEADER))
    assert len(table.rows) == 4 and "no header" in table.remarks[0]


def test_missing_cells_at_the_end_and_tabs_in_a_description():
    table = read(HEADER + "aaaaaaa\t0.9\t44.0\tkeep\nbbbbbbb\t0.8\t44.0\tkeep\tone\ttwo\n")
    assert [row.description for row in table.rows] == ["", "one two"]


def test_the_same_row_twice_counts_once():
    table = read(TABLE + "bea057b\t0.986041\t43.9\tkeep\thalve batch\nbea057b\t0.986500\t43.9\tdiscard\tagain\n")
    assert len(table.rows) == 5
    assert table.remarks == ("Line 6 counted once: the same row stands above.",)


def test_rows_that_say_nothing_are_left_out_and_named():
    table = read(TABLE + "# a comment\n")
    assert len(table.rows) == 4 and table.remarks == ("Line 6 left out: neither a status nor a score.",)


def test_memory_of_zero_is_no_crash():
    assert read(HEADER + "aaaaaaa\t0.9\t0.0\tkeep\tmps\n").rows[0].score == 0.9


def test_an_unknown_status_is_a_discard_and_named():
    table = read(HEADER + "aaaaaaa\t0.9\t1\tmaybe\tx\n")
    assert table.rows[0].status == "discard" and "maybe" in table.remarks[0]


def test_scores_that_are_none_are_kept_as_rows_without_one():
    scores = ["nan", "inf", "-inf", "1e999", "", "n/a", "0.9%", "-0.5"]
    rows = read(HEADER + "".join(f"aaaaaa{n}\t{score}\t1\tkeep\tx\n" for n, score in enumerate(scores))).rows
    assert [row.score for row in rows] == [None] * 6 + [0.9, -0.5]


def test_an_idea_of_10_000_characters_is_shortened_and_kept_whole(table):  # type: ignore[no-untyped-def]
    text = ("<b>deeper</b> 🧪 עמוק | " * 500)[:10_000].strip()
    run, _ = bring(table(TABLE + f"abcdef0\t0.97\t1\tkeep\t{text}\n"))
    last = run.experiments.latest("number")
    assert (len(last.description), last.description[-1], last.hypothesis) == (200, "…", text)


def test_escape_codes_are_taken_out():
    assert read(HEADER + "aaaaaaa\t0.9\t1\tkeep\t\x1b[31mred\x1b[0m\u202e\n").rows[0].description == "red"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "binary"),
        (b"PK\x03\x04rest", "binary"),
        (b"<!DOCTYPE html>\n<html><body>results</body></html>", "web page"),
        (b"commit,val_bpb,memory_gb,status,description\na,0.9,1,keep,x\n", "commas"),
        (b"Dear reader,\nthis is a letter.\n", "no results.tsv"),
        (b"name\tage\nx\t3\n", "no column for a score such as val_bpb and status"),
        (b"commit\tval_bpb\ndeadbee\t0.9\n", "no column for status"),
        (HEADER.encode(), "header but no row"),
        (HEADER.encode() + b"\t\t\t\tonly words\n", "no row that could be read"),
        (HEADER.encode() + b"aaaaaaa\t0.9\t1\tkeep\tx\n" * 20_001, "at most 20,000"),
        (b"x" * 5_000_001, "at most 5 MB"),
    ],
)
def test_another_file_is_refused(table, data: bytes, said: str):  # type: ignore[no-untyped-def]
    assert said in refused(table(data))


# What is no source


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("/there/is/nothing", "There is nothing at"),
        ("ext::sh -c touch% /tmp/x", "would start a program"),
        ("file:///etc", "without file://"),
        ("http://example.org/x", "not http://"),
        ("ftp://example.org/x", "not ftp://"),
        ("https://", "names no server"),
        ("https://-oProxyCommand=x/y", "names no server"),
        ("ssh://-oProxyCommand=touch%20x/y", "names no server"),
        ("https://me:secret@example.org/x", "Leave the name and password out"),
        ("ssh://me:secret@example.org/x", "Leave the name and password out"),
        ("https://token@example.org/x", "Leave the name and password out"),
        ("https://[::1/x", "no valid address"),
        ("https://example.org:x/y", "no valid address"),
        ("a\0b", "neither a path nor an address"),
        ("x" * 301, "too long"),
    ],
)
def test_what_is_not_fetched_is_refused(where: str, said: str):
    assert said in refused(where)


@pytest.mark.parametrize("text", ["--upload-pack=touch /tmp/x", "-oProxyCommand=touch@host:x", "-c core.sshCommand=x"])
def test_options_of_git_are_no_address(text: str):
    with pytest.raises(ImportRefused, match="neither a path nor an address"):
        source.find(text)


@pytest.mark.parametrize("address", ["https://github.com/a/b.git", "ssh://git@host/a/b", "git@github.com:a/b.git", "git://host/a"])
def test_what_may_be_fetched(address: str):
    assert source.find(address).url == address


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://github.com/karpathy/autoresearch.git", "karpathy-autoresearch"),
        ("https://github.com/a/autoresearch-mlx", "autoresearch-mlx"),
        ("git@github.com:a/b.git", "b"),
    ],
)
def test_a_program_is_named_after_its_source(text: str, name: str):
    assert source.find(text).name == name


def test_nothing_to_import_says_what_to_give():
    assert "Give a folder, an address or --tsv FILE" in refused()


def test_another_file_or_folder_is_refused(tmp_path: Path):
    (tmp_path / "notes.txt").write_text(TABLE)
    (tmp_path / "folder").mkdir()
    assert "no .tsv file" in refused(tmp_path / "notes.txt")
    assert "neither a git repository" in refused(tmp_path / "folder")


def test_an_empty_repository_is_refused(tmp_path: Path):
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "empty")], check=True)
    assert "no commit yet" in refused(tmp_path / "empty")


def test_a_branch_that_is_not_there_is_refused_with_those_that_are(clone: Clone):
    assert "There are: autoresearch/mar5, master" in refused(clone.folder, "--branch", "nope")
    assert "no name of a branch" in refused(clone.folder, "--branch=--all")


def test_a_branch_of_a_table_alone_is_refused(table):  # type: ignore[no-untyped-def]
    assert "no branches" in refused(table(TABLE), "--branch", "main")


def test_a_repository_that_is_too_large_is_refused(clone: Clone, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gitcall, "MAX_MB", 0)
    assert "too large" in refused(clone.folder)


def test_a_broken_repository_is_refused(clone: Clone):
    for path in (clone.folder / ".git" / "objects").rglob("*"):
        if path.is_file():
            path.unlink()
    assert "git could not read it" in refused(clone.folder)


def test_a_name_that_ssh_would_take_for_an_option_runs_nothing(tmp_path: Path):
    mark = tmp_path / "mark"
    assert refused(f"ssh://-oProxyCommand=touch%20{mark}@127.0.0.1/x")
    assert not mark.exists()


def test_a_server_that_takes_the_call_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gitcall, "CLONE_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert "was not fetched within" in refused(f"git://127.0.0.1:{silent.getsockname()[1]}/x")
        assert time.monotonic() - began < 20


def test_a_server_that_is_not_there_is_refused():
    assert "could not be reached" in refused("git://127.0.0.1:1/x")


def test_a_failure_in_the_middle_takes_everything_back(clone: Clone, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise ImportRefused("in the middle")

    monkeypatch.setattr("experiments.importing.store._finish", fail)
    assert "in the middle" in refused(clone.folder)


# An older git


def test_a_clone_is_imported_with_a_git_of_2020(
    clone: Clone, old_git: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / ".gitconfig").write_text("[not a configuration")  # of the person who runs the server: not read
    monkeypatch.setenv("HOME", str(tmp_path))
    run, _ = bring(clone.folder)
    assert run.experiments.filter(diff__gt="").count() == 4
    assert gitcall.call(run.program.repo, "symbolic-ref", "HEAD").strip() == "refs/heads/main"


def test_a_table_alone_is_imported_with_a_git_of_2020(table, old_git: Path):  # type: ignore[no-untyped-def]
    run, _ = bring(table(TABLE))
    assert gitcall.call(run.program.repo, "symbolic-ref", "HEAD").strip() == "refs/heads/main"
    assert gitcall.call(run.program.repo, "show", "HEAD:program.md")


def test_an_address_is_fetched_with_a_git_of_2020_and_not_written_down(
    clone: Clone, old_git: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(gitcall, "_OPTIONS", (*gitcall._OPTIONS, "protocol.file.allow=always"))
    copy = Copy(tmp_path / "copy", source.Source("there", url=clone.folder.as_uri()))
    copy.fill()
    assert copy.branches() == ["autoresearch/mar5", "master"]
    assert not (copy.folder / "FETCH_HEAD").exists()


def test_sha256_names_are_refused_in_one_line_where_git_does_not_know_them(old_git: Path, tmp_path: Path):
    folder = tmp_path / "sha256"
    for path in ("objects", "refs/heads"):
        (folder / ".git" / path).mkdir(parents=True)
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / ".git" / "refs" / "heads" / "main").write_text("a" * 64 + "\n")
    assert "git 2.29 or newer is needed" in refused(folder)


def test_ssh_has_the_home_that_git_has_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """What ssh starts, a ProxyCommand for one, looks for its keys there."""
    (tmp_path / "ssh").write_text(f'#!/bin/sh\necho "$HOME $@" > "{tmp_path}/said"\nexit 1\n')
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", "/home/with a space")
    assert refused("ssh://somebody@host/x")
    said = (tmp_path / "said").read_text()
    assert said.startswith("/home/with a space -o BatchMode=yes -o ConnectTimeout=15") and "somebody@host" in said
