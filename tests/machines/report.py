"""The table: to the terminal, and between two marks of docs/machines-tried.md."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.machines.trial import Seen

BEGIN, END = "<!-- the table -->", "<!-- its end -->"
GREEN, RED, NOT_TRIED = "green", "red", "not tried"
HEAD = ["machine", "what it is", "torch", "page", "two experiments", "stop", "level", "badges", "text", ""]


@dataclass(frozen=True)
class Outcome:
    name: str
    says: str
    shares: str  # the installation's name, where it is another row's
    why_not: str = ""  # not tried
    torch: str = ""
    seen: Seen | None = None

    @property
    def result(self) -> str:
        if self.seen is None:
            return NOT_TRIED
        return RED if self.seen.why else GREEN

    @property
    def verdict(self) -> str:
        why = self.seen.why if self.seen else self.why_not
        return f"{self.result}: {why}" if why else self.result

    @property
    def line(self) -> str:
        seen = self.seen or Seen()
        times = {"page": seen.page_seconds, "two experiments": seen.experiments_seconds, "stop": seen.stop_seconds}
        told = ", ".join(f"{what} {_seconds(value)}" for what, value in times.items() if value is not None)
        return f"{self.name:<16} {self.verdict}" + (f"  ({told})" if told else "")

    @property
    def cells(self) -> list[str]:
        seen = self.seen or Seen()
        page = _seconds(seen.page_seconds)
        if page and seen.installed:
            page += ", installed"
        elif self.seen and self.shares:
            page = f"{page} (of {self.shares})"
        badges = sorted(set(seen.badges))
        return [
            self.name, self.says, self.torch, page, _seconds(seen.experiments_seconds), _seconds(seen.stop_seconds, 1),
            ", ".join(sorted(set(seen.levels))), ", ".join(badges), ", ".join(sorted(set(seen.texts))), self.verdict,
        ]


def table(outcomes: Iterable[Outcome]) -> str:
    rows = [HEAD, ["---"] * len(HEAD), *(outcome.cells for outcome in outcomes)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def write(page: Path, outcomes: Sequence[Outcome], commit: str) -> None:
    """Put the table between the marks. Raises ValueError when they are not there."""
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"{page} has no {BEGIN} … {END}: the table's place")
    when = f"{datetime.date.today():%Y-%m-%d}, {host()}, commit {commit[:12]}:"
    filled = f"{BEGIN}\n{when}\n\n{table(outcomes)}\n{END}"
    page.write_text(pattern.sub(lambda _: filled, text), encoding="utf-8")


def host(release: Path = Path("/etc/os-release"), memory: Path = Path("/proc/meminfo")) -> str:
    """Such as "Debian 12, 2 cores, 24 GB"."""
    fields = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', release.read_text(), re.MULTILINE)) if release.exists() else {}
    name = f"{fields.get('NAME', 'Linux')} {fields.get('VERSION_ID', '')}".replace(" GNU/Linux", "").strip()
    kilobytes = int(re.findall(r"^MemTotal:\s+(\d+)", memory.read_text(), re.MULTILINE)[0])
    return f"{name}, {os.cpu_count()} cores, {kilobytes / 1024**2:.0f} GB"


def _seconds(value: float | None, digits: int = 0) -> str:
    return "" if value is None else f"{value:.{digits}f} s"
