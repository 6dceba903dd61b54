"""The door to the loop: Celery tasks carry ids only; the functions below them are what views and commands may call."""

from __future__ import annotations

import logging
from typing import Any

from celery import shared_task
from kombu.exceptions import OperationalError

from experiments.loop import actions, engine, reconcile
from experiments.models import Experiment, Program, Run

log = logging.getLogger(__name__)


@shared_task
def tick() -> None:
    reconcile.tick(enqueue)


@shared_task(name="experiments.tasks.reconcile")
def reconcile_run(run_id: int) -> None:
    reconcile.reconcile(run_id, enqueue)


@shared_task
def propose(experiment_id: int) -> None:
    engine.propose(experiment_id)
    _go_on(experiment_id)


@shared_task
def train(experiment_id: int) -> None:
    engine.train(experiment_id)
    _go_on(experiment_id)


@shared_task
def decide(experiment_id: int) -> None:
    engine.decide(experiment_id)
    _go_on(experiment_id)


_STAGES = {"propose": propose, "train": train, "decide": decide}


def _go_on(experiment_id: int) -> None:
    run_id = Experiment.objects.values_list("run_id", flat=True).get(pk=experiment_id)
    reconcile.reconcile(run_id, enqueue)


def enqueue(stage: str, experiment_id: int) -> None:
    _send(_STAGES[stage], experiment_id)


def wake(run_id: int) -> None:
    """Have the run looked at soon; views call it after each change. Without Redis the next tick does it."""
    _send(reconcile_run, run_id)


def _send(task: Any, pk: int) -> None:
    try:
        task.apply_async((pk,), expires=10)
    except OperationalError as error:
        log.warning("%s(%s) was not sent (%s); the next tick sends it again", task.name, pk, error)


def revert(experiment: Experiment, *, by: str) -> Experiment:
    """A new experiment without this commit. Raises StateError on a conflict; nothing has changed then."""
    made = actions.revert(experiment, by=by)
    wake(made.run_id)
    return made


def create_program(name: str, **fields: Any) -> Program:
    """A program from the trainer's template, its repository and first brief; `preset` as in trainer/presets.py."""
    return actions.create_program(name, **fields)


def start_run(program: Program, tag: str, **options: Any) -> Run:
    """Start a run from the program's base commit. Raises StateError when the tag is taken."""
    run = actions.start_run(program, tag, **options)
    wake(run.pk)
    return run


def adopt_branch(run: Run, *, by: str) -> None:
    actions.adopt_branch(run, by=by)
    wake(run.pk)


def restore_branch(run: Run, *, by: str) -> None:
    actions.restore_branch(run, by=by)
    wake(run.pk)


def create_demo() -> Run | None:
    """On an empty installation: a small program and a run that starts by itself. None when there is a program already."""
    return actions.create_demo()
