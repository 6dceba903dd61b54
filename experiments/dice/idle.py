"""Takes out of a program what trains nothing: docstrings, prints, unused values, numbers drawn and thrown away. Pure."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .plain import FUNCTIONS, arguments, called, is_plain
from .seeds import SEED_NAME

HARMLESS_IMPORTS = frozenset({"random", "numpy", "time", "os", "secrets", "zlib", "math"})
REFLECTS = frozenset({"globals", "locals", "vars", "exec", "eval"})


def prune(trees: Mapping[str, ast.Module], command: Sequence[str], prints_count: bool) -> None:
    """Until nothing is left that could go. Nobody but itself reads the names of the file that `command` starts."""
    before = None
    while before != (before := [ast.dump(tree) for tree in trees.values()]):
        used = {name for tree in trees.values() for name in _used(tree)}
        for path, tree in trees.items():
            _Pruned(used, is_own=path in command and not reflects(tree), prints_count=prints_count).visit(tree)


def reflects(tree: ast.AST) -> bool:
    """Whether it may read its names by their text."""
    return any(isinstance(node, ast.Name) and node.id in REFLECTS for node in ast.walk(tree))


def _used(tree: ast.AST) -> Iterator[str]:
    """Each name that is read, in any way that we know."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Load() | ast.Del()) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
                yield name
            case ast.AugAssign(target=ast.Name(id=name)):
                yield name
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names
            case ast.ImportFrom(names=aliases):
                yield from (alias.name for alias in aliases)


class _Pruned(ast.NodeTransformer):
    def __init__(self, used: set[str], *, is_own: bool, prints_count: bool) -> None:
        self.used, self.is_own, self.prints_count = used, is_own, prints_count

    def generic_visit(self, node: ast.AST) -> ast.AST:
        before = self.is_own
        self.is_own = isinstance(node, FUNCTIONS) or (self.is_own and not isinstance(node, ast.ClassDef))
        super().generic_visit(node)
        self.is_own = before
        for name in ("body", "orelse"):
            if isinstance(left := getattr(node, name, None), list):
                setattr(node, name, [one for one in left if not isinstance(one, ast.Pass)])
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        parts = [node.value]
        if isinstance(node.value, ast.Call) and called(node.value) == "print" and not self.prints_count:
            parts = arguments(node.value)
        return None if all(map(is_plain, parts)) else node

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        return self._assigned(node, node.targets[0] if len(node.targets) == 1 else None)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        return self._assigned(node, node.target)

    def _assigned(self, node: Any, target: ast.expr | None) -> ast.AST | None:
        """A class's names are read by others too: there only a seed goes, by its name."""
        found: ast.AST = node
        if not isinstance(target, ast.Name) or target.id in self.used or node.value is None or not is_plain(node.value):
            return found
        if self.is_own and not target.id.startswith("__"):
            return None
        if SEED_NAME.fullmatch(target.id):
            node.value = ast.Constant("seed")
        return found

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        is_used = any((alias.asname or alias.name).partition(".")[0] in self.used for alias in node.names)
        return node if is_used or any(alias.name.partition(".")[0] not in HARMLESS_IMPORTS for alias in node.names) else None

    def visit_For(self, node: ast.For) -> ast.AST | None:
        self.generic_visit(node)
        is_idle = isinstance(node.target, ast.Name) and node.target.id not in self.used and is_plain(node.iter)
        return None if is_idle and not (node.body or node.orelse) else node

    def visit_If(self, node: ast.If) -> ast.AST | None:
        self.generic_visit(node)
        return None if is_plain(node.test) and not (node.body or node.orelse) else node
