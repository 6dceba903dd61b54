"""The queue of ideas: what is to be tried next, by whom, and which experiment took it up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.db import models, transaction
from django.utils import timezone

from experiments.models.run import Run
from experiments.states import StateError

if TYPE_CHECKING:
    from experiments.models.experiment import Experiment

MOST_OPEN = 200  # of one run: a queue that nobody can read helps nobody
RESEARCHER = "researcher"  # author of what it listed in a reply and did not use
MOST_OWN = 20  # of these waiting


class IdeaQuerySet(models.QuerySet["Idea"]):
    def waiting(self) -> IdeaQuerySet:
        """The open ones, the next first; the pinned ones come when nothing else waits."""
        return self.filter(used_by=None, dropped_at=None).order_by("pinned", "position", "pk")

    def offered_to(self, experiment: Experiment) -> IdeaQuerySet:
        """The open ones; before them the one that it has taken up already, when it is proposed once more."""
        mine = models.Q(used_by=None) | models.Q(used_by=experiment)
        taken_first = models.F("used_by").asc(nulls_last=True)
        return self.filter(mine, dropped_at=None).order_by(taken_first, "pinned", "position", "pk")

    def own(self) -> IdeaQuerySet:
        """What the researcher listed for later and nobody has used or dropped."""
        return self.waiting().filter(author=RESEARCHER)

    def used(self) -> IdeaQuerySet:
        """Those that an experiment took up, the last first."""
        return self.exclude(used_by=None).select_related("used_by").order_by("-used_by__number", "-pk")


class Idea(models.Model):
    """An open idea waits its turn by `position`; a used or dropped one stays as a record."""

    run = models.ForeignKey("Run", models.CASCADE, related_name="ideas")
    text = models.TextField()
    author = models.CharField(max_length=150)  # a person, or "researcher"
    position = models.PositiveIntegerField()  # among the open ones of the run; the lowest is next
    pinned = models.BooleanField(default=False)  # comes again whenever nothing else waits: nothing uses it up
    created_at = models.DateTimeField(auto_now_add=True)
    used_by = models.ForeignKey("Experiment", models.SET_NULL, null=True, related_name="ideas")
    dropped_at = models.DateTimeField(null=True)

    objects = IdeaQuerySet.as_manager()

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return self.text[:60]

    @property
    def is_a_persons(self) -> bool:
        """Of the queue that people order: neither a reminder of the researcher nor a pinned one, which come last."""
        return self.author != RESEARCHER and not self.pinned

    @property
    def is_open(self) -> bool:
        return self.used_by_id is None and self.dropped_at is None

    @classmethod
    def add(cls, run: Run, text: str, *, by: str) -> Idea:
        """Put it behind the last idea of a person in the run's queue, before the researcher's own.

        Raises StateError where the queue is full or the run is a record.
        """
        run.check_open()
        with transaction.atomic():
            Run.locked(run.pk)
            waiting = list(cls.objects.filter(run=run).waiting())
            if len(waiting) >= MOST_OPEN:
                raise StateError(f"{MOST_OPEN} ideas are waiting already. Drop some first.")
            place = max((at for at, idea in enumerate(waiting, 1) if idea.is_a_persons), default=0)
            idea = cls.objects.create(run=run, text=text, author=by, position=place + 1)
            cls._renumber([*waiting[:place], idea, *waiting[place:]])
            run.record(by, "idea", why=text)
        return idea

    @classmethod
    def add_own(cls, run: Run, texts: Iterable[str], *, source: int) -> int:
        """Ideas that the reply of #`source` lists for later, behind all others. Returns how many were new and had room."""
        ideas = cls.objects.filter(run=run)
        known = {_plain(text) for text in [*ideas.values_list("text", flat=True), *_descriptions(run)]}
        room = MOST_OWN - ideas.own().count()
        last = ideas.waiting().aggregate(models.Max("position"))["position__max"] or 0
        added = 0
        for text in texts:
            if _plain(text) in known or added >= room:
                continue
            added += 1
            known.add(_plain(text))
            cls.objects.create(run=run, text=text, author=RESEARCHER, position=last + added)
            run.record(RESEARCHER, "idea", why=f"from the reply of #{source}: {text}")
        return added

    @staticmethod
    def _renumber(queue: list[Idea]) -> None:
        for position, idea in enumerate(queue, 1):
            idea.position = position
        Idea.objects.bulk_update(queue, ["position"])

    def edit(self, text: str, *, by: str) -> None:
        """Other words for an open idea. It then is the idea of who wrote it first, as the audit log says."""
        self._change("idea edited", by, text=text)

    def drop(self, *, by: str) -> None:
        self._change("idea dropped", by, dropped_at=timezone.now())

    def _change(self, what: str, by: str, **values: object) -> None:
        """Write the fields while it is still open. Raises StateError when it no longer is."""
        with transaction.atomic():
            if not Idea.objects.waiting().filter(pk=self.pk).update(**values):
                raise StateError("This idea has been used or dropped in the meantime. Look at the queue again.")
            self.run.record(by, what, why=str(values.get("text", self.text)))
        for name, value in values.items():
            setattr(self, name, value)

    def place(self, at: int, *, by: str) -> None:
        """Make it the `at`-th of the open ones, the first is 0; beyond the end is the end.

        Raises StateError when it is no longer open.
        """
        with transaction.atomic():
            Run.locked(self.run_id)
            queue = list(self.run.ideas.waiting())
            if self not in queue:
                raise StateError("This idea has been used or dropped in the meantime. Look at the queue again.")
            rest = [idea for idea in queue if idea != self]
            rest.insert(max(0, at), self)
            if [idea.pk for idea in rest] == [idea.pk for idea in queue]:
                return
            self._renumber(rest)
            self.run.record(by, f"idea moved to place {rest.index(self) + 1}", why=self.text)

    def shift(self, step: int, *, by: str) -> None:
        """One place up (-1) or down (1)."""
        order = list(self.run.ideas.waiting().values_list("pk", flat=True))
        self.place(order.index(self.pk) + step if self.pk in order else 0, by=by)

    def pin(self, pinned: bool, *, by: str) -> None:
        """A pinned idea comes again whenever nothing else waits, until it is unpinned or dropped."""
        if pinned != self.pinned:
            self._change("idea pinned" if pinned else "idea unpinned", by, pinned=pinned)

    def take_up(self, experiment: Experiment) -> bool:
        """`experiment` was proposed with it at the head of the queue. False where it is no longer open."""
        if self.pinned:  # it stays; a copy tells what used it
            Idea.objects.get_or_create(
                run_id=self.run_id, text=self.text, used_by=experiment,
                defaults={"author": self.author, "position": 0},
            )
            return True
        return bool(Idea.objects.waiting().filter(pk=self.pk).update(used_by=experiment))


def _plain(text: str) -> str:
    """By which two ideas are the same: letters and digits alone."""
    return "".join(character for character in text.casefold() if character.isalnum())


def _descriptions(run: Run) -> Iterable[str]:
    return run.experiments.exclude(description="").values_list("description", flat=True)
