"""How far the data of a program is that a worker loads or prepares: for the run's page and the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from experiments.models import Run
from trainer import launch
from trainer.spec import read_json

SILENT_SECONDS = 20.0  # then the download stands still
OLD_SECONDS = 60.0  # what was there before and is so old is of a process that was killed
STAGE_SECONDS = 900.0  # the longest that one stage of preparing is silent
SHORT_SECONDS = 8.0  # what is prepared sooner, such as the demo's data, needs no line
LINE_SECONDS, LINE_PERCENT = 10.0, 10.0  # between two lines of one download on the terminal
STAGES = {"tokenizer": "learning a tokenizer", "tokens": "turning text into tokens", "text": "reading the text"}


@dataclass(frozen=True)
class Loading:
    what: str  # "Loading climbmix: 320 of 1,100 MB"
    more: str  # what a person should know beside it
    percent: float | None  # None: not known


def of_run(run: Run) -> Loading | None:
    """None where nothing is being prepared for it. It goes on with the data set that it began on."""
    program, began = run.program, run.text
    dataset = began.dataset if began else program.dataset
    told = read_json(launch.Data(Path(settings.DATA_DIR), dataset, program.vocab_size, program.seq_len).progress)
    return describe(dataset, told, time.time()) if told else None


def describe(name: str, told: dict[str, Any], now: float) -> Loading:
    """In words. `told` is what the template's download.py writes."""
    if told.get("stage") != "download":
        doing = STAGES.get(str(told.get("stage")), "at work")
        part = f" ({told['part']})" if told.get("part") else ""
        return Loading(f"Preparing {name}: {doing}{part}", "This is done once, for all runs.", None)
    done, total, speed = (float(told.get(key) or 0) for key in ("done", "total", "speed"))
    percent = 100 * done / total if total else None
    sizes = f"{done / 1e6:,.0f} of {total / 1e6:,.0f} MB" if total else "waiting for the first byte"
    kept = "Whatever happens, what is there is kept: it goes on where it ended."
    if told.get("trouble"):
        return Loading(f"Loading {name}: {sizes}", f"{told['trouble']}. {kept}", percent)
    if now - float(told.get("updated_at") or 0) > SILENT_SECONDS:
        return Loading(f"Loading {name}: {sizes}", f"Nothing has come for a while. {kept}", percent)
    left = f", {_duration((total - done) / speed)} left" if speed and total > done else ""
    return Loading(f"Loading {name}: {sizes}{left}", kept, percent)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Lines:
    """What the terminal says of all that is being prepared: at the start, now and then, at the end."""

    def __init__(self) -> None:
        self.seen: dict[Path, float] = {}  # since when
        self.said: dict[Path, tuple[float, Loading]] = {}  # when, and what

    def new(self, now: float) -> Iterator[str]:
        files = set(Path(settings.DATA_DIR).glob(f"{launch.PREPARING}*.json"))
        for path in sorted(files):
            if line := self._line(path, read_json(path) or {}, now):
                yield line
        for path in set(self.seen) - files:
            del self.seen[path]
            if self.said.pop(path, None):
                yield "The data is no longer being prepared: the training begins, or the page says why not."

    def _line(self, path: Path, told: dict[str, Any], now: float) -> str:
        since, before = self.seen.setdefault(path, now), self.said.get(path)
        age = time.time() - float(told.get("updated_at") or 0)
        is_killed = age > (OLD_SECONDS if before is None else STAGE_SECONDS)  # who wrote it
        is_short = told.get("stage") != "download" and now - since < SHORT_SECONDS
        if not told or is_killed or is_short:
            return ""
        found = describe(str(told.get("dataset") or "the data"), told, time.time())
        if before and not self._is_due(*before, found, now):
            return ""
        self.said[path] = (now, found)
        return found.what + (f" ({found.percent:.0f}%)" if found.percent is not None else "")

    @staticmethod
    def _is_due(at: float, before: Loading, found: Loading, now: float) -> bool:
        if before.what.partition(":")[0] != found.what.partition(":")[0]:  # another stage
            return True
        return now - at >= LINE_SECONDS or (found.percent or 0) - (before.percent or 0) >= LINE_PERCENT
