"""Parsing of what trainings print: step lines, the summary, signs of failure. Reads text, no files or processes.

Tolerant of every known variant of the upstream's format (MLX, Windows, AMD, macOS and other forks).
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

# ---------------------------------------------------------------------------------------------------------------------
# Text as it arrives

ANSI_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor moves
    r"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC and other strings, up to BEL or ST
    r"|[ -/]*[0-~])?"  # short escapes, or an escape cut off
)
COLOUR = re.compile(r"(\x1b\[[0-9;:]{0,40}m)")
# Other controls, and the marks that reorder what a reader sees (bidirectional embeddings, overrides and isolates).
UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
LINE_END = re.compile(r"\r\n|\r|\n")
LINE_LIMIT = 100_000  # characters


def strip_controls(text: str, *, colours: bool = False) -> str:
    """Text without ANSI escapes, control and bidirectional characters; newline, carriage return and tab stay.

    With `colours`, the escapes that only colour stay too.
    """
    if not colours or "\x1b" not in text:
        return UNSEEN.sub("", ANSI_ESCAPE.sub("", text))
    parts = COLOUR.split(text)  # text and colour in turn
    return "".join(part if place % 2 else strip_controls(part) for place, part in enumerate(parts))


class LineSplitter:
    r"""Cuts text that arrives in pieces into lines that end with \r, \n or \r\n; the ends are dropped.

    A line longer than LINE_LIMIT is cut, so that a training that never ends its line cannot fill the memory.
    """

    def __init__(self) -> None:
        self.pending = ""  # the text after the last line end
        self._after_return = False

    def feed(self, text: str) -> list[str]:
        """The lines that text completes."""
        if not text:
            return []
        if self._after_return:
            text = text.removeprefix("\n")  # the second half of a \r\n that was cut in two
        self._after_return = text.endswith("\r")
        *lines, self.pending = LINE_END.split(self.pending + text)
        while len(self.pending) > LINE_LIMIT:
            lines.append(self.pending[:LINE_LIMIT])
            self.pending = self.pending[LINE_LIMIT:]
        return lines


# ---------------------------------------------------------------------------------------------------------------------
# Step lines

NUMBER = re.compile(r"[+-]?(?:\d[\d,]*(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|nan|inf(?:inity)?)", re.IGNORECASE)
STEP = re.compile(
    r"\s*(?:step|iteration|iter)\s*[:=]?\s*(?P<step>\d[\d,]{0,14})(?:\s*/\s*\d[\d,]*)?"
    r"\s*(?:\(\s*(?P<percent>[\d.]+)\s*%\s*\))?\s*(?:$|[|:])",
    re.IGNORECASE,
)
STEP_LINE_LIMIT = 2000  # characters; a longer line is no step line

LOSS = ("loss", "train_loss", "train loss")
LRM = ("lrm", "lr", "lr_mult")
DT_MS = ("dt", "time", "step_time")
TOK_PER_SEC = ("tok/sec", "tok/s", "tokens/sec", "tokens/s", "tok_per_sec")
REMAINING = ("remaining", "remain", "eta")
GRAD_NORM = ("grad_norm", "grad norm", "gnorm", "norm")

# The last field of a step line with its unit: all of the line has arrived.
WHOLE_STEP = re.compile(r"\|\s*(?:remaining|remain|eta)\s*:\s*-?[\d.,]+\s*s\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Point:
    """One step of a training: loss in nats a token, lrm as a fraction of the peak learning rate, mfu in percent."""

    step: int
    percent: float | None
    loss: float
    lrm: float | None
    dt_ms: float | None
    tok_per_sec: float | None
    mfu: float | None
    remaining_s: float | None
    grad_norm: float | None


def parse_number(text: str) -> float | None:
    """The number that text begins with, thousands commas allowed, nan and inf included; None where there is none."""
    match = NUMBER.match(text.strip())
    return float(match[0].replace(",", "")) if match else None


def finite_number(text: str) -> float | None:
    value = parse_number(text)
    return value if value is not None and math.isfinite(value) else None


def parse_milliseconds(text: str) -> float | None:
    """Milliseconds of "194ms", "0.19s" or "194"; without a unit it is milliseconds."""
    value = finite_number(text)
    if value is None:
        return None
    return value * 1000 if re.search(r"[\d.]\s*s(?:ec)?\s*$", text) else value


def parse_step(line: str) -> Point | None:
    """The point that a step line tells, or None where the line is no step line or has no loss.

    A FAIL or other text behind the last number does no harm. A field that is missing or n/a is None. Only the loss may
    be nan or infinite.
    """
    if len(line) > STEP_LINE_LIMIT:
        return None
    text = strip_controls(line).strip()
    match = STEP.match(text)
    if not match:
        return None
    fields: dict[str, str] = {}
    for part in text[match.end() :].split("|"):
        key, colon, value = part.partition(":")
        if colon:
            fields.setdefault(" ".join(key.lower().split()), value)
    loss = first_number(fields, LOSS)
    if loss is None:
        return None
    return Point(
        step=int(match["step"].replace(",", "")),
        percent=parse_number(match["percent"] or ""),
        loss=loss,
        lrm=first_finite(fields, LRM),
        dt_ms=parse_milliseconds(next((fields[name] for name in DT_MS if name in fields), "")),
        tok_per_sec=first_finite(fields, TOK_PER_SEC),
        mfu=first_finite(fields, ("mfu",)),
        remaining_s=first_finite(fields, REMAINING),
        grad_norm=first_finite(fields, GRAD_NORM),
    )


def first_number(fields: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    """The number of the first of these names that is there and tells one."""
    numbers = (parse_number(fields[name]) for name in names if name in fields)
    return next((number for number in numbers if number is not None), None)


def first_finite(fields: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    number = first_number(fields, names)
    return number if number is not None and math.isfinite(number) else None


def is_whole_step(pending: str) -> bool:
    r"""Whether unfinished text already is a full step line, so that a follower need not wait for the next \r."""
    return WHOLE_STEP.search(pending[-200:]) is not None and parse_step(pending) is not None


# ---------------------------------------------------------------------------------------------------------------------
# The summary

SUMMARY_KEY = re.compile(r"([A-Za-z_][\w./-]*)[ \t]*:(?!:)[ \t]*(.*)")
SUMMARY_LIMIT = 200  # lines read after the last ---
VALUE_LIMIT = 200  # characters kept of an extra value
ALIASES = {"peak_memory_mb": "peak_vram_mb", "peak_mem_mb": "peak_vram_mb"}


@dataclass(frozen=True)
class Summary:
    """What a training reports at its end. val_bpb is None where it is missing, skipped, not finite or not positive."""

    val_bpb: float | None
    training_seconds: float | None = None
    total_seconds: float | None = None
    peak_vram_mb: float | None = None
    mfu_percent: float | None = None
    total_tokens_m: float | None = None
    num_steps: int | None = None
    num_params_m: float | None = None
    depth: int | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


WHOLE_NUMBERS = {"num_steps", "depth"}
KNOWN = {name for name in Summary.__dataclass_fields__ if name != "extra"}


def parse_summary(text: str) -> Summary | None:
    """The summary after the last line that is exactly ---, or None where there is none or it is of a smoke test.

    Only keys at the start of a line count, and the first of several equal ones: a print further down cannot replace it.
    """
    lines = summary_lines(text)
    if lines is None:
        return None
    fields: dict[str, str] = {}
    for line in lines:
        match = SUMMARY_KEY.fullmatch(line.rstrip())
        if match:
            key = match[1].lower() if match[1].lower() in KNOWN else match[1]
            fields.setdefault(ALIASES.get(key, key), match[2].strip())
    if fields.get("smoke_test", "").lower() in ("true", "1", "yes"):
        return None
    numbers = {name: finite_number(fields.pop(name, "")) for name in KNOWN}
    val_bpb = numbers["val_bpb"]
    numbers["val_bpb"] = val_bpb if val_bpb is not None and val_bpb > 0 else None
    return Summary(
        val_bpb=numbers["val_bpb"],
        training_seconds=numbers["training_seconds"],
        total_seconds=numbers["total_seconds"],
        peak_vram_mb=numbers["peak_vram_mb"],
        mfu_percent=numbers["mfu_percent"],
        total_tokens_m=numbers["total_tokens_m"],
        num_steps=whole_number(numbers["num_steps"]),
        num_params_m=numbers["num_params_m"],
        depth=whole_number(numbers["depth"]),
        extra={key: value[:VALUE_LIMIT] for key, value in fields.items()},
    )


def summary_lines(text: str) -> list[str] | None:
    """The lines after the last line that is exactly ---, without control characters."""
    lines = LINE_END.split(text)
    if "---" not in lines:
        return None
    start = len(lines) - lines[::-1].index("---")
    return [strip_controls(line) for line in lines[start : start + SUMMARY_LIMIT]]


def whole_number(value: float | None) -> int | None:
    return int(value) if value is not None and abs(value) < 1e15 else None


# ---------------------------------------------------------------------------------------------------------------------
# Failures

OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemoryError|\bMemoryError\b|can't allocate memory|cannot allocate memory|bad_alloc",
    re.IGNORECASE,
)
NOT_A_NUMBER = re.compile(r"(?:^|[\r\n]|\s)FAIL\b|\bloss\b\s*(?::|=|is)\s*[+-]?(?:nan|inf)\b", re.IGNORECASE)
KILLED = {137, -9}  # SIGKILL, as a shell and as Python report it: the kernel ran out of memory


def classify_failure(exit_code: int | None, tail: str) -> str:
    """'oom', 'nan' or 'crash', from the exit code (None: not known) and the end of the log."""
    text = strip_controls(tail)
    if OUT_OF_MEMORY.search(text):
        return "oom"
    if NOT_A_NUMBER.search(text):
        return "nan"
    return "oom" if exit_code in KILLED else "crash"


ERROR_LINE = re.compile(r"(?:[\w.]*(?:Error|Exception|Exit|Interrupt)\b|prepare: |FAIL: )")
MISSING = (  # of what torch.compile calls, by the words of those who miss it
    (re.compile(r"Failed to find C compiler|No such file or directory: '(?:gcc|cc|clang)'"),
     "There is no C compiler, and torch.compile needs one: install gcc."),
    (re.compile(r"Python\.h: No such file"),
     "Python's headers are missing, and torch.compile needs them: install python3-dev."),
    (re.compile(r"cannot find -lcuda"), "libcuda is not found, and torch.compile needs it: does `ldconfig -p` list it?"),
)  # fmt: skip


def last_words(log: str) -> str:
    """Why it ended, in one line: what is known to be missing, else the last error, else the last line."""
    text = strip_controls(log)
    known = next((words for pattern, words in MISSING if pattern.search(text)), "")
    lines = [line.strip() for line in LINE_END.split(text) if line.strip()]
    errors = [line for line in lines if ERROR_LINE.match(line)]  # advice of torch's stands behind its errors
    return known or next(iter(errors[-1:] or lines[-1:]), "it ended without a word")
