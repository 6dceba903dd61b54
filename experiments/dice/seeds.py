"""Takes out of a program what only says which random numbers it draws: seeds, and generators of their own. Pure."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

from .plain import COMPUTES, OF_THE_MOMENT, Placed, arguments, called, is_plain

SEEDS = re.compile(r"(.*\.)?(manual_seed|manual_seed_all|seed|default_rng|RandomState|SeedSequence)|random\.Random")
SEED_NAME = re.compile(r"(?i)(.*_)?seed(_.*)?")
SEED_KEYWORDS = dict.fromkeys(("seed", "random_seed", "rng_seed", "random_state"), -1)
ROUNDS = 3  # names that are made of other names


def without_seeds(tree: ast.Module) -> None:
    masked = _Masked(tree)
    masked.visit(tree)
    if len(set(masked.reseeded)) == len(masked.reseeded):  # else two draw the same numbers, and that does count
        for statement in masked.reseeds:
            statement.value = ast.Constant(None)


class _Settled(Placed):
    """Names that are given a value once, the same in each training of one seed; and generators of that kind."""

    def __init__(self, tree: ast.Module) -> None:
        super().__init__(tree)
        imports = [alias for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        self.names = {(alias.asname or alias.name).partition(".")[0] for alias in imports}
        self.generators: set[str] = set()
        for _ in range(ROUNDS):
            self.visit(tree)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            self._note(node.targets[0].id, node.value)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if isinstance(node.target, ast.Name) and node.value is not None:
            self._note(node.target.id, node.value)
        return node

    def _note(self, name: str, value: ast.expr) -> None:
        if self.bound[name] == 1 and self.is_fixed(value, self.once):
            self.names.add(name)
            if called(value).startswith("torch.Generator"):
                self.generators.add(name)

    def is_fixed(self, node: ast.expr, once: bool) -> bool:
        """Whether it is the same each time it is asked for; where that is `once`, it may be the clock's or drawn."""
        match node:
            case ast.Constant():
                return True
            case ast.Name():
                return node.id in self.names
            case ast.Attribute(attr=name) if SEED_NAME.fullmatch(name) and not self.bound[f".{name}"]:
                return True  # of a configuration
            case ast.Subscript(slice=ast.Constant(value=str(name))) if SEED_NAME.fullmatch(name):
                return True
            case ast.Call():
                is_known = called(node) in COMPUTES or (once and (called(node) in OF_THE_MOMENT or is_plain(node)))
                return is_known and all(self.is_fixed(part, once) for part in arguments(node))
            case ast.Attribute() | ast.Subscript() | ast.BinOp() | ast.UnaryOp() | ast.Compare() | ast.IfExp():
                return all(self.is_fixed(part, once) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))
        return False


class _Masked(Placed):
    """Each fixed seed becomes the number of its kind: that two streams are the same one does count."""

    def __init__(self, tree: ast.Module) -> None:
        super().__init__(tree)
        self.settled, self.feeders = _Settled(tree), dict(_feeders(tree))
        self.kinds: dict[str, list[str]] = {}
        self.reseeds: list[ast.Expr] = []  # statements that do nothing but seed, once
        self.reseeded: list[str] = []

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if isinstance(call, ast.Call) and self.once and SEEDS.fullmatch(called(call)) and self._is_fixed(call):
            self.reseeds.append(node)
            self.reseeded.append(ast.unparse(call))
        return self.generic_visit(node)

    def _is_fixed(self, call: ast.Call) -> bool:
        return all(self.settled.is_fixed(part, True) for part in arguments(call))

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = called(node)
        feeds, seeds = self.feeders.get(name, SEED_KEYWORDS), bool(SEEDS.fullmatch(name))
        for at, part in enumerate(node.args):
            if seeds or at in feeds.values():
                node.args[at] = self._masked(name, part)
        for keyword in node.keywords:
            if seeds or keyword.arg in feeds:
                keyword.value = self._masked(name, keyword.value)
        node.keywords = [keyword for keyword in node.keywords if not self._is_stream(keyword)]
        return node

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        self.generic_visit(node)
        for at, key in enumerate(node.keys):
            if isinstance(key, ast.Constant) and isinstance(key.value, str) and SEED_NAME.fullmatch(key.value):
                node.values[at] = self._masked(key.value, node.values[at])
        return node

    def _is_stream(self, keyword: ast.keyword) -> bool:
        value = keyword.value
        return keyword.arg == "generator" and isinstance(value, ast.Name) and value.id in self.settled.generators

    def _masked(self, kind: str, node: ast.expr) -> ast.expr:
        """A seed that changes on the way, such as SEED + step, loses only what is fixed of it."""
        if self.settled.is_fixed(node, self.once):
            known, text = self.kinds.setdefault(kind, []), ast.unparse(node)
            known += [text] if text not in known else []
            return ast.Constant(f"seed {known.index(text)}")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.BitXor):
            for fixed, other in ((node.left, node.right), (node.right, node.left)):
                if self.settled.is_fixed(fixed, self.once):
                    return self._masked(kind, other)
        return node


def _feeders(tree: ast.Module) -> Iterator[tuple[str, dict[str, int]]]:
    """Functions, and those of their arguments (name and place) that do nothing but seed."""
    for function in tree.body:
        if isinstance(function, ast.FunctionDef):
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and SEEDS.fullmatch(called(node))]
            read, fed = _read(function), sum((_read(part) for call in calls for part in arguments(call)), Counter[str]())
            names = [argument.arg for argument in function.args.args]
            yield function.name, {name: at for at, name in enumerate(names) if read[name] == fed[name] > 0}


def _read(node: ast.AST) -> Counter[str]:
    return Counter(part.id for part in ast.walk(node) if isinstance(part, ast.Name))
