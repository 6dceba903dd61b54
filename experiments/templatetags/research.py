"""How numbers, times and states look on a page. Everything returned is escaped, or a plain number."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from django import template
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from experiments import inbox, words
from experiments.measures import score_words, signed
from experiments.models import Experiment
from experiments.states import LIVE, Failure, RunState, State

register = template.Library()

SHAPES: dict[str, str] = {
    State.PROPOSING: "✎", State.REVIEWING: "◆", State.READY: "◔", State.TRAINING: "▶", State.EVALUATING: "◎",
    State.CONFIRMING: "◆", State.KEPT: "●", State.DISCARDED: "○", State.FAILED: "✕", State.CANCELLED: "⊘",
    State.REVERTED: "↩", RunState.ACTIVE: "▶", RunState.PAUSED: "‖", RunState.ENDED: "■",
}  # fmt: skip
WORDS: dict[str, str] = {
    State.REVIEWING: "needs review", State.CONFIRMING: "needs a verdict", State.READY: "waiting",
    State.EVALUATING: "scoring", RunState.ACTIVE: "running",
}  # fmt: skip
FAILURES: dict[str, str] = {
    Failure.BAD_PATCH: "edit did not apply", Failure.DUPLICATE: "tried before", Failure.PREFLIGHT: "would not train",
    Failure.RESEARCHER_ERROR: "researcher error", Failure.OOM: "out of memory",
    Failure.NAN: "loss not finite", Failure.TIMEOUT: "too slow", Failure.NO_SCORE: "no score",
    Failure.TAMPERED: "score tampered with", Failure.LEAK: "saw the answers", Failure.WORKER_LOST: "worker lost",
    Failure.DISK_FULL: "disk full",
}  # fmt: skip
REASONS = {
    "by_hand": "", "experiments": "", "deadline": "", "cost": "", "no_gain": "",  # the detail says it
    "researcher": "the researcher does not answer", "circuit_breaker": "too many failures in a row",
    "best_failed": "the best has no score by the exam of now",
    "branch_moved": "the branch was moved from outside", "disk_full": "the disk is full",
    "data": "the data cannot be prepared", "sandbox": "there is no sandbox",
    "device": "the GPU cannot be used",
}  # fmt: skip
PAGES = (("Home", "home"), ("Compare", "compare"), ("Machines", "machines"), ("Audit", "audit"))
STEPS = ("proposed", "review", "training", "scored", "verdict")
_STEP_OF = {
    State.PROPOSING: 0, State.REVIEWING: 1, State.READY: 2, State.TRAINING: 2, State.EVALUATING: 3, State.CONFIRMING: 4,
}  # fmt: skip


@register.inclusion_tag("partials/state.html")
def state_badge(state: str, reason: str = "") -> dict[str, Any]:
    """Colour, shape and word of a state; a failure says why."""
    word = FAILURES.get(reason, reason.replace("_", " ")) if state == State.FAILED and reason else ""
    if state == State.CANCELLED and reason == "rejected":
        word = "rejected"
    return {
        "state": state, "shape": SHAPES.get(state, "·"), "word": word or WORDS.get(state, state),
        "title": f"{state}: {word}" if word else "", "live": state in LIVE or state == RunState.ACTIVE,
    }  # fmt: skip


@register.filter
def state_word(state: str) -> str:
    return WORDS.get(state, state)


@register.inclusion_tag("partials/need_pill.html")
def need_pill() -> dict[str, int]:
    return {"count": inbox.count()}


@register.inclusion_tag("partials/site_links.html", takes_context=True)
def site_links(context: dict[str, Any]) -> dict[str, Any]:
    """The pages that every page leads to; the one that is open is marked."""
    here = context["request"].path
    links = [(word, reverse(name)) for word, name in PAGES if _there(name)]
    return {"links": [(word, url, here == url) for word, url in links]}


def _there(name: str) -> bool:
    try:
        reverse(name)
    except NoReverseMatch:
        return False
    return True


@register.simple_tag
def ago(at: datetime | None, never: str = "—") -> str | SafeString:
    """A moment: absolute in the HTML, so that it stays the same; times.js makes it relative."""
    if at is None:
        return never
    local = timezone.localtime(at)
    same_day = local.date() == timezone.localdate()
    return format_html(
        '<time datetime="{}" data-ago title="{}">{}</time>',
        at.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        f"{local:%H:%M}" if same_day else f"{local:%b %d, %H:%M}",
    )


@register.simple_tag
def clock(at: datetime) -> SafeString:
    """A time of day; times.js shows it in the reader's own time zone."""
    local = timezone.localtime(at)
    html = '<time datetime="{}" data-clock title="{}">{}</time>'
    return format_html(html, at.isoformat(), f"{local:%Y-%m-%d %H:%M %Z}", f"{local:%H:%M}")


@register.filter
def score(value: float | None) -> str:
    if value is None:
        return "—"
    return signed(score_words(value)) if math.isfinite(value) else "not finite"


@register.filter
def delta(value: float | None) -> str:
    return "—" if value is None or not math.isfinite(value) else signed(score_words(value, "+"))


@register.filter
def minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


@register.filter
def gain(percent: float, lower_is_better: bool = True) -> str:
    """A gain of 2.5 percent is −2.50 % of a metric that should be low."""
    change = -percent if lower_is_better else percent
    return signed(f"{change:+.2f} %" if abs(change) < 1e6 else f"{change:+.3g} %")


@register.filter
def reason_words(reason: str) -> str:
    """Why a run paused or ended."""
    return REASONS.get(reason, reason.replace("_", " "))


@register.filter
def better(value: float | None, lower_is_better: bool = True) -> str:
    """The class of a difference."""
    if not value or not math.isfinite(value):
        return "muted"
    return "good" if (value < 0) == lower_is_better else "muted"


@register.filter
def compact(value: float | None) -> str:
    """12345678 -> 12.3 M"""
    if value is None or not math.isfinite(value):
        return "—"
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


@register.filter
def money(value: float | None) -> str:
    if not value:
        return "$0"
    return f"${value:.2f}" if value >= 0.1 else f"${value:.4f}"


@register.filter
def cost_words(spent: Any) -> str:
    """Of anything with cost, tokens and unpriced: what is not priced is not taken for free."""
    if not spent.unpriced:
        return money(spent.cost)
    return f"at least {money(spent.cost)}" if spent.cost else "unknown"


@register.filter
def duration(seconds: float | None) -> str:
    """48 s, 5 min, 2 h 10"""
    if seconds is None:
        return "—"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d}"


@register.filter
def steps(experiment: Experiment) -> list[tuple[str, str]]:
    """(word, done | now | next) for each of the five steps."""
    at = _STEP_OF.get(State(experiment.state), len(STEPS))
    return [(word, "done" if i < at else "now" if i == at else "next") for i, word in enumerate(STEPS)]


@register.filter
def badge_words(badge: str) -> str:
    """What a badge of a score means."""
    return words.BADGES.get(badge, "")


@register.filter
def badge_tone(badge: str) -> str:
    return words.badge_tone(badge)


@register.filter
def preset_words(preset: str) -> str:
    """What a preset is for."""
    return words.preset(preset)
