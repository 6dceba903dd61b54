"""The table of a run's experiments: one page of rows, found, filtered and sorted by what stands in the address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import Count, F, Q, QuerySet, TextField, Value
from django.db.models.functions import Length, Replace
from django.http import QueryDict

from experiments.models import Experiment, Run
from experiments.models.text import parent_score
from experiments.states import LIVE, Kind, State

PAGE = 50  # rows
FILTERS: dict[str, frozenset[State]] = {
    "kept": frozenset({State.KEPT}),
    "discarded": frozenset({State.DISCARDED}),
    "failed": frozenset({State.FAILED}),
    "cancelled": frozenset({State.CANCELLED}),
    "reverted": frozenset({State.REVERTED}),
    "live": LIVE,
}
HEAVY = ("prompt", "edits", "memo", "hypothesis", "detail", "diff", "exam")
NEWEST = "-number"


@dataclass(frozen=True)
class Column:
    key: str
    label: str
    by: str  # what the database sorts by
    number: bool = True  # numbers stand to the right
    shown: bool = True  # where nobody has chosen
    narrow: bool = False  # also on a phone
    down: bool = False  # the first click puts the largest on top


COLUMNS = (
    Column("number", "#", "number", number=False, narrow=True, down=True),
    Column("state", "State", "state", number=False, narrow=True),
    Column("idea", "Idea", "description", number=False, narrow=True),
    Column("score", "score", "score", narrow=True),
    Column("delta", "Vs parent", "difference"),
    Column("lines", "Lines", "lines", down=True),
    Column("memory", "GB", "summary__peak_vram_mb", down=True),
    Column("kind", "Kind", "kind", number=False),
    Column("commit", "Commit", "commit"),
    Column("seconds", "Trained", "summary__training_seconds", shown=False, down=True),
    Column("steps", "Steps", "summary__num_steps", shown=False, down=True),
    Column("tokens", "LLM tokens", "tokens", shown=False, down=True),
    Column("cost", "LLM cost", "cost", shown=False, down=True),
    Column("ended", "Ended", "finished_at", shown=False, down=True),
)
ALWAYS = {"number", "state", "idea"}
BY_KEY = {column.key: column for column in COLUMNS}


@dataclass(frozen=True)
class Head:
    """A column as the head of the table shows it."""

    column: Column
    label: str
    query: str  # of the link that sorts by it, or turns the order round
    sorted: str  # ascending | descending | ""

    @property
    def css(self) -> str:
        return cell_class(self.column)


@dataclass(frozen=True)
class Chip:
    label: str
    count: int
    query: str
    chosen: bool


@dataclass(frozen=True)
class Table:
    rows: Page[Experiment]
    heads: list[Head]
    states: list[Chip]
    kinds: list[Chip]
    pages: list[tuple[int | str, str]]  # (number or …, query of its link)
    choices: list[tuple[Column, bool]]  # columns to choose from, and whether they are shown
    state: str
    kind: str
    sort: str
    words: str
    query: str  # of this very table

    @property
    def columns(self) -> list[Column]:
        return [head.column for head in self.heads]

    @property
    def is_filtered(self) -> bool:
        return bool(self.words or self.state or self.kind)


def cell_class(column: Column) -> str:
    wide = "" if column.narrow else " hide-s"
    return f"{'num' if column.number else ''}{wide}".strip()


def table(run: Run, query: QueryDict) -> Table:
    """Odd values in the query count as none."""
    link = Links(query)
    state = link.one_of("state", FILTERS)
    kind = link.one_of("kind", {kind.value for kind in Kind})
    words = query.get("q", "").replace("\0", "").strip()[:200]
    sort, chosen = _sort(query.get("sort", "")), _chosen(query.getlist("cols"))
    keep = {"state": state, "kind": kind, "q": words, "sort": "" if sort == NEWEST else sort, "cols": _spelled(chosen)}
    link.keep = keep
    found = search(run, words)
    states, kinds = _chips(found, link, state, kind)
    rows = Paginator(_rows(found, state, kind, sort), PAGE).get_page(query.get("page"))
    heads = [_head(column, sort, run, link) for column in COLUMNS if column.key in chosen]
    return Table(
        rows, heads, states, kinds, _pages(rows, link),
        [(column, column.key in chosen) for column in COLUMNS if column.key not in ALWAYS],
        state, kind, sort, words, link(page=str(rows.number) if rows.number > 1 else ""),
    )  # fmt: skip


class Links:
    """Queries of links that change one thing and keep the rest, also what is not ours."""

    def __init__(self, query: QueryDict) -> None:
        self.query, self.keep = query, dict[str, str]()

    def one_of(self, name: str, values: Any) -> str:
        value = self.query.get(name, "")
        return value if value in values else ""

    def __call__(self, **changes: str) -> str:
        query = self.query.copy()
        for name in ("part", "page"):
            query.pop(name, None)
        for name, value in {**self.keep, **changes}.items():
            query[name] = value
            if not value:
                del query[name]
        return query.urlencode(safe=",")


def _sort(asked: str) -> str:
    return asked if asked.removeprefix("-") in BY_KEY else NEWEST


def _chosen(asked: list[str]) -> frozenset[str]:
    """Keys of the columns: a list with commas, or the boxes of the form; where nothing is asked, the usual ones."""
    keys = {key for part in asked for key in part.split(",")} & BY_KEY.keys()
    return frozenset(keys | ALWAYS) if keys else _USUAL


_USUAL = frozenset(column.key for column in COLUMNS if column.shown)


def _spelled(chosen: frozenset[str]) -> str:
    return "" if chosen == _USUAL else ",".join(column.key for column in COLUMNS if column.key in chosen)


def _head(column: Column, sort: str, run: Run, link: Links) -> Head:
    label = run.program.metric if column.key == "score" else column.label
    down = column.down or (column.key in {"score", "delta"} and not run.program.lower_is_better)
    now = "" if sort.removeprefix("-") != column.key else "descending" if sort.startswith("-") else "ascending"
    to_down = now == "ascending" if now else down
    then = f"-{column.key}" if to_down else column.key
    return Head(column, label, link(sort="" if then == NEWEST else then), now)


def _chips(found: QuerySet[Experiment], link: Links, state: str, kind: str) -> tuple[list[Chip], list[Chip]]:
    """Chips of the states among this kind, and of the kinds among these states."""
    rows = found.order_by().values("state", "kind").annotate(n=Count("pk"))
    counts = [(row["state"], row["kind"], row["n"]) for row in rows]

    def count(states: frozenset[State] | None, kind: str) -> int:
        return sum(n for s, k, n in counts if (states is None or s in states) and kind in {"", k})

    states = [Chip("All", count(None, kind), link(state=""), not state)]
    for name, these in FILTERS.items():
        states.append(Chip(name.capitalize(), count(these, kind), link(state=name), name == state))
    kinds = [Chip("Any kind", count(FILTERS.get(state), ""), link(kind=""), not kind)]
    for name in Kind:
        kinds.append(Chip(name.value, count(FILTERS.get(state), name.value), link(kind=name.value), name == kind))
    some = [[chip for chip in chips if chip.count or chip.chosen or chip is chips[0]] for chips in (states, kinds)]
    return some[0], some[1] if len(some[1]) > 3 or kind else []  # a baseline and ideas need no choice


def _rows(found: QuerySet[Experiment], state: str, kind: str, sort: str) -> QuerySet[Experiment]:
    if state:
        found = found.filter(state__in=FILTERS[state])
    if kind:
        found = found.filter(kind=kind)
    down, by = sort.startswith("-"), F(BY_KEY[sort.removeprefix("-")].by)
    order = by.desc(nulls_last=True) if down else by.asc(nulls_last=True)
    added, removed = _lines("+"), _lines("-")
    return (
        found.annotate(
            difference=F("score") - parent_score(), added=added, removed=removed, lines=added + removed,
            tokens=F("tokens_in") + F("tokens_out"),
        )
        .defer(*HEAVY)
        .order_by(order, "-number")
    )  # fmt: skip


def _lines(sign: str) -> Any:
    """Lines of the diff with this sign, counted where the diff lies: it can be long, and the page shows two numbers."""

    def count(start: str) -> Any:
        gone = Replace("diff", Value(f"\n{start}", TextField()), Value("", TextField()))
        return (Length("diff") - Length(gone)) / (len(start) + 1)

    return count(sign) - count(sign * 3 + " ")


def _pages(rows: Page[Experiment], link: Links) -> list[tuple[int | str, str]]:
    numbers = rows.paginator.get_elided_page_range(rows.number, on_each_side=2, on_ends=1)
    return [(number, link(page=str(number) if number != 1 else "")) for number in numbers]


def search(run: Run, words: str) -> QuerySet[Experiment]:
    """Experiments whose idea, reason, number or commit has these words; all of them where there are none."""
    if not words:
        return run.experiments.all()
    number = words.removeprefix("#")
    match = Q(description__icontains=words) | Q(reason__icontains=words.replace(" ", "_"))
    if number.isdecimal() and len(number) < 8:
        match |= Q(number=int(number))
    if len(words) >= 4:
        match |= Q(commit__startswith=words.lower())
    return run.experiments.filter(match)
