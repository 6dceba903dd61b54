"""Where held-out text lies on this machine beside the prepared data: what a training's sandbox covers."""

from __future__ import annotations

import functools
import importlib.util
import re
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trainer import sandbox

STDLIB, TORCH = "{stdlib}", "{torch}"  # places that meta.json names, and every machine has somewhere else


def to_hide(meta: Mapping[str, Any]) -> list[str]:
    """Absolute paths of what meta.json says is held out, with its bytecode, and of other copies of the same sources."""
    places = {STDLIB: Path(sysconfig.get_path("stdlib")), TORCH: torch_folder()}
    paths: list[Path] = []
    for entry in entries(meta):
        place, _, name = entry.partition("/")
        if place in places:
            paths += with_bytecode(places[place] / name)
        else:
            paths.append(Path(entry))
    return [*map(str, paths), *other_copies(meta)]


def entries(meta: Mapping[str, Any]) -> list[str]:
    """What is hidden. Before version 4 the files of one Python were named: their modules, wherever they now are."""
    named = [str(entry) for entry in meta.get("hidden", [])]
    if meta.get("dataset") != "stdlib" or meta.get("version", 3) > 3:
        return named
    found = (re.search(r"/python3\.\d+/([^/]+)", entry) for entry in named)
    return sorted({f"{STDLIB}/{match[1]}" for match in found if match and match[1] != "__pycache__"})


def with_bytecode(path: Path) -> list[Path]:
    """A module and what Python has compiled of it, which holds every name and string of it; a package is whole."""
    if path.suffix != ".py":
        return [path]
    folder = Path(importlib.util.cache_from_source(str(path))).parent
    return [path, *sorted(folder.glob(f"{path.stem}.*.pyc"))]


def other_copies(meta: Mapping[str, Any]) -> Iterator[str]:
    """Other standard libraries, whole, and what is held out of other torches, in what every training sees."""
    named = entries(meta)
    if any(entry.startswith(STDLIB) for entry in named):
        yield from sandbox.other_pythons()
    for entry in named:
        if entry.startswith(TORCH):
            yield from (str(folder / entry.removeprefix(f"{TORCH}/")) for folder in other_torches())


@functools.cache
def other_torches() -> list[Path]:
    """In the system's folders and beside our Python."""
    roots = ["/usr/lib", "/usr/local/lib", "/usr/lib64", *(f"{folder}/lib" for folder in sandbox.pythons_own())]
    found = {path for root in roots for path in Path(root).glob("python3*/*-packages/torch")}
    return sorted(found - {torch_folder()})


def torch_folder() -> Path:
    """Of our own torch, without importing it; a place that is not there where none is installed."""
    spec = importlib.util.find_spec("torch")
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0] if places else "/nonexistent")
