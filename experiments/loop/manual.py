"""A person's own edit as an experiment: what the editor starts from, and the commit that is trained and judged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from experiments.loop import chain
from experiments.loop.errors import MergeConflict
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Program, Run
from experiments.researcher.edits import EditError, replace_files
from experiments.researcher.sameness import change_between, whole_key
from experiments.states import LIVE, Failure, Kind, RunState, State, StateError
from experiments.themes import theme


@dataclass(frozen=True)
class Start:
    """What the editor shows first."""

    best: Experiment
    files: Mapping[str, str]  # the editable files as they stand in the best
    texts: Mapping[str, str]  # the same with the change of the experiment that the person starts from
    word: str = ""  # what is to be known about that


def files(run: Run, best: Experiment) -> dict[str, str]:
    """The editable files as they stand in `best`."""
    found = Workspace(run.program.repo).read(best.commit, run.program.editable)
    if not found:
        raise StateError(f"None of {', '.join(run.program.editable)} is in the repository. Mend the program's recipe.")
    return found


def missing(program: Program, paths: Iterable[str]) -> list[str]:
    """Those of `paths` that are not in the program's repository."""
    workspace, wanted = Workspace(program.repo), list(paths)
    found = workspace.read(workspace.ref("refs/heads/main"), wanted)
    return [path for path in wanted if path not in found]


def start(run: Run, source: Experiment | None) -> Start:
    """The best's files, or those of `source` on the best. Raises StateError where no experiment can be added."""
    best = _open(run)
    now = files(run, best)
    if source is None or source.pk == best.pk or not source.commit:
        return Start(best, now, now)
    workspace, word = Workspace(run.program.repo), f"With the change of #{source.number} put on the best, #{best.number}."
    if source.pk in best.chain():
        commit = source.commit
        word = f"These are the files of #{source.number}. The diff also takes back what was kept since."
    else:
        commit, word = _on_best(workspace, source, best, word)
    return Start(best, now, now | workspace.read(commit, now), word)


def _on_best(workspace: Workspace, source: Experiment, best: Experiment, word: str) -> tuple[str, str]:
    """A commit or tree with the source's change on the best, or else the source's own."""
    if source.parent is None or source.parent_id == best.pk:
        return source.commit, word
    try:
        return workspace.merge(source.parent.commit, best.commit, source.commit), word
    except MergeConflict as conflict:
        why = f"The change of #{source.number} does not fit the best of now, #{best.number}: {conflict}. "
        return source.commit, why + "These are its files as they were: the diff shows what that takes back."


def _open(run: Run) -> Experiment:
    """The best to build on."""
    run.check_open()
    if run.state == RunState.ENDED:
        raise StateError("This run has ended. Resume it on its page, then add an experiment.")
    best = run.best
    if best is None:
        raise StateError("The baseline is not scored yet. Add an experiment when there is something to compare it with.")
    return best


def submit(
    run: Run, texts: Mapping[str, str], *, parent: Experiment, description: str, hypothesis: str, by: str
) -> Experiment:
    """A READY experiment of these texts on `parent`, the best that the person saw.

    Where the best has moved since, it is refitted when its training begins. Raises StateError for texts that cannot be
    tried, and where no experiment can be added.
    """
    _open(run)
    before = files(run, parent)
    try:
        after = replace_files(before, texts)
    except EditError as error:
        raise StateError(str(error)) from error
    workspace = Workspace(run.program.repo)
    with transaction.atomic():
        _open(Run.locked(run.pk))
        made = Experiment(
            run=run, number=run.next_number(), kind=Kind.MANUAL, state=State.READY, parent=parent, seed=run.seed,
            description=description, hypothesis=hypothesis, brief=run.program.brief, proposed_at=timezone.now(),
        )
        made.commit = workspace.commit(parent.commit, after, chain.message(made, description))
        made.diff = workspace.diff(parent.commit, made.commit)
        change = change_between(before, after)  # so that a researcher does not try it once more
        made.change_key, made.near_key, made.whole_key = change.key, change.near_key[:400], whole_key(after)
        made.theme = theme(description)
        twin = run.experiments.filter(kind=Kind.MANUAL, state__in=LIVE, diff=made.diff).first()  # a double click
        if twin:
            raise StateError(f"The same edit waits already, as #{twin.number}.")
        workspace.set_ref(made.ref, made.commit)
        made.save()
        run.record(by, f"#{made.number} created", why=description)
    return made


def problem(before: Mapping[str, str], texts: Mapping[str, str]) -> str:
    """Why these texts could not be tried; "" where they could."""
    try:
        replace_files(before, texts)
    except EditError as error:
        return str(error)
    return ""


def train_anyway(refused: Experiment, *, by: str) -> Experiment:
    """The same commit as a READY experiment, past the rehearsal that refused it. Raises StateError."""
    run = refused.run
    if refused.reason != Failure.PREFLIGHT or not refused.commit or refused.parent is None:
        raise StateError(f"#{refused.number} was not refused by the rehearsal, or its commit is not there.")
    _open(run)
    with transaction.atomic():
        _open(Run.locked(run.pk))  # asked under the lock: a double click makes one
        twin = run.experiments.filter(kind=Kind.MANUAL, subject=refused).first()
        if twin:
            raise StateError(f"It is trained already, as #{twin.number}.")
        made = Experiment.objects.create(
            run=run, number=run.next_number(), kind=Kind.MANUAL, state=State.READY, parent=refused.parent, subject=refused,
            seed=run.seed, commit=refused.commit, diff=refused.diff, description=refused.description,
            hypothesis=refused.hypothesis, brief=refused.brief, proposed_at=timezone.now(),
        )
        Workspace(run.program.repo).set_ref(made.ref, made.commit)
        run.record(by, f"#{made.number} created", why=f"#{refused.number} is trained although its rehearsal failed")
    return made
