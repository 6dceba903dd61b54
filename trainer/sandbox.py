"""What a training may see and touch. Two levels, the best that a live try on this machine shows to work:

    bubblewrap  a read-only system, no network, no other process, only its own folders writable (Linux, /usr/bin/bwrap)
    limits      rlimits and an allow-listed environment only: the code is trusted with the user's files

Standard library only. The options and what they stop are listed in docs/trainer.md.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BUBBLEWRAP, LIMITS = "bubblewrap", "limits"
ISOLATION = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
SYSTEM = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt/cuda", "/opt/rocm",
    "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime",
    *(f"/sys/{part}" for part in ("block", "bus", "class", "dev", "devices", "module")),
]
GPU_NODES = ["nvidia[0-9]*", "nvidiactl", "nvidia-uvm*", "nvidia-modeset", "nvidia-caps", "dxg", "kfd", "dri"]
WITHOUT_PYTHONS = {"__pycache__", "site-packages", "dist-packages", "node_modules", "doc", "man", "icons", "include"}
CANARY_SECONDS = 20.0
# Names and certificates; of /etc/ssl not all, there are private keys beside them.
NETWORK = [
    *(f"/etc/{name}" for name in ("resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf", "services")),
    "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki/ca-trust/extracted", "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
]


@dataclass(frozen=True)
class Box:
    """What of this machine a training sees beside the system and its Python. Absolute paths."""

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


def wrap(command: Sequence[str], box: Box) -> list[str]:
    """The same command in a sandbox of its own. Its working directory must be in the box."""
    seen = [*pythons_own(), *box.read]
    network = ["--share-net"] if box.network else []
    return [
        shutil.which("bwrap") or "bwrap", *ISOLATION, *network, *_system(), "--proc", "/proc", *_kernel_settings(),
        "--dev", "/dev", "--tmpfs", "/dev/shm", "--tmpfs", "/tmp",
        *(part for node in box.devices for part in ("--dev-bind-try", node, node)),
        *(part for path in (NETWORK if box.network else []) for part in ("--ro-bind-try", path, path)),
        *(part for place, path in box.instead.items() for part in ("--ro-bind", path, place)),
        *(part for path in seen for part in ("--ro-bind", path, path)),
        *(part for path in _hidden(box.hide, [*SYSTEM, *seen]) for part in _cover(path)),
        *(part for path in box.write for part in ("--bind", path, path)),
        "--remount-ro", "/dev", "--remount-ro", "/", "--", *command,
    ]


def gpu_nodes() -> list[str]:
    return sorted(str(path) for pattern in GPU_NODES for path in Path("/dev").glob(pattern))


def _system() -> Iterator[str]:
    """Links such as /lib -> usr/lib stay links; what this machine does not have is left out."""
    for path in SYSTEM:
        if os.path.islink(path) and not path.startswith("/etc/"):
            yield from ("--symlink", os.readlink(path), path)
        else:
            yield from ("--ro-bind-try", path, path)


def pythons_own() -> list[str]:
    """Folders of our interpreter and its packages that the system's do not hold, the outer before the inner."""
    folders = {sys.base_prefix, sys.prefix, os.path.realpath(sys.base_prefix)}
    return sorted(folder for folder in folders if not is_in(folder, "/usr"))


@functools.cache
def other_pythons() -> list[str]:
    """Other standard libraries in what every training sees: they hold the same text as ours. A second's search."""
    ours, found = os.path.realpath(sysconfig.get_path("stdlib")), set()
    places = [path for path in (*SYSTEM, *pythons_own()) if not path.startswith("/sys/") and not os.path.islink(path)]
    for place in places:
        for folder, names, files in os.walk(place):
            names[:] = [name for name in names if name not in WITHOUT_PYTHONS]
            if {"abc.py", "os.py"} <= set(files):
                found.add(folder)
    return sorted(found - {ours})


def _kernel_settings() -> Iterator[str]:
    """What of a fresh /proc could be written: started by root, a training is still uid 0 to the kernel's settings."""
    for path in sorted(Path("/proc").iterdir()):
        if not path.name.isdigit() and not path.is_symlink() and (path.is_dir() or path.lstat().st_mode & 0o222):
            yield from ("--ro-bind-try", str(path), str(path))


def _hidden(paths: Sequence[str], seen: Sequence[str]) -> list[str]:
    """Where these files show inside: what is not seen needs no cover, and bwrap could lay none."""
    places = set()
    there = [os.path.realpath(path) for path in paths if os.path.exists(path)]
    for root in (path for path in seen if not os.path.islink(path) or path not in SYSTEM):
        inside = os.path.realpath(root)
        for path in there:
            if is_in(path, inside):
                places.add(os.path.normpath(os.path.join(root, os.path.relpath(path, inside))))
    return sorted(places)


def _cover(path: str) -> list[str]:
    """An import of a device is not found; a folder is empty."""
    return ["--tmpfs", path, "--remount-ro", path] if os.path.isdir(path) else ["--dev-bind", "/dev/null", path]


def is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder.rstrip('/')}/")


# The live try

CANARY = """
import os, pathlib, socket, sys
inside, outside, hidden, missing, port = sys.argv[1:]
def can(what, *args):
    try:
        what(*args)
    except OSError:
        return False
    return True
wrong = [words for words, is_wrong in (
    ("its own folder cannot be written", not can(pathlib.Path(inside, "canary").touch)),
    ("code can be written", can(pathlib.Path(outside, "canary").touch)),
    ("a hidden file can be read", can(open, hidden) and open(hidden).read() != ""),
    ("a file outside can be read", os.path.exists(missing)),
    ("kernel settings can be written", can(open, "/proc/sys/kernel/core_pattern", "r+")),
    ("the network can be reached", can(socket.create_connection, ("127.0.0.1", int(port)), 1)),
) if is_wrong]
print("; ".join(wrong) or "well")
"""


@functools.cache
def level(read: tuple[str, ...] = ()) -> Level:
    """The best level of this machine, tried once a process. `read`: more folders that every training may read."""
    if sys.platform != "linux":
        return Level(LIMITS, "bubblewrap needs Linux: here a training is held by limits only")
    if shutil.which("bwrap") is None:
        return Level(LIMITS, "bubblewrap is not installed: apt-get install bubblewrap (Fedora: dnf install bubblewrap)")
    try:
        done = _try_canary(read)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Level(LIMITS, f"bubblewrap could not be tried: {error}")
    if done.returncode:
        return Level(LIMITS, explain(done.stderr, read_switches()))
    said = done.stdout.strip()
    return Level(BUBBLEWRAP) if said == "well" else Level(LIMITS, f"bubblewrap does not hold: {said}")


def _try_canary(read: Sequence[str]) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="autoresearch-") as folder, socket.create_server(("127.0.0.1", 0)) as server:
        names = ("inside", "outside", "outside/hidden", "missing")
        inside, outside, hidden, missing = paths = [f"{folder}/{name}" for name in names]
        os.mkdir(inside)
        os.mkdir(outside)
        for path in (hidden, missing):
            Path(path).write_text("text")
        box = Box(read=[outside, *read], write=[inside], hide=[hidden], devices=gpu_nodes())
        command = [sys.executable, "-I", "-S", "-c", CANARY, *paths, str(server.getsockname()[1])]
        return subprocess.run(
            wrap(command, box), cwd=inside, env={}, capture_output=True, text=True, errors="replace",
            timeout=CANARY_SECONDS, check=False,
        )


SWITCHES = {  # a kernel setting that refuses user namespaces, with the value that does
    "user.max_user_namespaces": ("0", "15000"),
    "kernel.unprivileged_userns_clone": ("0", "1"),
    "kernel.apparmor_restrict_unprivileged_userns": ("1", "0"),
}


def read_switches() -> dict[str, str]:
    files = {name: Path("/proc/sys") / name.replace(".", "/") for name in SWITCHES}
    return {name: file.read_text().strip() for name, file in files.items() if file.exists()}


def explain(stderr: str, switches: Mapping[str, str]) -> str:
    """Why bwrap or Python in it failed, and what to do, in one line."""
    words = stderr.strip().splitlines()[-1][-200:] if stderr.strip() else "no words"
    if "namespace" in words.lower() or "uid map" in words.lower():
        for name, value in switches.items():
            refuses, allows = SWITCHES[name]
            if value == refuses:
                return f"user namespaces are switched off: sysctl -w {name}={allows}"
    if words.startswith("bwrap: Can't find source path"):
        return f"a folder is not there ({words}): mend AUTORESEARCH_SANDBOX_READ"
    if words.startswith("bwrap: execvp"):
        return f"Python is not in the sandbox ({words}): name its folder in AUTORESEARCH_SANDBOX_READ"
    if words.startswith("bwrap:"):
        return f"bubblewrap was refused ({words}): in a container it needs --privileged or --security-opt seccomp=unconfined"
    return f"Python does not start in the sandbox ({words}): name the folder it needs in AUTORESEARCH_SANDBOX_READ"
