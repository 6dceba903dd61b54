"""A sweep that a researcher asks for: read from its SWEEP line, checked against the files. Pure; raises EditError."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from .base import ResearcherError, SweepOrder
from .constants import Constant, find_constants
from .edit_error import EditError

MOST_EXPERIMENTS = 12
MOST_CONSTANTS = 4

_NUMBER = r"[-+−]?(?:\d{1,12}\*\*\d{1,2}|(?:\d[\d_]{0,14}(?:\.\d{0,12})?|\.\d{1,12})(?:[eE][-+]?\d{1,2})?)"
BOUNDS = re.compile(
    rf"\b(?P<name>[A-Z][A-Z0-9_]*)\s*(?:=|:|in|from)\s*[\[(]?\s*(?P<low>{_NUMBER})\s*(?:\.{{2,3}}|…|\bto\b|–|—|,|;|~)\s*"
    rf"(?P<high>{_NUMBER})"
)
NAMED = re.compile(r"\b[A-Z][A-Z0-9_]*(?=\s*(?:=|\bin\b|\bfrom\b))")
COUNT = re.compile(
    r"\b(?P<count>\d{1,6})\s*(?:experiments?|trainings?|trials?|runs?)\b|\bover\s+(?P<over>\d{1,6})\b", re.IGNORECASE
)
SAMPLE = "Write it as SWEEP: MATRIX_LR=0.02..0.08, WARMDOWN=0.3..0.8 over 6 experiments."


def read_order(line: str) -> SweepOrder | None:
    """None where the line orders nothing (it is empty, says "none", or only repeats the sample of the rules)."""
    found = list(BOUNDS.finditer(line))
    if not found:
        return None
    counts = list(COUNT.finditer(line))
    if not counts:
        raise EditError(f"The SWEEP line does not say over how many experiments. {SAMPLE}")
    count = int(counts[0]["count"] or counts[0]["over"])
    if not 2 <= count <= MOST_EXPERIMENTS:
        raise EditError(f"A sweep has from 2 to {MOST_EXPERIMENTS} experiments; the SWEEP line asks for {count}.")
    constants: dict[str, tuple[float, float]] = {}
    for match in found:
        if match["name"] in constants:
            raise EditError(f"The SWEEP line names {match['name']} twice.")
        constants[match["name"]] = _bounds(match)
    if len(constants) > MOST_CONSTANTS:
        raise EditError(f"A sweep turns at most {MOST_CONSTANTS} constants; the SWEEP line names {len(constants)}.")
    unread = [name for name in NAMED.findall(line) if name not in constants]
    if unread:
        raise EditError(f"The bounds of {unread[0]} could not be read. {SAMPLE}")
    return SweepOrder(constants, count)


def _bounds(match: re.Match[str]) -> tuple[float, float]:
    low, high = _value(match["low"]), _value(match["high"])
    if not (math.isfinite(low) and math.isfinite(high) and max(abs(low), abs(high)) < 1e15):
        raise EditError(f"The bounds of {match['name']} are no usable numbers.")
    if low >= high:
        raise EditError(f"The bounds of {match['name']} must go from low to high; they are {low:g} and {high:g}.")
    return low, high


def _value(text: str) -> float:
    base, power, exponent = text.replace("−", "-").replace("_", "").partition("**")
    try:
        return float(base) ** int(exponent) if power else float(base)
    except (OverflowError, ValueError):
        return math.inf


def place_order(order: SweepOrder, files: Mapping[str, str]) -> tuple[str, tuple[Constant, ...]]:
    """The file that has all of its constants, and these. Raises EditError where there is none, or no value between."""
    seen: dict[str, set[str]] = {}
    for path, text in files.items():
        if not path.endswith(".py"):
            continue
        try:
            found = {constant.name: constant for constant in find_constants(text)}
        except ResearcherError as error:
            raise EditError(str(error)) from error
        seen[path] = set(found)
        if order.constants.keys() <= found.keys():
            constants = tuple(found[name] for name in order.constants)
            _check_values(order, constants)
            return path, constants
    every = sorted(set().union(*seen.values()))
    missing = [name for name in order.constants if name not in every]
    if missing:
        raise EditError(
            f"{missing[0]} is no number in capitals at the top level of an editable file, or one that must not be turned. "
            f"There are: {', '.join(every[:40]) or 'none'}."
        )
    raise EditError("The constants of a sweep must all be in one file.")


def is_whole(constant: Constant, bounds: tuple[float, float]) -> bool:
    """Whether it takes whole numbers only: it is one now, and both bounds are."""
    return isinstance(constant.value, int) and all(bound.is_integer() for bound in bounds)


def _check_values(order: SweepOrder, constants: tuple[Constant, ...]) -> None:
    bounds = [(one, order.constants[one.name]) for one in constants]
    sizes = [high - low + 1 if is_whole(one, (low, high)) else math.inf for one, (low, high) in bounds]
    if math.prod(sizes) - 1 < order.count:  # one of them may be what the best has now
        raise EditError(
            f"Between these bounds there are {math.prod(sizes):.0f} combinations: too few for {order.count} experiments. "
            "Propose one of them as an edit, widen the bounds, or ask for fewer."
        )
