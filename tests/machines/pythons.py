"""Which Pythons this machine has, and a copy of one without the parts that packagers leave out. Standard library only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

SYSTEM = Path("/usr/bin/python3")
OLDEST, NEWEST = (3, 11), (3, 14)
LEFT_OUT = {"idlelib", "tkinter", "turtledemo", "lib2to3", "test"}  # packages of their own with some, gone with others
PROBE = """
import json, platform, sys, sysconfig
own = getattr(sys, "_base_executable", "") or sys.executable
print(json.dumps([own, platform.python_version(), sys.version_info[:2], sys.base_prefix, sysconfig.get_path("stdlib")]))
"""


@dataclass(frozen=True)
class Python:
    name: str  # of its row
    path: Path  # what make gets as PYTHON
    version: str
    prefix: Path
    library: Path

    @property
    def can_be_copied(self) -> bool:
        """Not where the system's programs lie, too."""
        return self.prefix not in {Path("/"), Path("/usr"), Path("/usr/local")}


def find(environment: Mapping[str, str], system: Path = SYSTEM) -> list[Python]:
    """The system's own, those on PATH, pyenv's and uv's, from 3.11 to 3.14; each once, however many ways lead to it."""
    found: dict[Path, Python] = {}
    for path in candidates(environment, system):
        python = look(path)
        if python:
            found.setdefault(python.path.resolve(), replace(python, name="system") if path == system else python)
    return _named_apart(found.values())


def candidates(environment: Mapping[str, str], system: Path) -> list[Path]:
    home = Path(environment.get("HOME", "/"))
    pyenv = Path(environment.get("PYENV_ROOT") or home / ".pyenv")
    uv = Path(environment.get("UV_PYTHON_INSTALL_DIR") or home / ".local/share/uv/python")
    names = ["python3", *(f"python3.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1))]
    on_path = [Path(folder) / name for folder in environment.get("PATH", "").split(os.pathsep) if folder for name in names]
    places = [system, *on_path, *sorted(pyenv.glob("versions/*/bin/python3")), *sorted(uv.glob("*/bin/python3"))]
    return [path for path in places if os.access(path, os.X_OK)]


def look(path: Path) -> Python | None:
    """What a Python says of itself; a virtual environment's names the one it was made from. None: too old, or broken."""
    try:
        done = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, timeout=30, check=True)
        own, version, short, prefix, library = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):  # e.g. pyenv's shim of a version that is not chosen
        return None
    if not OLDEST <= tuple(short) <= NEWEST:
        return None
    return Python(version, Path(own), version, Path(prefix), Path(library))


def _named_apart(pythons: Iterable[Python]) -> list[Python]:
    seen: dict[str, int] = {}
    named = []
    for python in sorted(pythons, key=lambda python: (python.name != "system", python.version)):
        count = seen[python.name] = seen.get(python.name, 0) + 1
        named.append(python if count == 1 else replace(python, name=f"{python.name}-{count}"))
    return named


def cut(python: Python, folder: Path) -> Python:
    """A copy of this installation without LEFT_OUT. Raises RuntimeError when the copy does not take its own library."""
    kept_apart = {*LEFT_OUT, "site-packages", "__pycache__"}
    for part in ("bin", "lib"):
        link_tree(python.prefix / part, folder / part, kept_apart)
    found = look(folder / "bin" / "python3")
    if found is None or not found.library.is_relative_to(folder.resolve()):
        raise RuntimeError(f"a copy of {python.prefix} does not run on its own library")
    return found


def link_tree(source: Path, target: Path, without: Iterable[str] = ()) -> None:
    """The same files by hard links, seconds for a whole virtual environment; copied where links cannot be made."""
    shutil.copytree(source, target, symlinks=True, copy_function=_link, ignore=shutil.ignore_patterns(*without))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another disk, or somebody else's file
        shutil.copy2(source, target, follow_symlinks=False)
