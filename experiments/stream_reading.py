"""Reading streams by steps: the end of a long log, what stands before it, all of it as a file, a curve thinned out."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from itertools import groupby, pairwise
from typing import Any

from asgiref.sync import sync_to_async
from django.db.models import Max, Min

from experiments.charts import lttb
from experiments.models import Experiment, stream
from experiments.models.stream import Part

STEP = 262_144  # bytes of a log that a page shows at first, and adds with each step backwards


def tail(experiment: Experiment, name: str, *, after: int = 0, attempt: int = 0) -> Part:
    """As stream.read, but of a long text only about the last STEP bytes: then the part begins later than asked for."""
    rows = experiment.chunks.filter(stream=name)
    latest = rows.aggregate(Max("attempt"))["attempt__max"] or experiment.attempt
    rows = rows.filter(attempt=latest)
    end = rows.aggregate(Max("end"))["end__max"] or 0
    wanted = after if attempt == latest else 0
    if end - wanted > STEP:
        begin = rows.filter(offset__gte=end - STEP).aggregate(Min("offset"))["offset__min"]
        last = rows.aggregate(Max("offset"))["offset__max"] or 0  # one chunk that is longer than a step
        wanted = max(wanted, last if begin is None else begin)
    part = stream.read(experiment, name, after=wanted, attempt=latest)
    return Part(latest, wanted, part.next, part.chunks)


def before(experiment: Experiment, name: str, *, offset: int, attempt: int) -> Part:
    """The STEP bytes or so that stand right before `offset`; empty where it begins."""
    rows = experiment.chunks.filter(stream=name, attempt=attempt, end__lte=offset)
    begin = rows.filter(offset__gte=offset - STEP).aggregate(Min("offset"))["offset__min"]
    if begin is None:
        begin = rows.aggregate(Max("offset"))["offset__max"]
    if begin is None:
        return Part(attempt, offset, offset, ())
    chunks = rows.filter(offset__gte=begin).order_by("offset").values_list("data", flat=True)
    return Part(attempt, begin, offset, tuple(chunks))


async def whole(experiment: Experiment, name: str) -> AsyncIterator[str]:
    """All of a text, never more than one read of it in memory."""
    read = sync_to_async(stream.read, thread_sensitive=True)
    part = await read(experiment, name)
    attempt = part.attempt
    while part.chunks and part.attempt == attempt:
        yield "".join(part.chunks)
        part = await read(experiment, name, after=part.next, attempt=attempt)


def thinned(experiment: Experiment, part: Part, most: int) -> Part:
    """The curve from `part` to its end with at most about `most` points; where it is not finite a gap stays."""
    rows: list[dict[str, Any]] = []
    attempt, offset = part.attempt, part.offset
    while part.chunks:
        rows += [_finite(point) for chunk in part.chunks for point in json.loads(chunk)]
        if len(rows) > 20 * most:
            rows = thin_curve(rows, 4 * most)
        part = stream.read(experiment, stream.SERIES, after=part.next, attempt=attempt)
    return Part(attempt, offset, part.next, (json.dumps(thin_curve(rows, most)),) if rows else ())


def polylines(experiment: Experiment, *, width: int, height: int) -> list[str]:
    """The curve as `points` of SVG polylines, one for each stretch between gaps; the steep start is cut off at the top."""
    part = thinned(experiment, stream.read(experiment, stream.SERIES), 200)
    rows = json.loads(part.chunks[0]) if part.chunks else []
    losses = sorted(row["loss"] for row in rows if row["loss"] is not None)
    if len(losses) < 2:
        return []
    low, high = losses[0], losses[int((len(losses) - 1) * 0.9)]
    across = max(float(row["step"]) for row in rows) or 1.0

    def at(row: dict[str, Any]) -> str:
        up = min(1.0, (row["loss"] - low) / ((high - low) or 1.0))
        return f"{row['step'] / across * width:.1f},{height - up * height:.1f}"

    stretches = groupby(rows, key=lambda row: row["loss"] is not None)
    return [" ".join(at(row) for row in stretch) for there, stretch in stretches if there]


def _finite(point: dict[str, Any]) -> dict[str, Any]:
    loss = point.get("loss")
    return point if loss is None or math.isfinite(loss) else {**point, "loss": None}


def thin_curve(rows: list[dict[str, Any]], most: int, y: str = "loss") -> list[dict[str, Any]]:
    """lttb, and of each gap its first point."""
    if len(rows) <= most:
        return rows
    gaps = [b for a, b in pairwise(rows) if b[y] is None and a[y] is not None][: most // 2]
    kept = {id(row) for row in lttb(rows, max(10, most - len(gaps)), y=y)} | {id(row) for row in gaps}
    return [row for row in rows if id(row) in kept]
