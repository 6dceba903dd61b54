"""What a piece of a program does, by its syntax: only compute, or draw random numbers; whether it is run once. Pure."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

DRAWS = re.compile(r"(torch|np\.random|numpy\.random|random)\.(rand\w*|normal\w*|uniform|gauss|permutation|choice)")
MAKES = re.compile(r"torch\.(empty|zeros|ones|Generator)|.*\.(default_rng|RandomState|Random)")  # something fresh
INTO_FRESH = frozenset({"item", "tolist", "normal_", "uniform_", "random_", "bernoulli_"})  # methods that touch nothing else
COMPUTES = frozenset(
    {"int", "float", "abs", "hash", "str", "len", "min", "max", "round", "sum", "pow", "ord", "bool", "range", "zlib.crc32",
     "os.environ.get", "os.getenv"}
)  # fmt: skip
OF_THE_MOMENT = frozenset({"time.time", "time.time_ns", "time.perf_counter", "time.monotonic", "os.getpid", "os.urandom"})
PLAIN = (
    ast.Constant, ast.Name, ast.Attribute, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Subscript,
    ast.Slice, ast.Tuple, ast.List, ast.Dict, ast.JoinedStr, ast.FormattedValue, ast.keyword, ast.operator, ast.unaryop,
    ast.boolop, ast.cmpop, ast.expr_context,
)  # fmt: skip
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)


def called(node: ast.AST) -> str:
    """What is called, such as "np.random.seed" or "torch.Generator().manual_seed"; "" for what is no call."""
    return _dotted(node.func) if isinstance(node, ast.Call) else ""


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
        case ast.Call(func=function):
            return f"{_dotted(function)}()"
    return "?"


def arguments(call: ast.Call) -> list[ast.expr]:
    return [*call.args, *(keyword.value for keyword in call.keywords)]


def is_plain(node: ast.AST) -> bool:
    """Whether it only computes or draws: nothing happens by it but to a random stream."""
    return all(isinstance(part, PLAIN) or (isinstance(part, ast.Call) and _is_plain_call(part)) for part in ast.walk(node))


def _is_plain_call(node: ast.Call) -> bool:
    name = called(node)
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Call):
        return node.func.attr in INTO_FRESH or (name.startswith("torch.Generator()") and node.func.attr == "manual_seed")
    return name in COMPUTES | OF_THE_MOMENT or bool(DRAWS.fullmatch(name) or MAKES.fullmatch(name))


def bound(tree: ast.AST) -> Counter[str]:
    """How often each name is given something; attributes with a dot before them."""
    found: Counter[str] = Counter()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) | ast.arg(arg=name):
                found[name] += 1
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] += 1
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                found.update(names)
            case ast.Attribute(attr=name, ctx=ast.Store()):
                found[f".{name}"] += 1
    return found


class Placed(ast.NodeTransformer):
    """Knows of each node whether it is run once: outside of loops, and of functions but those that are called once there."""

    def __init__(self, tree: ast.Module) -> None:
        self.bound = bound(tree)
        calls = [called(node) for statement in tree.body for node in _outer(statement)]
        loads = Counter(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
        self.called_once = {name for name in calls if loads[name] == 1}
        self.once = True

    def visit(self, node: ast.AST) -> Any:
        before, is_called = self.once, isinstance(node, FUNCTIONS) and node.name in self.called_once
        self.once = self.once and (is_called or not isinstance(node, (*LOOPS, *FUNCTIONS, ast.ClassDef)))
        try:
            return super().visit(node)
        finally:
            self.once = before


def _outer(node: ast.AST) -> Iterator[ast.AST]:
    """What a statement runs itself, loops and definitions left out."""
    if not isinstance(node, (*LOOPS, *FUNCTIONS, ast.ClassDef)):
        for child in ast.iter_child_nodes(node):
            yield child
            yield from _outer(child)
