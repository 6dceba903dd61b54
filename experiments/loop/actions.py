"""What people ask of the loop beyond a change of state: create, start, revert, adopt, restore."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from experiments.loop import chain
from experiments.loop.errors import MergeConflict
from experiments.loop.workspace import Workspace
from experiments.models import BriefVersion, Experiment, Program, Run
from experiments.states import Kind, Mode, RunState, State, StateError
from trainer import launch, presets

_UNFINISHED = (State.READY, State.TRAINING, State.EVALUATING, State.CONFIRMING)
_OF_PROGRAM = ("price_in", "price_out", "fallbacks")
_OF_RUN = ("mode", "lanes", "max_experiments", "deadline_at", "max_cost", "max_tokens", "max_without_gain", "outage")
TEMPLATE_FILES = ("program.md", *launch.FIXED, "train.py")


def create_program(
    name: str, *, template: Path | None = None, preset: str = "", offline: bool = False, **fields: Any
) -> Program:
    """A program from the trainer's template: its repository, its first commit, its brief.

    `preset` names one of trainer/presets.py: its constants are written into the first commit, its data set and budget
    into the recipe. `offline`: on text that needs no download.
    """
    folder = template or Path(settings.TEMPLATE_DIR)
    files = {name: (folder / name).read_text() for name in TEMPLATE_FILES if (folder / name).exists()}
    defaults: dict[str, Any] = {"command": ["{python}", "train.py"], "editable": ["train.py"], "fixed": ["prepare.py"]}
    if preset:
        chosen = presets.offline(presets.PRESETS[preset]) if offline else presets.PRESETS[preset]
        files["train.py"] = presets.apply(files["train.py"], chosen.constants)
        defaults |= {
            "preset": preset, "dataset": chosen.dataset, "vocab_size": chosen.vocab_size, "seq_len": chosen.seq_len,
            "budget_seconds": chosen.budget_seconds, "grace_seconds": chosen.grace_seconds,
        }
    with transaction.atomic():
        program = Program.objects.create(name=name, **{**defaults, **fields})
        Workspace.create(program.repo, files, "Start from the template")
        brief = files.get("program.md", "# Aim\n\nLower the metric.\n")
        BriefVersion.objects.create(program=program, number=1, text=brief, author="template")
    return program


def start_run(
    program: Program, tag: str, *, by: str, mode: Mode = Mode.AUTOPILOT, max_experiments: int | None = None,
    hours: float | None = None, seed: int = 42,
) -> Run:
    """Start a run from the program's main commit. Raises StateError when the tag is taken."""
    workspace = Workspace(program.repo)
    base = workspace.ref("refs/heads/main")
    missing = sorted(set(program.editable) - set(workspace.read(base, program.editable) if base else ()))
    if missing and program.runs.exclude(source="").exists():  # imported from a table alone
        raise StateError(f"{missing[0]} is not in the program's repository: nothing can be trained.")
    deadline = timezone.now() + timedelta(hours=hours) if hours else None
    try:
        with transaction.atomic():
            run = Run.objects.create(
                program=program, tag=tag, base_commit=base, mode=mode, max_experiments=max_experiments,
                deadline_at=deadline, seed=seed,
            )
            run.record(by, "active", why="started")
    except IntegrityError:
        raise StateError(f"There is already a run {tag!r} of {program}. Choose another tag.") from None
    chain.sync_branch(run)
    return run


def start_instead(old: Program, program: Program, tag: str, *, by: str, **options: Any) -> Run:
    """Start a run of a new program with the brief and the prices of an old one, and the mode and limits of its last run.

    The old one's runs pause after what they train now.
    """
    last = old.runs.filter(state=RunState.ACTIVE).order_by("-pk").first() or old.runs.order_by("-pk").first()
    with transaction.atomic():
        Program.objects.filter(pk=program.pk).update(**{name: getattr(old, name) for name in _OF_PROGRAM})
        program.refresh_from_db()
        program.save_brief(old.brief.text, by=by, based_on=program.brief.number)
        for active in old.runs.filter(state=RunState.ACTIVE):
            active.pause(by=by, now=False, why=f"{program} trains in its place. Resume to go on beside it.")
        run = start_run(program, tag, by=by, **options)
        if last:
            kept = {name: getattr(last, name) for name in _OF_RUN}
            if last.deadline_at and last.deadline_at < timezone.now():
                del kept["deadline_at"]
            Run.objects.filter(pk=run.pk).update(**kept)
            run.refresh_from_db()
        return run


def revert(experiment: Experiment, *, by: str) -> Experiment:
    """A new experiment on the best without this experiment's change. Raises StateError; nothing has changed then."""
    run, best = experiment.run, experiment.run.best
    run.check_open()
    if experiment.state != State.KEPT or experiment.parent is None or best is None:
        raise StateError(f"#{experiment.number} is not a kept change; there is nothing to revert.")
    workspace = Workspace(run.program.repo)
    try:
        tree = chain.tree_without(experiment, best)
    except MergeConflict as conflict:
        raise StateError(
            f"#{experiment.number} cannot be reverted alone: {conflict}, which a later keep changed again. "
            "Nothing was changed. Revert the later one first, or roll back."
        ) from conflict
    if tree == workspace.tree(best.commit):
        raise StateError(f"Nothing of #{experiment.number} is left in the best; there is nothing to revert.")
    description = f"Revert #{experiment.number}: {experiment.description}"[:200]
    with transaction.atomic():
        Run.locked(run.pk)  # asked under the lock: a double click makes one revert
        if run.experiments.filter(kind=Kind.REVERT, subject=experiment, state__in=_UNFINISHED).exists():
            raise StateError(f"#{experiment.number} is being reverted already.")
        made = Experiment.objects.create(
            run=run, number=run.next_number(), kind=Kind.REVERT, state=State.READY, parent=best, subject=experiment,
            description=description, seed=run.seed, proposed_at=timezone.now(),
            hypothesis=f"What is #{experiment.number} worth today? Everything else stays as in #{best.number}.",
        )
        made.commit = workspace.commit_tree(tree, best.commit, chain.message(made, description))
        workspace.set_ref(made.ref, made.commit)
        made.diff = workspace.diff(best.commit, made.commit)
        made.save(update_fields=["commit", "diff"])
        run.record(by, f"#{made.number} created", why=description)
    return made


def repeat(target: Experiment, *, by: str) -> Experiment:
    """The same commit with a seed that it was not trained with: what it tells is the noise. Raises StateError."""
    run = target.run
    run.check_open()
    if target.score is None or not target.commit:
        raise StateError(f"#{target.number} has no score: there is nothing to repeat.")
    with transaction.atomic():
        Run.locked(run.pk)
        seed = max(run.experiments.filter(commit=target.commit).values_list("seed", flat=True)) + 1
        made = Experiment.objects.create(
            run=run, number=run.next_number(), kind=Kind.REPEAT, state=State.READY, parent=target, subject=target,
            commit=target.commit, seed=seed, brief=target.brief, proposed_at=timezone.now(),
            description=f"Repeat of #{target.number} with seed {seed}: {target.description}"[:200],
        )
        Workspace(run.program.repo).set_ref(made.ref, made.commit)
        run.record(by, f"#{made.number} created", why=f"repeat of #{target.number}")
    return made


def restore_branch(run: Run, *, by: str) -> None:
    """Set a branch that was moved from outside back to the best; the outside commit stays under a ref."""
    workspace = Workspace(run.program.repo)
    outside = _outside(run, workspace)
    if outside:
        workspace.set_ref(f"refs/autoresearch/{run.pk}/outside-{outside[:12]}", outside)
    with transaction.atomic():
        run.tip = outside  # what sync_branch may overwrite from now on
        run.save(update_fields=["tip"])
        run.resume(by=by)
    chain.sync_branch(run)


def adopt_branch(run: Run, *, by: str) -> Experiment:
    """Take the outside commit as a manual experiment: trained and judged like any other."""
    workspace, best = Workspace(run.program.repo), run.best
    outside = _outside(run, workspace)
    if not outside or best is None:
        raise StateError("There is no commit to adopt on the branch. Use Restore.")
    with transaction.atomic():
        Run.locked(run.pk)
        made = Experiment.objects.create(
            run=run, number=run.next_number(), kind=Kind.MANUAL, state=State.READY, parent=best, commit=outside,
            description=f"Adopted from outside: {outside[:7]}", seed=run.seed, brief=run.program.brief,
            diff=workspace.diff(best.commit, outside), proposed_at=timezone.now(),
        )
        workspace.set_ref(made.ref, outside)
        run.record(by, f"#{made.number} created", why=made.description)
        restore_branch(run, by=by)
    return made


def _outside(run: Run, workspace: Workspace) -> str:
    if run.reason != "branch_moved":
        raise StateError("The branch was not moved from outside; there is nothing to adopt or restore.")
    return workspace.ref(f"refs/heads/{run.branch}")


def create_demo() -> Run | None:
    """A program with this machine's model on text that every machine has: it must train without a network, and soon."""
    if not settings.DEMO or Program.objects.exists():
        return None
    with transaction.atomic():  # both or neither: a program without its run would never start by itself
        program = create_program(
            "small-gpt", preset=presets.of_machine(settings.PRESET, settings.DEVICES).name, offline=True,
            researcher=settings.DEMO_RESEARCHER, model=settings.DEMO_MODEL, api_base=settings.DEMO_API_BASE,
        )
        return start_run(program, "demo", by="first start", max_experiments=30, hours=0.5)
