"""From a training's description to its running shim: data, workspace, environment, sandbox. No Django, no database.

`start` is what the app, `manage.py train` and the benches call. What then happens is in the workspace's files: see spec.py.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from trainer import channel, compiled, folders, gpus, held_out, sandbox
from trainer.box import LIMITS, Box, Level
from trainer.shown import is_in
from trainer.spec import EXAM, GO, READY, TENSORS, ExamSpec, SecondSpec, Spec, is_locked, read_json, write_json

HERE = Path(__file__).resolve().parent
SHIM, TEMPLATE = HERE / "shim.py", HERE / "template"
# Of the template: data, metric, exam, and which attention is fast.
FIXED = ("prepare.py", "corpus.py", "sources.py", "held_out.txt", "download.py", "sitting.py", "sitting_tensors.py",
         "fast_attention.py")  # fmt: skip
VISIBLE = ("train", "tokenizer.json", "meta.json")  # of prepared data; held_out is for the judge alone
LEAST_BUDGET = "0.1"  # seconds: prepare.py takes no less
STDLIB = "stdlib"  # the data set that lies in every Python's own folder, too
PREPARING = "preparing-"  # names of the files that say how far it is
CHECK_SECONDS = 0.5  # between two looks whether the data is still wanted
STOP_SECONDS = 3.0  # for a prepare.py that is to end; then it is killed
LOG_CAP_BYTES = 4_000_000
# What of our environment a training may see. No key, no URL of ours.
PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "CUDA_HOME", "HF_HOME", "AUTORESEARCH_THREADS",
          "HSA_OVERRIDE_GFX_VERSION", "SYSTEMROOT")  # fmt: skip

SETS = re.compile(
    r"environ\s*(\[.*?\]\s*[+|]?=[^=]|\.\s*(update|setdefault|pop|clear)\b|\|=)|(put|unset)env\b|\bdel .*environ"
)

NEEDED = {  # Job.sandbox: why nothing trains without one
    "require": "AUTORESEARCH_SANDBOX=require, and there is no sandbox: {}.",
    "ask": "There is no working sandbox for what an LLM or agent writes: {}. Mend that, or allow it to train without one: "
    "on the program's page, under Researcher. Then resume.",
}
_prepared: dict[tuple[str, ...], Path] = {}
_preparing: dict[tuple[str, ...], threading.Lock] = {}


class LaunchError(Exception):
    """The training cannot be started; the words say why and what to do."""

    cause = "data"  # what is missing of this machine


class NoSandbox(LaunchError):
    cause = "sandbox"


@dataclass(frozen=True)
class Data:
    """A data set, as prepare.py knows it."""

    cache_dir: Path
    dataset: str = STDLIB
    vocab_size: int = 512
    seq_len: int = 256
    folder: str = ""  # of an earlier text, below cache_dir; "": the one that prepare.py makes today

    @property
    def progress(self) -> Path:
        """Where prepare.py says how far it is, while it works on this."""
        name = hashlib.sha256(self.dataset.encode()).hexdigest()[:12]
        return self.cache_dir / f"{PREPARING}{name}-{self.vocab_size}.json"

    def environment(self) -> dict[str, str]:
        return {
            **({"AUTORESEARCH_DATA": self.folder} if self.folder else {}),
            "AUTORESEARCH_CACHE_DIR": str(self.cache_dir),
            "AUTORESEARCH_DATASET": self.dataset,
            "AUTORESEARCH_VOCAB": str(self.vocab_size),
            "AUTORESEARCH_SEQ_LEN": str(self.seq_len),
        }


@dataclass(frozen=True)
class Job:
    """One training."""

    folder: Path  # made afresh
    export: Callable[[Path], None]  # writes the code into a folder
    command: Sequence[str]  # "{python}" is our interpreter
    data: Data
    data_dir: Path | None  # what `prepare` gave; None: the program brings data and metric of its own
    device: str  # "cpu", "mps", or which NVIDIA GPU
    device_lock: Path
    budget_seconds: float
    deadline_seconds: float  # by the clock outside, start-up and exam included
    exam: bool = True  # where there is prepared data: a judge gives the score
    exam_seconds: float = 600.0  # of the deadline, the exam alone
    secret_below: float | None = None  # see ExamSpec
    references: Sequence[Path] = ()  # answers of what it is compared with, see judge.py
    seed: int = 0
    kill_grace_seconds: float = 3.0
    fixed: Mapping[str, Path] = field(default_factory=dict)  # name in the code -> our file, laid over it
    sandbox: str = "auto"  # the best that works | "require", "ask": that or nothing | "off": limits
    read: Sequence[str] = ()  # more paths it may read
    compiled: Path | None = None  # what was compiled for its parent: it gets a copy
    env: Mapping[str, str] = field(default_factory=dict)  # more of its environment


def prepare(data: Data, check: Callable[[], None] = lambda: None) -> Path:
    """Make corpus and tokenizer where they are missing, by the fixed prepare.py. Asked once a process; returns their folder.

    It may take minutes: `check` is called meanwhile and may raise to give up; what has been downloaded is kept. One at a
    time loads, in this process and in others. Raises LaunchError with prepare.py's words.
    """
    key = (str(data.cache_dir), data.dataset, str(data.vocab_size), data.folder)
    if key in _prepared and _prepared[key].exists():
        return _prepared[key]
    preparing = _preparing.setdefault(key, threading.Lock())
    while not preparing.acquire(timeout=CHECK_SECONDS):
        check()
    try:
        if key not in _prepared or not _prepared[key].exists():
            if data.dataset == STDLIB and sandbox.level().name != LIMITS:
                held_out.copies()  # searched for now, not when a training waits
            _make(data.cache_dir)
            _ask_prepare(data, check)
            _prepared[key] = data.cache_dir / data.folder if data.folder else where(data)
        return _prepared[key]
    finally:
        preparing.release()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        todo = "Mend that, or let AUTORESEARCH_CACHE_DIR name another folder."
        raise LaunchError(f"The folder of the data, {folder}, cannot be made: {error.strerror}. {todo}") from error


def on_text(data: Data, validation_hash: str, train_hash: str = "", check: Callable[[], None] = lambda: None) -> Data:
    """The same data set with the text of this hash, which an earlier version or another Python may have made.

    Of several the one with the same training text is taken. `check` as for `prepare`. Raises LaunchError where that text
    is gone, and what prepare.py makes today is another.
    """
    today = where(data)
    folders = [today, *(path.parent for path in sorted(data.cache_dir.glob("*/meta.json")))]
    same = [folder for folder in folders if _is_text(folder, data, today, validation_hash)]
    found = next((folder for folder in same if _meta(folder).get("train_hash") == train_hash), next(iter(same), None))
    if found is not None:
        return replace(data, folder="" if found == today else found.name)
    if not _is_text(prepare(data, check), data, today, validation_hash):
        raise LaunchError(
            f"This run began on a text ({validation_hash[:12]}) that is no longer in {data.cache_dir}, and what this "
            "machine has is another: their scores cannot be compared. Put that folder back, or start a new run."
        )
    return data


def _is_text(folder: Path, data: Data, today: Path, validation_hash: str) -> bool:
    """The vocabulary that was asked for stands in the folder's name; where text is short, meta.json has a smaller one."""
    meta = _meta(folder)
    fits = folder == today or (meta.get("dataset") == data.dataset and f"-vocab{data.vocab_size}-" in folder.name)
    return fits and meta.get("validation_hash") == validation_hash and (folder / "held_out").exists()


def _meta(folder: Path) -> dict[str, Any]:
    return read_json(folder / "meta.json") or {}


def is_earlier(data: Data, folder: str) -> bool:
    """Whether an earlier version of prepare.py made this folder: then its text is not what a new run would get."""
    return folder.rpartition("-v")[2] != where(data).name.rpartition("-v")[2]


def where(data: Data) -> Path:
    """The folder that prepare.py makes of it today, there or not."""
    return _where(replace(data, folder=""))


@functools.cache
def _where(data: Data) -> Path:
    done = subprocess.run(_prepare_command("--where"), env=_environment(data), capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaunchError(f"The data could not be prepared. `python prepare.py` said:\n{done.stderr.strip()[-1500:]}")
    return Path(done.stdout.splitlines()[-1])


def _environment(data: Data) -> dict[str, str]:
    """Of prepare.py. What our own environment says of an earlier text is not meant for it."""
    return {**os.environ, "AUTORESEARCH_DATA": "", **data.environment()}


def _prepare_command(*options: str) -> list[str]:
    return [sys.executable, str(TEMPLATE / "prepare.py"), *options]


def _ask_prepare(data: Data, check: Callable[[], None]) -> None:
    env = {**_environment(data), "AUTORESEARCH_PROGRESS": str(data.progress)}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(_prepare_command(), env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            while _waits(process):
                check()
        finally:
            if _end(process):
                data.progress.unlink(missing_ok=True)  # it could not do so itself
        output.seek(0)
        said = output.read().decode(errors="replace")
    if process.returncode:
        words = [line for line in said.splitlines() if not line.startswith("Download: ")]  # how far it was, many times
        tail = "\n".join(words).strip()[-1500:]
        raise LaunchError(f"The data could not be prepared. `python prepare.py` said:\n{tail}")


def _waits(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(CHECK_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end(process: subprocess.Popen[bytes]) -> bool:
    """End it where it still runs; whether it had to be killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True
    return False


def fixed_files(names: Sequence[str], template: Path = TEMPLATE) -> dict[str, Path]:
    """Where the fixed files of these names come from. Who names prepare.py gets all that belongs to it."""
    wanted = dict.fromkeys((*names, *(FIXED if "prepare.py" in names else ())))
    return {name: template / name for name in wanted}


def start(job: Job) -> subprocess.Popen[bytes]:
    """Lay out a fresh workspace, without .git and with our fixed files, and start its detached shim.

    Raises LaunchError; FileNotFoundError when a fixed file is missing.
    """
    level = _level(job)
    _make_workspace(job)
    _write_code(job)
    return _start_shim(job.folder, _spec(job, level, _exam(job, level)))


def stand_by(job: Job, modules: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the shim before there is a device: in the sandbox a process imports `modules` and waits for `grant`.

    The program's own code is not there yet, see ready.py. Raises LaunchError; FileNotFoundError as `start`.
    """
    level = _level(job)
    _make_workspace(job)
    _lay_fixed_files(job)
    return _start_shim(job.folder, replace(_spec(job, level, _exam(job, level)), ready=list(modules)))


def grant(job: Job) -> bool:
    """Give what stands by in this workspace its code and its device, and let it go. False: nothing does that would fit."""
    if not (is_locked(job.folder / "lock") and stands_by(job.folder)):
        return False
    standing, level = Spec.load(job.folder), _level(job)
    exam = _exam(job, level, standing.exam.folder if standing.exam else "")
    spec = replace(_spec(job, level, exam), ready=standing.ready)
    if _until_granted(spec) != _until_granted(standing):
        return False
    _write_code(job)
    if _sets_the_environment(job):
        return False
    write_json(job.folder / "spec.json", asdict(spec))
    (job.folder / GO).touch()
    return True


def _sets_the_environment(job: Job) -> bool:
    """Whether its code may set what a module reads when it is imported: it wants to be there before them."""
    beside = (job.folder / "src" / job.command[1]).parent
    return any(SETS.search(path.read_text(errors="replace")) for path in beside.glob("*.py") if path.is_file())


def stands_by(folder: Path) -> bool:
    """Whether this workspace was made to wait, and has not been given its training."""
    return bool((read_json(folder / "spec.json") or {}).get("ready")) and not (folder / GO).exists()


def _until_granted(spec: Spec) -> Spec:
    """What was settled when it began to stand by. The rest, its device first, is settled by the grant."""
    env = {**spec.env, "CUDA_VISIBLE_DEVICES": ""}
    exam = spec.exam and replace(spec.exam, secret_below=None, references=[])
    return replace(spec, env=env, device_lock="", compiled="", deadline_seconds=0.0, exam=exam, second=None)


def _make_workspace(job: Job) -> None:
    folders.remove(job.folder)
    (job.folder / "src").mkdir(parents=True)
    (job.folder / "out").mkdir()
    (job.folder / "second").mkdir()


def _write_code(job: Job) -> None:
    """What the training is to run: its code, and what was compiled of it before."""
    if job.compiled:
        compiled.copy(job.compiled, job.folder / "out")
    job.export(job.folder / "src")
    _lay_fixed_files(job)


def _lay_fixed_files(job: Job) -> None:
    for name, ours in job.fixed.items():
        shutil.copy(ours, job.folder / "fixed")
        os.replace(job.folder / "fixed", job.folder / "src" / name)  # there it may be a link to somewhere else, or be read


def _start_shim(folder: Path, spec: Spec) -> subprocess.Popen[bytes]:
    write_json(folder / "spec.json", asdict(spec))
    with (folder / "shim.log").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-I", str(SHIM), str(folder)],
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, start_new_session=True, cwd=folder,
            env={"PATH": os.environ.get("PATH", "")},
        )


def _level(job: Job) -> Level:
    if job.sandbox == "off":
        return Level(LIMITS)
    level = sandbox.level(tuple(job.read))
    if job.sandbox in NEEDED and level.name == LIMITS:
        level = sandbox.try_again(tuple(job.read))
    if job.sandbox in NEEDED and level.name == LIMITS:
        raise NoSandbox(NEEDED[job.sandbox].format(level.why))
    return level


def _exam(job: Job, level: Level, folder: str = "") -> ExamSpec | None:
    """`folder`: of its channel; "": a new one."""
    if not job.exam or job.data_dir is None:
        return None
    folder = folder or str(channel.choose_folder(job.folder))
    second = f"{folder}-second" if level.name != LIMITS else ""
    references = list(map(str, job.references))
    return ExamSpec(
        str(job.data_dir), job.data.seq_len, job.exam_seconds, job.secret_below, folder, EXAM, second, references
    )


def _spec(job: Job, level: Level, exam: ExamSpec | None) -> Spec:
    env, box = environment(job, exam), _box(job, exam) if level.name != LIMITS else None
    return Spec(
        command=[part.replace("{python}", sys.executable) for part in job.command],
        env=env,
        deadline_seconds=job.deadline_seconds,
        grace_seconds=job.kill_grace_seconds,
        log_cap_bytes=LOG_CAP_BYTES,
        device_lock=str(job.device_lock),
        fixed=list(job.fixed),
        compiled=str(job.compiled or ""),
        exam=exam,
        level=level,
        sandbox=box,
        second=_second(job, exam, env, box) if exam and box else None,
    )


def _second(job: Job, exam: ExamSpec, env: Mapping[str, str], box: Box) -> SecondSpec:
    """The same program in folders of its own: it has no time to train, and gets the tensors that the first one wrote."""
    out = job.folder / "second"
    own = {
        "HOME": str(out), "TMPDIR": str(out), **compiled.environment(out), "AUTORESEARCH_BUDGET": LEAST_BUDGET,
        "AUTORESEARCH_EXAM": exam.second, "AUTORESEARCH_TENSORS": str(job.folder / TENSORS),
    }
    kept = {name: value for name, value in env.items() if name != "AUTORESEARCH_TOKENS"}
    read = [str(job.folder / TENSORS), *(path for path in box.read if path != str(READY))]
    return SecondSpec({**kept, **own}, replace(box, read=read, write=[str(out), exam.second]))


def environment(job: Job, exam: ExamSpec | None) -> dict[str, str]:
    """The training's whole environment: an allow-list, never ours with some names taken out."""
    out = str(job.folder / "out")
    return {
        **{name: os.environ[name] for name in PASSED if name in os.environ},
        "CUDA_VISIBLE_DEVICES": job.device if gpus.is_gpu(job.device) else "",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # its numbers are those of `nvidia-smi`
        **job.data.environment(),
        **compiled.environment(Path(out)),
        **({"AUTORESEARCH_EXAM": exam.folder} if exam else {}),
        **job.env,
        "HOME": out,
        "TMPDIR": out,
        "USER": "training",  # torch names a folder by it, and would look into /etc/passwd
        "PYTHONUNBUFFERED": "1",
        "AUTORESEARCH_BUDGET": f"{job.budget_seconds:g}",
        "AUTORESEARCH_SEED": str(job.seed),
        "AUTORESEARCH_WORKSPACE": str(job.folder),  # by which what is left of it is found
    }


def _box(job: Job, exam: ExamSpec | None) -> Box:
    source, out, data = job.folder / "src", job.folder / "out", job.data_dir
    read, hide = [str(source), str(READY), *job.read, *_cuda(job.folder)], []
    if data is not None:
        read += [str(data / name) for name in VISIBLE]
        others = [*data.parent.glob("*/held_out"), data.parent / "downloads"]  # the same text in other vocabularies
        hide = [*map(str, others), *held_out.to_hide(read_json(data / "meta.json") or {}, read)]
    return Box(
        read=read, write=[str(out), *([exam.folder] if exam else [])], hide=hide,
        devices=[] if job.device == "cpu" else sandbox.gpu_nodes(),
    )


def _cuda(folder: Path) -> list[str]:
    """CUDA_HOME, unless it is a folder so far up that it holds our own."""
    home = os.environ.get("CUDA_HOME", "")
    return [home] if home and not is_in(os.path.realpath(folder), os.path.realpath(home)) else []
