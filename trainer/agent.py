"""From an agent's command to its running shim: where it is, what it sees and may use, in a sandbox of its own.

An agent is somebody's program that edits files in a folder. Its FOLDER holds `src/` (where it works), `home/`, and what the
shim writes there (see spec.py). Unlike a training it ends with the process that started it. Standard library only.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainer import sandbox
from trainer.box import BUBBLEWRAP, LIMITS, Box, Level
from trainer.shown import show, walk
from trainer.spec import Spec, write_json

SHIM = Path(__file__).resolve().parent / "shim.py"
PASSED = ("LANG", "LC_ALL", "TZ")  # of our environment, beside PATH and what the settings name
LOG_CAP_BYTES = 400_000  # of its output, beside the last 64 kB
GRACE_SECONDS = 1.0
FILE_BYTES = 1024**3
MOST_PROCESSES = 400
NICE = 10  # a training on the same processor comes first
PLACEHOLDERS = ("{python}", "{prompt_file}")
PLAIN_USER = "agent:x:{uid}:{gid}::{home}:/bin/sh\n"  # who asks for a name finds this one, not those of the machine


def joined(command: Sequence[str]) -> str:
    """A command as a person types it; placeholders need no quotes."""
    return " ".join(part if part in PLACEHOLDERS else shlex.quote(part) for part in command)


class AgentError(Exception):
    """The agent cannot be started; the words say why and what to do."""


@dataclass(frozen=True)
class Agent:
    command: Sequence[str]  # with PLACEHOLDERS: our interpreter, the file with its task
    folders: Path  # each start gets a fresh one below it
    seconds: float = 900.0
    network: bool = False
    env: Sequence[str] = ()  # names of our environment that it gets: its keys
    read: Sequence[str] = ()  # more paths it may read: where it is installed
    home: str = ""  # a folder of this machine that is its HOME; "": an empty one each time
    sandbox: str = "auto"  # "off": with our own rights


def start(agent: Agent, folder: Path, prompt: Path) -> subprocess.Popen[bytes]:
    """Start the command in FOLDER/src under a shim of its own, `prompt` also on its standard input. Raises AgentError."""
    level = _level(agent)
    sealed = level.name == BUBBLEWRAP
    home = Path(agent.home or folder / "home")
    for made in (folder / "src", folder / "home"):
        made.mkdir(exist_ok=True)
    env = environment(agent, folder, home, prompt)
    command = resolve(agent, prompt, env["PATH"], sealed=sealed)
    spec = Spec(
        command=command, env=env, deadline_seconds=agent.seconds, grace_seconds=GRACE_SECONDS, log_cap_bytes=LOG_CAP_BYTES,
        device_lock=str(folder / "device.lock"), level=level,
        sandbox=_box(agent, folder, home) if sealed else None, stdin=str(prompt),
        parent=os.getpid(), most_processes=MOST_PROCESSES, nice=NICE,
        file_bytes=FILE_BYTES,
    )
    write_json(folder / "spec.json", asdict(spec))
    with (folder / "shim.log").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-I", str(SHIM), str(folder)],
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True, cwd=folder,
            env={"PATH": os.environ.get("PATH", "")},
        )


def _level(agent: Agent) -> Level:
    """Raises AgentError where it should get a sandbox, and there is none that hides who it runs as."""
    if agent.sandbox == "off":
        return Level(LIMITS)
    level = sandbox.level(tuple(agent.read))
    if level.name != BUBBLEWRAP:
        raise AgentError(
            f"There is no sandbox for the agent here: {level.why}. Mend that, or set AUTORESEARCH_SANDBOX=off and restart: "
            "then agents and trainings run with the rights of this server's user."
        )
    return level


def environment(agent: Agent, folder: Path, home: Path, prompt: Path) -> dict[str, str]:
    """The agent's whole environment: an allow-list, never ours with some names taken out."""
    places = [*os.environ.get("PATH", os.defpath).split(os.pathsep), *(path for path in agent.read if os.path.isdir(path))]
    return {
        **{name: os.environ[name] for name in (*PASSED, *agent.env) if name in os.environ},
        "PATH": os.pathsep.join(dict.fromkeys(filter(None, places))),
        "HOME": str(home),
        "TMPDIR": "/tmp" if agent.sandbox != "off" else str(folder / "home"),
        "USER": "agent",
        "PYTHONUNBUFFERED": "1",
        "AUTORESEARCH_PROMPT_FILE": str(prompt),
        "AUTORESEARCH_AGENT": str(folder),  # by which what is left of it is found
    }


def resolve(agent: Agent, prompt: Path, path: str, *, sealed: bool) -> list[str]:
    """The command with its program's whole path. Raises AgentError where it cannot be started, and names it."""
    if not agent.command or not agent.command[0].strip():
        raise AgentError("No command is set for the agent: enter one on the program page, such as claude -p.")
    name, *arguments = (
        part.replace("{python}", sys.executable).replace("{prompt_file}", str(prompt)) for part in agent.command
    )
    there = os.path.expanduser(name)
    if os.path.sep in there and not os.path.isabs(there):
        raise AgentError(f"The agent's command {name} must be a name on PATH or a whole path that begins with /.")
    if os.path.isdir(there) and os.path.sep in there:
        raise AgentError(f"The agent's command {name} is a folder. Enter the program in it.")
    if os.path.isfile(there) and os.path.sep in there and not os.access(there, os.X_OK):
        raise AgentError(f"The agent's command {name} is not executable: chmod +x {there}, or write its interpreter first.")
    found = shutil.which(there, path=path)
    if found is None:
        raise AgentError(
            f"The agent's command {name} was not found on this machine. Install it, or enter its whole path on the program "
            "page; a folder outside the system's goes into AUTORESEARCH_AGENT_READ."
        )
    if sealed:
        _check_seen(agent, name, found)
    return [found, *arguments]


def _check_seen(agent: Agent, name: str, found: str) -> None:
    """Every link on the way, and what they lead to."""
    seen, way = show([*sandbox.SYSTEM, *sandbox.pythons_own(), *agent.read], [agent.home]), walk(found)
    for place in way.places if way else [found]:
        if not seen.has(place):
            raise AgentError(
                f"The agent's command {name} is at {place}, which its sandbox does not show. Add "
                f"{os.path.dirname(place)} to AUTORESEARCH_AGENT_READ and restart."
            )


def _box(agent: Agent, folder: Path, home: Path) -> Box:
    user = folder / "passwd"
    user.write_text(PLAIN_USER.format(uid=os.getuid(), gid=os.getgid(), home=home))
    return Box(
        read=list(agent.read), write=[str(folder / "src"), str(home)], instead={"/etc/passwd": str(user)},
        network=agent.network,
    )
