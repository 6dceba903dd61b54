"""The import rule: downward only, no circle, and who alone may touch git, the channel layer and the trainer. By AST.

Imports inside functions count; those for type checkers only do not.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

PAGES_ARE_MADE_OF = """
activity advice audit cards charts comparison costs forms forms_agent forms_import forms_manual forms_new forms_program
forms_recipe forms_stale importing inbox loading log_text machines markup measures model_check overlaid planning preflights
prompts
report report_picture report_rows results stream_reading table tiles words
"""

# A module imports from its own floor and from those below. From the top:
FLOORS = [
    "urls routing api management apps doctor",
    "views",
    "consumers templatetags",
    "tasks demo",
    "loop",
    PAGES_ARE_MADE_OF,
    "models researcher presence signin",
    "states events dice diffs diff_spans patches themes",
    "trainer",
]
# A page asks tasks for changes and helpers for what it shows; the loop and the researchers are behind tasks.
VIEWS_SEE = {
    "views", "tasks", "templatetags", "models", "presence", "signin", "states", "diffs", "patches",
    *PAGES_ARE_MADE_OF.split(),
}
PURE = [  # no Django
    "states", "dice", "diffs", "diff_spans", "patches", "charts", "log_text", "themes", "researcher", "loop.verdict",
    "loop.errors", "loop.merging",
]
ONLY = {  # who alone may import it
    "git": {"experiments.loop.workspace"},
    "channels.layers": {"experiments.events"},
    "litellm": {
        f"experiments.researcher.{name}" for name in ("litellm_lazily", "llm_client", "llm_errors")
    },
    "experiments": {"experiments", "autoresearch_web"},
    "autoresearch_web": {"autoresearch_web"},
}
OURS = ("experiments", "trainer", "autoresearch_web")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    files = [path for folder in OURS for path in (ROOT / folder).rglob("*.py")]
    return {name_of(path): path for path in files if not {"migrations", "template"} & set(path.parts)}


def is_under(name: str, *packages: str) -> bool:
    return any(f"{name}.".startswith(f"{package}.") for package in packages)


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not is_for_type_checkers(node):
            yield node
            yield from nodes(node)


@cache
def imports_of(module: str) -> frozenset[str]:
    """Full names of what it imports; of ours, the module that is meant."""
    path = modules()[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found: set[str] = set()
    for node in nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, [above, node.module]))
            found |= {_module(base, alias.name) for alias in node.names}
    return frozenset(found - {module})


def _module(base: str, name: str) -> str:
    return f"{base}.{name}" if f"{base}.{name}" in modules() else base


def floor_of(module: str) -> int:
    top = module.split(".")[1] if module.startswith("experiments.") else module.split(".")[0]
    for number, floor in enumerate(FLOORS):
        if top in floor.split():
            return number
    raise AssertionError(f"{module} stands on no floor: give it one in FLOORS")


def ours(module: str) -> list[str]:
    return sorted(name for name in imports_of(module) if name.split(".")[0] in {"experiments", "trainer"} and "." in name)


BESIDE = [f"trainer.{name}" for name in (
    "shim", "spec", "channel", "processes", "box", "shown", "bubblewrap", "seatbelt", "sandbox", "launch", "output",
)]
APP = sorted(name for name in modules() if name.split(".")[0] in {"experiments", "trainer"} and "." in name)


@pytest.mark.parametrize("module", APP)
def test_imports_run_downward_only(module):
    upward = [name for name in ours(module) if floor_of(name) < floor_of(module)]
    assert upward == []


def test_there_is_no_circle():
    inside = {name: {other for other in imports_of(name) if other in modules()} for name in modules()}
    TopologicalSorter({name: others - set(parents(name)) for name, others in inside.items()}).prepare()


def parents(module: str) -> list[str]:
    """A package's __init__ is run before its modules anyway: to name it is no circle."""
    parts = module.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


@pytest.mark.parametrize("module", [name for name in APP if name.startswith("experiments.views")])
def test_views_reach_no_further_than_tasks_models_and_what_pages_are_made_of(module):
    assert {name.split(".")[1] for name in ours(module)} <= VIEWS_SEE


@pytest.mark.parametrize("module", [name for name in APP if name.startswith("trainer")])
def test_the_trainer_knows_neither_django_nor_us(module):
    assert {name.split(".")[0] for name in imports_of(module)} & {"django", "experiments", "autoresearch_web"} == set()


@pytest.mark.parametrize("module", BESIDE)
def test_what_runs_beside_a_training_needs_the_standard_library_only(module):
    assert {name.split(".")[0] for name in imports_of(module)} <= sys.stdlib_module_names | {"trainer"}


@pytest.mark.parametrize("module", [name for name in APP if is_under(name, *(f"experiments.{pure}" for pure in PURE))])
def test_what_is_pure_knows_no_django(module):
    assert "django" not in {name.split(".")[0] for name in imports_of(module)}


@pytest.mark.parametrize("library", ONLY)
def test_only_one_place_touches_it(library):
    users = {name for name in modules() if any(is_under(used, library) for used in imports_of(name))}
    assert {name for name in users if not is_under(name, *ONLY[library])} == set()


def test_the_test_sees_imports_in_functions_and_not_those_for_type_checkers():
    code = "def f():\n    import a\nif TYPE_CHECKING:\n    import b\nif True:\n    import c\n"
    names = [alias.name for node in nodes(ast.parse(code)) if isinstance(node, ast.Import) for alias in node.names]
    assert names == ["a", "c"]
