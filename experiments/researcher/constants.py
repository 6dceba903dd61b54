"""Finds the numeric UPPER_CASE constants at the top level of a Python file, and writes new values for them. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .base import ResearcherError

if TYPE_CHECKING:
    import libcst

Number = int | float

NAME = re.compile(r"[A-Z][A-Z0-9_]*")
# Not hyperparameters: they name the data, the hardware or the report, or are guards against division by zero.
LEFT_ALONE = re.compile(
    r"(^|_)(\w*SEED|VOCAB(_SIZE)?|MAX_SEQ(_LEN)?|SEQUENCE_LEN|CONTEXT_LEN|EPS|EPSILON|VERSION|PORT|RANK|WORLD_SIZE|WORKERS"
    r"|FLOPS|EVAL|TIME|BUDGET|SECONDS|TIMEOUT|EVERY|INTERVAL|LOG|PRINT|DEBUG|ID|INDEX)(_|$)"
)


@dataclass(frozen=True)
class Constant:
    """`literal` is the number in the file; it begins at `column` of line `line`, both counted from 0."""

    name: str
    value: Number
    literal: str
    line: int
    column: int

    def written(self, value: Number) -> str:
        """`value` as this constant would write it: 2**19 stays a power of two."""
        if "**" in self.literal and isinstance(value, int) and value > 0 and value & (value - 1) == 0:
            return f"2**{value.bit_length() - 1}"
        return repr(value)


def find_constants(source: str) -> tuple[Constant, ...]:
    """In the file's order, without names that are assigned twice. Raises ResearcherError if `source` is no Python."""
    import libcst
    from libcst.metadata import MetadataWrapper, PositionProvider

    try:
        wrapper = MetadataWrapper(libcst.parse_module(source), unsafe_skip_copy=True)
        positions = wrapper.resolve(PositionProvider)
    except (libcst.ParserSyntaxError, RecursionError) as error:
        raise ResearcherError(
            f"The file at the best commit is no Python: {error}. Roll back to a sound one."
        ) from error
    assigned = list(_assignments(wrapper.module))
    times = Counter(name for name, _ in assigned)
    found = []
    for name, node in assigned:
        value = _number(node)
        if value is None or times[name] > 1 or LEFT_ALONE.search(name):
            continue
        start = positions[node].start
        literal = wrapper.module.code_for_node(node)
        found.append(Constant(name, value, literal, start.line - 1, start.column))
    return tuple(found)


def edit_blocks(path: str, source: str, constants: Sequence[Constant], values: Mapping[str, Number]) -> Iterator[str]:
    """A SEARCH/REPLACE block for each constant in `values`, as few lines long as makes it unique in the file."""
    lines = source.replace("\r\n", "\n").split("\n")
    for constant in constants:
        if constant.name not in values:
            continue
        line = lines[constant.line]
        end = constant.column + len(constant.literal)
        new = line[: constant.column] + constant.written(values[constant.name]) + line[end:]
        first, last = _unique_window(lines, constant.line)
        search = lines[first : last + 1]
        lines[constant.line] = new
        replace = lines[first : last + 1]
        yield "\n".join([path, "<<<<<<< SEARCH", *search, "=======", *replace, ">>>>>>> REPLACE", ""])


def round_to_digits(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")


def _assignments(module: libcst.Module) -> Iterator[tuple[str, libcst.BaseExpression]]:
    import libcst

    for statement in module.body:
        if not isinstance(statement, libcst.SimpleStatementLine) or len(statement.body) != 1:
            continue
        small = statement.body[0]
        if isinstance(small, libcst.Assign) and len(small.targets) == 1:
            target: libcst.BaseExpression = small.targets[0].target
        elif isinstance(small, libcst.AnnAssign | libcst.AugAssign):
            target = small.target
        else:
            continue
        value = small.value
        if isinstance(target, libcst.Name) and NAME.fullmatch(target.value) and value is not None:
            yield target.value, value


def _number(node: libcst.BaseExpression) -> Number | None:
    """A literal, a negative literal or a power of 2; anything else, and what is not finite, is None."""
    import libcst

    if isinstance(node, libcst.Integer):
        return int(node.evaluated_value)
    if isinstance(node, libcst.Float):
        value = float(node.evaluated_value)
        return value if math.isfinite(value) else None
    if isinstance(node, libcst.UnaryOperation) and isinstance(node.operator, libcst.Minus):
        inner = _number(node.expression) if isinstance(node.expression, libcst.Integer | libcst.Float) else None
        return None if inner is None else -inner
    if isinstance(node, libcst.BinaryOperation) and isinstance(node.operator, libcst.Power):
        base, exponent = _number(node.left), _number(node.right)
        if base == 2 and isinstance(exponent, int) and 0 <= exponent < 64:
            return 1 << exponent
    return None


def _unique_window(lines: Sequence[str], at: int) -> tuple[int, int]:
    first = last = at
    while (first > 0 or last < len(lines) - 1) and _times(lines, lines[first : last + 1]) > 1:
        first, last = max(0, first - 1), min(len(lines) - 1, last + 1)
    return first, last


def _times(lines: Sequence[str], window: Sequence[str]) -> int:
    return sum(lines[at : at + len(window)] == window for at in range(len(lines) - len(window) + 1))
