"""Experiments side by side: which were chosen, and their numbers as a table with the best of each row marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from experiments import patches
from experiments.measures import KNOWN, number, score_words, signed, with_speed, written
from experiments.models import Experiment
from experiments.models.text import Text, differing, listed, version, versions
from experiments.states import State

MOST = 50
COLOURS, DASHES = 8, 7  # of compare.css and compare-lines.js: no common factor, so 56 curves differ in one or both
HEAVY = ("prompt", "edits", "memo", "hypothesis", "detail")
LOWER, HIGHER = -1, 1
BETTER = {"peak_vram_mb": LOWER, "mfu_percent": HIGHER, "tokens_per_second": HIGHER}  # the others are no goal


@dataclass(frozen=True)
class Picks:
    """What the address asks for; `problems` are for a person, the rest is shown all the same."""

    pks: tuple[int, ...]
    problems: tuple[str, ...] = ()


def read_picks(values: Iterable[str]) -> Picks:
    """`values`: of e=, each one number or several with commas between."""
    words = [word.strip() for value in values for word in value.split(",") if word.strip()]
    numbers = [word for word in words if word.isascii() and word.isdigit() and len(word) < 18]
    odd = [word[:20] for word in words if word not in numbers]
    problems = []
    if odd:
        problems.append(f"{_listed(odd)}: no id of an experiment, left out. Ids are the numbers in /experiments/7/.")
    pks = tuple(dict.fromkeys(int(word) for word in numbers))
    if len(pks) > MOST:
        problems.append(f"{len(pks)} experiments were chosen; only the first {MOST} are shown. Remove some to see others.")
    return Picks(pks[:MOST], tuple(problems))


def _listed(words: Sequence[str]) -> str:
    more = f" and {len(words) - 5} more" if len(words) > 5 else ""
    return ", ".join(words[:5]) + more


@dataclass(frozen=True)
class Side:
    """One experiment, with the colour and dash of its curve."""

    experiment: Experiment
    place: int
    name: str  # its number; with the run where there are several
    others: str  # the ids of all others, for a link that leaves this one out

    @property
    def colour(self) -> int:
        return self.place % COLOURS

    @property
    def dash(self) -> int:
        return self.place % DASHES


def load(picks: Picks) -> tuple[list[Side], tuple[str, ...]]:
    """In the order that was asked for, and what is wrong with the choice."""
    rows = Experiment.objects.filter(pk__in=picks.pks).select_related("run__program", "parent", "brief")
    found = rows.defer(*HEAVY, "brief__text", *(f"parent__{name}" for name in (*HEAVY, "diff", "exam"))).in_bulk()
    missing = [str(pk) for pk in picks.pks if pk not in found]
    gone = (f"There is no experiment with the id {_listed(missing)}: left out.",) if missing else ()
    chosen = [found[pk] for pk in picks.pks if pk in found]
    name = _names(chosen)
    sides = [
        Side(one, place, name(one), ",".join(str(other.pk) for other in chosen if other != one))
        for place, one in enumerate(chosen)
    ]
    return sides, (*picks.problems, *gone, *_texts(chosen))


def _texts(experiments: Sequence[Experiment]) -> tuple[str, ...]:
    names = differing(one.exam for one in experiments)
    words = f"They were scored on different texts: {_listed(names)}. They cannot be compared: none is marked as better."
    exams = listed(versions(one.exam for one in experiments))
    other = f"Exams {exams} gave their scores. Those of two are not compared: none is marked as better."
    return (*([words] if names else []), *([other] if exams else []))


def _names(experiments: Sequence[Experiment]) -> Callable[[Experiment], str]:
    """As short as they can be told apart."""
    if len({one.run_id for one in experiments}) < 2:
        return lambda one: f"#{one.number}"
    if len({one.run.program_id for one in experiments}) < 2:
        return lambda one: f"{one.run.tag} #{one.number}"
    return lambda one: f"{one.run} #{one.number}"


# The table


@dataclass(frozen=True)
class Cell:
    text: str
    is_best: bool = False
    tone: str = ""


@dataclass(frozen=True)
class Row:
    label: str
    cells: tuple[Cell, ...]
    goal: int = 0  # LOWER or HIGHER is better; 0: neither
    words: bool = False  # not numbers

    @property
    def differs(self) -> bool:
        return len({cell.text for cell in self.cells}) > 1

    @property
    def arrow(self) -> str:
        return {LOWER: "↓", HIGHER: "↑"}.get(self.goal, "")

    @property
    def aim(self) -> str:
        return {LOWER: "lower is better", HIGHER: "higher is better"}.get(self.goal, "")


def table(sides: Sequence[Side]) -> list[Row]:
    """Scores first, then what the trainings said of themselves, then what they were made of."""
    experiments = [side.experiment for side in sides]
    summaries = [with_speed(one.summary) for one in experiments]
    measured = [
        _numbers(label, [number(summary.get(key)) for summary in summaries], write, BETTER.get(key, 0))
        for key, label, write in KNOWN
    ]
    thought = [
        _numbers("LLM cost", [_cost(one) for one in experiments], "${:.4f}".format, LOWER),
        _numbers("LLM tokens", [one.tokens_in + one.tokens_out or None for one in experiments], "{:,.0f}".format, 0),
        _numbers("Seed", [one.seed for one in experiments], "{:.0f}".format, 0),
    ]
    made = [Row(label, tuple(Cell(read(one)) for one in experiments), words=True) for label, read in MADE_OF]
    rows = [*_scores(sides), *measured, *thought, *made]
    return [row for row in rows if any(cell.text for cell in row.cells)]


MADE_OF: tuple[tuple[str, Callable[[Experiment], str]], ...] = (
    ("Lines changed", lambda one: "+{} −{}".format(*patches.counts(one.diff)) if one.diff else ""),
    ("Parent", lambda one: f"#{one.parent.number}" if one.parent else ""),
    ("Kind", lambda one: one.kind),
    ("Score is", lambda one: ", ".join(one.badges)),
    ("Sandbox", lambda one: one.sandbox),
    ("Device", lambda one: one.device),
    ("Budget", lambda one: f"{one.run.program.budget_seconds:,} s"),
    ("Text", lambda one: str(Text.of(one.exam) or (one.run.program.dataset if one.run.program.has_exam else ""))),
    ("Exam", lambda one: str(version(one.exam) or "")),
    ("program.md", lambda one: f"v{one.brief.number}" if one.brief else ""),
    ("Researcher", lambda one: one.run.program.model or one.run.program.researcher),
    ("Commit", lambda one: one.commit[:7]),
)


def _cost(experiment: Experiment) -> float | None:
    """Of the LLM; what was made without one has none."""
    return experiment.cost if experiment.cost or experiment.tokens_in else None


def _scores(sides: Sequence[Side]) -> list[Row]:
    """The score and its distance to the first and the best; one metric only can be compared."""
    experiments = [side.experiment for side in sides]
    programs = {(one.run.program.metric, one.run.program.lower_is_better) for one in experiments}
    scores = [number(one.score) for one in experiments]
    label = " / ".join(sorted({metric for metric, _ in programs}))
    exams = [one.exam for one in experiments]
    if len(programs) != 1 or differing(exams) or versions(exams):
        return [_numbers(label, scores, score_words, 0)]
    goal = LOWER if programs.pop()[1] else HIGHER
    secret = [one.secret_score if one.state in {State.KEPT, State.REVERTED} else None for one in experiments]
    rows = [_numbers(label, scores, score_words, goal)]
    known = [(score, side) for score, side in zip(scores, sides, strict=True) if score is not None]
    if len(known) > 1:
        best, its = (min if goal == LOWER else max)(known, key=lambda pair: pair[0])
        if scores[0] is not None:
            rows.append(_deltas(f"to the first, {sides[0].name}", scores, scores[0], goal))
        if its is not sides[0]:
            rows.append(_deltas(f"to the best, {its.name}", scores, best, goal))
    secrets = {one.exam.get("secret_hash", "") for one in experiments}  # may differ where the validation text is the same
    return [*rows, _numbers("on the secret text", secret, score_words, goal if len(secrets) == 1 else 0)]


def _deltas(label: str, values: Sequence[float | None], base: float, goal: int) -> Row:
    def cell(value: float | None) -> Cell:
        if value is None:
            return Cell("")
        if value == base:
            return Cell("=")
        return Cell(signed(score_words(value - base, "+")), tone="good" if (value - base) * goal > 0 else "")

    return Row(label, tuple(cell(value) for value in values))


def _numbers(label: str, values: Sequence[float | None], write: Callable[[float], str], goal: int) -> Row:
    """The best of them is marked where they differ."""
    known = [value for value in values if value is not None]
    best = (min if goal == LOWER else max)(known) if goal and len(set(known)) > 1 else None
    cells = (Cell("") if value is None else Cell(signed(written(value, write)), value == best) for value in values)
    return Row(label, tuple(cells), goal)


# The diff


@dataclass(frozen=True)
class Pair:
    """The two whose files are compared, or why they cannot be."""

    a: Side
    b: Side
    problem: str = ""


def pair(sides: Sequence[Side], a: str, b: str) -> Pair | None:
    """`a`, `b`: ids as asked for; unless told, the first and the last. None where there are no two."""
    if len(sides) < 2:
        return None
    by_id = {str(side.experiment.pk): side for side in sides}
    left, right = by_id.get(a, sides[0]), by_id.get(b, sides[-1])
    return Pair(left, right, _why_not(left, right))


def _why_not(a: Side, b: Side) -> str:
    if a is b:
        return "This is one experiment twice. Choose two different ones."
    if a.experiment.run.program_id != b.experiment.run.program_id:
        return "They belong to different programs, whose files have nothing to do with each other: no diff."
    for side in (a, b):
        if not side.experiment.commit:
            return f"{side.name} has no commit: it came to no edit."
    return ""
