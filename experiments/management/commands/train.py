"""One training in the foreground, through the same sandbox, judge and device lock as the loop's.

    python manage.py train --seconds 20
    python manage.py train --file mine.py --seed 7

Its scratch workspace lies under VAR_DIR/train and goes when it ends. Exit code 1 where there is no score, 130 for Ctrl-C.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from experiments.loop import alone, devices
from experiments.loop.errors import NotReady
from experiments.management.progress import Progress
from experiments.models.text import Text
from trainer import launch, presets

LOOK_SECONDS = 0.1
LEAST_SECONDS = 0.1  # of training
SHOWN_CHARACTERS = 1500  # of the log's end
INTERRUPTED = 130  # as a shell reports Ctrl-C


def positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def seconds(text: str) -> float:
    """As prepare.py takes a budget."""
    value = float(text)
    if not LEAST_SECONDS <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not at least {LEAST_SECONDS:g}")
    return value


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--preset", choices=presets.PRESETS, help="default: by detection")
        parser.add_argument("--seconds", type=seconds, help="of training; default: the preset's")
        parser.add_argument("--tokens", type=positive, help="train on so many tokens instead: no noise of the clock")
        parser.add_argument("--seed", type=int, default=42)
        parser.add_argument("--file", type=Path, help="a train.py of your own; default: the preset's")
        parser.add_argument("--dataset", help="stdlib, torch, tinystories, climbmix or folder:PATH; default: the preset's")
        parser.add_argument("--vocab", type=positive, help="default: the preset's")
        parser.add_argument("--no-sandbox", action="store_true", help="limits only: the code can read what you can read")

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
        for number in (signal.SIGTERM, signal.SIGHUP):  # ended or its terminal closed: nothing is left either
            signal.signal(number, signal.default_int_handler)
        try:
            with alone.scratch() as folder:
                code = self._train(folder, options)
        except KeyboardInterrupt:
            self._say("\nStopped, with everything that it had started.")
            code = INTERRUPTED
        except (launch.LaunchError, NotReady) as error:
            raise CommandError(str(error)) from error
        sys.exit(code)

    def _train(self, folder: Path, options: dict[str, Any]) -> int:
        job = alone.job(folder, self._wish(options))
        process = launch.start(job)
        try:
            self._follow(folder, process)
        finally:
            _end(process)
        return self._conclude(job)

    def _wish(self, options: dict[str, Any]) -> alone.Wish:
        preset = presets.of_machine(options["preset"] or settings.PRESET, settings.DEVICES)
        dataset, vocab = options["dataset"] or preset.dataset, options["vocab"] or preset.vocab_size
        data = launch.Data(Path(settings.DATA_DIR), dataset, vocab, preset.seq_len)
        seconds, tokens, device = options["seconds"] or preset.budget_seconds, options["tokens"], self._device()
        size = f"{tokens:,} tokens" if tokens else f"{seconds:g} s"
        source = _read(options["file"]) if options["file"] else None
        self._say(f"Preset {preset.name}, {dataset}, vocabulary {vocab}, {size} on {device}, seed {options['seed']}.")
        _prepare_in_sight(data)
        return alone.Wish(
            preset, data, device, seconds, source, tokens or 0, options["seed"], "off" if options["no_sandbox"] else ""
        )

    def _device(self) -> str:
        try:
            return devices.free(())
        except devices.AllBusy as busy:
            self._say(f"Waits: {busy}. Ctrl-C gives up.")
            return devices.names()[0]  # its shim waits until no other training holds it

    def _follow(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        progress = Progress(folder / "log", self.stdout)
        while process.poll() is None:
            time.sleep(LOOK_SECONDS)
            progress.look()
        progress.finish()

    def _conclude(self, job: launch.Job) -> int:
        """Say what it is worth. Returns the exit code."""
        ended = alone.conclude(job)
        failure = ended.judged.failure
        if failure:
            tail = ended.log[-SHOWN_CHARACTERS:].strip()
            if tail not in failure.detail:
                self._say(f"The end of the log:\n{_in_lines(tail)}\n")
            self._say(f"No score ({failure.reason}). {_in_lines(failure.detail)}")
            return 1
        self._report(ended)
        return 0

    def _report(self, ended: alone.Ended) -> None:
        judged, result, summary, report = ended.judged, ended.result, ended.summary, ended.report
        badges = ", ".join(judged.badges)
        self._say(f"val_bpb {judged.score:.6f}  {badges}: by the judge ({report['version']}, {report['bytes']:,} bytes)")
        if report["why_not"]:
            self._say(report["why_not"])
        self._say(f"text: {Text.of(report)}")
        trained = summary.training_seconds if summary else None
        before = result.exam_after_seconds
        startup = before - trained if before is not None and trained is not None else None
        times = f"start-up {_number(startup)} s, training {_number(trained)} s, exam {report['seconds']:.1f} s"
        if report["twice"]:
            times += f", second process {report['second_seconds']:.1f} s"
        memory = _number(summary.peak_vram_mb if summary else None, 0)
        self._say(f"{times}; peak memory {memory} MB; sandbox: {result.sandbox}")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _prepare_in_sight(data: launch.Data) -> None:
    """launch.prepare is silent until its end, and a download can take long: here its words are seen as they come."""
    env = {**os.environ, **data.environment()}
    if subprocess.run([sys.executable, str(launch.TEMPLATE / "prepare.py")], env=env, check=False).returncode:
        raise CommandError("The data could not be prepared; the reason stands above.")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have the shim end with everything under it; at most its grace, whatever is typed meanwhile."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if process.poll() is None:
        process.terminate()
    process.wait()


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}. Expected a train.py.") from error


def _in_lines(text: str) -> str:
    return text.replace("\r", "\n")


def _number(value: float | None, digits: int = 1) -> str:
    return "?" if value is None else f"{value:,.{digits}f}"
