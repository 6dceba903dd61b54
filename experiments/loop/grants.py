"""What a training may take, by the rows of its run. The rules are in overtime.py."""

from __future__ import annotations

from django.conf import settings

from experiments.loop.overtime import Grant, Times
from experiments.models import Experiment

LATELY = 20  # trainings of the run that show how its start-ups scatter: a machine is busy at one time, and not at another


def grant(experiment: Experiment) -> Grant:
    run = experiment.run
    startup, budget = run.startup_seconds, run.program.budget_seconds
    if startup is None:
        return Grant()
    exams = run.experiments.exclude(pk=experiment.pk).exclude(exam={}).order_by("-number").values_list("exam", flat=True)
    seen = [times for exam in exams[:LATELY] if (times := Times.of(exam)).after is not None]
    threads = settings.THREADS if experiment.device == "cpu" else None
    return Grant(Times.of(run.baseline_exam), tuple(times.late(budget, startup) for times in seen), threads)
