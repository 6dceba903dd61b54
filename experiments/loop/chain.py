"""Commits of experiments and the branch that follows from them. The branch is a projection of the database."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import transaction

from experiments.loop.errors import BranchMoved, MergeConflict
from experiments.loop.workspace import ZERO, Workspace
from experiments.models import Experiment, Run
from experiments.researcher.base import Edit
from experiments.researcher.edits import EditError, apply_edits, edits_from_json
from experiments.states import RunState
from trainer.output import strip_controls


def message(experiment: Experiment, description: str) -> str:
    """The idea as subject, in one line, then trailers by which the commit is found again."""
    subject = " ".join(strip_controls(description).split())
    return (
        f"{subject}\n\nAutoresearch-Experiment: {experiment.number}\n"
        f"Autoresearch-Run: {experiment.run.program.name}/{experiment.run.tag}\n"
    )


def commit_files(experiment: Experiment, parent: Experiment, files: Mapping[str, str], description: str) -> str:
    """Commit `files` on the parent, under the experiment's own ref. Returns the commit."""
    workspace = Workspace(experiment.run.program.repo)
    commit = workspace.commit(parent.commit, files, message(experiment, description))
    workspace.set_ref(experiment.ref, commit)
    return commit


def refit(experiment: Experiment, best: Experiment) -> None:
    """Put the same change on a best that has moved: the edits again, else a merge. Raises MergeConflict, StaleState."""
    program = experiment.run.program
    workspace = Workspace(program.repo)
    assert experiment.parent is not None
    try:
        edits = edits_from_json(experiment.edits)
        files = apply_edits(workspace.read(best.commit, program.editable), edits)
    except EditError:  # a revert has none; others may no longer find their place: then git merges
        files = {}
    if files:
        commit = workspace.commit(best.commit, files, message(experiment, experiment.description))
    else:
        tree = workspace.merge(experiment.parent.commit, best.commit, experiment.commit)
        if tree == workspace.tree(best.commit):
            raise MergeConflict(["no file: the best already has this change"])
        commit = workspace.commit_tree(tree, best.commit, message(experiment, experiment.description))
    experiment.store(commit=commit, parent=best, diff=workspace.diff(best.commit, commit), whole_key="")


def tree_without(experiment: Experiment, best: Experiment) -> str:
    """The best's tree without this experiment's change: by a merge, else by its edits backwards. Raises MergeConflict."""
    workspace = Workspace(experiment.run.program.repo)
    assert experiment.parent is not None
    try:
        return workspace.merge(experiment.commit, best.commit, experiment.parent.commit)
    except MergeConflict as conflict:  # to a merge, changes of neighbouring lines are one
        try:
            edits = edits_from_json(experiment.edits)
            if any(edit.search is None for edit in edits):  # a whole file: what stood there before is not in the edit
                raise conflict
            backwards = [Edit(edit.path, edit.replace, edit.search or "") for edit in reversed(edits)]
            files = apply_edits(workspace.read(best.commit, experiment.run.program.editable), backwards)
        except EditError:
            raise conflict from None
    return workspace.tree(workspace.commit(best.commit, files, message(experiment, "without")))


def sync_branch(run: Run) -> None:
    """Set the branch to the best. Pauses the run when somebody else has moved it; their work is never reset.

    An imported run's branch stays as it came.
    """
    if run.source:
        return
    with transaction.atomic():
        # one at a time, and with the tip of now: two at once would take each other for somebody outside
        run.refresh_from_db(from_queryset=Run.objects.select_for_update(no_key=True))
        workspace, ref, best = Workspace(run.program.repo), f"refs/heads/{run.branch}", run.best
        wanted, found = (best.commit if best else run.base_commit), workspace.ref(ref)
        if found != wanted:
            try:
                if found != run.tip:
                    raise BranchMoved(found)
                workspace.set_ref(ref, wanted, found or ZERO)
            except BranchMoved as moved:
                _ask(run, moved.found)
                return
        if run.tip != wanted:
            run.tip = wanted
            run.save(update_fields=["tip"])


def _ask(run: Run, found: str) -> None:
    where = found[:7] if found else "nowhere: it was deleted"
    why = (
        f"{run.branch} was moved from outside to {where}; we had set it to {run.tip[:7] or 'nothing yet'}. "
        "Adopt trains that commit as an experiment; Restore sets the branch back (that commit stays as a ref)."
    )
    if run.state == RunState.ACTIVE:
        run.pause(by="loop", now=False, reason="branch_moved", why=why)
    elif run.state == RunState.ENDED and run.reason != "branch_moved":  # it rests: then only the question is new
        run.reason, run.detail = "branch_moved", why
        run.save(update_fields=["reason", "detail"])
        run.record("loop", "branch moved", why=why)


def note_metrics(experiment: Experiment) -> None:
    """The metrics as git notes, for people who read the history with git alone."""
    lines = [f"{experiment.run.program.metric}: {experiment.score}", f"status: {experiment.state}"]
    lines += [f"{key}: {value}" for key, value in experiment.summary.items() if key != "val_bpb"]
    Workspace(experiment.run.program.repo).note(experiment.commit, "\n".join(lines) + "\n")
