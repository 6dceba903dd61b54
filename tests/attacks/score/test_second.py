"""Models that remember pass an exam in one process, and not in a second one. And what cannot be built twice."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.loop.judging import judge
from experiments.states import Badge, Failure
from tests.trainer.examining import CHEATS, Prepared, Zygote, examine, judging
from tests.trainer.launching import make_job, run
from trainer import sandbox
from trainer.launch import fixed_files
from trainer.output import parse_summary
from trainer.second import PLACES
from trainer.spec import Result, read_json

Report = dict[str, Any]


@pytest.fixture
def sit(tmp_path: Path, prepared: Prepared, zygote: Zygote) -> Callable[..., Report]:
    """The report on a training of these lines, or of the honest one; `second` is what the second process runs instead."""

    def sit(code: str, second: str = "", **spec: Any) -> Report:
        spec.setdefault("twice", True)
        paths = [tmp_path / "first.py", tmp_path / "second.py"]
        for path, lines in zip(paths, (code, second or code), strict=True):
            is_named = lines == "honest"
            path.write_text((CHEATS / "honest.py").read_text() if is_named else f"{BIGRAM}{lines}\nsit(Model())\n")
        for name in ("bigram.py", "memory.py"):
            shutil.copy(CHEATS / name, tmp_path)
        report = examine(paths[0], tmp_path, prepared, zygote, second=paths[1], **spec).report
        assert report is not None, (tmp_path / "log").read_text()
        return report

    return sit


BIGRAM = """
import os, time, torch
from bigram import Bigram, following, sit
SECOND = "AUTORESEARCH_TENSORS" in os.environ
class Model(Bigram): pass
"""


def forward(lines: str) -> str:
    body = "\n        ".join([*lines.split("\n"), "return super().forward(x)"])
    return f"class Model(Bigram):\n    def forward(self, x, targets=None):\n        {body}"


HONEST = 3.269  # bits per byte of the model that all of these begin with


@pytest.mark.parametrize("name", ["remembers", "remembers_seldom", "remembers_and_hides"])
def test_what_remembers_passes_in_one_process_and_not_in_a_second(name: str, tmp_path: Path, prepared: Prepared) -> None:
    """In the sandbox, as in a run: what the first one has written down, wherever it could, the second does not find."""
    if sandbox.level().name != sandbox.BUBBLEWRAP:
        pytest.skip("without a sandbox two processes share what they can write to")

    def export(source: Path) -> None:
        shutil.copy(CHEATS / f"{name}.py", source / "train.py")
        for helper in ("bigram.py", "memory.py"):
            shutil.copy(CHEATS / helper, source)

    folder = tmp_path / "w"
    job = make_job(
        folder, "", export=export, data=prepared.data, data_dir=prepared.folder, exam=True, budget_seconds=0.5, seed=1,
        fixed=fixed_files(["prepare.py"]),
    )  # fmt: skip
    result, log = run(job)
    summary, report = parse_summary(log), read_json(folder / "exam.json") or {}
    assert summary and summary.val_bpb and summary.val_bpb < HONEST - 0.05  # every check of the first exam was passed
    judged = judge(
        result, log, summary, report, has_exam=True, metric="val_bpb", budget_seconds=0.5, deadline_seconds=60.0,
        startup_seconds=None,
    )  # fmt: skip
    assert judged.failure and judged.failure.reason == Failure.LEAK and "A second process" in judged.failure.detail, report
    assert "found: 0" in (folder / "second.log").read_text() or name != "remembers_and_hides"


def test_an_honest_model_is_confirmed_with_a_bound(sit: Any) -> None:
    report = sit("honest")
    assert report["val_bpb"] == pytest.approx(HONEST, abs=0.001)
    assert (report["problem"], report["twice"], report["why_not"]) == ("", "passed", "")
    assert report["checks"]["places"] == PLACES and 0 < report["checks"]["bound_bpb"] < 0.1


def test_a_discard_is_not_examined_twice(sit: Any) -> None:
    assert sit("honest", secret_below=1.0)["twice"] == ""


def unproven(report: Report, words: str) -> None:
    assert report["val_bpb"] is not None
    assert report["twice"] == "unproven" and words in report["why_not"], report
    judged = judge(
        Result("exit", 0, 1.0), "", None, report, has_exam=True, metric="val_bpb", budget_seconds=1, deadline_seconds=9,
        startup_seconds=None,
    )  # fmt: skip
    assert judged.badges == (Badge.UNPROVEN,)


TABLE = """
class Model(Bigram):
    def __init__(self):
        super().__init__()
        self.table = (torch.zeros(300, 300) if SECOND else self.scores).tolist()
        self.scores = torch.zeros(())
    def forward(self, x, targets=None):
        return torch.tensor(self.table)[x]
"""
BARE = """
scores = Bigram().scores
class Model:
    def __call__(self, x):
        return scores[x]
"""


def test_a_memory_outside_of_its_tensors_is_told_where_to_go(sit: Any) -> None:
    unproven(sit(TABLE), "it keeps what it has learned elsewhere. Keep it in parameters or buffers.")


def test_a_model_without_tensors(sit: Any) -> None:
    unproven(sit(BARE), "the model has no tensors: keep what it learns in parameters or buffers")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("if SECOND: raise SystemExit('no time')", "The second process ended, after 0 answers."),
        ("if SECOND: os._exit(0)", "The second process ended, after 0 answers."),
        ("if SECOND: x = x[:1]", "The second process gave no proper answers: model(x) with x of"),
        ("if SECOND: time.sleep(3)", "The second process took more than the 2 s of an exam."),
    ],
)
def test_one_that_cannot_be_built_twice(lines: str, words: str, sit: Any) -> None:
    unproven(sit(forward(lines), deadline_seconds=2.0), words)


def test_one_that_dies_before_it_is_asked(sit: Any) -> None:
    report = sit("", second="raise SystemExit('the budget is too small')")
    unproven(report, "after 0 answers. It said: the budget is too small")


def test_no_numbers_where_the_answer_is_hidden(sit: Any) -> None:
    lines = "if SECOND and (x[:, -1] != FIRST).any(): return super().forward(x) * float('nan')"
    report = sit("FIRST = 0\n" + forward(lines))
    assert report["problem"] == "nan" and report["val_bpb"] is None


WRITES = """
import sitting
def write(model, path):
    {}
sitting.sitting_tensors.write = write
"""


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("os.symlink('/etc/passwd', path)", "Too many levels of symbolic links"),
        ("os.mkfifo(path)", "it is no file"),
        ("os.mkdir(path)", "Is a directory"),
        ("os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), 2**40)", "1,099,512 MB, and there is room for"),
        ("pass", "No such file or directory"),
        ("raise OSError('the disk is full')", "the disk is full"),
    ],
)
def test_tensors_that_are_none(lines: str, words: str, sit: Any) -> None:
    unproven(sit(WRITES.format(lines)), f"The model's tensors could not be handed to a second process: {words}")


ONE = b'[{"name": "scores", "dtype": "float32", "shape": [9], "bytes": 36}]\n'


@pytest.mark.parametrize("content", [b"", b"[]\n", b"{\n", ONE])
def test_tensors_that_cannot_be_read_end_the_second_process(content: bytes, sit: Any, tmp_path: Path) -> None:
    report = sit(WRITES.format(f"open(path, 'wb').write({content!r})"))
    unproven(report, "The second process ended, after 0 answers. It said: exam: the model cannot be built a second time: ")


def test_tensors_are_taken_before_the_first_question(sit: Any) -> None:
    """What it writes after it has seen the text comes too late."""
    lines = (
        "path = os.environ['AUTORESEARCH_EXAM'] + '/tensors'\n"
        "if not SECOND and os.path.exists(path): os.truncate(path, 0)"
    )
    assert sit(forward(lines))["twice"] == "passed"


def test_a_judge_that_dies_in_it_has_said_nothing(tmp_path: Path, prepared: Prepared, zygote: Zygote) -> None:
    with judging(tmp_path, prepared, twice=True) as judge_:
        shutil.copy(CHEATS / "honest.py", tmp_path)
        shutil.copy(CHEATS / "bigram.py", tmp_path)
        env = {**prepared.environment, "AUTORESEARCH_EXAM": str(judge_.channel)}
        zygote.train(tmp_path / "honest.py", env, tmp_path / "log")
        judge_.process.kill()
        assert (judge_.report or {})["twice"] == "due"


def test_what_it_is_compared_with_is_written_for_the_next_one(sit: Any, tmp_path: Path) -> None:
    alone = sit("honest")["checks"]["bound_bpb"]
    made = tmp_path / "answers.npz"
    kept = tmp_path / "best.npz"
    os.replace(made, kept)
    again = sit("honest", references=[str(kept), str(tmp_path / "gone.npz")])["checks"]["bound_bpb"]
    assert again < alone / 50
    kept.write_text(json.dumps("no archive"))
    assert sit("honest", references=[str(kept)])["checks"]["bound_bpb"] == pytest.approx(alone, rel=0.01)
