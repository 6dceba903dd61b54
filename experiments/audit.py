"""Who did what, when and why: the moves of all runs and the versions of all briefs, newest first. Reads only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db.models import F, Q, Value

from experiments.models import BriefVersion, Experiment, Move, Run
from experiments.states import RunState, State

PEOPLE = "people"  # instead of one name: everybody who can sign in
BRIEF = "brief"
_CREATED = re.compile(r"#(\d{1,9}) created")


def _experiment(*new: str, **fields: Any) -> Q:
    return Q(experiment__isnull=False, new__in=new, **fields)


def _run(*new: str) -> Q:
    return Q(experiment__isnull=True, new__in=new)


_APPROVED = _experiment(State.READY, old=State.REVIEWING) | _experiment(State.KEPT, old=State.CONFIRMING)
_REJECTED = _experiment(State.CANCELLED, old=State.REVIEWING) | _experiment(State.DISCARDED, old=State.CONFIRMING)
# name in the address -> (words, which moves; None: versions of program.md)
ACTIONS: dict[str, tuple[str, Q | None]] = {
    "approved": ("Approved", _APPROVED),
    "rejected": ("Rejected", _REJECTED),
    "kept": ("Kept", _experiment(State.KEPT)),
    "discarded": ("Discarded", _experiment(State.DISCARDED)),
    "failed": ("Failed", _experiment(State.FAILED)),
    "cancelled": ("Cancelled", _experiment(State.CANCELLED)),
    "reverted": ("Taken back", _experiment(State.REVERTED)),
    "again": ("Stage done again", Q(experiment__isnull=False) & (Q(old=F("new")) | Q(old=State.TRAINING, new=State.READY))),
    "started": ("Run started or resumed", _run(RunState.ACTIVE)),
    "paused": ("Run paused", _run(RunState.PAUSED)),
    "ended": ("Run ended", _run(RunState.ENDED)),
    "created": ("Experiment created", Q(experiment__isnull=True, new__startswith="#", new__endswith=" created")),
    "rolled": ("Rolled back or forward", Q(experiment__isnull=True, new__startswith="rolled to")),
    "mode": ("Mode changed", Q(experiment__isnull=True, new__startswith="mode: ")),
    "limits": ("Limits changed", _run("limits")),
    "note": ("Note written", _run("note")),
    "idea": ("Idea queued, changed or dropped", Q(experiment__isnull=True, new__startswith="idea")),
    "branch": ("Branch moved from outside", _run("branch moved")),
    BRIEF: ("program.md saved", None),
}


@dataclass(frozen=True)
class Entry:
    at: datetime
    by: str
    run: Run | None
    experiment: Experiment | None
    old: str
    new: str
    why: str
    brief: BriefVersion | None = None

    @property
    def is_of_experiment(self) -> bool:
        """Its `old` and `new` are states of an experiment; else of the run, or words."""
        return self.experiment is not None and self.new in set(State)

    @property
    def is_of_run(self) -> bool:
        return self.experiment is None and self.new in set(RunState)


@dataclass(frozen=True)
class Wanted:
    """The filter. Empty fields do not filter; unknown values find nothing."""

    by: str = ""
    run: int | None = None
    action: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.by or self.run or self.action)


class Log(Sequence[Entry]):
    """The entries that are wanted. Counts and slices as a list does, and loads only the slice."""

    def __init__(self, wanted: Wanted) -> None:
        queries = [query for query in (_moves(wanted), _briefs(wanted)) if query is not None]
        self._length: int = sum(query.count() for query in queries)
        keys = [query.order_by().values_list("moment", "table", "pk") for query in queries]
        self._keys = keys[0].union(*keys[1:], all=True) if len(keys) > 1 else keys[0] if keys else None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, part: Any) -> Any:
        return [] if self._keys is None else _load(list(self._keys.order_by("-moment", "-pk")[part]))


def _moves(wanted: Wanted) -> Any:
    if wanted.action == BRIEF:
        return None
    rows = Move.objects.annotate(moment=F("at"), table=Value("move"))
    if wanted.action:
        rows = rows.filter(ACTIONS[wanted.action][1]) if wanted.action in ACTIONS else rows.none()
    rows = rows.filter(run=wanted.run) if wanted.run is not None else rows
    return rows.filter(_by("by", wanted.by)) if wanted.by else rows


def _briefs(wanted: Wanted) -> Any:
    """Of no run: a brief is its program's."""
    if wanted.run is not None or wanted.action not in {"", BRIEF}:
        return None
    rows = BriefVersion.objects.annotate(moment=F("created_at"), table=Value("brief"))
    return rows.filter(_by("author", wanted.by)) if wanted.by else rows


def _by(column: str, name: str) -> Q:
    return Q(**{f"{column}__in": User.objects.values("username")}) if name == PEOPLE else Q(**{column: name})


def _load(keys: Iterable[tuple[datetime, str, int]]) -> list[Entry]:
    """The entries of these keys, in their order."""
    wanted = list(keys)
    ids = {table: [pk for _, name, pk in wanted if name == table] for table in ("move", "brief")}
    moves = Move.objects.select_related("run__program").in_bulk(ids["move"])
    briefs = BriefVersion.objects.select_related("program").defer("text").in_bulk(ids["brief"])
    experiments = _experiments(list(moves.values()))
    return [
        _of_move(moves[pk], experiments) if table == "move" else _of_brief(briefs[pk])
        for _, table, pk in wanted
        if pk in moves or pk in briefs
    ]


def _experiments(moves: list[Move]) -> dict[tuple[int, int] | int, Experiment]:
    """By primary key, and by (run, number) for the lines that only name a number."""
    light = Experiment.objects.only("number", "description", "run_id")
    found: dict[tuple[int, int] | int, Experiment] = {}
    found.update(light.in_bulk([move.experiment_id for move in moves if move.experiment_id]))
    named = {(move.run_id, int(match[1])) for move in moves if (match := _CREATED.fullmatch(move.new))}
    if named:
        rows = light.filter(run__in={run for run, _ in named}, number__in={number for _, number in named})
        found.update({(row.run_id, row.number): row for row in rows})
    return found


def _of_move(move: Move, experiments: dict[tuple[int, int] | int, Experiment]) -> Entry:
    match = _CREATED.fullmatch(move.new)
    key = move.experiment_id or ((move.run_id, int(match[1])) if match else 0)
    return Entry(move.at, move.by, move.run, experiments.get(key), move.old, "created" if match else move.new, move.why)


def _of_brief(brief: BriefVersion) -> Entry:
    old = f"v{brief.number - 1}" if brief.number > 1 else ""
    return Entry(brief.created_at, brief.author, None, None, old, f"program.md v{brief.number}", "", brief)


def actors() -> tuple[list[str], list[str]]:
    """(people who can sign in, others who appear in the log: the loop, researchers), by name."""
    people = set(User.objects.values_list("username", flat=True))
    seen = set(Move.objects.order_by().values_list("by", flat=True).distinct())
    seen |= set(BriefVersion.objects.order_by().values_list("author", flat=True).distinct())
    return sorted(people), sorted(seen - people - {""})
