"""The part of the prompt that says which kind of idea is due. Pure."""

from __future__ import annotations

from .base import Context, Past
from .prompt_text import data, one_line, size
from .room import Part
from .strategy import Plan, Strategy

LEAST_DIFF_BYTES = 200

ASKED = {
    Strategy.EXPLOIT: "Stay near the best: tune what has paid, in the direction in which it paid.",
    Strategy.EXPLORE: "Leave what was tried: take up a theme that the history has little or nothing of.",
    Strategy.COMBINE: "Put the changes of these near-misses together in one edit, as far as they fit each other.",
    Strategy.SIMPLIFY: "Remove code or a knob at an equal score: fewer lines win a tie.",
    Strategy.RETHINK: "Go another way from here.",
}


def plan_section(context: Context, limit: int) -> Part:
    plan = context.plan
    if plan is None:
        return Part()
    lines = [f"# What is due: {plan.strategy}", "", f"Why: {plan.why}.", ASKED[plan.strategy]]
    if plan.untried:
        lines.append(f"Themes not tried yet: {_named(plan.untried)}.")
    if plan.least_tried:
        lines.append(f"Least tried: {_named(plan.least_tried)}.")
    if context.goal_number is not None and context.goal_score is not None:
        lines.append(
            f"The files above are those of #{context.best_number}, an older keep ({_score(context.best_score)}). "
            f"To be kept, the edit must beat the best, #{context.goal_number} with {_score(context.goal_score)}. "
            "Do not repeat what led there."
        )
    head = "\n".join(lines)
    near = _near_misses(context, plan)
    if not near:
        return Part(head)
    allowed = (limit - size(head)) // len(near) - 150  # 150: its line and fence
    cut = [one for one in near if size(one.diff) > allowed]
    words = (f"parts of the diffs of {len(cut)} near-misses",) if cut else ()
    return Part("\n".join([head, *(_shown(one, allowed) for one in near)]), words)


def _named(themes: tuple[str, ...]) -> str:
    return ", ".join(one_line(theme, 60) for theme in themes)


def _score(score: float | None) -> str:
    return "not scored" if score is None else f"{score:.6g}"


def _near_misses(context: Context, plan: Plan) -> list[Past]:
    by_number = {one.number: one for one in context.history}
    return [by_number[number] for number in plan.near_misses if number in by_number]


def _shown(past: Past, allowed: int) -> str:
    delta = "" if past.delta is None else f", {past.delta:+.4g}"
    diff = f"\n{data(past.diff, allowed, 'diff')}" if allowed >= LEAST_DIFF_BYTES else ""
    return f"\n#{past.number}: {one_line(past.description, 100)}{delta}{diff}"
