"""The cards of the home page, in as many queries for a hundred runs as for one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db.models import Count, Max, Q, Sum

from experiments import charts
from experiments.measures import number
from experiments.models import Experiment, Program, Run
from experiments.states import LIVE, Kind, RunState, State
from experiments.tiles import gain_percent, without_steps
from trainer.presets import PRESETS

_RUN_ORDER = [RunState.ACTIVE, RunState.PAUSED, RunState.ENDED]
UNPRICED = Q(calls_unpriced__gt=0) | Q(cost=None) & (Q(tokens_in__gt=0) | Q(tokens_out__gt=0))
_LIVE_ORDER = [State.TRAINING, State.EVALUATING, State.CONFIRMING, State.REVIEWING, State.READY, State.PROPOSING]


class Kept(NamedTuple):
    number: int
    score: float
    kind: str


@dataclass
class RunCard:
    run: Run
    counts: dict[str, int] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)
    baseline: float | None = None
    last_number: int = 0
    cost: float = 0.0  # US dollars, of what is priced
    unpriced: int = 0  # experiments with calls whose price is not known
    now: Experiment | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def best(self) -> float | None:
        return self.kept[-1].score if self.kept else None

    @property
    def gain_percent(self) -> float | None:
        return gain_percent(without_steps(self.kept), self.baseline, self.run.program.lower_is_better)

    @property
    def sparkline(self) -> str:
        return charts.sparkline([(one.number, one.score) for one in self.kept], self.last_number)


@dataclass(frozen=True)
class ProgramCard:
    program: Program
    runs: list[RunCard]

    @property
    def real_data(self) -> str:
        """The data set that a new program on such a machine takes; "" where it is this one's."""
        preset = PRESETS.get(self.program.preset)
        return preset.dataset if preset and preset.dataset != self.program.dataset else ""


def program_cards() -> list[ProgramCard]:
    cards = {run.pk: RunCard(run) for run in Run.objects.select_related("program")}
    _fill(cards)
    by_program: dict[int, list[RunCard]] = defaultdict(list)
    for card in cards.values():
        by_program[card.run.program_id].append(card)
    for runs in by_program.values():
        runs.sort(key=lambda card: (_RUN_ORDER.index(RunState(card.run.state)), -card.run.pk))
    programs = [ProgramCard(program, by_program[program.pk]) for program in Program.objects.order_by("name")]
    return sorted(programs, key=lambda card: min((_RUN_ORDER.index(RunState(i.run.state)) for i in card.runs), default=9))


def _fill(cards: dict[int, RunCard]) -> None:
    rows = Experiment.objects.order_by()
    for row in rows.values("run_id", "state").annotate(
        n=Count("pk"), last=Max("number"), spent=Sum("cost"), unpriced=Count("pk", filter=UNPRICED)
    ):
        card = cards[row["run_id"]]
        card.counts[row["state"]] = row["n"]
        card.last_number = max(card.last_number, row["last"])
        card.cost += row["spent"] or 0.0
        card.unpriced += row["unpriced"]
    kept = rows.filter(state=State.KEPT, score__isnull=False).order_by("run_id", "finished_at")
    for run_id, place, score, kind in kept.values_list("run_id", "number", "score", "kind"):
        if (value := number(score)) is not None:
            cards[run_id].kept.append(Kept(place, value, kind))
    baselines = rows.filter(kind=Kind.BASELINE, score__isnull=False).order_by("-number")  # the first one is set last
    for run_id, score in baselines.values_list("run_id", "score"):
        cards[run_id].baseline = score
    live = rows.filter(state__in=LIVE).only("run_id", "number", "state", "description")
    for experiment in sorted(live, key=lambda e: _LIVE_ORDER.index(State(e.state)), reverse=True):
        cards[experiment.run_id].now = experiment
