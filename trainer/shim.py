"""Holds one training: its deadline, output and result. A process of its own: no worker's death costs a training.

    python -I trainer/shim.py WORKSPACE

The workspace holds `spec.json` (written by launch.py) and gets `state.json`, `log` and, last of all, `result.json`.
It starts the judge, then the command in its sandbox, where a process may stand by for it before there is a device
(ready.py). It takes all it started with it when it ends or gets SIGTERM.
Alive means: the lock on `WORKSPACE/lock` is held. Standard library only; it runs none of the edited code itself.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # -I leaves our own folder out
from trainer import compiled
from trainer.box import BUBBLEWRAP
from trainer.channel import Channel, JudgeFailed
from trainer.processes import ProcessorTime, adopt_orphans, descendants, die_with_parent, limit, own_keyring, signal_all
from trainer.ready import LOADED
from trainer.sandbox import wrap
from trainer.spec import AWAITED, GO, READY, Result, SecondSpec, Spec, mtime, try_lock, write_json

READ_SIZE = 65536
AWAITED_SECONDS = 120.0
LOOK_SECONDS = 1.0  # between two looks at what its processes have spent: each reads all of /proc
TAIL_BYTES = 65536  # what is kept of the end, when the log has outgrown its cap


class CappedLog:
    """A log file that keeps the head up to a cap and, at the end, the tail: a summary after 200 MB is still read."""

    def __init__(self, file: IO[bytes], cap: int) -> None:
        self.file, self.cap = file, cap
        self.size = self.dropped = 0
        self.tail = b""

    def write(self, data: bytes) -> None:
        room = max(0, self.cap - self.size)
        head, rest = data[:room], data[room:]
        if head:
            self.file.write(head)
            self.size += len(head)
        if rest:
            kept = self.tail + rest
            self.dropped += max(0, len(kept) - TAIL_BYTES)
            self.tail = kept[-TAIL_BYTES:]

    def finish(self) -> None:
        if self.dropped:
            self.file.write(f"\n[{self.dropped:,} bytes of output were not kept]\n".encode())
        self.file.write(self.tail)


def prepare_child(file_bytes: int, nice: int) -> None:
    """Runs in the child, before the command: it dies with us, and within limits."""
    die_with_parent()
    own_keyring()
    limit(file_bytes)
    os.nice(nice)


def tasks_of_machine() -> int:
    """Processes and threads of all, in one short read; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    return 0


class Shim:
    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.spec = Spec.load(workspace)
        self.channel: Channel | None = None
        self.stopped = False
        self.loading_seconds, self.before_exam_bytes = 0.0, 0
        self.crowded, self.tasks_before = False, tasks_of_machine()
        self.processor, self.looked_at = ProcessorTime(), 0.0
        self.processor_before: float | None = None  # until the exam began

    def run(self) -> Result:
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._say_state(child=None)  # before the wait for the device: who cancels needs our pid
        adopt_orphans()
        if self.spec.exam is None:
            return self._hold()
        try:
            with Channel(self.workspace, self.spec.exam) as self.channel:
                self.channel.wait_ready(lambda: self.stopped)
                return self._hold()
        except (JudgeFailed, OSError) as error:
            ended = "judge_lost" if isinstance(error, JudgeFailed) else "error"
            return Result(ended, None, 0.0, f"The exam could not be held: {error}", sandbox=self.spec.level.name)

    def _hold(self) -> Result:
        """Wait for the device, then train."""
        standing = self._stand_by() if self.spec.ready else None
        with Path(self.spec.device_lock).open("a") as device:
            while not self.stopped and not try_lock(device):
                time.sleep(0.05)
            before = self._fixed_files()
            result = self._train(standing)
            after = self._fixed_files()
        changed = [name for name in before if before[name] != after[name]]
        return replace(
            result, sandbox=self.spec.level.name, tampered=changed, loading_seconds=self.loading_seconds,
            before_exam_bytes=self.before_exam_bytes,
        )  # fmt: skip

    def _stand_by(self) -> subprocess.Popen[bytes]:
        """A process in the sandbox that waits for the word to go; until `launch.grant` says which device, code and spec."""
        python, *script = self.spec.command
        process, began = self._start([python, str(READY), ",".join(self.spec.ready), *script], subprocess.PIPE), time.time()
        while not (self.workspace / GO).exists() and not self.stopped:
            if self.channel:
                self.channel.check()
            if process.poll() is not None or not self._is_awaited(began):
                self.stopped = True  # the next training starts without it
            time.sleep(0.01)
        if not self.stopped:
            self.spec = Spec.load(self.workspace)
            self.loading_seconds = mtime(self.workspace / "out" / LOADED, time.time()) - began
        return process

    def _is_awaited(self, began: float) -> bool:
        """By workers that live: each tick touches the file. A folder that is gone is nobody's any more."""
        is_recent = time.time() - mtime(self.workspace / AWAITED, began) < AWAITED_SECONDS
        return is_recent and (self.workspace / "spec.json").exists()

    def _say_state(self, *, child: int | None) -> None:
        write_json(self.workspace / "state.json", {"pid": os.getpid(), "child": child, "started_at": time.time()})

    def _fixed_files(self) -> dict[str, str]:
        """Each fixed file's hash; "" for one that cannot be read."""
        hashes = dict.fromkeys(self.spec.fixed, "")
        for name in hashes:
            with contextlib.suppress(OSError):
                hashes[name] = hashlib.sha256((self.workspace / "src" / name).read_bytes()).hexdigest()
        return hashes

    def _train(self, standing: subprocess.Popen[bytes] | None) -> Result:
        if self.stopped:
            if standing:
                self._end(standing)
            return Result("stopped", None, 0.0)
        box, started, self.processor.before = self.spec.sandbox, time.monotonic(), self._processor_seconds() or 0.0
        try:
            process = standing or self._start_in_place()
        except OSError as error:
            return Result("error", None, 0.0, f"The command could not be started: {error}")
        if standing:
            self._let_go(standing)
        self._say_state(child=process.pid)
        ended, detail = "exit", ""
        try:
            ended = self._follow(process, started)
        except OSError as error:
            ended, detail = ("disk_full" if error.errno == errno.ENOSPC else "error"), str(error)
        except JudgeFailed as error:
            ended, detail = "judge_lost", str(error)
        finally:
            self._end(process)
        seconds, spent = time.monotonic() - started, self._processor_seconds()
        if ended == "exit" and self.channel:
            ended, detail = self._finish_exam(self.channel, process.returncode)
        began = self.channel.began_at if self.channel else None
        result = Result(
            ended, process.returncode, seconds, detail, began and began - started, processor_seconds=spent,
            processor_before=spent if self.processor_before is None else self.processor_before,
        )  # fmt: skip
        return self._without_wrapper(result) if box else result

    def _finish_exam(self, channel: Channel, exit_code: int) -> tuple[str, str]:
        """The training has ended: the judge says what it found, where it is due after a second process. How it ended."""
        try:
            if not channel.is_second_due:
                channel.finish()
            if self.spec.second and exit_code == 0 and channel.is_second_due:
                if self._run_second(channel, self.spec.second) == "stopped":
                    return "stopped", ""
                if channel.is_second_due:
                    raise JudgeFailed("The judge did not come to an end with the second process.")
        except JudgeFailed as error:
            return "judge_lost", str(error)
        except OSError as error:
            return ("disk_full" if error.errno == errno.ENOSPC else "error"), str(error)
        return "exit", ""

    def _run_second(self, channel: Channel, second: SecondSpec) -> str:
        """The first one has ended with all that it started; this one ends when the judge has nothing more to ask. Or how."""
        assert self.spec.exam
        compiled.copy(self.workspace / compiled.BEFORE / compiled.FOLDER, self.workspace / "second")
        seconds, spec = self.spec.exam.deadline_seconds, self.spec
        self.spec = replace(spec, env=second.env, sandbox=second.sandbox, deadline_seconds=seconds)
        try:
            process = self._start(spec.command, subprocess.DEVNULL)
            try:
                ended = self._follow(process, time.monotonic(), "second.log", lambda: channel.has_ended)
            finally:
                self._end(process)
            if ended != "stopped":
                channel.finish()
                channel.check()
            return ended
        finally:
            self.spec = spec

    def _start_in_place(self) -> subprocess.Popen[bytes]:
        with open(self.spec.stdin or os.devnull, "rb") as stdin:
            return self._start(self.spec.command, stdin)

    def _start(self, command: list[str], stdin: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """In its sandbox. Raises OSError."""
        box = self.spec.sandbox
        return subprocess.Popen(
            wrap(command, box, self.spec.level) if box else command,
            cwd=self.workspace / "src",
            env=self.spec.env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=partial(prepare_child, self.spec.file_bytes, self.spec.nice),
        )

    def _let_go(self, standing: subprocess.Popen[bytes]) -> None:
        """It may have died since: then there is nobody to tell, and its exit code says so."""
        assert standing.stdin is not None
        with contextlib.suppress(BrokenPipeError), standing.stdin as word:
            word.write(json.dumps({"CUDA_VISIBLE_DEVICES": self.spec.env.get("CUDA_VISIBLE_DEVICES", "")}).encode() + b"\n")

    def _without_wrapper(self, result: Result) -> Result:
        """The training's own end: bwrap gives a signal as 128 + its number. What a wrapper has to say is the last line."""
        code = result.exit_code or 0
        if code > 128 and self._has_bwrap:
            return replace(result, exit_code=128 - code)
        words = (self.workspace / "log").read_bytes()[-1000:].decode(errors="replace").strip().rpartition("\n")[2]
        if code and words.startswith("bwrap: " if self._has_bwrap else "sandbox-exec: "):
            todo = "Name the folder it needs in AUTORESEARCH_SANDBOX_READ, or set AUTORESEARCH_SANDBOX=off."
            return replace(result, ended="error", detail=f"The sandbox could not be set up: {words}. {todo}")
        return result

    @property
    def _has_bwrap(self) -> bool:
        """It stays above the training; sandbox-exec becomes it."""
        return self.spec.level.name == BUBBLEWRAP

    def _follow(
        self, process: subprocess.Popen[bytes], started: float, name: str = "log", is_over: Callable[[], bool] = bool
    ) -> str:
        """Copy the output until the training ends, its time is up, or we are told to stop."""
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        os.set_blocking(pipe, False)
        with (self.workspace / name).open("ab", buffering=0) as file:
            log = CappedLog(file, self.spec.log_cap_bytes)
            try:
                while True:
                    if self.channel:
                        self.channel.check()
                    self._keep_account()
                    done = process.poll() is not None  # asked before the read: what was written before the end is read
                    at_end = self._drain(pipe, log)
                    if done or is_over():
                        return "exit"
                    if self.stopped or self._is_orphan():
                        return "stopped"
                    if self._is_crowded():
                        return "crowded"
                    if time.monotonic() - started > self.spec.deadline_seconds:
                        return "timeout"
                    if at_end:  # it closed its output, but runs on: a closed pipe is always readable
                        time.sleep(0.02)
                    else:
                        select.select([pipe], [], [], 0.1)
            finally:
                log.finish()

    def _is_orphan(self) -> bool:
        return self.spec.parent not in {0, os.getppid()}

    def _is_crowded(self) -> bool:
        """Counting reads all of /proc: it is done where the whole machine has got so many more since the start."""
        most = self.spec.most_processes
        if not most or tasks_of_machine() - self.tasks_before < most:
            return False
        self.crowded = len(self._training()) > most
        return self.crowded

    def _drain(self, pipe: int, log: CappedLog) -> bool:
        """Read what is there; True at the end of the output."""
        for _ in range(64):  # a training that prints without end must not keep us from the clock
            try:
                data = os.read(pipe, READ_SIZE)
            except BlockingIOError:
                return False
            if not data:
                return True
            log.write(data)
            if self.channel and not self.channel.has_begun:  # asked after the read: who printed this had seen no text
                self.before_exam_bytes = log.size
        return False

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End the training and all it started: SIGTERM, the grace, SIGKILL. Then reap.

        Not SIGTERM for bwrap itself: it would end at once, and the training with it.
        """
        if self.crowded:  # no time to ask each: they multiply
            process.kill()
        elif process.poll() is None:
            wrapper = {process.pid} if self._has_bwrap else set()
            signal_all([pid for pid in self._training() if pid not in wrapper], signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.spec.grace_seconds)
        for _ in range(100):
            left = self._training()
            if process.poll() is not None and not left:
                return
            signal_all(left, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            self._reap(process.pid)
            time.sleep(0.02)

    def _training(self) -> list[int]:
        """Every process of the training: all below us but the judge."""
        judge = self.channel.judge.pid if self.channel and self.channel.judge else None
        return [pid for pid in descendants(os.getpid()) if pid != judge]

    def _keep_account(self) -> None:
        """Now and then, and once when the exam has begun."""
        begins = self.processor_before is None and self.channel is not None and self.channel.began_at is not None
        if begins or time.monotonic() - self.looked_at > LOOK_SECONDS:
            spent = self._processor_seconds()
            self.processor_before = spent if begins else self.processor_before

    def _processor_seconds(self) -> float | None:
        """Since it began to train."""
        self.looked_at = time.monotonic()
        self.processor.others = self.channel.judge_seconds if self.channel else 0.0
        return self.processor.look(self._training())

    def _reap(self, child: int) -> None:
        for pid in self._training():
            if pid != child:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)

    def _stop(self, *_: object) -> None:
        self.stopped = True


def main(folder: str) -> int:
    workspace = Path(folder)
    with (workspace / "lock").open("a") as lock:
        if not try_lock(lock, seconds=1.0):
            return 3  # another shim holds this workspace
        if (workspace / "result.json").exists():
            return 0
        result = Shim(workspace).run()
        write_json(workspace / "result.json", asdict(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
