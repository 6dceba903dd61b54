"""Streams: append-only, read by cursor. One mechanism for the curve, the log and what the LLM writes and thinks."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import models

from experiments import events
from experiments.models.experiment import Experiment

LOG, SERIES, REPLY, THOUGHTS = "log", "series", "reply", "thoughts"
NAMES = (LOG, SERIES, REPLY, THOUGHTS)
READ_LIMIT = 2_000_000  # characters in one answer; the reader asks again from `next`


class Chunk(models.Model):
    """Data from `offset` up to `end`. Offsets count bytes of the log and reply, points of the series.

    Unique on where it starts, so that a repeated append does nothing.
    """

    experiment = models.ForeignKey(Experiment, models.CASCADE, related_name="chunks")
    attempt = models.PositiveIntegerField()
    stream = models.CharField(max_length=10)
    offset = models.PositiveBigIntegerField()
    end = models.PositiveBigIntegerField()
    data = models.TextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["experiment", "stream", "attempt", "offset"], name="chunk_offset")
        ]

    def __str__(self) -> str:
        return f"{self.stream} {self.offset}-{self.end}"


@dataclass(frozen=True)
class Part:
    """What a reader gets: `chunks` of data from `offset` up to `next`, of one attempt."""

    attempt: int
    offset: int
    next: int
    chunks: tuple[str, ...]


def append(experiment: Experiment, stream: str, offset: int, end: int, data: str) -> None:
    """Add data at `offset`; done before, it does nothing."""
    chunk = Chunk(
        experiment=experiment, attempt=experiment.attempt, stream=stream, offset=offset, end=end, data=data
    )
    Chunk.objects.bulk_create([chunk], ignore_conflicts=True)
    events.stream(
        experiment.run_id,
        {
            "type": "stream",
            "experiment": experiment.pk,
            "stream": stream,
            "attempt": experiment.attempt,
            "offset": offset,
            "next": end,
            "data": data,
        },
    )


def cursor(experiment: Experiment, stream: str) -> int:
    """Where the next append goes, in the experiment's own attempt."""
    rows = experiment.chunks.filter(stream=stream, attempt=experiment.attempt)
    return rows.aggregate(models.Max("end"))["end__max"] or 0


def read(experiment: Experiment, stream: str, *, after: int = 0, attempt: int = 0) -> Part:
    """From `after` on, of the latest attempt that wrote this stream; from 0 when the reader has another one."""
    rows = experiment.chunks.filter(stream=stream)
    latest = rows.aggregate(models.Max("attempt"))["attempt__max"] or experiment.attempt
    start = after if attempt == latest else 0
    chunks: list[str] = []
    position, size = start, 0
    wanted = rows.filter(attempt=latest, offset__gte=start).order_by("offset").values_list("end", "data")
    for end, data in wanted.iterator(chunk_size=20):  # a log of 100 MB is never in memory
        chunks.append(data)
        position, size = end, size + len(data)
        if size > READ_LIMIT:
            break
    return Part(attempt=latest, offset=start, next=position, chunks=tuple(chunks))
