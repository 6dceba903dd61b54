"""An experiment: one commit tried. `move_to` is the only writer of its state."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone

from experiments import events
from experiments.models.move import Move
from experiments.models.program import BriefVersion
from experiments.models.run import Run, _choices
from experiments.models.text import versions
from experiments.states import LIVE, WORKED, Badge, Failure, Kind, StaleState, State, StateError, check_move


class Experiment(models.Model):
    run = models.ForeignKey(Run, models.CASCADE, related_name="experiments")
    number = models.PositiveIntegerField()
    kind = models.CharField(max_length=20, choices=_choices(Kind))
    state = models.CharField(max_length=20, choices=_choices(State))
    reason = models.CharField(max_length=40, blank=True)  # FAILED: a value of Failure
    detail = models.TextField(blank=True)  # what went wrong, or why it was kept or not
    parent = models.ForeignKey("self", models.PROTECT, null=True, related_name="children")  # whose commit it changes
    subject = models.ForeignKey("self", models.PROTECT, null=True, related_name="+")  # reverted, rebased or repaired
    brief = models.ForeignKey(BriefVersion, models.PROTECT, null=True, related_name="experiments")
    commit = models.CharField(max_length=64, blank=True)
    description = models.CharField(max_length=200, blank=True)
    hypothesis = models.TextField(blank=True)
    edits = models.TextField(blank=True)  # JSON, as proposed; applied again when the best moves
    memo = models.JSONField(default=dict)  # what its researcher wants to remember
    diff = models.TextField(blank=True)  # unified, against the parent
    prompt = models.JSONField(default=list)  # the messages that were sent
    prompt_cut = models.JSONField(default=list)  # what was left out of them for lack of room, in words
    prompt_limit = models.PositiveIntegerField(null=True)  # tokens that they might have
    seed = models.PositiveIntegerField(default=42)
    theme = models.CharField(max_length=60, blank=True)
    strategy = models.CharField(max_length=20, blank=True)  # of researcher/strategy.py: what kind of idea was due
    change_key = models.CharField(max_length=40, blank=True, db_index=True)  # the same for the same change
    near_key = models.CharField(max_length=400, blank=True)  # the same for the same constants, whatever their values
    whole_key = models.CharField(max_length=40, blank=True, db_index=True)  # the same for files that train the same
    preflight = models.JSONField(default=dict)  # what the check before the training found

    # The lease: who works on it, and the fencing token
    attempt = models.PositiveIntegerField(default=1)
    worker = models.CharField(max_length=120, blank=True)
    heartbeat_at = models.DateTimeField(null=True)
    workspace = models.CharField(max_length=40, blank=True)
    device = models.CharField(max_length=80, blank=True)  # an index, a UUID, "mps" or "cpu"
    hardware = models.JSONField(default=dict)  # what that is: its name, memory, driver; and torch's version
    losses = models.PositiveSmallIntegerField(default=0)  # trainings that died with their shim

    # What came out
    score = models.FloatField(null=True)  # the judge's, where there is an exam
    secret_score = models.FloatField(null=True)  # on text that no researcher gets a number of; for people
    badges = models.JSONField(default=list)  # of Badge
    exam = models.JSONField(default=dict)  # the judge's report
    sandbox = models.CharField(max_length=20, blank=True)  # the level it trained in
    summary = models.JSONField(default=dict)  # the training's own summary, as numbers
    tokens_in = models.PositiveIntegerField(default=0)
    tokens_out = models.PositiveIntegerField(default=0)
    tokens_cached = models.PositiveIntegerField(default=0)  # of tokens_in: read from the provider's cache
    model = models.CharField(max_length=120, blank=True)  # which model answered, or was asked last
    cost = models.FloatField(null=True)  # US dollars; null: unknown or none
    calls_uncounted = models.PositiveIntegerField(default=0)  # LLM calls whose tokens are not in the sums: "at least"
    calls_unpriced = models.PositiveIntegerField(default=0)  # and those whose money is not in the cost

    explanations = models.JSONField(default=list)  # what a model said of the result when a person asked

    created_at = models.DateTimeField(auto_now_add=True)
    asked_at = models.DateTimeField(null=True)  # when its researcher was asked last
    proposed_at = models.DateTimeField(null=True)
    training_at = models.DateTimeField(null=True)
    trained_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["number"]
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="experiment_number")]
        indexes = [models.Index(fields=["run", "state"])]

    def __str__(self) -> str:
        return f"{self.run} #{self.number}"

    @property
    def is_live(self) -> bool:
        return self.state in LIVE

    @property
    def ref(self) -> str:
        return f"refs/autoresearch/{self.run.pk}/{self.number}"

    def move_to(self, new: State, *, by: str, why: str = "", **fields: Any) -> None:
        """The only writer of `state`: check the table, compare and set, record the move, tell the pages.

        Raises IllegalMove, or StaleState when the row has moved or another attempt holds it.
        """
        old = State(self.state)
        check_move(old, new)
        values: dict[str, Any] = {"state": new, "worker": "", "heartbeat_at": None, **fields}
        if new not in LIVE and self.finished_at is None:  # a roll back is no second end
            values["finished_at"] = timezone.now()
        with transaction.atomic():
            if not Experiment.objects.filter(pk=self.pk, state=old, attempt=self.attempt).update(**values):
                raise StaleState(f"#{self.number} is no longer {old}. Look at the page again.")
            Move.objects.create(run=self.run, experiment=self, old=old, new=new, by=by, why=why)
            events.changed(self.run.pk, "experiment", self.pk)
        for name, value in values.items():
            setattr(self, name, value)

    # Leases

    def claim(self, worker: str) -> bool:
        """Take a row that nobody works on. False when somebody was faster or it has moved."""
        free = Experiment.objects.filter(pk=self.pk, state=self.state, attempt=self.attempt, worker="")
        return self._take(free, worker, attempt=self.attempt)

    def take_over(self, worker: str) -> bool:
        """Take the row of a worker that died; the attempt grows, so the dead one can write nothing more."""
        before = self.attempt
        with transaction.atomic():
            taken = self._take(self._mine(), worker, attempt=before + 1)
            if taken:
                self.chunks.filter(attempt=before).update(attempt=before + 1)  # its streams come along
        return taken

    def _take(self, rows: models.QuerySet[Experiment], worker: str, *, attempt: int) -> bool:
        now = timezone.now()
        if not rows.update(worker=worker, heartbeat_at=now, attempt=attempt):
            return False
        self.worker, self.heartbeat_at, self.attempt = worker, now, attempt
        events.changed(self.run_id, "experiment", self.pk)
        return True

    def _mine(self) -> models.QuerySet[Experiment]:
        """The row while it is still ours; nothing once it has moved or somebody else has taken it."""
        return Experiment.objects.filter(pk=self.pk, state=self.state, attempt=self.attempt, worker=self.worker)

    def beat(self) -> bool:
        """Renew the lease; False when the row has moved: then stop, it is no longer ours."""
        return bool(self._mine().update(heartbeat_at=timezone.now()))

    def store(self, **fields: Any) -> None:
        """Write fields in the middle of a stage. Raises StaleState when the row is no longer ours."""
        if not self._mine().update(**fields):
            raise StaleState(f"#{self.number} has moved in the meantime")
        for name, value in fields.items():
            setattr(self, name, value)

    def release(self) -> None:
        """Let go without a move: the next worker need not wait for the heartbeat to go stale."""
        self._mine().update(heartbeat_at=timezone.now() - timedelta(days=1))

    @property
    def is_stale(self) -> bool:
        if self.state not in WORKED or not self.worker or self.heartbeat_at is None:
            return False
        return timezone.now() - self.heartbeat_at > timedelta(seconds=settings.STALE_SECONDS)

    def requeue(self, *, by: str, why: str, **fields: Any) -> None:
        """Do the stage again from its start, under the next attempt."""
        to = State.READY if self.state == State.TRAINING else State(self.state)
        self.move_to(to, by=by, why=why, attempt=self.attempt + 1, **fields)

    # What people and the loop do with it

    def fail(self, reason: Failure, detail: str, *, by: str, **fields: Any) -> None:
        self.move_to(State.FAILED, by=by, why=f"{reason}: {detail}"[:500], reason=reason, detail=detail, **fields)

    def cancel(self, *, by: str, why: str = "cancelled by hand") -> None:
        """And the training that was to settle its verdict, where it waits for one."""
        settled_by = self.run.experiments.filter(kind=Kind.REPEAT, subject=self, state__in=LIVE)
        with transaction.atomic():
            for again in settled_by if self.is_repeated_first else ():
                again.cancel(by=by, why=f"#{self.number} was cancelled")
            self.move_to(State.CANCELLED, by=by, why=why, detail=why)

    def approve(self, *, by: str, why: str = "") -> None:
        """REVIEWING: may train. CONFIRMING: is kept."""
        if self.state == State.REVIEWING:
            self.move_to(State.READY, by=by, why=why or "approved", detail="")
        elif self.state == State.CONFIRMING:
            with transaction.atomic():
                best = Run.locked(self.run_id).best
                if best is not None and best.pk != self.parent_id and not self.branches_from(best):
                    raise StateError(f"#{self.number} does not change the best of now, #{best.number}. Roll to its parent.")
                self.keep(by=by, why=why or "confirmed by hand")
        else:
            raise StateError(f"#{self.number} is {self.state}: there is nothing to approve.")

    def keep(self, *, by: str, why: str, **fields: Any) -> None:
        """KEPT. One that branches from an older keep takes the place of those that came after it; they can come back."""
        parent, best = self.parent, self.run.best
        with transaction.atomic():
            if parent is not None and best is not None and best != parent:
                self.run.make_best(parent, by=by)
            self.move_to(State.KEPT, by=by, why=why, **fields)

    def branches_from(self, best: Experiment) -> bool:
        """Whether it was meant to build on an older keep of the best's chain, not on the best."""
        return self.strategy == "rethink" and self.parent_id != best.pk and self.parent_id in best.chain()

    def reject(self, *, by: str, why: str) -> None:
        """REVIEWING: never trains, the researcher sees the reason. CONFIRMING: is not kept."""
        if self.state == State.REVIEWING:
            self.move_to(State.CANCELLED, by=by, why=why, reason="rejected", detail=why)
        elif self.state == State.CONFIRMING:
            self.move_to(State.DISCARDED, by=by, why=why, detail=why or "discarded by hand")
        else:
            raise StateError(f"#{self.number} is {self.state}: there is nothing to reject.")

    # Derived

    def chain(self) -> list[int]:
        """Ids of this experiment and the kept ones below it, down to the baseline."""
        parents = dict(self.run.experiments.values_list("pk", "parent_id"))
        chain: list[int] = []
        at: int | None = self.pk
        while at is not None:
            chain.append(at)
            at = parents.get(at)
        return chain

    @property
    def delta(self) -> float | None:
        """Score minus the parent's score, where one exam gave both."""
        if self.score is None or self.parent is None or self.parent.score is None:
            return None
        if versions([self.exam, self.parent.exam]):
            return None
        return self.score - self.parent.score

    @property
    def is_repeated_first(self) -> bool:
        """Whether its verdict waits for another training of the same commit: its score seems too good."""
        return self.state == State.EVALUATING and Badge.IMPLAUSIBLE in self.badges

    @property
    def lines_changed(self) -> tuple[int, int]:
        """(added, removed) lines of the diff."""
        lines = self.diff.splitlines()
        added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
        removed = sum(line.startswith("-") and not line.startswith("---") for line in lines)
        return added, removed

    @property
    def memory_gb(self) -> float:
        return float(self.summary.get("peak_vram_mb") or 0.0) / 1024
