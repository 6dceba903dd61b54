"""The morning page of a run: what was gained and whether it is real, what did not work, what it cost, what is next."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from experiments import report_rows, tiles
from experiments.models import Run
from experiments.report_picture import Picture, picture
from experiments.report_rows import SURE, Row
from experiments.states import LIVE, NEVER_KEPT, Failure, Kind, State
from experiments.themes import theme

NEAR = 6  # near misses shown
SHORT = 8  # of a theme or a reason, listed by name
BEST_KNOWN = {("cpu", 20): 0.014, ("cpu", 60): 0.008}  # docs/trainer.md: (preset, budget): its seed noise there


@dataclass(frozen=True)
class Keep:
    row: Row
    parent: Row | None
    delta: float | None
    gain: float | None  # positive is better
    noise: str  # "within" | "beyond" | "" where sigma is not known
    secret_gain: float | None  # on the text that no researcher gets a number of
    why: str
    hypothesis: str = ""
    diff: str = ""

    @property
    def badges(self) -> list[str]:
        """What is known about its score; nothing known says so too."""
        return self.row.badges or ["unverified"]

    @property
    def says(self) -> str:
        """The verdict's reason where it says more than the numbers do."""
        return "" if self.why.startswith("better by") else self.why

    @property
    def is_doubtful(self) -> bool:
        """Of a keep that is simpler at an equal score nothing more was claimed."""
        if self.gain == 0:
            return False
        return self.noise == "within" or (self.secret_gain is not None and self.secret_gain < 0)


@dataclass(frozen=True)
class Miss:
    row: Row
    delta: float
    was_better: bool  # and not kept: a badge forbids it, or a person


@dataclass(frozen=True)
class Theme:
    name: str
    tried: int
    kept: int
    failed: int
    best_delta: float | None
    shown: list[Row]

    @property
    def is_dead(self) -> bool:
        return self.tried >= 2 and not self.kept

    @property
    def more(self) -> int:
        return self.tried - len(self.shown)


@dataclass(frozen=True)
class Failed:
    reason: str
    count: int
    seconds: float
    shown: list[Row]

    @property
    def more(self) -> int:
        return self.count - len(self.shown)


@dataclass(frozen=True)
class Times:
    started: datetime | None  # the first training
    until: datetime | None
    wall_seconds: float | None
    rest_seconds: float  # paused or ended in between
    device_seconds: float
    typical_seconds: float | None  # of one training
    gap_seconds: float  # the longest without a training
    gap_before: Row | None


@dataclass(frozen=True)
class Report:
    run: Run
    at: datetime
    tiles: tiles.Tiles
    times: Times
    sigma: float | None
    known_sigma: float | None  # of its preset on the machine of the docs; never used to judge
    baseline: Row | None
    kept: list[Row]  # as they build on each other
    keeps: list[Keep]  # of these the ideas
    reverted: list[Row]
    exams: list[int]  # versions that gave the scores
    near: list[Miss]
    themes: list[Theme]
    failures: list[Failed]
    waiting: list[Row]
    open_ideas: int
    picture: Picture | None

    @property
    def best(self) -> Row | None:
        later = [row for row in self.kept if row.kind != Kind.BASELINE]
        return later[-1] if later else self.baseline

    @property
    def gain(self) -> float | None:
        """Of the best over the baseline, positive is better."""
        if not self.keeps or self.baseline is None:
            return None
        return _gain(tiles.without_steps(self.kept), self.baseline.score, self.run.program.lower_is_better)

    @property
    def is_within_noise(self) -> bool:
        return self.gain is not None and self.sigma is not None and self.gain < SURE * self.sigma

    @property
    def needed(self) -> float | None:
        """The smallest difference of two trainings that is more than luck."""
        return None if self.sigma is None else SURE * self.sigma

    @property
    def doubtful(self) -> list[Keep]:
        return [keep for keep in self.keeps if keep.is_doubtful]

    @property
    def dead_ends(self) -> list[Theme]:
        return [theme for theme in self.themes if theme.is_dead]

    @property
    def lost_seconds(self) -> float:
        return sum(failed.seconds for failed in self.failures)

    def per_keep(self, total: float | None) -> float | None:
        """What one gain cost; None where there is none, or nothing was counted."""
        return total / len(self.keeps) if total and self.keeps else None


def build(run: Run, now: datetime) -> Report:
    """Five queries, however long the run."""
    rows = report_rows.rows_of(run)
    by_pk = {row.pk: row for row in rows}
    lower, noise = run.program.lower_is_better, report_rows.sigma(rows)
    texts = run.experiments.filter(state=State.KEPT).values_list("pk", "hypothesis", "diff")
    written = {pk: (hypothesis, diff) for pk, hypothesis, diff in texts}
    kept = report_rows.kept_in_order(rows)
    baseline = next((row for row in rows if row.kind == Kind.BASELINE and row.score is not None), None)
    keeps = [_keep(row, by_pk, noise, lower, written) for row in kept if row.is_idea]
    turns = tiles.turns_of(run)
    return Report(
        run=run,
        at=now,
        tiles=tiles.summarize(run, [_tile_row(row) for row in rows], now),
        times=_times(run, rows, turns, now),
        sigma=noise,
        known_sigma=BEST_KNOWN.get((run.program.preset, run.program.budget_seconds)),
        baseline=baseline,
        kept=kept,
        keeps=keeps,
        reverted=[row for row in rows if row.state == State.REVERTED],
        exams=sorted({int(row.version) for row in rows if row.score is not None}),
        near=_near(rows, by_pk, keeps, noise, lower),
        themes=_themes(rows, by_pk, lower),
        failures=_failures(rows, now),
        waiting=[row for row in rows if row.state in {State.REVIEWING, State.CONFIRMING}],
        open_ideas=run.ideas.filter(used_by=None, dropped_at=None).count(),
        picture=picture(rows),
    )


def _tile_row(row: Row) -> tiles.Row:
    return tiles.Row(*(getattr(row, name) for name in tiles.Row._fields))


def _gain(score: float | None, before: float | None, lower_is_better: bool) -> float | None:
    if score is None or before is None:
        return None
    return before - score if lower_is_better else score - before


def _delta(row: Row, by_pk: dict[int, Row]) -> float | None:
    parent = _compared(row, by_pk)
    return row.score - parent.score if parent and row.score is not None and parent.score is not None else None


def _compared(row: Row, by_pk: dict[int, Row]) -> Row | None:
    """Its parent, where one exam gave both scores."""
    parent = by_pk.get(row.parent_id or 0)
    return parent if parent and parent.version == row.version else None


def _keep(
    row: Row, by_pk: dict[int, Row], noise: float | None, lower: bool, written: dict[int, tuple[str, str]]
) -> Keep:
    parent = by_pk.get(row.parent_id or 0)
    before = _compared(row, by_pk)
    gain = _gain(row.score, before.score if before else None, lower)
    known = gain is not None and noise is not None
    hypothesis, diff = written.get(row.pk, ("", ""))
    return Keep(
        row,
        parent,
        delta=_delta(row, by_pk),
        gain=gain,
        noise=("within" if (gain or 0.0) < SURE * (noise or 0.0) else "beyond") if known else "",
        secret_gain=_gain(row.secret_score, before.secret_score if before else None, lower),
        why=row.detail,
        hypothesis=hypothesis,
        diff=diff,
    )


def _near(
    rows: Iterable[Row], by_pk: dict[int, Row], keeps: Sequence[Keep], noise: float | None, lower: bool
) -> list[Miss]:
    """Discards that were hardly worse, or better and yet not kept; nearest first.

    Hardly: within the noise; where it is not known, by no more than half the typical keep gained.
    """
    typical = median([keep.gain for keep in keeps if keep.gain and keep.gain > 0] or [0.0])
    reach = SURE * noise if noise is not None else typical / 2
    found = []
    for row in rows:
        delta = _delta(row, by_pk)
        if row.state == State.DISCARDED and row.is_idea and delta is not None:
            worse = delta if lower else -delta
            if worse <= reach:
                found.append((worse, Miss(row, delta, was_better=worse < 0)))
    return [miss for _, miss in sorted(found, key=lambda pair: abs(pair[0]))[:NEAR]]


def _themes(rows: Iterable[Row], by_pk: dict[int, Row], lower: bool) -> list[Theme]:
    """Dead ends first, the most tried first; then what gave something."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.is_idea and row.state not in LIVE and row.state != State.CANCELLED and row.description:
            groups[row.theme or theme(row.description)].append(row)
    found = [_theme(name, group, by_pk, lower) for name, group in groups.items()]
    return sorted(found, key=lambda one: (not one.is_dead, -one.tried, one.name))


def _theme(name: str, group: list[Row], by_pk: dict[int, Row], lower: bool) -> Theme:
    states = Counter(row.state for row in group)
    fair = [row for row in group if not NEVER_KEPT & set(row.badges)]
    deltas = [delta for row in fair if (delta := _delta(row, by_pk)) is not None]
    best = (min if lower else max)(deltas, default=None)
    return Theme(name, len(group), states[State.KEPT], states[State.FAILED], best, group[-SHORT:][::-1])


def _failures(rows: Iterable[Row], now: datetime) -> list[Failed]:
    """The reason that cost most device time first."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row.state == State.FAILED:
            groups[row.reason or Failure.CRASH].append(row)
    found = [
        Failed(reason, len(group), sum(row.seconds(now) for row in group), group[-SHORT:][::-1])
        for reason, group in groups.items()
    ]
    return sorted(found, key=lambda one: (-one.seconds, -one.count))


def _times(run: Run, rows: Iterable[Row], turns: list[tuple[datetime, str]], now: datetime) -> Times:
    trained = [row for row in rows if row.training_at]
    started = min((row.training_at for row in trained if row.training_at), default=None)
    ends = [end for row in trained if (end := row.trained_at or row.finished_at)]
    until = now if run.is_active else run.ended_at or max(ends, default=None)
    lengths = [row.seconds(now) for row in trained if row.score is not None]
    gap, before = _longest_gap(trained, turns)
    known = started is not None and until is not None and until > started
    return Times(
        started=started,
        until=until,
        wall_seconds=(until - started).total_seconds() if known and started and until else None,
        rest_seconds=tiles.rest_seconds(turns, started, until) if known and started and until else 0.0,
        device_seconds=sum(row.seconds(now) for row in trained),
        typical_seconds=median(lengths) if lengths else None,
        gap_seconds=gap,
        gap_before=before,
    )


def _longest_gap(trained: Sequence[Row], turns: list[tuple[datetime, str]]) -> tuple[float, Row | None]:
    """(seconds, the experiment that ended it): the longest stretch of the active time in which nothing trained."""
    longest: tuple[float, Row | None] = 0.0, None
    end: datetime | None = None
    for row in sorted(trained, key=lambda one: one.training_at.timestamp() if one.training_at else 0.0):
        if end and row.training_at and row.training_at > end:
            gap = (row.training_at - end).total_seconds() - tiles.rest_seconds(turns, end, row.training_at)
            longest = max(longest, (gap, row), key=lambda pair: pair[0])
        last = row.trained_at or row.finished_at or row.training_at
        end = max(end, last) if end and last else end or last
    return longest
