"""The part of the prompt that says which kind of idea is due. Pure."""

from __future__ import annotations

from .base import Context, Past
from .prompt_text import fenced, shorten
from .strategy import Plan, Strategy

MAX_DIFF_CHARS = 1_500  # of each near-miss

ASKED = {
    Strategy.EXPLOIT: "Stay near the best: tune what has paid, in the direction in which it paid.",
    Strategy.EXPLORE: "Leave what was tried: take up a theme that the history has little or nothing of.",
    Strategy.COMBINE: "Put the changes of these near-misses together in one edit, as far as they fit each other.",
    Strategy.SIMPLIFY: "Remove code or a knob at an equal score: fewer lines win a tie.",
    Strategy.RETHINK: "Go another way from here.",
}


def plan_section(context: Context) -> str:
    plan = context.plan
    if plan is None:
        return ""
    lines = [f"# What is due: {plan.strategy}", "", f"Why: {plan.why}.", ASKED[plan.strategy]]
    if context.goal_number is not None and context.goal_score is not None:
        lines.append(
            f"The files above are those of #{context.best_number}, an older keep ({_score(context.best_score)}). "
            f"To be kept, the edit must beat the best, #{context.goal_number} with {_score(context.goal_score)}. "
            "Do not repeat what led there."
        )
    return "\n".join([*lines, *_near_misses(context, plan)])


def _score(score: float | None) -> str:
    return "not scored" if score is None else f"{score:.6g}"


def _near_misses(context: Context, plan: Plan) -> list[str]:
    by_number = {one.number: one for one in context.history}
    return [_shown(by_number[number]) for number in plan.near_misses if number in by_number]


def _shown(past: Past) -> str:
    delta = "" if past.delta is None else f", {past.delta:+.4g}"
    return f"\n#{past.number}: {past.description}{delta}\n{fenced(shorten(past.diff, MAX_DIFF_CHARS), 'diff')}"
