"""Trainings that try for a better score than their model's. Each gets the honest score, none, or a badge that keeps it out.

What happens in the model is examined by a real judge; what needs the disk or the clock goes through the shim and the
sandbox, as in a run. What the app makes of it is judging.py's word.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.loop.judging import Judged, judge
from experiments.states import Badge, Failure
from tests.trainer.examining import CHEATS, Examined, Prepared, Zygote, examine
from tests.trainer.launching import make_job, run
from trainer import sandbox
from trainer.launch import fixed_files
from trainer.output import parse_summary
from trainer.spec import Result, read_json

BUDGET = 0.5


def judged(examined: Examined, result: Result | None = None, startup: float | None = None) -> Judged:
    """What the app makes of it."""
    return judge(
        result or Result("exit", examined.exit_code, 1.0), examined.output, parse_summary(examined.output), examined.report,
        has_exam=True, metric="val_bpb", budget_seconds=BUDGET, deadline_seconds=60.0, startup_seconds=startup,
    )


@pytest.fixture(scope="module")
def honest(prepared: Prepared, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Judged:
    return judged(examine(CHEATS / "honest.py", tmp_path_factory.mktemp("honest"), prepared, zygote))


def test_the_honest_training_is_verified(honest: Judged) -> None:
    assert honest.failure is None
    assert honest.badges == (Badge.VERIFIED,)
    assert honest.secret_score is not None


# In the model, or in the process


@pytest.mark.parametrize("name", ["zero_loss", "unnormalised", "patched_log"])
def test_what_does_not_reach_the_judge_changes_nothing(
    name: str, honest: Judged, tmp_path: Path, prepared: Prepared, zygote: Zygote
) -> None:
    examined = examine(CHEATS / f"{name}.py", tmp_path, prepared, zygote)
    assert judged(examined).score == pytest.approx(honest.score, rel=1e-6), examined.output


@pytest.mark.parametrize("name", ["noncausal", "peek", "peek_plausible", "block_mean", "learning", "remembering"])
def test_a_model_that_knows_too_much_gets_no_score(name: str, tmp_path: Path, prepared: Prepared, zygote: Zygote) -> None:
    examined = examine(CHEATS / f"{name}.py", tmp_path, prepared, zygote)
    failure = judged(examined).failure
    assert failure is not None, examined.report
    assert failure.reason == Failure.LEAK, failure


@pytest.mark.parametrize("name", ["printed_score", "printed_other_score", "patched_evaluator", "patched_sitting"])
def test_a_number_of_its_own_is_tampered_with(name: str, tmp_path: Path, prepared: Prepared, zygote: Zygote) -> None:
    examined = examine(CHEATS / f"{name}.py", tmp_path, prepared, zygote)
    failure = judged(examined).failure
    assert failure is not None, examined.report
    assert failure.reason == Failure.TAMPERED, failure


# On the disk, or by the clock


@pytest.fixture
def launched(tmp_path: Path, prepared: Prepared) -> Callable[..., tuple[Examined, Result]]:
    """Train as the app does, in the best sandbox there is."""

    def launch(name: str, **fields: Any) -> tuple[Examined, Result]:
        def export(source: Path) -> None:
            shutil.copy(CHEATS / f"{name}.py", source / "train.py")
            shutil.copy(CHEATS / "bigram.py", source)

        folder = tmp_path / name
        job = make_job(
            folder, "", export=export, data=prepared.data, data_dir=prepared.folder, exam=True, budget_seconds=BUDGET,
            fixed=fixed_files(["prepare.py"]), seed=1, device_lock=tmp_path / "device.lock", secret_below=0.0, **fields,
        )  # fmt: skip
        result, log = run(job)
        return Examined(read_json(folder / "exam.json"), log, result.exit_code or 0), result

    return launch


def test_an_edited_prepare_gets_no_score(launched: Any) -> None:
    for level in ("auto", "off"):
        examined, result = launched("edited_prepare", sandbox=level)
        verdict = judged(examined, result)
        assert verdict.score is None
        assert verdict.failure is not None
        if result.sandbox == sandbox.LIMITS:
            assert verdict.failure.reason == Failure.TAMPERED, examined.output
            assert result.tampered == ["prepare.py"]
        else:
            assert "Read-only file system" in examined.output


def test_an_old_checkpoint_is_not_found(launched: Any, honest: Judged) -> None:
    if sandbox.level().name != sandbox.BUBBLEWRAP:
        pytest.skip("without a sandbox nothing keeps two trainings apart")
    for _ in range(2):
        examined, result = launched("old_checkpoint")
        assert [line for line in examined.output.splitlines() if line.startswith("found:")] == ["found:"]
        assert judged(examined, result).score == pytest.approx(honest.score)


def test_the_validation_text_is_not_to_be_found(launched: Any, honest: Judged) -> None:
    if sandbox.level().name != sandbox.BUBBLEWRAP:
        pytest.skip("without a sandbox the whole disk can be read")
    examined, result = launched("validation_data")
    found = {line.partition(":")[0]: line.partition(":")[2].strip() for line in examined.output.splitlines() if ":" in line}
    assert (found["held out"], found["sources"], found["channel"]) == ("", "", ""), examined.output
    assert judged(examined, result).score == pytest.approx(honest.score)


def test_untimed_steps_are_overtime(launched: Any) -> None:
    examined, result = launched("honest")
    assert result.exam_after_seconds is not None, examined.output
    startup = result.exam_after_seconds - BUDGET
    assert judged(examined, result, startup).badges == (Badge.VERIFIED,)
    examined, result = launched("untimed_steps", deadline_seconds=60.0)
    verdict = judged(examined, result, startup)
    assert Badge.OVERTIME in verdict.badges, result
