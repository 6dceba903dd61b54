"""Calls git for an import: no configuration but ours, no prompts, a deadline and a limit on what it may write or say."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiments.importing.refused import ImportRefused

MAX_MB, CLONE_SECONDS, CALL_SECONDS = 500, 300.0, 60.0
MAX_TEXT = 1_000_000  # bytes of one diff or file
_OPTIONS = (
    f"core.hooksPath={os.devnull}", "core.fsmonitor=false", f"core.attributesFile={os.devnull}", "core.quotePath=false",
    "diff.external=", "credential.helper=", "gc.auto=0", "fetch.unpackLimit=1", "submodule.recurse=false",
    "protocol.allow=never", "protocol.https.allow=always", "protocol.ssh.allow=always", "protocol.git.allow=always",
    "http.lowSpeedLimit=1000", "http.lowSpeedTime=30",
)  # fmt: skip
_TROUBLES = (  # what git says, what a person is told
    (("timed out", "could not resolve", "failed to connect", "connection refused", "network is unreachable",
      "operation too slow", "no route to host"),
     "It could not be reached. Look at the address and at this machine's network, then try again."),
    (("could not read username", "authentication failed", "permission denied (publickey", "terminal prompts disabled",
      "host key verification failed", "access denied", "error: 401", "error: 403"),
     "It does not exist, or asks for a sign-in. Clone it yourself, then import the folder."),
    (("not found", "does not exist", "does not appear to be a git repository", "error: 404"),
     "There is no git repository. Look at the address again."),
    (("not allowed", "unsupported protocol", "unable to find remote helper"),
     "Only https, ssh and git addresses are fetched."),
)  # fmt: skip


Progress = Callable[[float], None]  # is told the MB so far


class GitFailed(Exception):
    """git ended with an error; the text is its own."""


def environment(folder: Path) -> dict[str, str]:
    """Ours alone: no GIT_ variable, configuration file or prompt of the person who runs the server.

    git has no home, as before 2.32 it knows no GIT_CONFIG_GLOBAL; ssh, and what that starts, has the usual one.
    """
    home = shlex.quote(os.environ.get("HOME", ""))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return clean | {
        "GIT_DIR": str(folder), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ATTR_NOSYSTEM": "1",
        "HOME": os.devnull, "XDG_CONFIG_HOME": os.devnull,
        "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "SSH_ASKPASS": "true", "LC_ALL": "C.UTF-8",
        "GIT_SSH_COMMAND": f"HOME={home} ssh -o BatchMode=yes -o ConnectTimeout=15", "GIT_SSH_VARIANT": "ssh",
        "GIT_PROTOCOL_FROM_USER": "0",
    }  # fmt: skip


def _command(args: Sequence[str]) -> list[str]:
    return ["git", *(part for option in _OPTIONS for part in ("-c", option)), *args]


def create(folder: Path, *options: str) -> None:
    """A bare repository whose first branch is main. Raises GitFailed."""
    call(folder, "init", "--quiet", "--bare", *options, str(folder))
    call(folder, "symbolic-ref", "HEAD", "refs/heads/main")  # init's option for it came with 2.28


def call(folder: Path, *args: str, stdin: str = "", more: Mapping[str, str] = {}) -> str:
    """Output of one quick command in the repository `folder`; `more` adds to its environment. Raises GitFailed."""
    try:
        done = subprocess.run(
            _command(args), env={**environment(folder), **more}, input=stdin.encode(), capture_output=True,
            timeout=CALL_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise GitFailed(f"git {args[0]} took longer than {CALL_SECONDS:.0f} s") from None
    if done.returncode:
        raise GitFailed(done.stderr.decode(errors="replace").strip() or f"git {args[0]} failed")
    return done.stdout.decode(errors="replace")


def read(folder: Path, *args: str, most: int = MAX_TEXT) -> bytes | None:
    """Output of a command whose size is not known; None where it is more than `most` bytes. Raises GitFailed."""
    command = _command(args)
    with subprocess.Popen(
        command, env=environment(folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        data = process.stdout.read(most + 1)
        if len(data) > most:
            process.kill()
            return None
    if process.returncode:
        raise GitFailed(f"git {args[0]} failed")
    return data


def copy(
    folder: Path, args: Sequence[str], *, stdin: str = "", more: Mapping[str, str] = {}, progress: Progress | None = None
) -> None:
    """A command that brings objects into `folder`, ended when it takes too long or writes too much. Raises ImportRefused."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as errors:
        source.write(stdin.encode())
        source.seek(0)
        process = subprocess.Popen(
            _command(args), env={**environment(folder), **more}, stdin=source, stdout=subprocess.DEVNULL, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
        try:
            _watch(process, folder, progress)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if process.returncode:
            errors.seek(0)
            raise refused(errors.read(20_000).decode(errors="replace"))


def _watch(process: subprocess.Popen[bytes], folder: Path, progress: Progress | None) -> None:
    started = told = time.monotonic()
    while process.poll() is None:
        time.sleep(0.05)
        now = time.monotonic()
        if now - started > CLONE_SECONDS:
            raise ImportRefused(
                f"It was not fetched within {CLONE_SECONDS / 60:.0f} minutes. Clone it yourself, then import the folder."
            )
        if now - told > 0.5:
            told = now
            size = megabytes(folder)
            if size > MAX_MB:
                raise ImportRefused(_huge(size))
            if progress:
                progress(size)
    if process.returncode == 0 and megabytes(folder) > MAX_MB:
        raise ImportRefused(_huge(megabytes(folder)))


def _huge(size: float) -> str:
    return (
        f"The repository is too large: over {MAX_MB} MB ({size:.0f} MB when it was stopped). "
        "Import its results.tsv alone, or a clone with less history."
    )


def megabytes(folder: Path) -> float:
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(at) / name).lstat().st_size
    return total / 1e6


def refused(said: str) -> ImportRefused:
    """git's words as a person can use them."""
    lower = said.casefold()
    for signs, text in _TROUBLES:
        if any(sign in lower for sign in signs):
            return ImportRefused(text)
    lines = [line for line in said.splitlines() if line.strip()]
    return ImportRefused(f"git could not read it: {lines[-1][:300] if lines else 'it gave no reason'}")
