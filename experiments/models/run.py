"""A run: one campaign of a program on branch autoresearch/<tag>, with its mode and limits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.utils import timezone

from experiments import events
from experiments.models.move import Move
from experiments.models.program import Program
from experiments.models.text import Text
from experiments.states import LIVE, Kind, Mode, Outage, RunState, StaleState, State, StateError, check_run_move

if TYPE_CHECKING:
    from experiments.models.experiment import Experiment


def _choices(values: Any) -> list[tuple[str, str]]:
    return [(value.value, value.value.replace("_", " ")) for value in values]


class Run(models.Model):
    program = models.ForeignKey(Program, models.CASCADE, related_name="runs")
    tag = models.SlugField(max_length=60)
    base_commit = models.CharField(max_length=64)
    tip = models.CharField(max_length=64)  # where we last set the branch; another value there means: moved from outside
    state = models.CharField(max_length=20, choices=_choices(RunState), default=RunState.ACTIVE)
    reason = models.CharField(max_length=40, blank=True)  # one word: by_hand, experiments, deadline, circuit_breaker, …
    detail = models.TextField(blank=True)  # the reason in full, with the next step
    mode = models.CharField(max_length=20, choices=_choices(Mode), default=Mode.AUTOPILOT)
    lanes = models.PositiveSmallIntegerField(default=1)
    seed = models.PositiveIntegerField(default=42)
    max_experiments = models.PositiveIntegerField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    max_cost = models.FloatField(null=True, blank=True)  # US dollars
    max_tokens = models.PositiveBigIntegerField(null=True, blank=True)
    max_without_gain = models.PositiveIntegerField(null=True, blank=True)  # experiments since the last keep
    strategy = models.CharField(max_length=20, blank=True)  # forced by a person; empty: the ledger decides
    outage = models.CharField(max_length=20, choices=_choices(Outage), default=Outage.WAIT, blank=True)
    away_since = models.DateTimeField(null=True, blank=True)  # the researcher does not answer since then
    away_why = models.TextField(blank=True)
    ask_at = models.DateTimeField(null=True, blank=True)  # when it is asked again
    sweep_order = models.JSONField(default=dict)  # asked for by the researcher: constants, how many are left, who asked
    source = models.CharField(max_length=400, blank=True)  # imported: the repository it was taken from
    created_at = models.DateTimeField(auto_now_add=True)
    resumed_at = models.DateTimeField(auto_now_add=True)  # failures in a row count from here
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["program", "tag"], name="run_tag")]

    def __str__(self) -> str:
        return f"{self.program}/{self.tag}"

    @classmethod
    def locked(cls, pk: int) -> Run:
        """The run, held until the transaction ends: verdicts, roll backs and new numbers come one at a time.

        NO KEY: a plain FOR UPDATE also stops those who write a Move, and they may hold a row that we go on to write.
        """
        return cls.objects.select_for_update(no_key=True).get(pk=pk)

    @property
    def branch(self) -> str:
        return f"autoresearch/{self.tag}"

    @property
    def best(self) -> Experiment | None:
        """The tip of the chain that the KEPT experiments form: the one that no other kept one builds on."""
        kept = self.experiments.filter(state=State.KEPT)
        return kept.exclude(children__state=State.KEPT).order_by("-number").first()

    @property
    def baseline_exam(self) -> dict[str, Any]:
        return self.experiments.filter(kind=Kind.BASELINE, state=State.KEPT).values_list("exam", flat=True).first() or {}

    @property
    def startup_seconds(self) -> float | None:
        """What the baseline needed on top of the budget until its exam began, by the clock outside; None: not known yet."""
        after = self.baseline_exam.get("after_seconds")
        return None if after is None else max(0.0, float(after) - self.program.budget_seconds)

    @property
    def text(self) -> Text | None:
        """What its first exam was about; None before that, and where scores are its own."""
        exam = self.experiments.exclude(exam={}).order_by("number").values_list("exam", flat=True).first()
        return Text.of(exam or {})

    @property
    def is_active(self) -> bool:
        return self.state == RunState.ACTIVE

    def move_to(self, new: RunState, *, by: str, reason: str = "", why: str = "", **fields: Any) -> None:
        """The only writer of a run's state."""
        old = RunState(self.state)
        check_run_move(old, new)
        values = {"state": new, "reason": reason, "detail": why, **fields}
        with transaction.atomic():
            if not Run.objects.filter(pk=self.pk, state=old).update(**values):
                raise StaleState("The run has changed in the meantime. Look at the page again.")
            self.record(by, new, old=old, why=why or reason.replace("_", " "))
        for name, value in values.items():
            setattr(self, name, value)

    def record(self, by: str, new: str, *, old: str = "", why: str = "") -> None:
        """Put a line into the audit log and tell the open pages."""
        Move.objects.create(run=self, old=old, new=new, by=by, why=why)
        events.changed(self.pk, "run")

    def pause(self, *, by: str, now: bool, reason: str = "by_hand", why: str = "") -> None:
        """Start nothing new; with `now`, end what trains or is being proposed at once: it is done again after a resume."""
        with transaction.atomic():
            if not (now and self.state == RunState.PAUSED):  # it was paused after this one, and now at once
                self.move_to(RunState.PAUSED, by=by, reason=reason, why=why or "Paused by hand. Resume when ready.")
            if now:
                busy = models.Q(state=State.TRAINING) | models.Q(state=State.PROPOSING) & ~models.Q(worker="")
                for experiment in self.experiments.select_for_update(no_key=True).filter(busy):
                    experiment.requeue(by=by, why="the run was paused")

    def check_open(self) -> None:
        """Raises StateError for an imported run: it is a record."""
        if self.source:
            raise StateError("An imported run is a record: nothing more happens in it. Start a new run of its program.")

    def resume(self, *, by: str) -> None:
        """Go on from a pause or an end. Raises StateError while a limit is still reached.

        The last experiments of all that were allowed may be finished.
        """
        self.check_open()
        limit = self.limit_reached()
        if limit and (limit[0] != "experiments" or not self.experiments.filter(state__in=LIVE).exists()):
            raise StateError(f"{limit[1]} Raise the limit first, then resume.")
        self.move_to(RunState.ACTIVE, by=by, why="resumed", resumed_at=timezone.now(), ended_at=None, ask_at=None)
        Run.objects.filter(pk=self.pk).update(detail="")
        self.detail = ""

    def stop(self, *, by: str, reason: str = "by_hand", why: str = "Stopped by hand.") -> None:
        """End the run; what is under way is cancelled and keeps its evidence."""
        with transaction.atomic():
            self.move_to(RunState.ENDED, by=by, reason=reason, why=why, ended_at=timezone.now())
            live = self.experiments.select_for_update(no_key=True).filter(state__in=LIVE)
            for experiment in live.order_by("-number"):  # a repeat before the one that it is for, which takes it along
                experiment.cancel(by=by, why="the run was stopped")

    def set_mode(self, mode: Mode, *, by: str) -> None:
        old, self.mode = self.mode, mode
        with transaction.atomic():
            self.save(update_fields=["mode"])
            self.record(by, f"mode: {mode.replace('_', ' ')}", old=f"mode: {old.replace('_', ' ')}")

    def set_limits(
        self, *, max_experiments: int | None, hours: float | None, by: str, max_cost: float | None = None,
        max_tokens: int | None = None, max_without_gain: int | None = None,
    ) -> None:
        """None: no such limit. `max_cost` in US dollars."""
        self.max_experiments, self.max_without_gain = max_experiments, max_without_gain
        self.max_cost, self.max_tokens = max_cost, max_tokens
        self.deadline_at = timezone.now() + timedelta(hours=hours) if hours else None
        with transaction.atomic():
            self.save(update_fields=["max_experiments", "deadline_at", "max_cost", "max_tokens", "max_without_gain"])
            words = [f"{max_experiments or 'any number of'} experiments"]
            words += [f"at most ${max_cost:g}"] if max_cost else []
            words += [f"at most {max_tokens:,} tokens"] if max_tokens else []
            words += [f"at most {max_without_gain} without a gain"] if max_without_gain else []
            words += [f"ends at {self.deadline_at:%Y-%m-%d %H:%M} UTC" if self.deadline_at else "ends at no fixed time"]
            self.record(by, "limits", why=", ".join(words))

    def set_outage(self, outage: Outage, *, by: str) -> None:
        """What trains while the researcher does not answer."""
        if outage != self.outage:
            self.outage = outage
            with transaction.atomic():
                self.save(update_fields=["outage"])
                self.record(by, f"while the researcher is away: {outage.value or 'wait'}")

    def force_strategy(self, strategy: str, *, by: str) -> None:
        """Which kind of idea comes next, until a person says otherwise; empty: the ledger decides."""
        self.strategy = strategy
        with transaction.atomic():
            self.save(update_fields=["strategy"])
            self.record(by, f"strategy: {strategy or 'by the ledger'}")

    def drop_sweep(self, *, by: str, why: str = "") -> bool:
        """What is left of a sweep that the researcher asked for is not tried. False where none was left."""
        if not Run.objects.filter(pk=self.pk).exclude(sweep_order={}).update(sweep_order={}):
            return False
        self.sweep_order = {}
        self.record(by, "sweep dropped", why=why)
        return True

    def add_note(self, text: str, *, by: str) -> None:
        with transaction.atomic():
            self.notes.create(text=text, author=by)
            self.record(by, "note", why=text)

    def drop_note(self, pk: int, *, by: str) -> None:
        """Take a note back: no prompt holds it from now on. Its text stays in the audit log."""
        with transaction.atomic():
            Run.locked(self.pk)
            note = self.notes.filter(pk=pk).first()
            if note is None:
                raise StateError("This note was taken back already.")
            self.record(by, "note taken back", why=note.text)
            note.delete()

    def limit_reached(self) -> tuple[str, str] | None:
        """(reason, sentence) of the first limit that is reached, or None."""
        if self.max_experiments and self.experiments.count() >= self.max_experiments:
            return "experiments", f"The limit of experiments is reached: {self.max_experiments}."
        if self.deadline_at and timezone.now() >= self.deadline_at:
            return "deadline", f"The deadline of {self.deadline_at:%Y-%m-%d %H:%M} UTC has passed."
        return self.spent() or self._no_gain()

    def spent(self) -> tuple[str, str] | None:
        """The limit of money or tokens that is reached, as `limit_reached` gives it; asked before each call of an LLM."""
        if not (self.max_cost or self.max_tokens):
            return None
        sums = self.experiments.aggregate(
            cost=models.Sum("cost"), tokens=models.Sum(models.F("tokens_in") + models.F("tokens_out"))
        )
        if self.max_cost and (sums["cost"] or 0.0) >= self.max_cost:
            return "cost", f"${sums['cost']:.2f} of at most ${self.max_cost:.2f} are spent."
        if self.max_tokens and (sums["tokens"] or 0) >= self.max_tokens:
            return "cost", f"{sums['tokens']:,} of at most {self.max_tokens:,} tokens are spent."
        return None

    def _no_gain(self) -> tuple[str, str] | None:
        if not self.max_without_gain:
            return None
        since = self.since_gain
        return ("no_gain", f"{since} experiments in a row brought no gain.") if since >= self.max_without_gain else None

    @property
    def since_gain(self) -> int:
        """Ideas that came to an end since the last one that was kept."""
        ended = self.experiments.filter(state__in=[State.KEPT, State.REVERTED, State.DISCARDED, State.FAILED])
        ended = ended.exclude(kind__in=[Kind.REPEAT, Kind.REEXAMINED])
        last = ended.filter(state=State.KEPT).aggregate(models.Max("number"))["number__max"]
        return ended.filter(number__gt=-1 if last is None else last).count()

    def make_best(self, target: Experiment, *, by: str) -> None:
        """Roll back (or forward again) to `target`: exactly its chain is KEPT afterwards.

        Raises StateError when it never was kept. The branch follows with the next sync.
        """
        self.check_open()
        if target.state not in {State.KEPT, State.REVERTED}:
            raise StateError(f"#{target.number} was never kept; only a kept experiment can be rolled back to.")
        chain = target.chain()
        with transaction.atomic():
            Run.locked(self.pk)  # a verdict at this moment would build on what is being taken back
            for experiment in self.experiments.filter(state=State.KEPT).exclude(pk__in=chain):
                experiment.move_to(State.REVERTED, by=by, why=f"rolled back to #{target.number}")
            for experiment in self.experiments.filter(state=State.REVERTED, pk__in=chain):
                experiment.move_to(State.KEPT, by=by, why=f"rolled to #{target.number}")
            self.record(by, f"rolled to #{target.number}")

    def next_number(self) -> int:
        """The number of the next experiment; call it inside the transaction that creates it."""
        last = self.experiments.aggregate(models.Max("number"))["number__max"]
        return 0 if last is None else last + 1

    def needs(self) -> list[Experiment]:
        """Experiments that wait for a person."""
        return list(self.experiments.filter(state__in=[State.REVIEWING, State.CONFIRMING]).order_by("number"))


class Note(models.Model):
    """What a person tells the researcher; it stands in every prompt from then on."""

    run = models.ForeignKey(Run, models.CASCADE, related_name="notes")
    text = models.TextField()
    author = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    read_by = models.ForeignKey("Experiment", models.SET_NULL, null=True, related_name="+")  # whose prompt had it first

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return self.text[:60]
