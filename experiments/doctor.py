"""What `manage.py doctor` looks at: one small check a line, each with the next step. None imports torch, none waits long."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from experiments.loop import devices, training
from experiments.models import Program
from trainer import channel, launch, presets, sandbox
from trainer.spec import ExamSpec, write_json

OK, COULD_BE_BETTER, BROKEN = "✓", "!", "✗"
SECONDS = 60  # for a process that a check starts
LOW_DISK_GB = 5.0
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY", "OPENROUTER_API_KEY",
        "DEEPSEEK_API_KEY", "XAI_API_KEY", "AZURE_API_KEY")  # fmt: skip
ASK_TORCH = """
import importlib.util, torch
cuda = torch.cuda.is_available()
device = torch.cuda.get_device_name() if cuda else "mps" if torch.backends.mps.is_available() else "cpu"
hopper = cuda and torch.cuda.get_device_capability() == (9, 0)
has = lambda name: importlib.util.find_spec(name) is not None
print("|".join(map(str, (torch.__version__, device, int(cuda), int(hopper), int(has("triton")), int(has("kernels"))))))
"""


@dataclass(frozen=True)
class Check:
    name: str
    mark: str
    words: str
    next_step: str = ""  # a command to type, or what to change


@dataclass(frozen=True)
class Torch:
    version: str
    device: str
    cuda: bool
    hopper: bool
    triton: bool
    kernels: bool


def run_all() -> Iterator[Check]:
    """Every check, in the order a training needs what they look at. One that breaks is a broken check, never a traceback."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:  # the edge: whatever is wrong with this machine is the answer
            name = check.__name__.replace("_", " ")
            yield Check(name, BROKEN, f"{type(error).__name__}: {error}"[:300], "Please report this with the whole line.")


def python_and_torch() -> Iterator[Check]:
    done = subprocess.run([sys.executable, "-c", ASK_TORCH], capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        yield Check("torch", BROKEN, " ".join(last)[:200], "make setup")
        return
    version, device, *flags = done.stdout.strip().split("|")
    torch = Torch(version, device, *(flag == "1" for flag in flags))
    yield Check("torch", OK, f"{torch.version}, Python {sys.version.split()[0]}")
    yield _device(torch)
    if torch.cuda:
        yield _compile(torch)
    yield _attention(torch)


def _device(torch: Torch) -> Check:
    preset, why = presets.detect()
    names = ", ".join(devices.names())
    if preset.startswith(("gpu", "h100")) and not torch.cuda:
        words = f"{why}, but this torch sees no GPU: trainings would run on the CPU"
        return Check("device", BROKEN, words, "install a torch built for CUDA into .venv, and see that nvidia-smi works")
    cores = f", {os.cpu_count()} cores" if torch.device == "cpu" else ""
    return Check("device", OK, f"{torch.device}{cores}; trains on {names}; preset {settings.PRESET or preset} ({why})")


def _compile(torch: Torch) -> Check:
    if torch.triton:
        return Check("compile", OK, "triton is there: torch.compile is used")
    return Check("compile", BROKEN, "triton is missing, which torch.compile needs on CUDA", ".venv/bin/pip install triton")


def _attention(torch: Torch) -> Check:
    if not torch.cuda:
        return Check("attention", OK, "explicit product on a CPU, SDPA on Apple silicon; torch.compile is not used")
    if torch.hopper and not torch.kernels:
        words = "SDPA and FlexAttention; FlashAttention 3 would be faster on this card"
        return Check("attention", COULD_BE_BETTER, words, ".venv/bin/pip install kernels")
    return Check("attention", OK, "FlashAttention 3" if torch.hopper else "SDPA and FlexAttention")


def data_sets() -> Iterator[Check]:
    """Of the default program and of those that are there: prepared, and the tokenizer fits."""
    is_made = Program._meta.db_table in connection.introspection.table_names()
    wanted = {training.data_of(program) for program in Program.objects.all() if program.has_exam} if is_made else set()
    cpu = presets.PRESETS["cpu"]
    wanted = wanted or {launch.Data(Path(settings.DATA_DIR), cpu.dataset, cpu.vocab_size, cpu.seq_len)}
    for data in sorted(wanted, key=str):
        command = [sys.executable, str(launch.TEMPLATE / "prepare.py"), "--check"]
        env = {**os.environ, **data.environment()}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
        words = f"{data.dataset}, vocabulary {data.vocab_size}, context {data.seq_len}"
        if done.returncode == 0:
            yield Check("data", OK, f"{words}: prepared, and the tokenizer fits")
        else:
            yield Check("data", COULD_BE_BETTER, f"{words}: not prepared yet", "the first training does it")


def judge() -> Iterator[Check]:
    """The judge starts, reads the held-out text and makes its channel."""
    cpu = presets.PRESETS["cpu"]
    data = launch.Data(Path(settings.DATA_DIR), cpu.dataset, cpu.vocab_size, cpu.seq_len)
    with tempfile.TemporaryDirectory(prefix="autoresearch-doctor-") as folder:
        workspace = Path(folder)
        exam = ExamSpec(str(launch.prepare(data)), data.seq_len, 10.0, None, str(workspace / "exam"))
        write_json(workspace / "spec.json", {"exam": asdict(exam)})
        try:
            with channel.Channel(workspace, exam) as opened:
                opened.wait_ready(lambda: False)
        except channel.JudgeFailed as error:
            yield Check("judge", BROKEN, str(error)[:300], "Please report this with the whole line.")
            return
    yield Check("judge", OK, "starts, and has the held-out text")


def sandbox_level() -> Iterator[Check]:
    if settings.SANDBOX == "off":
        words = "switched off: a training can read what you can read, and use the network"
        yield Check("sandbox", COULD_BE_BETTER, words, "unset AUTORESEARCH_SANDBOX")
        return
    level = sandbox.level(tuple(settings.SANDBOX_READ))
    if level.name == sandbox.BUBBLEWRAP:
        yield Check("sandbox", OK, "bubblewrap: no network, no validation text, only its own folder to write to")
    else:
        mark = BROKEN if settings.SANDBOX == "require" else COULD_BE_BETTER
        yield Check("sandbox", mark, f"limits only: {level.why}", "see docs/trainer.md, Sandbox")


def disk() -> Iterator[Check]:
    free = shutil.disk_usage(Path(settings.VAR_DIR)).free / 1e9
    mark = OK if free >= LOW_DISK_GB else COULD_BE_BETTER
    yield Check("disk", mark, f"{free:.0f} GB free under {settings.VAR_DIR}", "" if mark == OK else "free some space")


def git() -> Iterator[Check]:
    done = subprocess.run(["git", "--version"], capture_output=True, text=True, timeout=10, check=False)
    version = done.stdout.strip().removeprefix("git version ")
    new_enough = tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= (2, 38)
    if new_enough:
        yield Check("git", OK, version)
    else:
        yield Check("git", BROKEN, f"{version}: 2.38 or newer is needed to revert a commit mid-chain", "upgrade git")


def database() -> Iterator[Check]:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        words = f"{connection.vendor}: {len(missing)} migrations are not applied"
        yield Check("database", COULD_BE_BETTER, words, "make run does it, or: manage.py migrate")
    else:
        yield Check("database", OK, connection.vendor)


def redis() -> Iterator[Check]:
    if not os.environ.get("REDIS_URL"):
        yield Check("redis", OK, "a private server, started by `make run`")
        return
    from redis import Redis, RedisError

    try:
        Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5, socket_connect_timeout=5).ping()
    except (RedisError, ValueError) as error:
        yield Check("redis", BROKEN, f"REDIS_URL does not answer: {error}"[:200], "start it, or unset REDIS_URL")
        return
    yield Check("redis", OK, "REDIS_URL answers")


def llm_key() -> Iterator[Check]:
    names = [name for name in KEYS if os.environ.get(name)]
    yield Check("LLM key", OK, ", ".join(names) if names else "none is set; the built-in sweep needs none")


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    python_and_torch, data_sets, judge, sandbox_level, disk, git, database, redis, llm_key,
)
