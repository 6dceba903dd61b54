"""Processes and their limits, by the standard library alone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
KEYCTL, KEYCTL_JOIN_SESSION_KEYRING = {"x86_64": 250, "aarch64": 219}, 1  # the system call, by machine
FILE_BYTES = 8 * 1024**3  # one file of a training at most
OPEN_FILES = 65536
OOM_SCORE = 500  # where memory runs out, the kernel ends the training before our workers


def die_with_parent() -> None:
    """In a child, before exec: get SIGKILL when the parent ends. Linux only, elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def own_keyring() -> None:
    """In a child, before exec: a session keyring of its own, which neither we nor the next training have. Linux only.

    The kernel's keyrings hold what is put in them beyond the life of a process, and no namespace divides the session's.
    """
    if sys.platform == "linux" and (number := KEYCTL.get(os.uname().machine)):
        ctypes.CDLL(None).syscall(number, KEYCTL_JOIN_SESSION_KEYRING, None)  # refused: then it has none to use either


def adopt_orphans() -> None:
    """Orphaned grandchildren come to this process, so that it can end them. Linux only, elsewhere nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def limit(file_bytes: int = FILE_BYTES) -> None:
    """In a training, before exec: what it may use of the machine, inherited by all it starts.

    Never RLIMIT_AS: CUDA maps hundreds of GB. Nor RLIMIT_NPROC: it counts all threads of the user, not ours alone.
    """
    for kind, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, file_bytes), (resource.RLIMIT_NOFILE, OPEN_FILES)):
        hard = resource.getrlimit(kind)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS knows lower bounds of its own
            resource.setrlimit(kind, (limit, limit))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, by /proc; empty where there is none."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            children.setdefault(int(_fields(entry)[1]), []).append(int(entry.parent.name))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def _fields(stat: Path) -> list[str]:
    """Of a process, from its state on: what comes before may hold anything."""
    return stat.read_text().rpartition(")")[2].split()


class ProcessorTime:
    """Seconds that children and all below them have spent on processors. By /proc: Linux only.

    Who has waited for a child has its seconds too, so that the last to end has all. Children of a process that ignores
    their end are waited for by nobody: of these counts what was seen while they lived.
    """

    def __init__(self) -> None:
        self.seen: dict[tuple[int, str], float] = {}  # own seconds, by pid and start time
        self.others = 0.0  # of children that are not to be counted, once they have been waited for
        self.before = 0.0  # spent before it counts

    def look(self, pids: list[int]) -> float | None:
        """So far; `pids` are all that live, but for those that are not to be counted. None: not known."""
        if not Path("/proc/self/stat").exists():
            return None
        living, tick = 0.0, os.sysconf("SC_CLK_TCK")
        for pid in pids:
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = _fields(Path("/proc", str(pid), "stat"))
                own, waited_for = (sum(map(int, fields[at : at + 2])) / tick for at in (11, 13))
                self.seen[pid, fields[19]] = own
                living += own + waited_for
        return max(children_seconds() - self.others + living, sum(self.seen.values())) - self.before


def children_seconds() -> float:
    """Of all that this process has waited for, and of what those had waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
