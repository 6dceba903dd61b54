"""What was tried and not kept, compressed by theme with its numbers, for the prompt. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median

from .base import Context, Past
from .diff_constants import constants_set, sets_nothing_else
from .prompt_history import is_kept
from .prompt_text import one_line, size
from .room import Part

# How much of each theme is told: (values of constants, ideas in words). The first that fits is taken.
DETAIL = ((40, 12), (20, 6), (10, 3), (4, 1), (0, 0))
MOST_THEMES = 40
IDEA_BYTES = 90
ENDED = frozenset({"kept", "reverted", "discarded", "failed"})
IDEAS = frozenset({"idea", "manual", "rebase"})


def ledger_part(context: Context, limit: int) -> Part:
    """A paragraph of each theme, the most tried first; at most `limit` bytes."""
    groups = by_theme(context.history)
    if not groups or limit <= 0:
        return Part(cut=("the ledger by theme",) if groups else ())
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    shown, more = ordered[:MOST_THEMES], ordered[MOST_THEMES:]
    for values, ideas in DETAIL:
        lines = [_theme_line(name, group, context.lower_is_better, values, ideas) for name, group in shown]
        if sum(map(size, lines)) + len(lines) <= limit:
            break
    cut = [f"of each theme what goes beyond {values} values and {ideas} ideas"] if (values, ideas) != DETAIL[0] else []
    while lines and sum(map(size, lines)) + len(lines) > limit:
        lines.pop()
        more = [shown[len(lines)], *more]
    cut += [f"{len(more)} themes that were little tried"] if more else []
    return Part("\n".join(lines), tuple(cut))


def by_theme(history: Sequence[Past]) -> dict[str, list[Past]]:
    """Ideas that came to an end, and those that a person rejected."""
    groups: dict[str, list[Past]] = defaultdict(list)
    for past in history:
        if past.kind in IDEAS and (past.state in ENDED or past.reason == "rejected"):
            groups[past.theme or "other"].append(past)
    return groups


def _theme_line(name: str, group: Sequence[Past], lower: bool, values: int, ideas: int) -> str:
    counts = Counter("failed" if one.state == "failed" else one.state for one in group)
    reasons = Counter(one.reason.replace("_", " ") for one in group if one.state == "failed" and one.reason)
    told = [f"{counts[state]} {state}" for state in ("kept", "reverted", "discarded", "failed") if counts[state]]
    if reasons:
        told[-1] += f" ({', '.join(f'{count} {reason}' for reason, count in reasons.most_common(4))})"
    rejected = sum(one.reason == "rejected" for one in group)
    told += [f"{rejected} rejected by a person"] if rejected else []
    deltas = [one.delta for one in group if one.delta is not None]
    if deltas:
        told.append(f"delta best {(min if lower else max)(deltas):+.4g}, median {median(deltas):+.4g}")
    line = f"- {one_line(name, 60)}: {len(group)} tried, {', '.join(told)}."
    missed = [one for one in group if not is_kept(one)]
    return " ".join(filter(None, [line, _values(missed, values), _ideas(missed, lower, ideas)]))


def _values(missed: Sequence[Past], most: int) -> str:
    """LR 0.02 +0.004, 0.06 +0.001; WIDTH 512 oom: the newest of each constant that was tried alone."""
    tried: dict[str, list[str]] = defaultdict(list)
    left = most
    for past in reversed(missed):
        named = constants_set(past.diff)
        if len(named) != 1 or not sets_nothing_else(past.diff) or not left:
            continue
        (name, value), = named.items()
        tried[name].append(f"{one_line(value, 30)} {_outcome(past)}")
        left -= 1
    text = "; ".join(f"{name} {', '.join(reversed(found))}" for name, found in sorted(tried.items()))
    return f"Values: {text}." if text else ""


def _ideas(missed: Sequence[Past], lower: bool, most: int) -> str:
    """The nearest misses first: what is most worth another look."""
    other = [one for one in missed if len(constants_set(one.diff)) != 1 or not sets_nothing_else(one.diff)]
    other.sort(key=lambda one: (one.delta is None, (one.delta or 0.0) * (1 if lower else -1)))
    told = [f"#{one.number} {_outcome(one)} {one_line(one.description, IDEA_BYTES)}" for one in other[:most]]
    return f"Ideas: {'; '.join(told)}." if told else ""


def _outcome(past: Past) -> str:
    if past.delta is not None:
        return f"{past.delta:+.3g}"
    return past.reason.replace("_", " ") or past.state
