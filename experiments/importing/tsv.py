"""Reads a results.tsv as forks write it, by the names in its header. Pure. Raises ImportRefused for any other file."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise

from experiments.importing.refused import ImportRefused
from trainer.output import strip_controls

MAX_BYTES, MAX_ROWS = 5_000_000, 20_000
UPSTREAM = ("commit", "val_bpb", "memory_gb", "status", "description")
KEEP, DISCARD, CRASH = "keep", "discard", "crash"

_COLUMNS: dict[str, tuple[str, ...]] = {
    "commit": ("commit", "hash", "sha", "commit_hash", "commit_sha", "commit_id", "git_hash", "git_sha", "git_commit"),
    "status": ("status", "decision", "verdict", "outcome", "result", "kept"),
    "description": ("description", "desc", "idea", "change", "experiment_description", "experiment", "title", "notes"),
    "hypothesis": ("hypothesis", "rationale", "reason"),
    "memory_gb": ("memory_gb", "mem_gb", "peak_memory_gb", "peak_mem_gb", "vram_gb", "peak_vram_gb"),
    "memory_mb": ("peak_vram_mb", "memory_mb", "mem_mb", "peak_memory_mb", "peak_mem_mb", "vram_mb"),
    "number": ("number", "no", "#", "exp", "exp_id", "experiment_id", "id", "idx", "index", "iteration", "iter", "trial"),
    "time": ("timestamp", "datetime", "time", "date", "finished_at", "created_at"),
}
_SUMMARY: dict[str, tuple[str, ...]] = {  # kept as the training's own summary
    "num_steps": ("num_steps", "steps"), "mfu_percent": ("mfu_percent", "mfu"),
    "training_seconds": ("training_seconds", "train_seconds"), "total_seconds": ("total_seconds", "wall_seconds"),
    "total_tokens_m": ("total_tokens_m", "tokens_m"), "num_params_m": ("num_params_m", "params_m"), "depth": ("depth",),
}  # fmt: skip
_SCORES = ("val_bpb", "bpb", "val_loss", "metric", "score", "loss")
_STATUSES = {
    KEEP: "keep kept keeper accept accepted improved improvement baseline success ok yes true 1",
    DISCARD: "discard discarded reject rejected revert reverted drop dropped worse regression skip skipped no false 0",
    CRASH: "crash crashed fail failed failure error oom nan timeout timedout killed checks_failed invalid",
}
_STATUS = {word: status for status, words in _STATUSES.items() for word in words.split()}
_HIGHER = re.compile(r"acc|f1|auc|r2|recall|precision|reward|win|throughput|tok")
_HASH = re.compile(r"[0-9a-f]{4,64}")
_NUMBER = re.compile(r"[+-]?(\d[\d,]*(\.\d*)?|\.\d+)(e[+-]?\d+)?%?", re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    line: int  # in the file, from 1
    commit: str  # as it stands there; may be a word, or empty
    status: str  # KEEP | DISCARD | CRASH
    said: str  # the status as it stands there
    score: float | None  # None: none was given, or it is zero or not finite
    score_text: str
    description: str
    hypothesis: str = ""
    number: int | None = None
    at: datetime | None = None
    summary: dict[str, float] = field(default_factory=dict)

    @property
    def has_hash(self) -> bool:
        return bool(_HASH.fullmatch(self.commit.lower()))

    @property
    def is_baseline(self) -> bool:
        return self.commit.lower() == "baseline" or self.description.lower().startswith("baseline")

    @property
    def not_finite(self) -> bool:
        return bool(_NOT_FINITE.fullmatch(self.score_text))


@dataclass(frozen=True)
class Table:
    rows: tuple[Row, ...]  # in the order they were tried
    metric: str
    lower_is_better: bool
    remarks: tuple[str, ...]  # what was left out or done to it, for the person


def read_table(data: bytes) -> Table:
    lines = _lines(decode(data))
    header, first, remarks = _header(lines)
    columns, score, ignored = _columns(header)
    if ignored:
        remarks.append(f"Not read: the column{'s' * (len(ignored) > 1)} {_listed(ignored)}.")
    rows = _rows(lines[first:], header, columns, score, remarks)
    metric = header[score][:40]
    return Table(tuple(_in_order(rows, remarks)), metric, _lower_is_better(metric, rows), tuple(remarks))


# The file


def decode(data: bytes) -> str:
    """The text of a file that may come from Windows: with a mark at its start, in UTF-16, in an old code page."""
    if not data.strip():
        raise ImportRefused("The table is empty. A results.tsv has a header and a row for each experiment.", "table")
    if len(data) > MAX_BYTES:
        raise ImportRefused(f"The table has {len(data) / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:.0f} MB are read.", "table")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    if b"\0" in data or data[:4] in (b"%PDF", b"PK\x03\x04", b"\x1f\x8b\x08\x00"):
        raise ImportRefused("This is a binary file, not a table. Choose the results.tsv of the run: plain text.", "table")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    if re.match(r"\s*<(!doctype|html|\?xml|head|body)", text, re.IGNORECASE):
        raise ImportRefused("This is a web page, not a table. On GitHub, open the file and save it with Raw.", "table")
    return text


def _lines(text: str) -> list[tuple[int, str]]:
    lines = re.split(r"\r\n|\r|\n", text)
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _header(lines: Sequence[tuple[int, str]]) -> tuple[list[str], int, list[str]]:
    """Names of the columns, where the rows start, and remarks."""
    top = lines[0][1]
    if "\t" not in top:
        if top.count(",") >= 2 or top.count(";") >= 2:
            raise ImportRefused("The columns are separated by commas; a results.tsv separates them by tabs.", "table")
        raise ImportRefused(
            f"This is no results.tsv: its first line is {_short(top)}. Expected: {' '.join(UPSTREAM)}, separated by tabs.",
            "table",
        )
    cells = [cell.strip() for cell in top.split("\t")]
    if len(cells) >= 4 and _number(cells[1]) is not None and _status_of(cells[3]):
        return list(UPSTREAM), 0, ["It has no header: the columns are taken as the upstream's."]
    return [_name(cell) for cell in cells], 1, []


def _name(cell: str) -> str:
    return re.sub(r"[\s\-]+", "_", strip_controls(cell).strip().casefold())


def _short(text: str) -> str:
    clean = " ".join(strip_controls(text).split())
    return f"“{clean[:60]}{'…' if len(clean) > 60 else ''}”"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:30] or "(no name)" for name in names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown


# The columns


def _columns(header: Sequence[str]) -> tuple[dict[str, int], int, list[str]]:
    """Where each known column stands, where the score stands, and the names of the others."""
    found: dict[str, int] = {}
    for meaning, names in {**_COLUMNS, **_SUMMARY}.items():
        place = next((header.index(name) for name in names if name in header), None)
        if place is not None:
            found[meaning] = place
    score = _score_column(header)
    missing = ["a score such as val_bpb"] * (score is None) + ["status"] * ("status" not in found)
    if score is None or missing:
        raise ImportRefused(
            f"The table has no column for {' and '.join(missing)}. Its columns are: {_listed(header)}. "
            f"Expected: {', '.join(UPSTREAM)}; others may stand between them.",
            "table",
        )
    return found, score, [name for place, name in enumerate(header) if place != score and place not in found.values()]


def _score_column(header: Sequence[str]) -> int | None:
    named = [name for name in (*_SCORES, *(name for name in header if name.startswith("val_"))) if name in header]
    return header.index(named[0]) if named else None


# The rows


def _rows(
    lines: Sequence[tuple[int, str]], header: Sequence[str], columns: dict[str, int], score: int, remarks: list[str]
) -> list[Row]:
    if len(lines) > MAX_ROWS:
        raise ImportRefused(f"The table has {len(lines):,} rows; at most {MAX_ROWS:,} are read.", "table")
    rows: list[Row] = []
    seen: set[str] = set()
    doubled: list[int] = []
    unread: list[int] = []
    for number, line in lines:
        cells = _cells(line, len(header), columns.get("description"))
        if [_name(cell) for cell in cells] == list(header):
            continue  # the header again: two tables were joined
        row = _row(number, cells, columns, score)
        if row is None:
            unread.append(number)
        elif row.has_hash and line.strip() in seen:
            doubled.append(number)
        else:
            seen.add(line.strip())
            rows.append(row)
    _remark(remarks, doubled, "counted once: the same row stands above")
    _remark(remarks, unread, "left out: neither a status nor a score")
    if not rows:
        what = "no row that could be read" if unread else "a header but no row yet"
        raise ImportRefused(f"The table has {what}. There is nothing to import.", "table")
    unknown = Counter(row.said for row in rows if not _status_of(row.said))
    if unknown:
        remarks.append(f"Unknown status taken as discarded: {_listed(list(unknown))}.")
    return rows


def _remark(remarks: list[str], lines: list[int], what: str) -> None:
    if lines:
        remarks.append(f"Line{'s' * (len(lines) > 1)} {_listed([str(line) for line in lines])} {what}.")


def _cells(line: str, width: int, description: int | None) -> list[str]:
    """As many as the header has: tabs may be missing at the end, and a description may hold some of its own."""
    cells = [cell.strip() for cell in line.split("\t")]
    if len(cells) > width and description == width - 1:
        cells = [*cells[: width - 1], " ".join(cells[width - 1 :]).strip()]
    return [*cells, *[""] * (width - len(cells))]


def _row(line: int, cells: Sequence[str], columns: dict[str, int], score: int) -> Row | None:
    def cell(meaning: str) -> str:
        return strip_controls(cells[columns[meaning]]).strip() if meaning in columns else ""

    said, score_text = cell("status"), cells[score].strip()
    value = _number(score_text)
    if not said and value is None:
        return None
    number = _number(cell("number"))
    return Row(
        line=line, commit=cell("commit")[:64], status=_status_of(said) or DISCARD, said=said[:40] or "nothing",
        score=value or None,  # 0.000000 is upstream's way to write that there is none
        score_text=score_text[:40], description=cell("description"), hypothesis=cell("hypothesis"),
        number=int(number) if number is not None else None, at=_time(cell("time")), summary=_summary(cell),
    )  # fmt: skip


def _summary(cell: Callable[[str], str]) -> dict[str, float]:
    values = {name: _number(cell(name)) for name in _SUMMARY}
    memory_gb = _number(cell("memory_gb"))
    values["peak_vram_mb"] = memory_gb * 1024 if memory_gb else _number(cell("memory_mb"))
    return {name: value for name, value in values.items() if value}


def _status_of(said: str) -> str:
    """By its first word, whatever the case and the signs around it; "" where it is unknown."""
    words = re.findall(r"[a-z_0-9]+", said.casefold())
    return _STATUS.get(words[0], "") if words else ""


def _number(text: str) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text.rstrip("%").replace(",", ""))
    return value if math.isfinite(value) else None


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        seconds = _number(text)
        return datetime.fromtimestamp(seconds, UTC) if seconds and 1e9 < seconds < 4e9 else None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


# Their order


def _in_order(rows: list[Row], remarks: list[str]) -> list[Row]:
    """As they were tried: by their numbers or times where all have one, the baseline first."""
    numbers, times = [row.number for row in rows], [row.at for row in rows]
    ordered = rows
    if None not in numbers and len(set(numbers)) == len(rows):
        ordered = sorted(rows, key=lambda row: row.number or 0)
    elif None not in times:
        ordered = sorted(rows, key=lambda row: row.at or datetime.min.replace(tzinfo=UTC))
    baselines = [row for row in ordered if row.is_baseline]
    if len(baselines) == 1 and ordered[0] is not baselines[0]:
        ordered = [baselines[0], *(row for row in ordered if row is not baselines[0])]
    if ordered != rows:
        remarks.append("The rows were out of order and were sorted.")
    return ordered


def _lower_is_better(metric: str, rows: Sequence[Row]) -> bool:
    """A name that says so, else by where the keeps went."""
    if metric == "val_bpb" or "loss" in metric or "bpb" in metric or "rmse" in metric:
        return True
    kept = [row.score for row in rows if row.status == KEEP and row.score is not None]
    steps = [after - before for before, after in pairwise(kept)]
    if sum(step < 0 for step in steps) == sum(step > 0 for step in steps):
        return not _HIGHER.search(metric)
    return sum(step < 0 for step in steps) > sum(step > 0 for step in steps)


