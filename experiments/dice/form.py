"""Whether two versions of a program differ in nothing but the random numbers that they draw, or in nothing at all. Pure.

Each is brought into a form without what only names a random stream (seeds.py) and without what trains nothing (idle.py),
with draws that stand together in one order, and names by their place. Where the forms are equal it is the same training with
other dice. What may do more stays in the form: no honest edit must be taken for a seed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from .idle import prune, reflects
from .plain import DRAWS, FUNCTIONS, bound, called, is_plain
from .seeds import without_seeds

INITS = re.compile(r"(.*\.)?init\.\w+_")


def only_dice_differ(
    before: Mapping[str, str], after: Mapping[str, str], command: Sequence[str], *, prints_count: bool = False
) -> bool:
    """`before`, `after`: path -> text of what may be edited; `command` starts one of these files.

    `prints_count`: the score is what it prints.
    """
    return _form(before, command, prints_count) == _form(after, command, prints_count)


def _form(files: Mapping[str, str], command: Sequence[str], prints_count: bool) -> dict[str, str]:
    trees, forms = {}, {}
    for path, text in files.items():
        try:
            if not path.endswith(".py"):
                raise SyntaxError("no Python")
            trees[path] = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError):
            forms[path] = _without_seed_numbers(text)
    for tree in trees.values():
        without_seeds(tree)
    prune(trees, command, prints_count)
    for path, tree in trees.items():
        _order_draws(tree)
        if path in command and not reflects(tree):
            _rename(tree)
        forms[path] = ast.dump(tree)
    return forms


def _without_seed_numbers(text: str) -> str:
    return "\n".join(re.sub(r"\d+", "0", line) if "seed" in line.lower() else line for line in text.splitlines())


def _order_draws(tree: ast.AST) -> None:
    """Draws that stand together, none of which needs another, in the order of their text."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        at = 0
        while isinstance(body, list) and at < len(body):
            end = at + 1
            while end < len(body) and _are_independent(body[at : end + 1]):
                end += 1
            body[at:end] = sorted(body[at:end], key=ast.unparse)
            at = end


def _are_independent(statements: Sequence[ast.stmt]) -> bool:
    drawn = [pair for one in statements for pair in _drawn(one)]
    if len(drawn) != len(statements):
        return False
    targets = {target for target, _ in drawn}
    reads = {node.id for one in statements for node in ast.walk(one) if _is_read(node) and isinstance(node, ast.Name)}
    return len(targets) == len(drawn) and len({how for _, how in drawn}) == 1 and not targets & reads


def _is_read(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Load)


def _drawn(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    """What it draws into, and how: two names may be of one tensor, so the order counts where they get other numbers."""
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if is_plain(value):
            if any(DRAWS.fullmatch(called(part)) for part in ast.walk(value)):
                yield name, ""
        case ast.Expr(value=ast.Call(args=[target, *rest], keywords=keywords) as call) if INITS.fullmatch(called(call)):
            yield ast.unparse(target), " ".join([called(call), *map(ast.unparse, [*rest, *keywords])])


def _rename(tree: ast.Module) -> None:
    """Variables and functions by the order in which they come. Not what a class has, or a call names: others read that."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    read_by_others = {name for node in classes for one in node.body for name in _of_class(one)}
    read_by_others |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg}
    ours, numbers = bound(tree).keys() - read_by_others, dict[str, str]()
    for node in ast.walk(tree):
        field = {ast.Name: "id", ast.arg: "arg", ast.FunctionDef: "name", ast.ClassDef: "name"}.get(type(node), "")
        if field and getattr(node, field) in ours:
            setattr(node, field, numbers.setdefault(getattr(node, field), f"name {len(numbers)}"))


def _of_class(statement: ast.stmt) -> Iterator[str]:
    yield from [statement.name] if isinstance(statement, FUNCTIONS) else bound(statement)
