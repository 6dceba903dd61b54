"""Keep or discard. Pure. The classic rule: any better score wins, an equal one with fewer lines too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    keep: bool
    why: str


def classic(
    score: float, best: float | None, *, best_number: int | None, lines: tuple[int, int], lower_is_better: bool = True
) -> Verdict:
    """`lines` are the (added, removed) lines of the diff; `best` is None for the baseline."""
    if best is None:
        return Verdict(True, f"baseline: {score:.6f}")
    gain = best - score if lower_is_better else score - best
    against = f"{score:.6f} against {best:.6f} of #{best_number}"
    if gain > 0:
        return Verdict(True, f"better by {gain:.6f}: {against}")
    added, removed = lines
    if gain == 0:
        if removed > added:
            return Verdict(True, f"equal score with {removed - added} fewer lines: {against}")
        return Verdict(False, f"equal score, no simpler: {against}")
    return Verdict(False, f"worse by {-gain:.6f}: {against}")
