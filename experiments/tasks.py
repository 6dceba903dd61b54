"""The door to the loop: Celery tasks carry ids only; the functions below them are what views and commands may call."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from celery import shared_task
from kombu.exceptions import OperationalError

from experiments.importing import jobs
from experiments.importing.bring import Wish
from experiments.importing.refused import ImportRefused
from experiments.loop import actions, engine, explaining, manual, outage, reconcile
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Program, Run
from experiments.states import StateError

log = logging.getLogger(__name__)


@shared_task
def tick() -> None:
    reconcile.tick(enqueue)


@shared_task(name="experiments.tasks.reconcile")
def reconcile_run(run_id: int) -> None:
    reconcile.reconcile(run_id, enqueue)


@shared_task
def propose(experiment_id: int) -> None:
    if engine.propose(experiment_id):
        _go_on(experiment_id)


@shared_task
def train(experiment_id: int) -> None:
    if engine.train(experiment_id, began=wake):
        _go_on(experiment_id)


@shared_task
def decide(experiment_id: int) -> None:
    if engine.decide(experiment_id):
        _go_on(experiment_id)


@shared_task
def explain(experiment_id: int, place: int) -> None:
    explaining.answer(experiment_id, place)


@shared_task
def import_repository(token: str) -> None:
    jobs.work(token)


_STAGES = {"propose": propose, "train": train, "decide": decide}


def _go_on(experiment_id: int) -> None:
    """What is due now. Not after a double: each would send one more, and they would pile up before the next training."""
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


def repeat(experiment: Experiment, *, by: str) -> Experiment:
    """The same commit once more, with another seed. Raises StateError where there is nothing to repeat."""
    made = actions.repeat(experiment, by=by)
    wake(made.run_id)
    return made


def ask_to_explain(experiment: Experiment, question: str, *, by: str) -> None:
    """Have the model explain a result. Raises StateError where it cannot; nothing was asked then."""
    place = explaining.ask(experiment, question, by=by)
    try:
        explain.apply_async((experiment.pk, place))
    except OperationalError as error:
        raise StateError("Redis does not answer, so no worker can ask the model. Start it, then ask again.") from error


def train_anyway(refused: Experiment, *, by: str) -> Experiment:
    """A new experiment of what the rehearsal refused. Raises StateError where none can be added."""
    made = manual.train_anyway(refused, by=by)
    wake(made.run_id)
    return made


def create_program(name: str, **fields: Any) -> Program:
    """A program from the trainer's template, its repository and first brief; `preset` as in trainer/presets.py."""
    return actions.create_program(name, **fields)


def read_files(program: Program, commit: str, paths: Iterable[str]) -> dict[str, str]:
    """Texts of `paths` at a commit of the program's repository; nothing where the commit is not there."""
    workspace = Workspace(program.repo)
    known = re.fullmatch("[0-9a-f]{40,64}", commit) and program.repo.is_dir() and workspace.ref(commit)
    return workspace.read(commit, paths) if known else {}


def start_run(program: Program, tag: str, *, instead_of: Program | None = None, **options: Any) -> Run:
    """Start a run from the program's base commit, or in the place of another program's. Raises StateError when the tag is
    taken.
    """
    start = partial(actions.start_instead, instead_of) if instead_of else actions.start_run
    run = start(program, tag, **options)
    wake(run.pk)
    return run


def manual_start(run: Run, source: Experiment | None) -> manual.Start:
    """What the editor of a manual experiment starts from. Raises StateError where none can be added."""
    return manual.start(run, source)


def manual_problem(run: Run, parent: Experiment, texts: Mapping[str, str]) -> tuple[Mapping[str, str], str]:
    """The files of `parent` that may be edited, and why these texts in their place could not be tried."""
    before = manual.files(run, parent)
    return before, manual.problem(before, texts)


def add_manual(run: Run, texts: Mapping[str, str], **options: Any) -> Experiment:
    """A person's edit as an experiment. Raises StateError; nothing has changed then."""
    made = manual.submit(run, texts, **options)
    wake(run.pk)
    return made


def missing_files(program: Program, paths: Iterable[str]) -> list[str]:
    """Those of `paths` that the program's repository does not have."""
    return manual.missing(program, paths)


def ask_researcher_now(run: Run, *, by: str) -> None:
    """It did not answer: ask it again without waiting."""
    outage.ask_now(run, by=by)


def adopt_branch(run: Run, *, by: str) -> None:
    actions.adopt_branch(run, by=by)
    wake(run.pk)


def restore_branch(run: Run, *, by: str) -> None:
    actions.restore_branch(run, by=by)
    wake(run.pk)


def create_demo() -> Run | None:
    """On an empty installation: a small program and a run that starts by itself. None when there is a program already."""
    return actions.create_demo()


def fetch_import(wish: Wish, *, by: str) -> str:
    """Have a worker fetch and import it. Returns the token of the job. Raises ImportRefused when no worker can be told."""
    token = jobs.create(wish, by=by)
    try:
        import_repository.apply_async((token,))
    except OperationalError as error:
        raise ImportRefused("Redis does not answer, so no worker can fetch it. Start it, then try again.") from error
    return token
