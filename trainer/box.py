"""The words of the sandbox: its levels, and the box that says what a training sees. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field

BUBBLEWRAP, SEATBELT, LIMITS = "bubblewrap", "seatbelt", "limits"


@dataclass(frozen=True)
class Box:
    """What of this machine a training sees beside the system and its Python. Absolute paths; what is missing is left out."""

    read: list[str] = field(default_factory=list)
    write: list[str] = field(default_factory=list)
    hide: list[str] = field(default_factory=list)  # files and folders in what it sees that it must not: nothing is there
    devices: list[str] = field(default_factory=list)
    instead: dict[str, str] = field(default_factory=dict)  # place inside -> our file that stands there, read-only
    network: bool = False  # the machine's own, loopback included


@dataclass(frozen=True)
class Level:
    name: str
    why: str = ""  # where it is not the full one: what is missing, and how to get it
    by: tuple[str, ...] = ()  # the program that makes the walls, with its first options
