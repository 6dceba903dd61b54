"""One row's machine: an empty home, no key, no Redis, what its conditions change, and nothing left of it afterwards."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.machines import processes
from tests.machines.conditions import Environment, is_root, namespaces_of
from tests.machines.rows import Row

# Of make's own, too: `make machines ARGS=… PYTHON=…` hands these on to the makes below it.
DROPPED = {
    "VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "REDIS_URL", "DATABASE_URL", "DJANGO_SETTINGS_MODULE", "HOST", "CUDA_HOME",
    "MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS", "PYTHON", "BIN", "WORKERS", "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME", "XDG_DATA_HOME", "OLDPWD",
}


def new_users(environment: Mapping[str, str]) -> Environment:
    """This environment as somebody has it who has set nothing up."""
    return {
        name: value for name, value in environment.items()
        if name not in DROPPED and not name.endswith("_API_KEY") and not name.startswith("AUTORESEARCH_")
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Machine:
    row: Row
    folder: Path
    clone: Path
    env: Environment
    port: int

    @property
    def terminal(self) -> Path:
        return self.folder / "terminal"

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """In a process group of its own, that hears Ctrl-C as in a terminal."""
        with self.terminal.open("ab") as out:
            return subprocess.Popen(
                [*self._inside(), *self.as_user, *command], cwd=self.clone, env=self.env, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, start_new_session=True,
            )

    def beside(self, process: subprocess.Popen[bytes], *command: str) -> subprocess.CompletedProcess[str]:
        """A command where a started one runs: the same network and mounts."""
        return subprocess.run(
            [*self._into(process.pid), *command], cwd=self.clone, env=self.env, capture_output=True, text=True, check=False
        )

    @property
    def _kinds(self) -> list[str]:
        return list(dict.fromkeys(kind for condition in self.row.conditions for kind in condition.namespaces))

    def _inside(self) -> list[str]:
        lines = [line for condition in self.row.conditions for line in condition.inside]
        shell = ["sh", "-c", "\n".join(["set -e", *lines, 'exec "$@"']), "sh"] if lines else []
        return [*(namespaces_of(*self._kinds) if self._kinds else []), *shell]

    def _into(self, pid: int) -> list[str]:
        as_root_there = [] if is_root() else ["--user", "--preserve-credentials"]
        kinds = [f"--{kind}" for kind in self._kinds]
        return ["nsenter", f"--target={pid}", *as_root_there, *kinds, "--"] if kinds else []

    @property
    def as_user(self) -> list[str]:
        user = self.row.user
        return [] if user is None else ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]


@contextlib.contextmanager
def machine(row: Row, root: Path, clone: Path) -> Iterator[Machine]:
    folder, port = root / f"row-{row.name}", free_port()
    env = new_users(os.environ) | {"PORT": str(port), "PIP_CACHE_DIR": str(root / "pip")}
    for name in ("HOME", "TMPDIR"):  # a pip that is killed leaves gigabytes in the latter
        (folder / name.lower()).mkdir(parents=True)
        env[name] = str(folder / name.lower())
    with contextlib.ExitStack() as conditions:
        for condition in row.conditions:
            conditions.enter_context(condition.enter(folder, env))
        if row.user is not None:
            subprocess.run(["chown", "-R", f"{row.user}:{row.user}", folder, clone.parent], check=True)
        try:
            yield Machine(row, folder, clone, env, port)
        finally:
            processes.end_all(root)
