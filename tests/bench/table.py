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
    goal: float | None  # at most; None: shown only
    ok: bool


def at_most(metric: str, value: float, unit: str, goal: float | None) -> Line:
    return Line(metric, round(value, 3), unit, goal, goal is None or value <= goal)


def show(name: str, lines: list[Line]) -> int:
    """Print and store; 1 when a goal was missed."""
    width = max(len(line.metric) for line in lines)
    print(f"\n{'bench-' + name:<{width}}  {'value':>9} {'goal':>9}")
    for line in lines:
        goal = "" if line.goal is None else f"< {line.goal:g}"
        print(f"{line.metric:<{width}}  {line.value:>9.3f} {goal:>9} {line.unit:<3} {'ok' if line.ok else 'MISSED'}")
    folder = ROOT / "var" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps([asdict(line) for line in lines], indent=1))
    return int(not all(line.ok for line in lines))
