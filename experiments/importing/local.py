"""Reads the refs of a repository on this machine without running git in it: its configuration could make git run things."""

from __future__ import annotations

import re
from pathlib import Path

from experiments.importing.refused import ImportRefused

_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_NAME = re.compile(r"refs/[\w.+@#/-]+")
MOST_REFS = 20_000
TAKEN = {"refs/heads/": "refs/imported/heads/", "refs/remotes/": "refs/imported/others/remotes/",
         "refs/autoresearch/": "refs/imported/others/autoresearch/"}  # fmt: skip


class Local:
    def __init__(self, folder: Path) -> None:
        self.git_dir = _git_dir(folder)
        shared = self.git_dir / "commondir"  # a linked work tree has but its HEAD of its own
        self.common = (self.git_dir / _text(shared).strip()).resolve() if shared.is_file() else self.git_dir
        self.objects, self.shallow = self.common / "objects", self.common / "shallow"
        if not self.objects.is_dir():
            raise ImportRefused(f"{folder} is no complete git repository. Give the folder of a clone.")

    def head(self) -> str:
        """The branch that is checked out; "" where it is none."""
        return _text(self.git_dir / "HEAD").strip().removeprefix("ref: refs/heads/") if self._on_a_branch() else ""

    def _on_a_branch(self) -> bool:
        return _text(self.git_dir / "HEAD").startswith("ref: refs/heads/")

    def refs(self) -> dict[str, str]:
        """The commits of its branches, by the names that they get with us."""
        found = self._packed() | self._loose()
        if not self._on_a_branch():
            found["refs/heads/HEAD"] = _text(self.git_dir / "HEAD").strip()  # checked out, on no branch
        return {
            TAKEN[kind] + name.removeprefix(kind): sha
            for name, sha in list(found.items())[:MOST_REFS]
            for kind in TAKEN
            if name.startswith(kind) and _SHA.fullmatch(sha) and _NAME.fullmatch(name)
        }

    def _packed(self) -> dict[str, str]:
        lines = (line.split(" ", 1) for line in _text(self.common / "packed-refs", most=20_000_000).splitlines())
        return {parts[1].strip(): parts[0] for parts in lines if len(parts) == 2 and _SHA.fullmatch(parts[0])}

    def _loose(self) -> dict[str, str]:
        files = sorted(path for path in (self.common / "refs").rglob("*") if path.is_file() and not path.is_symlink())
        return {path.relative_to(self.common).as_posix(): _text(path).strip() for path in files[:MOST_REFS]}


def _git_dir(folder: Path) -> Path:
    inside = folder / ".git"
    if inside.is_file():  # a linked work tree or a submodule: the file says where
        return (folder / _text(inside).partition("gitdir:")[2].strip()).resolve()
    return inside if inside.is_dir() else folder


def _text(path: Path, most: int = 4096) -> str:
    try:
        with path.open("rb") as file:
            return file.read(most).decode(errors="replace")
    except OSError:
        return ""
