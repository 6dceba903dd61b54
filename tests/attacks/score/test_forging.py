"""Scripts that try to forge a score 0.02 lower than their model's, through the shim, the sandbox and both processes.

The two that say most run always; `AUTORESEARCH_FORGING=all pytest -s tests/attacks/score/test_forging.py` runs each once
and prints what came out. docs/forging.md tells of all.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

import pytest

from experiments.loop.judging import Judged, judge
from experiments.states import Badge, Failure
from tests.trainer.examining import CHEATS, ROOT, Prepared
from tests.trainer.launching import make_job, run
from trainer import sandbox
from trainer.launch import fixed_files
from trainer.output import parse_summary
from trainer.spec import read_json

FORGING = ROOT / "tests" / "scripts" / "forging"
HELPERS = [CHEATS / "bigram.py", *FORGING.glob("[a-z]*.py")]
ALL = os.environ.get("AUTORESEARCH_FORGING") == "all"
HONEST = 3.269  # bits per byte of the model that all of these begin with

TELLING = {
    "01_first_place": Failure.LEAK,  # the second process was not shown it
    "15_dies_when_asked": Badge.UNPROVEN,  # which is barred where the best is proven
}


def by_heart() -> str:
    """Of the text that is held out, as who knows the standard library would write it down."""
    text = Path(sysconfig.get_path("stdlib"), "functools.py").read_text()[600:4600]
    return text.replace("\\", "\\\\").replace('"""', "'''")


def forge(name: str, tmp_path: Path, prepared: Prepared, *references: Path) -> tuple[Judged, Path]:
    """What the app makes of it; and its workspace. `references`: answers of the best so far."""

    def export(source: Path) -> None:
        for helper in HELPERS:
            shutil.copy(helper, source)
        (source / "train.py").write_text((FORGING / f"{name}.py").read_text().replace("@BY_HEART@", by_heart()))

    folder = tmp_path / "w"
    job = make_job(
        folder, "", export=export, data=prepared.data, data_dir=prepared.folder, exam=True, budget_seconds=0.5, seed=1,
        fixed=fixed_files(["prepare.py"]), deadline_seconds=40.0, exam_seconds=25.0, references=references,
    )  # fmt: skip
    result, log = run(job)
    judged = judge(
        result, log, parse_summary(log), read_json(folder / "exam.json"), has_exam=True, metric="val_bpb",
        budget_seconds=0.5, deadline_seconds=40.0, startup_seconds=None,
    )  # fmt: skip
    return judged, folder


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Path:
    """Its answers: the best so far."""
    judged, folder = forge("../cheats/honest", tmp_path_factory.mktemp("honest"), prepared)
    assert judged.badges == (Badge.VERIFIED,) and judged.score == pytest.approx(HONEST, abs=0.001)
    return folder / "answers.npz"


def skip_without_sandbox() -> None:
    if sandbox.level().name != sandbox.BUBBLEWRAP:
        pytest.skip("without a sandbox nothing is examined twice")


@pytest.mark.parametrize("name", TELLING)
def test_a_forged_score_is_not_kept(name: str, tmp_path: Path, prepared: Prepared) -> None:
    skip_without_sandbox()
    judged, _ = forge(name, tmp_path, prepared)
    assert TELLING[name] in {judged.failure.reason if judged.failure else "", *judged.badges}, judged


@pytest.mark.parametrize("name", sorted(path.stem for path in FORGING.glob("[0-9]*.py")) if ALL else [])
def test_what_comes_out(name: str, tmp_path: Path, prepared: Prepared, honest: Path) -> None:
    skip_without_sandbox()
    judged, folder = forge(name, tmp_path, prepared, honest)
    report, said = read_json(folder / "exam.json") or {}, folder / "second.log"
    what = f"{judged.failure.reason}: {judged.failure.detail[:130]!r}" if judged.failure else ", ".join(judged.badges)
    score = judged.score if judged.score is not None else 0.0
    lines = said.read_text().splitlines() if said.exists() else []
    found = [line for line in lines if line.startswith(("found:", "free less"))]
    print(f"\n{name} {score:.4f} {what} {str(report.get('why_not'))[:150]} {found}")
