"""One live line of a training, from its growing log: rewritten in place on a terminal, else a line now and then."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from django.core.management.base import OutputWrapper

from trainer.output import LineSplitter, Point, is_whole_step, parse_step

LINE_SECONDS = 5.0  # between two lines where the output is no terminal


class Progress:
    def __init__(self, log: Path, out: OutputWrapper) -> None:
        self.log, self.out = log, out
        self.splitter = LineSplitter()
        self.read_bytes = 0
        self.newest: Point | None = None
        self.shown: Point | None = None
        self.shown_at = 0.0

    def look(self) -> None:
        """Read what is new, and show the newest step when it is time to."""
        try:
            with self.log.open("rb") as file:
                file.seek(self.read_bytes)
                data = file.read()
        except FileNotFoundError:  # it waits for the device
            return
        self.read_bytes += len(data)
        lines = self.splitter.feed(data.decode(errors="replace"))
        if is_whole_step(self.splitter.pending):
            lines = [*lines, self.splitter.pending]
        points = [point for point in map(parse_step, lines) if point]
        self.newest = points[-1] if points else self.newest
        if self.out.isatty() or time.monotonic() - self.shown_at > LINE_SECONDS:
            self._show()

    def finish(self) -> None:
        """The last step of all, and an end of the line."""
        self.look()
        self._show()
        if self.shown and self.out.isatty():
            self.out.write("")

    def _show(self) -> None:
        if self.newest is None or self.newest == self.shown:
            return
        self.shown, self.shown_at = self.newest, time.monotonic()
        text = as_line(self.newest)
        if self.out.isatty():
            self.out.write(f"\r\x1b[K{text[: shutil.get_terminal_size().columns - 1]}", ending="")
        else:
            self.out.write(text)
        self.out.flush()


def as_line(point: Point) -> str:
    """What is known of a step. The loss is as the training printed it: train.py prints a smoothed one."""
    parts = (
        f"step {point.step}",
        "" if point.percent is None else f"{point.percent:.1f}%",
        f"loss {point.loss:.3f}",
        "" if point.tok_per_sec is None else f"{point.tok_per_sec:,.0f} tok/s",
        "" if point.mfu is None else f"mfu {point.mfu:.1f}%",
        "" if point.remaining_s is None else f"{point.remaining_s:.0f} s left",
    )
    return "  ".join(part for part in parts if part)
