"""A three-way merge of trees, path by path. Pure: what both sides changed within one file is merged by the caller.

Renames are not looked for: a file that one side moved and the other one changed is a conflict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from experiments.loop.errors import MergeConflict

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """What stands at a path: `name` is a blob's, of a submodule its commit's."""

    mode: str
    name: str

    @property
    def is_file(self) -> bool:
        """And neither a link nor a submodule."""
        return self.mode.startswith("100")


Tree = Mapping[bytes, Entry]  # paths as git has them: any bytes
MergeBlobs = Callable[[str, str, str], str]  # blobs of base, ours and theirs. Raises BothChanged


class BothChanged(Exception):
    """Neither side can be taken for both."""


def merge(base: Tree, ours: Tree, theirs: Tree, merge_blobs: MergeBlobs) -> dict[bytes, Entry]:
    """`ours` plus what leads from `base` to `theirs`. Raises MergeConflict with every path that is undecided."""
    merged: dict[bytes, Entry] = {}
    undecided: set[bytes] = set()
    for path in base.keys() | ours.keys() | theirs.keys():
        try:
            entry = _merge_entry(base.get(path), ours.get(path), theirs.get(path), merge_blobs)
        except BothChanged:
            undecided.add(path)
            continue
        if entry:
            merged[path] = entry
    undecided |= _files_and_folders(merged)
    if undecided:
        raise MergeConflict(sorted(path.decode(errors="replace") for path in undecided))
    return merged


def _merge_entry(base: Entry | None, ours: Entry | None, theirs: Entry | None, merge_blobs: MergeBlobs) -> Entry | None:
    try:
        return _changed_side(base, ours, theirs)
    except BothChanged:
        if not (base and ours and theirs and base.is_file and ours.is_file and theirs.is_file):
            raise  # added twice, removed here and changed there, a link, a submodule
    mode = _changed_side(base.mode, ours.mode, theirs.mode)
    try:
        return Entry(mode, _changed_side(base.name, ours.name, theirs.name))
    except BothChanged:
        return Entry(mode, merge_blobs(base.name, ours.name, theirs.name))


def _changed_side(base: T, ours: T, theirs: T) -> T:
    """Raises BothChanged, unless they changed to the same."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    raise BothChanged


def _files_and_folders(merged: Tree) -> set[bytes]:
    """Paths below which others lie: one side has made a file of what is a folder to the other."""
    return {folder for path in merged for folder in _folders(path) if folder in merged}


def _folders(path: bytes) -> Iterable[bytes]:
    parts = path.split(b"/")
    return (b"/".join(parts[:count]) for count in range(1, len(parts)))
