"""One training in the foreground, through the same sandbox and exam as the loop's.

    python manage.py train --seconds 20
    python manage.py train --file mine.py --seed 7
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from experiments.loop import devices
from trainer import launch, presets
from trainer.output import LineSplitter, classify_failure, parse_step, parse_summary, strip_controls
from trainer.spec import is_locked, read_json

LOOK_SECONDS, LINE_SECONDS = 0.1, 5.0  # between two looks; between two lines where the output is no terminal


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--preset", choices=presets.PRESETS, help="default: by detection")
        parser.add_argument("--seconds", type=int, help="of training; default: the preset's")
        parser.add_argument("--tokens", type=int, default=0, help="train on so many tokens instead: no noise of the clock")
        parser.add_argument("--seed", type=int, default=42)
        parser.add_argument("--file", type=Path, help="a train.py of your own; default: the preset's")
        parser.add_argument("--dataset", help="stdlib, tinystories, climbmix or folder:PATH; default: the preset's")
        parser.add_argument("--vocab", type=int, help="default: the preset's")
        parser.add_argument("--no-sandbox", action="store_true", help="limits only")

    def handle(self, *args: Any, **options: Any) -> None:
        work = Path(settings.VAR_DIR) / "train"
        work.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=work))
        try:
            job = self._job(folder / "workspace", options)
            sys.exit(self._run(job))
        except launch.LaunchError as error:
            raise CommandError(str(error)) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _job(self, folder: Path, options: dict[str, Any]) -> launch.Job:
        preset = presets.PRESETS[options["preset"] or settings.PRESET or presets.detect()[0]]
        try:
            source = options["file"].read_text() if options["file"] else (launch.TEMPLATE / "train.py").read_text()
        except OSError as error:
            raise CommandError(f"{options['file']} cannot be read: {error.strerror}") from error
        if not options["file"]:
            source = presets.apply(source, preset.constants)
        dataset, vocab = options["dataset"] or preset.dataset, options["vocab"] or preset.vocab_size
        data = launch.Data(Path(settings.DATA_DIR), dataset, vocab, preset.seq_len)
        seconds = options["seconds"] or preset.budget_seconds
        device = devices.free(())
        if is_locked(devices.lock_path(device)):
            self.stdout.write(f"Waits: another training holds {device}.")
        self.stdout.write(f"Preset {preset.name}, {data.dataset}, vocabulary {data.vocab_size}, {seconds} s on {device}.")
        return launch.Job(
            folder=folder, export=lambda code: _write(code / "train.py", source),
            command=["{python}", "train.py"], data=data, data_dir=launch.prepare(data), device=device,
            device_lock=devices.lock_path(device), budget_seconds=seconds,
            deadline_seconds=seconds * (20 if options["tokens"] else 1) + preset.grace_seconds, seed=options["seed"],
            fixed=launch.fixed_files(["prepare.py"]), sandbox="off" if options["no_sandbox"] else settings.SANDBOX,
            read=settings.SANDBOX_READ,
            env={"AUTORESEARCH_TOKENS": str(options["tokens"])} if options["tokens"] else {},
        )  # fmt: skip

    def _run(self, job: launch.Job) -> int:
        process = launch.start(job)
        try:
            self._follow(job.folder / "log", process)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGTERM)
            process.wait()
            self.stdout.write("\nStopped, with everything that it had started.")
            return 130
        result, report = read_json(job.folder / "result.json") or {}, read_json(job.folder / "exam.json") or {}
        log = (job.folder / "log").read_text(errors="replace") if (job.folder / "log").exists() else ""
        if report.get("val_bpb") is None or result.get("exit_code") != 0:
            self._explain(result, report, log)
            return 1
        self._report(result, report, log)
        return 0

    def _follow(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        """Show the newest step until the training ends: in place on a terminal, else a line now and then."""
        splitter, read, shown_at, is_terminal = LineSplitter(), 0, 0.0, self.stdout.isatty()
        while process.poll() is None:
            time.sleep(LOOK_SECONDS)
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                file.seek(read)
                data = file.read()
                read += len(data)
                steps = [line for line in splitter.feed(data.decode(errors="replace")) if parse_step(line)]
                if steps and (is_terminal or time.monotonic() - shown_at > LINE_SECONDS):
                    shown_at = time.monotonic()
                    self._show(re.sub(r" +", " ", strip_controls(steps[-1])).strip(), is_terminal)
        if is_terminal:
            self.stdout.write("")

    def _show(self, text: str, is_terminal: bool) -> None:
        if is_terminal:
            text = f"\r\x1b[K{text[: os.get_terminal_size().columns - 1]}"
        self.stdout.write(text, ending="" if is_terminal else "\n")
        self.stdout.flush()

    def _explain(self, result: dict[str, Any], report: dict[str, Any], log: str) -> None:
        reason = report.get("problem") or result.get("ended")
        if reason in {None, "exit", "unfinished"}:
            reason = classify_failure(result.get("exit_code"), log[-8000:])
        self.stdout.write(strip_controls(log[-2000:]).strip())
        detail = report.get("detail") or result.get("detail") or "Its last words stand above."
        self.stdout.write(f"\nNo score ({reason}). {detail}")

    def _report(self, result: dict[str, Any], report: dict[str, Any], log: str) -> None:
        summary = parse_summary(log)
        trained = (summary.training_seconds if summary else None) or 0.0
        memory = (summary.peak_vram_mb if summary else None) or 0.0
        startup = (result.get("exam_after_seconds") or 0.0) - trained
        self.stdout.write(f"val_bpb {report['val_bpb']:.6f}, by the judge ({report['version']}, {report['bytes']:,} bytes)")
        if summary and summary.val_bpb and abs(summary.val_bpb - report["val_bpb"]) > 1e-4 * report["val_bpb"]:
            self.stdout.write(f"It printed {summary.val_bpb:.6f}: in a run this would be FAILED (tampered).")
        self.stdout.write(
            f"start-up {startup:.1f} s, training {trained:.1f} s, exam {report['seconds']:.1f} s; {memory:,.0f} MB; "
            f"sandbox: {result.get('sandbox') or 'limits'}"
        )


def _write(path: Path, text: str) -> None:
    path.write_text(text)
