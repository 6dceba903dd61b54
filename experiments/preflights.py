"""What the rehearsals before the trainings brought: counted for a run or for all, and said in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.models import Experiment, Run
from experiments.states import Failure, Kind, State

CRASHES = frozenset({Failure.CRASH, Failure.OOM, Failure.NO_SCORE})  # what a rehearsal is meant to see
TRAINED = frozenset({State.KEPT, State.DISCARDED, State.REVERTED, State.CONFIRMING})


@dataclass(frozen=True)
class Tally:
    rehearsed: int = 0  # edits
    stopped: int = 0  # edits that were sent back or failed, and cost no device time
    unjudged: int = 0  # experiments whose last rehearsal could not say
    missed: int = 0  # experiments that passed, and whose training broke off
    false_alarms: int = 0  # experiments that were refused, and trained well when a person insisted
    insisted: int = 0  # refused ones that a person had trained anyway
    seconds: float = 0.0

    @property
    def line(self) -> str:
        """ "" where nothing was rehearsed."""
        if not self.rehearsed:
            return ""
        each = f"{self.seconds / self.rehearsed:.1f} s each"
        alarms = "false alarms not known: none of the stopped was trained anyway" if self.stopped else ""
        if self.insisted:
            alarms = f"{_many(self.false_alarms, 'false alarm')} among {self.insisted} trained anyway"
        parts = [
            f"{self.stopped} of {_many(self.rehearsed, 'edit')} stopped before the device",
            each,
            f"{_many(self.missed, 'crash', 'crashes')} it did not see",
            alarms,
            f"{self.unjudged} it could not judge" if self.unjudged else "",
        ]
        return f"Rehearsals: {', '.join(filter(None, parts))}."


@dataclass(frozen=True)
class Shown:
    """One rehearsal, for its experiment's page."""

    word: str
    tone: str  # a state whose colour the word takes
    numbers: str
    error: str
    seen: Sequence[str]
    not_seen: Sequence[str]


def shown(found: Mapping[str, Any]) -> Shown | None:
    """None where there was no rehearsal."""
    if not found.get("stage") and not found.get("error"):
        return None
    ok, params, memory = found.get("ok"), found.get("params"), found.get("memory_mb")
    word, tone = ("not judged", "paused") if ok is None else ("passed", "kept") if ok else ("would not train", "failed")
    rounds, refused = found.get("rounds", 0), found.get("refused", 0)
    parts = [
        f"{found.get('seconds', 0):.1f} s",
        f"for {found['device']}" if found.get("device", "CPU") != "CPU" else "",
        f"{params / 1e6:.2f}M parameters" if params else "",
        f"{memory / 1024:.1f} GB {'held' if found.get('device') == 'CPU' else 'counted'}" if memory else "",
        f"{refused} of {_many(rounds, 'edit')} sent back" if refused and rounds > 1 else "",
    ]  # fmt: skip
    lists = (found.get("seen") or (), found.get("not_seen") or ())
    return Shown(word, tone, ", ".join(filter(None, parts)), found.get("error") or "", *lists)


def count(run: Run | None = None) -> Tally:
    """Of one run, or of all."""
    rows = Experiment.objects.exclude(preflight={}) if run is None else run.experiments.exclude(preflight={})
    again = Experiment.objects.filter(kind=Kind.MANUAL, subject__reason=Failure.PREFLIGHT)
    if run is not None:
        again = again.filter(run=run)
    found = rows.order_by().values_list("preflight", "state", "reason")
    return tally(found, again.order_by().values_list("state", flat=True))


def tally(rows: Iterable[tuple[Mapping[str, Any], str, str]], insisted: Iterable[str]) -> Tally:
    """From (preflight, state, reason) of each, and the states of those trained in spite of it."""
    known = [(found, state, reason) for found, state, reason in rows if found.get("rounds")]
    again = list(insisted)
    return Tally(
        rehearsed=sum(found["rounds"] for found, _, _ in known),
        stopped=sum(found.get("refused", 0) for found, _, _ in known),
        unjudged=sum(found.get("ok") is None for found, _, _ in known),
        missed=sum(bool(found.get("ok")) and state == State.FAILED and reason in CRASHES for found, state, reason in known),
        false_alarms=sum(state in TRAINED for state in again),
        insisted=len(again),
        seconds=sum(found.get("total_seconds", 0.0) for found, _, _ in known),
    )


def _many(count: int, word: str, words: str = "") -> str:
    return f"{count:,} {word if count == 1 else words or f'{word}s'}"
