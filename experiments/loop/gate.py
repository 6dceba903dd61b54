"""What is asked of an edit before it may cost device time: was it tried before, is it close to what was tried?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from django.db import transaction
from django.db.models import Q

from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Run
from experiments.researcher.edit_error import EditError
from experiments.researcher.sameness import Change, change_between, whole_key
from experiments.states import LIVE, Failure, State

NEAR = 0.15  # values of a constant that differ by less than this share are near each other
NAMED = 3  # near experiments that are named to the researcher
KEYLESS = 20  # experiments made by git alone whose files are read at most for one check
# A failure of the training says something of the edit; one of the machine or of the reply does not.
TELLING = (Failure.CRASH, Failure.OOM, Failure.NAN, Failure.TIMEOUT, Failure.NO_SCORE, Failure.TAMPERED, Failure.LEAK)


class Duplicate(EditError):
    """The same change was tried before."""


class Gate:
    """Looks at the edits proposed for one experiment. It warns of a near one once, and refuses the same one always."""

    def __init__(self, experiment: Experiment, *, warns: bool) -> None:
        self.experiment = experiment
        self.warned = not warns  # who cannot be asked again need not be warned

    def check(
        self, before: Mapping[str, str], after: Mapping[str, str], *, is_sweep: bool = False,
        branches_from: int | None = None,
    ) -> Change:
        """What the edit changes. Raises EditError with words for the researcher.

        A change is the same whatever best it was tried on. Only on a branch from an older keep (`branches_from`) it may
        be tried once more: what it does there is what the branch is for.
        """
        change = change_between(before, after)
        if change.is_empty:
            raise EditError("The edit changes only comments or spacing: the training is the same. Change what it does.")
        whole = self._key_of(after)
        self._refuse_the_same(change.key, whole, branches_from)
        near = [] if self.warned or is_sweep else list(self._near(change))
        if near:
            self.warned = True
            raise EditError(
                f"Close to what was tried: {'; '.join(near)}. If you expect another outcome, send the same reply again and "
                "say in HYPOTHESIS why. Otherwise propose another idea."
            )
        with transaction.atomic():
            Run.locked(self.experiment.run_id)  # two replies at once may hold the same edit: the first one has it
            self._refuse_the_same(change.key, whole, branches_from)
            self.experiment.store(change_key=change.key, whole_key=whole)
        return change

    def _refuse_the_same(self, key: str, whole: str, branches_from: int | None) -> None:
        tried = self._tried().filter(change_key=key)
        tried = tried if branches_from is None else tried.filter(parent__number=branches_from)
        same = tried.order_by("-number").first()
        if same is not None:
            raise Duplicate(f"This was tried: {_told(same)}. Propose something else.")
        equal = self._tried().filter(whole_key=whole).order_by("-number").first()
        if equal is not None:
            raise Duplicate(f"With this edit the files are those of an earlier one: {_told(equal)}. Propose something else.")

    def _key_of(self, after: Mapping[str, str]) -> str:
        """The key of the whole, once those that git alone has made (baseline, revert, merges) have theirs too."""
        run = self.experiment.run
        made = run.experiments.filter(whole_key="", score__isnull=False).exclude(commit="")
        workspace = Workspace(run.program.repo)
        for pk, commit in made.values_list("pk", "commit")[:KEYLESS]:
            key = whole_key(workspace.read(commit, run.program.editable))
            Experiment.objects.filter(pk=pk).update(whole_key=key)
        return whole_key(after)

    def _tried(self) -> Experiment.QuerySet:  # type: ignore[name-defined]
        ended = Q(state__in=[State.KEPT, State.DISCARDED, State.REVERTED]) | Q(state=State.FAILED, reason__in=TELLING)
        under_way = Q(state__in=LIVE)
        rejected = Q(state=State.CANCELLED, reason="rejected")
        rows = self.experiment.run.experiments.exclude(pk=self.experiment.pk).exclude(change_key="", whole_key="")
        return rows.filter(ended | under_way | rejected).select_related("parent").defer("prompt", "parent__diff")

    def _near(self, change: Change) -> Iterator[str]:
        if not change.near_key:
            return
        found = 0
        for one in self._tried().filter(near_key=change.near_key[:400]).order_by("-number")[:50]:
            if found < NAMED and _is_near(change, one.diff):
                found += 1
                yield _told(one)


def _told(one: Experiment) -> str:
    if one.state in LIVE:
        return f"#{one.number}{one.description and f' ({one.description})'} is under way with it"
    text = f"#{one.number} ({one.description}) was {one.state}"
    if one.state == State.CANCELLED:
        return f"#{one.number} ({one.description}) was rejected by a person" + (f": {one.detail}" if one.detail else "")
    if one.reason:
        text += f", {one.reason.replace('_', ' ')}"
    if one.score is not None:
        text += f" with {one.score:.6f}"
    return text + (f" ({one.delta:+.6f} against its parent)" if one.delta is not None else "")


def _is_near(change: Change, diff: str) -> bool:
    """Whether every constant got about the value that `diff` gave it."""
    for name, literal in change.constants.items():
        theirs = re.search(rf"^\+{re.escape(name.rpartition(' ')[2])}\b[^=\n]*=\s*([^\s#]+)", diff, re.M)
        if theirs is None or not _about(literal, theirs[1]):
            return False
    return True


def _about(one: str, other: str) -> bool:
    try:
        a, b = (float(text.replace("_", "")) for text in (one, other))
    except ValueError:
        return one == other
    return abs(a - b) <= NEAR * max(abs(a), abs(b))
