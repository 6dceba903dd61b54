"""Whether two edits are the same experiment: by what they change, not by how they are written. Pure.

Two edits are the same when they set the same constants to the same values and make the same change to the rest of the
program's syntax tree: comments, docstrings, spacing and quotes do not count. Where in the file a line stands counts by
the class and function around it, and for a line that only comes or goes by the line before it. They are near each other
when they touch the same constants and nothing else, with other values.

The same program can also come about in another way: by taking a keep back, or by the same change on another parent. That
is seen by the key of the whole.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

SCOPE = re.compile(r"(?:async def|def|class) (?P<name>\w+)")


@dataclass(frozen=True)
class Change:
    """What an edit does, in its normal form. `constants`: "path NAME" -> its new literal."""

    constants: Mapping[str, str] = field(default_factory=dict)
    rest: tuple[str, ...] = ()  # other lines, "path -old" or "path +new", in order

    @property
    def is_empty(self) -> bool:
        """It changes nothing that a training could notice."""
        return not self.constants and not self.rest

    @property
    def key(self) -> str:
        """The same for the same change; 40 hex digits."""
        return _hash(json.dumps([sorted(self.constants.items()), self.rest], ensure_ascii=False))

    @property
    def near_key(self) -> str:
        """The same for the same constants with any values; empty where anything else changes too."""
        return "" if self.rest or not self.constants else " ".join(sorted(self.constants))


def change_between(before: Mapping[str, str], after: Mapping[str, str]) -> Change:
    """`before`, `after`: path -> text. A file that is no Python counts line by line."""
    constants: dict[str, str] = {}
    rest: list[str] = []
    for path in sorted({*before, *after}):
        if before.get(path) == after.get(path):
            continue
        old, new = _normal(path, before.get(path, "")), _normal(path, after.get(path, ""))
        changed = {name for name in {*old.constants, *new.constants} if old.constants.get(name) != new.constants.get(name)}
        for name in changed:
            if name in old.constants and name in new.constants:
                constants[f"{path} {name}"] = new.constants[name]
            else:  # a constant that came or went is a change of the program
                rest += [f"{path} -{name} = {old.constants[name]}"] if name in old.constants else []
                rest += [f"{path} +{name} = {new.constants[name]}"] if name in new.constants else []
        rest += _moved_lines(path, old, new)
    return Change(constants, tuple(rest))


def whole_key(files: Mapping[str, str]) -> str:
    """The same for files that train the same, whatever led to them; 40 hex digits."""
    normal = {path: _normal(path, text) for path, text in files.items()}
    text = json.dumps([[path, sorted(one.constants.items()), one.lines] for path, one in sorted(normal.items())])
    return _hash(text)


def _hash(text: str) -> str:
    return hashlib.sha1(text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class _Normal:
    constants: dict[str, str]
    lines: list[str]
    scopes: list[str] = field(default_factory=list)  # of each line: the classes and functions around it


def _normal(path: str, text: str) -> _Normal:
    if not path.endswith(".py"):
        return _Normal({}, [line.rstrip() for line in text.splitlines()])
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return _Normal({}, [line.rstrip() for line in text.splitlines()])
    constants = {}
    kept: list[ast.stmt] = []
    for statement in tree.body:
        name, literal = _constant(statement)
        if name and name not in constants:
            constants[name] = literal
        else:
            kept.append(statement)
    tree.body = kept
    for node in ast.walk(tree):
        _drop_docstring(node)
    lines = ast.unparse(tree).splitlines()
    return _Normal(constants, lines, _scopes(lines))


def _constant(statement: ast.stmt) -> tuple[str, str]:
    """Name and literal of a top-level `NAME = literal`; a number in the form in which equal ones are written equal."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target, value = statement.target, statement.value
    else:
        return "", ""
    if not isinstance(target, ast.Name) or not target.id.isupper():
        return "", ""
    try:
        return target.id, repr(_value(value))
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        return "", ""


def _value(node: ast.expr) -> object:
    """A literal, or a small power such as 2**19. Raises ValueError for what has to be run to be known."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, exponent = ast.literal_eval(node.left), ast.literal_eval(node.right)
        if isinstance(base, int) and isinstance(exponent, int) and abs(base) <= 10 and 0 <= exponent <= 64:
            return base**exponent
        raise ValueError("not a small power")
    return ast.literal_eval(node)


def _drop_docstring(node: ast.AST) -> None:
    body = getattr(node, "body", None)
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not body:
        return
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        node.body = body[1:] or [ast.Pass()]


def _scopes(lines: Sequence[str]) -> list[str]:
    """"Block.forward" for each line of an unparsed program: there, indentation is four spaces and nothing else."""
    found, open_ = [], list[tuple[int, str]]()
    for line in lines:
        bare = line.lstrip()
        depth = len(line) - len(bare)
        while bare and open_ and open_[-1][0] >= depth:
            open_.pop()
        found.append(".".join(name for _, name in open_))
        if head := SCOPE.match(bare):
            open_.append((depth, head["name"]))
    return found


def _moved_lines(path: str, old: _Normal, new: _Normal) -> Iterator[str]:
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old.lines, new.lines, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        yield from (f"{path} {_at(old, i)}-{old.lines[i]}" for i in range(i1, i2))
        yield from (f"{path} {_at(new, j)}+{new.lines[j]}" for j in range(j1, j2))
        if tag != "replace" and j1:  # a line that only comes or goes may do so at several places
            yield f"{path} after {new.lines[j1 - 1]}"


def _at(normal: _Normal, line: int) -> str:
    scope = normal.scopes[line] if normal.scopes else ""
    return f"{scope}: " if scope else ""
