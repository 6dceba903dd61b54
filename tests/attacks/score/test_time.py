"""Trainings that take more time, or more of the processor, than they were given: in the exam, or beside themselves.

A real judge sees the answers come late; the shim, as in a run, counts what all processes have spent.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.loop.judging import Judged, judge, measured
from experiments.loop.overtime import Grant, Times
from experiments.states import Badge
from tests.trainer.examining import CHEATS, Examined, Prepared, Zygote, examine
from tests.trainer.launching import make_job, run
from trainer.launch import fixed_files
from trainer.output import parse_summary
from trainer.spec import Result, read_json

BUDGET = 0.5
IN_TIME = Result("exit", 0, 2.0, exam_after_seconds=BUDGET)


def judged(report: dict[str, Any], log: str, result: Result, grant: Grant) -> Judged:
    return judge(
        result, log, parse_summary(log), report, has_exam=True, metric="val_bpb", budget_seconds=BUDGET,
        deadline_seconds=60.0, startup_seconds=0.0, grant=grant,
    )  # fmt: skip


# In the exam


@pytest.fixture(scope="module")
def honest(prepared: Prepared, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Examined:
    return examine(CHEATS / "honest.py", tmp_path_factory.mktemp("honest"), prepared, zygote)


def grant_of(honest: Examined) -> Grant:
    assert honest.report is not None
    return Grant(Times.of({**honest.report, **measured(IN_TIME, "")}))


def test_an_honest_models_answers_are_no_overtime(honest: Examined) -> None:
    assert honest.report is not None and honest.report["usual_seconds"] > 0
    assert judged(honest.report, honest.output, IN_TIME, grant_of(honest)).badges == (Badge.VERIFIED,)


@pytest.mark.parametrize("late", ["first", "between", "each", "before"])
def test_training_on_in_the_exam_is_overtime(
    late: str, honest: Examined, tmp_path: Path, prepared: Prepared, zygote: Zygote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATE", late)
    cheat = examine(CHEATS / "answers_late.py", tmp_path, prepared, zygote)
    assert cheat.report is not None and cheat.report["problem"] == "", cheat
    verdict = judged(cheat.report, cheat.output, IN_TIME, grant_of(honest))
    assert Badge.OVERTIME in verdict.badges, cheat.report
    assert "more than a model's answers explain" in verdict.overtime


# Beside itself


def test_other_processes_that_train_are_overtime(tmp_path: Path, prepared: Prepared) -> None:
    def export(source: Path) -> None:
        for name in ("more_processes.py", "bigram.py"):
            shutil.copy(CHEATS / name, source)

    job = make_job(
        tmp_path / "job", "", export=export, command=["{python}", "more_processes.py"], data=prepared.data,
        data_dir=prepared.folder, exam=True, budget_seconds=BUDGET, deadline_seconds=60.0, seed=1,
        fixed=fixed_files(["prepare.py"]),
    )  # fmt: skip
    result, log = run(job)
    report, spent = read_json(job.folder / "exam.json"), result.processor_seconds
    assert report is not None and spent is not None and spent > 3.0, log
    alone = replace(result, processor_seconds=spent - 3.0)
    # As a machine shows it that had a core for each of them: this one may be busy.
    result = replace(result, exam_after_seconds=spent - 2.0)
    report["seconds"] = 0.0
    grant = Grant(Times.of({**report, **measured(replace(alone, exam_after_seconds=spent), "")}), threads=1)
    verdict = judge(
        result, log, parse_summary(log), report, has_exam=True, metric="val_bpb", budget_seconds=BUDGET,
        deadline_seconds=60.0, startup_seconds=spent, grant=grant,
    )  # fmt: skip
    assert Badge.OVERTIME in verdict.badges and "more of the processor" in verdict.overtime, result
