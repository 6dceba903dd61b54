"""A bench prints a table and leaves var/bench/NAME.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Line:
    metric: str
    value: float
    unit: str
    goal: float | None  # at most, or at least; None: shown only
    ok: bool
    worst: float | None = None  # of several, where `value` is their median
    least: bool = False  # the goal is a floor


def at_most(metric: str, value: float, unit: str, goal: float | None, *, worst: float | None = None) -> Line:
    return Line(metric, round(value, 3), unit, goal, goal is None or value <= goal, worst and round(worst, 3))


def at_least(metric: str, value: float, unit: str, goal: float) -> Line:
    return Line(metric, round(value, 3), unit, goal, value >= goal, least=True)


def print_table(title: str, lines: list[Line]) -> None:
    width = max(len(title), *(len(line.metric) for line in lines))
    print(f"\n{title:<{width}}  {'value':>12} {'worst':>9} {'goal':>9}")
    for line in lines:
        goal = "" if line.goal is None else f"{'>' if line.least else '<'} {line.goal:g}"
        worst = "" if line.worst is None else f"{line.worst:.3f}"
        mark = "ok" if line.ok else "MISSED"
        print(f"{line.metric:<{width}}  {line.value:>12,.3f} {worst:>9} {goal:>9} {line.unit:<3} {mark}")


def folder() -> Path:
    made = ROOT / "var" / "bench"
    made.mkdir(parents=True, exist_ok=True)
    return made


def show(name: str, lines: list[Line]) -> int:
    """Print and store; 1 when a goal was missed."""
    print_table(f"bench-{name}", lines)
    (folder() / f"{name}.json").write_text(json.dumps([asdict(line) for line in lines], indent=1))
    return int(not all(line.ok for line in lines))
