"""Curves of many experiments for one figure: read in one query, thinned to what a screen can show."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.db.models import Max

from experiments.models import Chunk
from experiments.models import stream as streams
from experiments.stream_reading import thin_curve

AXES = ("step", "tokens", "seconds")
VALUES = {
    "loss": "training loss", "tok_per_sec": "tokens a second", "mfu": "MFU, %", "dt_ms": "ms a step", "lrm": "rate, share",
}  # fmt: skip
MOST_POINTS = 10_000  # of all curves together
FEWEST, MOST = 120, 1_000  # of one curve
REMEMBERED = 600  # curves, about 20 kB each: a finished one never changes

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Curve:
    columns: dict[str, str]  # AXES and y, each a list as JSON; null is a gap
    has: tuple[str, ...]  # of VALUES

    def text(self, axis: str) -> str:
        """Steps tell points apart on every axis; the others cost bytes where nobody looks at them."""
        return ",".join(f'"{name}":{self.columns[name]}' for name in dict.fromkeys(("step", axis, "y")))


_thinned: dict[tuple[int, int, int, int, str], Curve] = {}


def curves_json(pks: Sequence[int], axis: str = "step", value: str = "loss") -> str:
    """{"value": "loss", "values": [those that two or more have], "curves": {"7": {"step": […], "tokens": […], "y": […]}}}

    Experiments without a curve are left out.
    """
    found = _curves(pks, value)
    enough = min(2, len(found))
    shared = [name for name in VALUES if found and sum(name in curve.has for curve in found.values()) >= enough]
    inside = ",".join(f'"{pk}":{{{curve.text(axis)}}}' for pk, curve in found.items())
    return f'{{"value":{json.dumps(value)},"values":{json.dumps(shared)},"curves":{{{inside}}}}}'


def _curves(pks: Sequence[int], value: str) -> dict[int, Curve]:
    ends = _ends(pks)
    most = max(FEWEST, min(MOST, MOST_POINTS // max(1, len(ends))))
    wanted = {pk: (pk, attempt, end, most, value) for pk, (attempt, end) in ends.items()}
    unread = [pk for pk, key in wanted.items() if key not in _thinned]
    data = _data({pk: ends[pk][0] for pk in unread}) if unread else {}
    fresh = {wanted[pk]: _curve(data.get(pk, []), most, value) for pk in unread}
    found = {pk: fresh.get(key) or _thinned[key] for pk, key in wanted.items()}
    _remember(fresh)
    return found


def _remember(fresh: dict[tuple[int, int, int, int, str], Curve]) -> None:
    _thinned.update(fresh)
    while len(_thinned) > REMEMBERED:
        _thinned.pop(next(iter(_thinned)), None)


def _ends(pks: Sequence[int]) -> dict[int, tuple[int, int]]:
    """The latest attempt that wrote a curve, and how many points it has."""
    rows = Chunk.objects.filter(experiment__in=pks, stream=streams.SERIES).order_by()
    last: dict[int, tuple[int, int]] = {}
    for pk, attempt, end in rows.values_list("experiment", "attempt").annotate(Max("end")):
        last[pk] = max(last.get(pk, (0, 0)), (attempt, end))
    return {pk: last[pk] for pk in pks if pk in last}


def _data(attempts: dict[int, int]) -> dict[int, list[str]]:
    chunks: dict[int, list[str]] = defaultdict(list)
    rows = Chunk.objects.filter(experiment__in=attempts, stream=streams.SERIES).order_by("experiment", "offset")
    for pk, attempt, data in rows.values_list("experiment", "attempt", "data"):
        if attempt == attempts[pk]:
            chunks[pk].append(data)
    return chunks


def _curve(chunks: Iterable[str], most: int, value: str) -> Curve:
    rows = [row for part in _parts(f"[{','.join(chunks)}]") for row in part if "step" in row]
    has = tuple(name for name in VALUES if any(row.get(name) is not None for row in rows))
    drawn = thin_curve([row for row in rows if value in row], most, value)
    columns = {name: [row.get(name) for row in drawn] for name in AXES} | {"y": [row[value] for row in drawn]}
    return Curve({name: orjson.dumps(column).decode() for name, column in columns.items()}, has)


def _parts(text: str) -> list[Rows]:
    try:
        parts: list[Rows] = orjson.loads(text)
    except orjson.JSONDecodeError:  # NaN and infinity, which are no JSON: a gap
        parts = json.loads(text, parse_constant=lambda _: None)
    return parts
