"""What `manage.py doctor` looks at: small checks, each with the next step. None imports torch, none waits without end.

The last one trains for two seconds: what has trained needs no guessing. Data that this machine has are prepared for it;
nothing is downloaded or migrated, and nothing is started that stays.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from experiments.loop import alone, devices, training
from experiments.loop.errors import NotReady
from experiments.management.processes import redis_command
from experiments.models import Program
from experiments.researcher import keys
from experiments.states import Failure
from trainer import bubblewrap, channel, gpus, launch, presets, sandbox
from trainer.box import BUBBLEWRAP, SEATBELT
from trainer.output import last_words
from trainer.spec import ExamSpec, read_json, write_json

OK, COULD_BE_BETTER, BROKEN = "✓", "!", "✗"
SECONDS = 60  # for a process that a check starts
CONNECT_SECONDS = 10
TRAINING_SECONDS = 2.0
HERE = {"stdlib", "torch"}  # data sets that every machine has: prepared in seconds
LOW_DISK_GB = 5.0
GIT = (2, 25)  # Ubuntu 20.04's: the oldest with which the tests were run
REPORT = "Please report this with the whole line."
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "GROQ_API_KEY", "OPENROUTER_API_KEY",
        "DEEPSEEK_API_KEY", "XAI_API_KEY", "AZURE_API_KEY")  # fmt: skip
ASK_TORCH = """
import importlib.util, torch
cuda = torch.cuda.is_available()
device = torch.cuda.get_device_name() if cuda else "mps" if torch.backends.mps.is_available() else "cpu"
major = torch.cuda.get_device_capability()[0] if cuda and not torch.version.hip else 0
has = lambda name: importlib.util.find_spec(name) is not None
flash = has("flash_attn") and has("flash_attn.cute")
flags = (cuda, major >= 9, has("triton"), major == 9 and has("kernels"), major >= 9 and flash)
print("|".join(map(str, (torch.__version__, device, *map(int, flags)))))
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
    hopper: bool  # or later
    triton: bool
    flash_3: bool  # suits this card, and its package is there
    flash_4: bool


def run_all() -> Iterator[Check]:
    """Every check, in the order a training needs what they look at. One that breaks is a broken check, never a traceback."""
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(CONNECT_SECONDS))  # PostgreSQL's own is minutes
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:  # the edge: whatever is wrong with this machine is the answer
            name = check.__name__.replace("_", " ")
            yield Check(name, BROKEN, _one_line(f"{type(error).__name__}: {error}"), REPORT)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return ((done.stdout + done.stderr).strip().splitlines() or ["it ended without a word"])[-1]


def _run(command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, **env}, capture_output=True, text=True, errors="replace", timeout=SECONDS, check=False
    )


def python_and_torch() -> Iterator[Check]:
    done = _run([sys.executable, "-c", ASK_TORCH])
    if done.returncode:
        words = f"Python {platform.python_version()}, but no torch: {_last_line(done)}"
        yield Check("torch", BROKEN, _one_line(words), "make clean setup")
        yield _device(None)
        return
    version, device, *flags = done.stdout.strip().splitlines()[-1].split("|")
    torch = Torch(version, device, *(flag == "1" for flag in flags))
    yield Check("torch", OK, f"{torch.version}, Python {platform.python_version()}")
    yield _device(torch)
    if torch.cuda:
        yield _compile(torch)
    yield _attention(torch)


def _device(torch: Torch | None) -> Check:
    """What this machine has, by NVML, and whether torch can use it."""
    detected, why = presets.detect(settings.DEVICES)
    preset = presets.PRESETS[settings.PRESET or detected]
    words = f"{why}; {os.cpu_count()} cores; preset {preset.name}; trains on {', '.join(devices.names())}"
    if torch is None:
        return Check("device", COULD_BE_BETTER, words, "torch first: make clean setup")
    if detected not in {"cpu", "mps"} and not torch.cuda:
        said = _last_line(_run([*_prepare_command(), "--try"], CUDA_VISIBLE_DEVICES=devices.names()[0]))
        words = _one_line(f"{why}, but {said.removeprefix('prepare: ')}")
        return Check("device", BROKEN, words, "mend that, then doctor again")
    if detected == "mps" and torch.device != "mps":
        return Check("device", BROKEN, f"{why}, but this torch does not see it (macOS 14 or newer?)", "make clean setup")
    if detected == "cpu" and not settings.DEVICES and gpus.trouble():
        step = "see `nvidia-smi`; after an update of the driver the machine must restart"
        return Check("device", BROKEN, words, f"{step}. Without a GPU: AUTORESEARCH_DEVICES=cpu")
    hidden = "" if settings.DEVICES else os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    if detected == "cpu" and hidden not in {"", "-1"}:
        step = "set it to what nvidia-smi -L lists, or unset it"
        return Check("device", COULD_BE_BETTER, f"{words}: CUDA_VISIBLE_DEVICES={hidden} names none of its GPUs", step)
    return Check("device", OK, f"{words}; torch sees {torch.device}")


def _compile(torch: Torch) -> Check:
    if torch.triton:
        return Check("compile", OK, "triton is there for torch.compile")
    return Check("compile", BROKEN, "triton is missing, which torch.compile needs on CUDA", ".venv/bin/pip install triton")


def _attention(torch: Torch) -> Check:
    """Of which kernels fast_attention.py can choose."""
    if not torch.cuda:
        return Check("attention", OK, "SDPA" if torch.device == "mps" else "explicit product; no torch.compile on a CPU")
    reads_3 = torch.flash_3 and _training_reads(os.environ.get("HF_HOME", ""))
    names = ["SDPA", "FlexAttention", "FlashAttention 2", *["3"] * reads_3, *["4"] * torch.flash_4]
    words = f"the fastest of {', '.join(names)}, by a measurement at each start"
    if not torch.hopper or reads_3 or torch.flash_4:
        return Check("attention", OK, words)
    if torch.flash_3:
        words += "; kernels is there, but a training cannot read what it fetches"
        return Check("attention", COULD_BE_BETTER, words, "HF_HOME and AUTORESEARCH_SANDBOX_READ: docs/trainer.md, Sandbox")
    words += "; FlashAttention 4 may be faster on this card"
    return Check("attention", COULD_BE_BETTER, words, ".venv/bin/pip install --pre flash-attn-4")


def _training_reads(folder: str) -> bool:
    return bool(folder) and (
        settings.SANDBOX == "off" or any(Path(folder).is_relative_to(path) for path in settings.SANDBOX_READ)
    )


def wanted_data() -> list[launch.Data]:
    """Of the programs; before there is one, of the demo that the first start makes, or of this machine's preset."""
    try:
        wanted = {training.data_of(program) for program in Program.objects.all() if program.has_exam}
    except DatabaseError:  # not migrated, or away: `database` says so
        wanted = set()
    preset = presets.of_machine(settings.PRESET, settings.DEVICES)
    preset = presets.offline(preset) if settings.DEMO else preset
    default = launch.Data(Path(settings.DATA_DIR), preset.dataset, preset.vocab_size, preset.seq_len)
    return sorted(wanted or {default}, key=str)


def data_sets() -> Iterator[Check]:
    for data in wanted_data():
        yield _prepared(data)


def _prepared(data: launch.Data) -> Check:
    """Whether the files are there and whole, and the tokenizer has the tokens that the data were made with."""
    words = f"{data.dataset}, vocabulary {data.vocab_size}, context {data.seq_len}"
    done = _run([*_prepare_command(), "--check"], **data.environment())
    if "Missing:" in done.stdout:
        if data.dataset not in HERE:
            return _not_here(data, words)
        done = _run(_prepare_command(), **data.environment())
    if done.returncode:
        return Check("data", BROKEN, _one_line(f"{words}: {_last_line(done)}"), _prepare_line(data))
    folder = _folder(data)
    meta = read_json(folder / "meta.json") or {}
    has, expected = _tokens(folder), meta.get("vocab_size")
    if has != expected:
        why = f"the tokenizer has {has} tokens, the data were made with {expected}"
        return Check("data", BROKEN, f"{words}: {why}", f"rm -r {shlex.quote(str(folder))}; {_prepare_line(data)}")
    text = f"text {meta.get('text', data.dataset)} ({meta['validation_hash'][:12]})"
    return Check("data", OK, f"{words}: prepared, {text}; the tokenizer's {has} tokens fit; {folder}")


def _not_here(data: launch.Data, words: str) -> Check:
    """A download, or a folder, which can take long: it is left to the first training."""
    folder = data.dataset.removeprefix("folder:")
    if folder != data.dataset and not Path(folder).expanduser().is_dir():
        return Check("data", BROKEN, f"{words}: {folder} is not a folder", "name another on the program's page")
    does = "prepares" if folder != data.dataset else "downloads"
    return Check("data", COULD_BE_BETTER, f"{words}: not here yet; the first training {does} it", _prepare_line(data))


def _prepare_command() -> list[str]:
    return [sys.executable, str(launch.TEMPLATE / "prepare.py")]


def _prepare_line(data: launch.Data) -> str:
    """What to type to prepare it."""
    return " ".join([*(f"{name}={shlex.quote(value)}" for name, value in data.environment().items()),
                     shlex.join(_prepare_command())])  # fmt: skip


def _folder(data: launch.Data) -> Path:
    return Path(_run([*_prepare_command(), "--where"], **data.environment()).stdout.strip())


def _tokens(folder: Path) -> int:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    return len(tokenizer["tokens"]) + len(tokenizer["special"])


def judge() -> Iterator[Check]:
    """It starts, reads the held-out text and makes its channel, as before each training."""
    data = next((data for data in wanted_data() if _prepared(data).mark == OK), None)
    if data is None:
        yield Check("judge", COULD_BE_BETTER, "not tried: it needs prepared data", "prepare the data, then doctor again")
        return
    with tempfile.TemporaryDirectory(prefix="autoresearch-doctor-") as folder:
        workspace = Path(folder)
        exam = ExamSpec(str(_folder(data)), data.seq_len, 10.0, None, str(channel.choose_folder(workspace)))
        write_json(workspace / "spec.json", {"exam": asdict(exam)})
        try:
            with channel.Channel(workspace, exam) as opened:
                opened.wait_ready(lambda: False)
        except channel.JudgeFailed as error:
            yield Check("judge", BROKEN, _one_line(str(error)), REPORT)
            return
    yield Check("judge", OK, f"starts, and has the held-out text of {data.dataset}")


def sandbox_level() -> Iterator[Check]:
    if settings.SANDBOX == "off":
        words = "switched off: a training can read and write what you can, and no score is verified"
        yield Check("sandbox", COULD_BE_BETTER, words, "unset AUTORESEARCH_SANDBOX")
        return
    level = sandbox.level(tuple(settings.SANDBOX_READ))
    walls = "no network, no validation text, only its own folder to write to"
    if level.name == BUBBLEWRAP:
        yield Check("sandbox", OK, f"{bubblewrap.described(level.by[0])}: {walls}")
    elif level.name == SEATBELT:
        yield Check("sandbox", COULD_BE_BETTER, f"{walls}, by {level.why}", "see docs/trainer.md, Sandbox")
    else:
        mark = BROKEN if settings.SANDBOX == "require" else COULD_BE_BETTER
        yield Check("sandbox", mark, f"none, so no score is verified: {level.why}", "see docs/trainer.md, Sandbox")


def short_training() -> Iterator[Check]:
    """Two seconds of the demo's program, as the loop would train it: sandbox, device, judge and all."""
    preset = presets.offline(presets.of_machine(settings.PRESET, settings.DEVICES))
    try:
        device = devices.free(())
    except devices.AllBusy as busy:
        yield Check("training", OK, f"not tried: {busy}", "doctor again when nothing trains")
        return
    except NotReady as error:
        yield Check("training", BROKEN, str(error), "mend that, then doctor again")
        return
    data = launch.Data(Path(settings.DATA_DIR), preset.dataset, preset.vocab_size, preset.seq_len)
    try:
        with alone.scratch() as folder:
            job = alone.job(folder, alone.Wish(preset, data, device, TRAINING_SECONDS))
            process = launch.start(job)
            process.wait(job.deadline_seconds + SECONDS)
            ended = alone.conclude(job)
    except launch.LaunchError as error:
        yield Check("training", BROKEN, _one_line(str(error)), "mend what is marked above, then doctor again")
        return
    except subprocess.TimeoutExpired as late:
        words = f"it had not ended after {late.timeout:.0f} s. Has another training taken {device} meanwhile?"
        yield Check("training", BROKEN, words, "doctor again when nothing trains")
        return
    yield _trained(ended, device)


def _trained(ended: alone.Ended, device: str) -> Check:
    where = f"{TRAINING_SECONDS:g} s on {device}, {ended.result.sandbox}"
    if failure := ended.judged.failure:
        said = last_words(ended.log) if failure.reason == Failure.CRASH else failure.detail
        words = _one_line(f"{where}: {failure.reason}: {said}")
        return Check("training", BROKEN, words, ".venv/bin/python manage.py train --seconds 2 shows all of it")
    return Check("training", OK, f"{where}: val_bpb {ended.judged.score:.3f}, {', '.join(ended.judged.badges)}")


def disk() -> Iterator[Check]:
    free = shutil.disk_usage(Path(settings.VAR_DIR)).free / 1e9
    words = f"{free:.1f} GB free under {settings.VAR_DIR}"
    if free >= LOW_DISK_GB:
        yield Check("disk", OK, words)
    else:
        yield Check("disk", COULD_BE_BETTER, words, "free some space, or set AUTORESEARCH_VAR to a folder on a larger disk")


def git() -> Iterator[Check]:
    oldest = ".".join(map(str, GIT))
    step = f"install git {oldest} or newer"
    if shutil.which("git") is None:
        yield Check("git", BROKEN, "not installed", step)
        return
    version = _run(["git", "--version"]).stdout.strip().removeprefix("git version ")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= GIT:
        yield Check("git", OK, version)
    else:
        words = f"{version} is older than any with which this was tried; the oldest is {oldest}"
        yield Check("git", COULD_BE_BETTER, words, step)


def database() -> Iterator[Check]:
    try:
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError as error:
        step = "start it, or mend DATABASE_URL" if os.environ.get("DATABASE_URL") else "see that the folder can be written"
        yield Check("database", BROKEN, _one_line(f"{connection.vendor} does not answer: {error}"), step)
        return
    if missing:
        words = f"{connection.vendor}: {len(missing)} migrations are not applied; `make run` does it"
        yield Check("database", COULD_BE_BETTER, words, ".venv/bin/python manage.py migrate")
    else:
        yield Check("database", OK, f"{connection.vendor}, migrated")


def redis() -> Iterator[Check]:
    if os.environ.get("REDIS_URL"):
        yield _given_redis()
        return
    try:
        name, command = redis_command(Path(settings.REDIS_SOCKET))
        done = _run([command[0], "--version"])
    except (ImportError, OSError) as error:
        yield Check("redis", BROKEN, _one_line(f"no server to start: {error}"), "make clean setup, or set REDIS_URL")
        return
    if done.returncode:
        words = _one_line(f"{name} does not run: {done.stderr}")
        yield Check("redis", BROKEN, words, "install redis-server, or set REDIS_URL")
    else:
        yield Check("redis", OK, f"{name}; `make run` starts a private one")


def _given_redis() -> Check:
    from redis import Redis, RedisError

    try:
        Redis.from_url(settings.REDIS_URL, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS).ping()
    except (RedisError, OSError, ValueError) as error:
        return Check("redis", BROKEN, _one_line(f"REDIS_URL does not answer: {error}"), "start it, or unset REDIS_URL")
    return Check("redis", OK, "REDIS_URL answers")


def llm_key() -> Iterator[Check]:
    names = [name for name in KEYS if os.environ.get(name)]
    unsafe = keys.why_unsafe(Path(settings.KEYS_FILE))
    if unsafe:
        yield Check("LLM key", BROKEN, unsafe.partition(": run")[0], f"chmod 600 {settings.KEYS_FILE}")
        return
    names += [str(settings.KEYS_FILE)] if Path(settings.KEYS_FILE).exists() else []
    yield Check("LLM key", OK, ", ".join(names) if names else "none; the built-in sweep needs none")


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    python_and_torch, database, disk, git, redis, llm_key, data_sets, judge, sandbox_level, short_training,
)
