"""Where held-out text lies on this machine beside the prepared data: what a training's sandbox covers."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer import sandbox, seatbelt
from trainer.shown import is_in, show

STDLIB, TORCH = "{stdlib}", "{torch}"  # places that meta.json names, and every machine has somewhere else
PACKAGES = {"site-packages", "dist-packages"}
PASSED_OVER = {"__pycache__", "node_modules", "doc", "man", "icons", "include", *PACKAGES}


def to_hide(meta: Mapping[str, Any], read: Iterable[str] = ()) -> list[str]:
    """Absolute paths of what meta.json says is held out, with its bytecode, and of other copies of the same sources.

    `read`: what a training sees beside the system and its Python.
    """
    named, paths = entries(meta), list[Path]()
    found = copies(read) if any(entry.startswith((STDLIB, TORCH)) for entry in named) else Copies()
    for entry in named:
        place, _, name = entry.partition("/")
        if place == STDLIB:
            paths += with_bytecode(Path(sysconfig.get_path("stdlib"), name))
        elif place == TORCH:
            paths += [path for folder in (torch_folder(), *found.torches) for path in with_bytecode(Path(folder, name))]
        else:
            paths.append(Path(entry))
    libraries = found.libraries if any(entry.startswith(STDLIB) for entry in named) else ()
    return [*map(str, paths), *libraries]


def entries(meta: Mapping[str, Any]) -> list[str]:
    """What is hidden. Before version 4 the files of one Python were named: their modules, wherever they now are."""
    named = [str(entry) for entry in meta.get("hidden", [])]
    if meta.get("dataset") != "stdlib" or meta.get("version", 3) > 3:
        return named
    found = (re.match(r".*/python3\.\d+/([^/]+)", entry) for entry in named)
    return sorted({f"{STDLIB}/{match[1]}" for match in found if match and match[1] != "__pycache__"})


def with_bytecode(path: Path) -> list[Path]:
    """A module and what Python has compiled of it, which holds every name and string of it; a package is whole."""
    if path.suffix != ".py":
        return [path]
    folders = {path.parent / "__pycache__", Path(importlib.util.cache_from_source(str(path))).parent}
    return [path, *sorted(cached for folder in folders for cached in folder.glob(f"{path.stem}.*.pyc"))]


@dataclass(frozen=True)
class Copies:
    """Other standard libraries (folders, or zipped), and other torches."""

    libraries: tuple[str, ...] = ()
    torches: tuple[str, ...] = ()


def copies(read: Iterable[str] = ()) -> Copies:
    """What there is in all that a training sees. A second's search, once for each place."""
    system = seatbelt.SYSTEM if sys.platform == "darwin" else [path for path in sandbox.SYSTEM if not is_in(path, "/sys")]
    found = [copies_in(tree.source) for tree in show([*system, *sandbox.pythons_own(), *read]).read]
    ours = {os.path.realpath(sysconfig.get_path("stdlib")), os.path.realpath(torch_folder())}
    libraries = {path for each in found for path in each.libraries}
    torches = {path for each in found for path in each.torches}
    return Copies(tuple(sorted(libraries - ours)), tuple(sorted(torches - ours)))


@functools.cache
def copies_in(top: str) -> Copies:
    libraries, torches = [], []
    for folder, names, files in os.walk(top):
        torches += [f"{folder}/{name}/torch" for name in PACKAGES & set(names) if os.path.isdir(f"{folder}/{name}/torch")]
        names[:] = [name for name in names if name not in PASSED_OVER]
        libraries += [folder] if {"abc.py", "os.py"} <= set(files) else []
        libraries += [f"{folder}/{name}" for name in files if re.fullmatch(r"python3\d*\.zip", name)]
    return Copies(tuple(libraries), tuple(torches))


def torch_folder() -> str:
    """Of our own torch, without importing it; a place that is not there where none is installed."""
    spec = importlib.util.find_spec("torch")
    places: list[str] = list(spec.submodule_search_locations or []) if spec else []
    return places[0] if places else "/nonexistent"
