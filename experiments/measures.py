"""What came out of an experiment, as labelled numbers beside its parent's. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What is measured of one experiment; `summary` is the training's own, and nothing in it is certain."""

    score: float | None
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    label: str
    value: str
    parent: str = ""
    delta: str = ""
    better: bool | None = None  # only of the score; whether more memory is worse depends

    @property
    def shape(self) -> str:
        """Up or down, so that nobody needs the colour."""
        return {"+": "▲", "−": "▼"}.get(self.delta[:1], "")

    @property
    def word(self) -> str:
        return "" if self.better is None else "better" if self.better else "worse"


def _gb(mb: float) -> str:
    return f"{mb / 1024:.1f} GB"


HUGE, MOST = 1e12, 1e100  # longer than a cell; of nothing that was ever measured
# key in the summary, label, how it is written
KNOWN: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("peak_vram_mb", "Memory", _gb),
    ("mfu_percent", "MFU", "{:.1f} %".format),
    ("num_steps", "Steps", "{:,.0f}".format),
    ("tokens_per_second", "Tokens/s", "{:,.0f}".format),
    ("training_seconds", "Training", "{:,.1f} s".format),
    ("total_seconds", "In all", "{:,.1f} s".format),
    ("total_tokens_m", "Tokens", "{:,.1f} M".format),
    ("num_params_m", "Parameters", "{:,.1f} M".format),
    ("depth", "Depth", "{:,.0f}".format),
)
_SHOWN_APART = {"val_bpb"}  # the score, which the judge measures


def measures(mine: Outcome, parent: Outcome | None, *, metric: str, lower_is_better: bool) -> list[Measure]:
    """The score first, then what the training said of itself; only what is known."""
    rows = [_score(mine.score, parent.score if parent else None, metric, lower_is_better)]
    ours, theirs = with_speed(mine.summary), with_speed(parent.summary if parent else {})
    rows += [_measure(label, ours.get(key), theirs.get(key), write) for key, label, write in KNOWN]
    known = {key for key, _, _ in KNOWN} | _SHOWN_APART
    others = sorted(key for key in ours if key not in known)[:20]
    rows += [_measure(key[:40], ours[key], theirs.get(key), "{:,.6g}".format) for key in others]
    return [row for row in rows if row.value]


def with_speed(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """`summary` with its tokens a second, where they follow from it."""
    tokens, seconds = number(summary.get("total_tokens_m")), number(summary.get("training_seconds"))
    return {**summary, "tokens_per_second": tokens * 1e6 / seconds} if tokens and seconds else summary


def score_words(value: float, form: str = "") -> str:
    """A score, or with `form` "+" a difference of two; where six digits behind the point say nothing, six in all."""
    return format(value, f"{form}.6f" if abs(value) < 100 else f"{form}.6g")


def written(value: float, write: Callable[[float], str]) -> str:
    """`value` as `write` has it, or short where that would be a line of digits."""
    return write(value) if abs(value) < HUGE else f"{value:.3g}"


def signed(text: str) -> str:
    """With a true minus sign, so that it is as wide as the plus."""
    return text.replace("-", "−")


def number(value: Any) -> float | None:
    """`value` where it is a number that can be reckoned with: finite, and its square too."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST:
        return None
    return float(value)


def _score(mine: float | None, parent: float | None, metric: str, lower_is_better: bool) -> Measure:
    a, b = number(mine), number(parent)
    if a is None:
        return Measure(metric, "")
    if b is None:
        return Measure(metric, signed(score_words(a)))
    difference = a - b
    percent = f" ({difference / b:+.2%})" if b and abs(difference / b) < 100 else ""  # a change of metric, not a gain
    better = None if difference == 0 else (difference < 0) == lower_is_better
    change = signed(score_words(difference, "+") + percent)
    return Measure(metric, signed(score_words(a)), signed(score_words(b)), change, better)


def _measure(label: str, mine: Any, parent: Any, write: Callable[[float], str]) -> Measure:
    a, b = number(mine), number(parent)
    if a is None:
        return Measure(label, "")
    if b is None:
        return Measure(label, signed(written(a, write)))
    mine_words, parent_words = written(a, write), written(b, write)
    same = mine_words == parent_words
    delta = "=" if same else signed(("+" if a > b else "-") + written(abs(a - b), write))
    return Measure(label, signed(mine_words), signed(parent_words), delta)
