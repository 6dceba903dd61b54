"""What kind of idea is due next, read off the ledger. Pure: the same history gives the same plan.

While ideas are kept, go on near them. After PATIENCE ideas without a gain the search has met a plateau, and the kinds of
idea take turns, PATIENCE ideas each, until one of them is kept. A person may force one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from experiments.themes import OTHER, THEMES

from .base import Past

PATIENCE = 3  # ideas without a gain before the kind of idea changes
NEAR_SHARE = 0.005  # a near-miss is at most so much worse than its parent, where the noise is not known
NEAR_SIGMAS = 2.0
GROWTH_LINES = 40  # lines that keeps may add before it is time to simplify
JUDGED = frozenset({"kept", "reverted", "discarded", "failed"})
IDEAS = frozenset({"idea", "manual", "rebase"})  # a rebase is an idea's second chance, on a best that had moved
# Failures of the model's service, of the reply or of the machine: no idea was tried.
NOT_TRIED = frozenset({"researcher_error", "bad_patch", "worker_lost", "disk_full"})
NAMED = 4  # themes that EXPLORE names
NOT_ASKED_FOR = frozenset({OTHER, "seed"})  # no themes to send anybody to


class Strategy(StrEnum):
    EXPLOIT = "exploit"  # tune around the best
    EXPLORE = "explore"  # a theme that was not tried
    COMBINE = "combine"  # near-misses together
    SIMPLIFY = "simplify"  # remove code at an equal score
    RETHINK = "rethink"  # branch from an older keep


TURNS = (Strategy.EXPLORE, Strategy.RETHINK, Strategy.COMBINE, Strategy.SIMPLIFY)


@dataclass(frozen=True)
class Plan:
    strategy: Strategy
    why: str  # one line, for people and for the prompt
    since_keep: int = 0  # ideas judged since the last gain
    parent: int | None = None  # RETHINK: the number of the keep to branch from
    near_misses: tuple[int, ...] = ()  # COMBINE: their numbers, the nearest first
    untried: tuple[str, ...] = ()  # EXPLORE: themes
    least_tried: tuple[str, ...] = ()  # EXPLORE: themes, where few or none are untried

    @property
    def is_plateau(self) -> bool:
        return self.since_keep >= PATIENCE


def next_plan(
    past: Sequence[Past], *, chain: Sequence[int] = (), forced: str = "", sigma: float | None = None,
    lower_is_better: bool = True, under_way: int = 0,
) -> Plan:
    """`past`: oldest first. `chain`: the numbers of the keeps that led to the best, oldest first, the best last.

    `sigma`: the noise of a score, where it is known. `under_way`: ideas that are not judged yet; each of them has taken
    an older keep to branch from. A forced strategy that the ledger has nothing for becomes EXPLORE.
    """
    ideas = [one for one in past if one.kind in IDEAS and one.state in JUDGED and one.reason not in NOT_TRIED]
    since = _since_keep(ideas)
    near = _near_misses(ideas[len(ideas) - since :], sigma, lower_is_better)
    grown = _lines_added(past, chain)
    if forced:
        plan = _planned(Strategy(forced), "a person chose it", since, chain, near, step=since + under_way)
    elif since >= PATIENCE:
        rounds, turn = divmod(since // PATIENCE - 1, len(TURNS))
        step = rounds * PATIENCE + since % PATIENCE
        plan = _planned(TURNS[turn], f"{since} ideas without a gain", since, chain, near, step=step + under_way)
    elif since and grown > GROWTH_LINES:
        plan = Plan(Strategy.SIMPLIFY, f"the keeps have added {grown} lines", since)
    else:
        plan = Plan(Strategy.EXPLOIT, "the last idea was a gain" if ideas and not since else "near the best first", since)
    return _with_themes(plan, ideas) if plan.strategy is Strategy.EXPLORE else plan


def _with_themes(plan: Plan, ideas: Sequence[Past]) -> Plan:
    """Says which themes were not tried, and which least where that names too few."""
    tried = Counter(one.theme for one in ideas if one.theme)
    known = [theme for theme in dict.fromkeys([*THEMES, *tried]) if theme not in NOT_ASKED_FOR]
    untried = tuple(theme for theme in known if not tried[theme])[:NAMED]
    rest = sorted((theme for theme in known if tried[theme]), key=lambda theme: tried[theme])
    return replace(plan, untried=untried, least_tried=tuple(rest[: NAMED - len(untried)]))


def _planned(
    strategy: Strategy, why: str, since: int, chain: Sequence[int], near: tuple[int, ...], step: int
) -> Plan:
    if strategy is Strategy.RETHINK:
        older = chain[-2::-1]  # from the keep before the best back to the baseline, a step further with each idea
        if older:
            return Plan(strategy, why, since, parent=older[step % len(older)])
    elif strategy is Strategy.COMBINE:
        if len(near) >= 2:
            return Plan(strategy, why, since, near_misses=near[:4])
    else:
        return Plan(strategy, why, since)
    lacks = "there is no older keep" if strategy is Strategy.RETHINK else "there are no two near-misses"
    return Plan(Strategy.EXPLORE, f"{why}; {lacks} to {strategy} from", since)


def _since_keep(ideas: Sequence[Past]) -> int:
    for count, one in enumerate(reversed(ideas)):
        if one.state == "kept":
            return count
    return len(ideas)


def _near_misses(ideas: Sequence[Past], sigma: float | None, lower_is_better: bool) -> tuple[int, ...]:
    """Discarded by less than the noise, or by less than NEAR_SHARE of their score."""
    found = []
    for one in ideas:
        if one.state != "discarded" or one.score is None or one.delta is None:
            continue
        worse = one.delta if lower_is_better else -one.delta
        if 0 <= worse <= (NEAR_SIGMAS * sigma if sigma else NEAR_SHARE * abs(one.score)):
            found.append((worse, one.number))
    return tuple(number for _, number in sorted(found))


def _lines_added(past: Sequence[Past], chain: Sequence[int]) -> int:
    """Net, by the keeps of the chain since it was last tried to simplify: asked in vain, it is not asked for each time."""
    asked = max((one.number for one in past if one.strategy == Strategy.SIMPLIFY), default=-1)
    grown = [one for one in past if one.number > asked and one.number in chain]
    lines = [line for one in grown for line in one.diff.splitlines()]
    added = sum(line.startswith("+") and not line.startswith("+++") for line in lines)
    return added - sum(line.startswith("-") and not line.startswith("---") for line in lines)
