"""The rows of the table: each a machine, made of a Python and of what else is different there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machines.conditions import BARE, INSTALLING, SHARING, Condition
from tests.machines.pythons import LEFT_OUT, Python


class UnknownName(Exception):
    """No row, or no Python, has this name; the words list those there are."""


@dataclass(frozen=True)
class Row:
    name: str
    python: Python | None  # None: this machine has none for it
    conditions: tuple[Condition, ...] = ()
    is_cut: bool = False  # its Python is a copy without LEFT_OUT

    @property
    def installation(self) -> str:
        """Rows of one name share clone and virtual environment, and come one after the other."""
        own = self.is_cut or any(condition.installs for condition in self.conditions)
        return self.name if own or self.python is None else self.python.name

    @property
    def user(self) -> int | None:
        return next((condition.user for condition in self.conditions if condition.user is not None), None)

    @property
    def folder(self) -> str:
        return next((condition.folder for condition in self.conditions if condition.folder), self.installation)

    @property
    def says(self) -> str:
        version = f"Python {self.python.version}" if self.python else "Python"
        without = [f"without {', '.join(sorted(LEFT_OUT))}"] if self.is_cut else []
        return ", ".join([version, *without, *(condition.says for condition in self.conditions)])

    def why_not(self) -> str:
        """Why this machine cannot try it, or nothing."""
        if not Path("/proc/self/environ").exists():
            return "not Linux"
        reasons = [condition.why_not() for condition in self.conditions]
        return "; ".join(filter(None, reasons)) or ("" if self.python else "no Python here that it can have")


def may_run(python: Python, user: int | None) -> bool:
    if user is None or os.geteuid() != 0:
        return True
    try:
        subprocess.run([python.path, "-c", ""], user=user, group=user, extra_groups=[], capture_output=True, check=True)
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def all_rows(pythons: Sequence[Python], variants_on: str = "") -> list[Row]:
    """A row for each Python, its variants behind it, then those that install anew."""
    main = _named(pythons, variants_on) if variants_on else next(iter(pythons), None)
    copied = next((python for python in [main, *pythons] if python and python.can_be_copied), None)
    rows = []
    for python in pythons:
        rows.append(Row(python.name, python))
        if python == main:
            rows += [Row(condition.name, main, (condition,)) for condition in SHARING]
            rows.append(Row("bare", main, BARE))
    rows.append(Row("cut-library", copied, is_cut=True))
    for condition in INSTALLING:
        able = (python for python in [main, *pythons] if python and may_run(python, condition.user))
        rows.append(Row(condition.name, next(able, None), (condition,)))
    return rows


def choose(rows: Sequence[Row], names: Iterable[str]) -> list[Row]:
    """Those of these names, in the table's order; all without names. Raises UnknownName."""
    wanted = set(names)
    unknown = sorted(wanted - {row.name for row in rows})
    if unknown:
        raise UnknownName(f"No row is called {', '.join(unknown)}. There are: {', '.join(row.name for row in rows)}.")
    return [row for row in rows if not wanted or row.name in wanted]


def _named(pythons: Sequence[Python], name: str) -> Python:
    for python in pythons:
        if name in {python.name, python.version}:
            return python
    raise UnknownName(f"No Python is called {name}. There are: {', '.join(python.name for python in pythons)}.")
