"""From the paths that a sandbox is told to show to what must stand in it, so that each works by the name it was given.

A path may be a link, lead through links, hold `..`, lie in what is shown already, or not be there. It is walked as by the
kernel: what it ends at is mounted at its real place, and every link on the way is made again. So no mount is laid on a
link, which bwrap refuses, and all names of a file lead to one place, where it can be hidden. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OWN = ("/dev", "/dev/shm", "/proc", "/tmp")  # folders that a sandbox makes for itself, even where they are links outside


@dataclass(frozen=True)
class Tree:
    """A file or a folder with all in it."""

    source: str  # its real place on this machine
    place: str  # where it stands inside: the same, but for what lies below one of OWN that is a link outside

    def holds(self, other: Tree) -> bool:
        """Whether the other is in it, at the same place."""
        if not is_in(other.place, self.place):
            return False
        return other.source == os.path.normpath(os.path.join(self.source, os.path.relpath(other.place, self.place)))


@dataclass(frozen=True)
class Walk:
    """The way to one path."""

    end: Tree
    links: dict[str, str]  # place -> what the link there says
    left: list[str]  # folders that a `..` leads out of: they must be there to be left

    @property
    def places(self) -> list[str]:
        """Every place that must show, for the path to work."""
        return [*self.links, self.end.place]


@dataclass(frozen=True)
class Shown:
    read: list[Tree]
    write: list[Tree]
    links: dict[str, str]
    folders: list[str]  # that are empty, or hold only what is in the other lists

    def has(self, place: str) -> bool:
        return place in self.links or any(is_in(place, tree.place) for tree in (*self.read, *self.write))

    def places_of(self, paths: Iterable[str]) -> list[str]:
        """Where these files and folders would be seen. What lies inside one of them is gone with it."""
        found = set()
        for real in {os.path.realpath(path) for path in paths if os.path.exists(path)}:
            for tree in (*self.read, *self.write):
                if is_in(real, tree.source):
                    found.add(os.path.normpath(os.path.join(tree.place, os.path.relpath(real, tree.source))))
                elif is_in(tree.source, real):
                    found.add(tree.place)
        return sorted(place for place in found if not any(is_in(place, other) for other in found - {place}))


def show(read: Sequence[str], write: Sequence[str] = ()) -> Shown:
    to_read, to_write = ([way for path in paths if (way := walk(path))] for paths in (read, write))
    trees, writable = roots(way.end for way in to_read), roots(way.end for way in to_write)
    links = {place: says for way in (*to_read, *to_write) for place, says in way.links.items()}
    folders = {folder for way in (*to_read, *to_write) for folder in way.left}
    bare = Shown(trees, writable, {}, [])
    return Shown(
        trees, writable, {place: says for place, says in links.items() if not bare.has(place)},
        sorted(folder for folder in folders if not bare.has(folder)),
    )


def walk(path: str) -> Walk | None:
    """None where there is nothing: it is missing, dangling, a ring of links, or not for us to see."""
    try:
        source = os.path.realpath(path, strict=True) if path else ""
    except OSError:
        return None
    if not source:
        return None
    links: dict[str, str] = {}
    left, here, ahead = [], "/", _parts(os.path.join(os.getcwd(), path))
    while ahead:
        name = ahead.pop()
        if name == "..":
            left.append(here)
            here = os.path.dirname(here)
            continue
        place = os.path.join(here, name)
        if not os.path.islink(place) or place in OWN:
            here = place
            continue
        links[place] = says = os.readlink(place)
        here = "/" if os.path.isabs(says) else here
        ahead += _parts(says)
    return Walk(Tree(source, here), links, left)


def roots(trees: Iterable[Tree]) -> list[Tree]:
    """Without those that another holds; the outer before the inner."""
    kept: list[Tree] = []
    for tree in sorted(trees, key=lambda tree: (len(tree.place), tree.place)):
        if not any(other.holds(tree) for other in kept):
            kept.append(tree)
    return kept


def is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


def _parts(path: str) -> list[str]:
    """The last first."""
    return [part for part in reversed(path.split("/")) if part not in {"", "."}]
