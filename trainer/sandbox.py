"""What a training may see and touch. Three levels, the best that a live try on this machine shows to work:

    bubblewrap  a read-only system, no network, no other process, only its own folders writable (Linux, see bubblewrap.py)
    seatbelt    much of the same by macOS's sandbox-exec; unseen: nobody has run it on a Mac yet (see seatbelt.py)
    limits      rlimits and an allow-listed environment only: the code is trusted with the user's files

Standard library only. The options and what they stop are listed in docs/trainer.md.
"""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer import bubblewrap, seatbelt
from trainer.box import BUBBLEWRAP, LIMITS, SEATBELT, Box, Level

SYSTEM = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt/cuda", "/opt/rocm",
    "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime",
    *(f"/sys/{part}" for part in ("block", "bus", "class", "dev", "devices", "module")),
]
GPU_NODES = ["nvidia[0-9]*", "nvidiactl", "nvidia-uvm*", "nvidia-modeset", "nvidia-caps", "dxg", "kfd", "dri"]
CANARY_SECONDS = 20.0
# Names and certificates; of /etc/ssl not all, there are private keys beside them.
NETWORK = [
    *(f"/etc/{name}" for name in ("resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf", "services")),
    "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ca-certificates", "/etc/pki/ca-trust/extracted", "/etc/pki/tls/certs",
    "/etc/pki/tls/cert.pem",
]


def wrap(command: Sequence[str], box: Box, level: Level) -> list[str]:
    """The same command in a sandbox of its own, of this level. Its working directory must be in the box."""
    if level.name == SEATBELT:
        return seatbelt.wrap(level.by, command, box, pythons_own())
    return bubblewrap.wrap(level.by, command, box, [*SYSTEM, *pythons_own(), *(NETWORK if box.network else [])])


def gpu_nodes() -> list[str]:
    return sorted(str(path) for pattern in GPU_NODES for path in Path("/dev").glob(pattern))


def pythons_own() -> list[str]:
    """Where our interpreter and its packages are; any of it may be a link."""
    return sorted({sys.base_prefix, sys.prefix, sys.executable})


# The live try

CANARY = """
import os, pathlib, signal, socket, sys
inside, outside, hidden, held_out, report, port, judge = sys.argv[1:]
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
    ("a hidden folder can be read", can(os.listdir, held_out) and os.listdir(held_out) != []),
    ("a file outside can be read", can(open, report)),
    ("kernel settings can be written", can(open, "/proc/sys/kernel/core_pattern", "r+")),
    ("the network can be reached", can(socket.create_connection, ("127.0.0.1", int(port)), 1)),
) if is_wrong]
signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # in here the judge's number may be our own
can(os.kill, int(judge), signal.SIGUSR1)
can(pathlib.Path(report).write_text, "forged")  # perhaps into a folder of its own: who looks from outside knows
print("; ".join(wrong) or "well")
"""
REPORT = "the judge's"


@functools.cache
def level(read: tuple[str, ...] = ()) -> Level:
    """The best level of this machine, tried once a process. `read`: more folders that every training may read."""
    if sys.platform == "darwin":
        failure = _failure(seatbelt.LEVEL, read)
        return Level(LIMITS, failure) if failure else seatbelt.LEVEL
    if sys.platform != "linux":
        return Level(LIMITS, "a sandbox needs Linux or macOS: here a training is held by limits only")
    return _best_bubblewrap(read)


def try_again(read: tuple[str, ...] = ()) -> Level:
    """As `level`, afresh: what was missing may have been mended since."""
    level.cache_clear()
    return level(read)


def _best_bubblewrap(read: Sequence[str]) -> Level:
    """The first that holds. One that cannot forbid user namespaces in its own holds all else."""
    failures: dict[str, str] = {}
    tools = bubblewrap.tools()
    for options in ([bubblewrap.NO_NESTING], []):
        for tool in tools:
            tried = Level(BUBBLEWRAP, by=(tool.path, *options))
            failures[tool.name] = tool.problem or _failure(tried, read)
            if not failures[tool.name]:
                return tried
    if len(set(failures.values())) == 1:
        return Level(LIMITS, next(iter(failures.values())))
    return Level(LIMITS, "; ".join(f"{name}: {failure}" for name, failure in failures.items()))


def _failure(tried: Level, read: Sequence[str]) -> str:
    """Why this level does not hold here; "" where it does."""
    try:
        done, harm = _try_canary(tried, read)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{tried.name} could not be tried: {error}"
    if done.returncode:
        return explain(done.stderr, read_switches())
    said = done.stdout.strip()
    wrong = "; ".join([*([said] if said != "well" else []), *harm])
    return f"{tried.name} does not hold: {wrong}" if wrong else ""


def _try_canary(tried: Level, read: Sequence[str]) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """What it says it could do, and what it did: to a report beside its folder, to a process in the judge's place."""
    with (
        tempfile.TemporaryDirectory(prefix="autoresearch-") as folder, socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen([sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as judge,
    ):  # fmt: skip
        names = ("inside", "outside", "outside/hidden", "outside/held_out", "exam.json")
        inside, outside, hidden, held_out, report = paths = [f"{folder}/{name}" for name in names]
        for path in (inside, outside, held_out):
            os.mkdir(path)
        for path in (hidden, f"{held_out}/val.bin", report):
            Path(path).write_text(REPORT)
        box = Box(read=[outside, *read], write=[inside], hide=[hidden, held_out], devices=gpu_nodes())
        command = [sys.executable, "-I", "-S", "-c", CANARY, *paths, str(server.getsockname()[1]), str(judge.pid)]
        done = subprocess.run(
            wrap(command, box, tried), cwd=inside, env={}, capture_output=True, text=True, errors="replace",
            timeout=CANARY_SECONDS, check=False,
        )
        harm = ["the judge can be stopped"] if judge.poll() is not None else []
        return done, harm + (["the judge's report can be written"] if Path(report).read_text() != REPORT else [])


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
    words = stderr.strip().splitlines()[-1][:200] if stderr.strip() else "no words"
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
        todo = "in a container it needs --privileged or --security-opt seccomp=unconfined; in a chroot it cannot work"
        return f"bubblewrap was refused ({words}): {todo}"
    return f"Python does not start in the sandbox ({words}): name the folder it needs in AUTORESEARCH_SANDBOX_READ"
