"""The same curves in TensorBoard and MLflow, in a scratch venv of their own: seconds until a fresh browser shows them all.

Drawn means: in the first frame in which as many lines as there are runs stand in the page's chart, each with its path.
Each is taken the fastest way it was found to have (2.21 and 3.17):
- TensorBoard: the time series, unsmoothed, in SVG. Its usual canvas shows them 0.2 s later, and cannot be asked.
- MLflow: the chart view of the experiment, with the choice to show all runs made on an earlier visit; its metric page, which
  fetches the runs one by one, takes half as long again.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from tests.bench.pages import fresh_page, seconds_until
from tests.installation import free_port, wait_for

WRITE_EVENTS = """
import json, sys
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter
curves, folder = json.load(open(sys.argv[1])), sys.argv[2]
for number, losses in enumerate(curves):
    writer = EventFileWriter(f"{folder}/run-{number:02d}")
    for step, loss in enumerate(losses):
        value = summary_pb2.Summary.Value(tag="loss", simple_value=loss)
        writer.add_event(event_pb2.Event(step=step, wall_time=1e9 + step, summary=summary_pb2.Summary(value=[value])))
    writer.close()
"""
LOG_BATCHES = """
import json, sys
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient
curves, client = json.load(open(sys.argv[1])), MlflowClient(sys.argv[2])
experiment = client.create_experiment("curves")
for number, losses in enumerate(curves):
    run = client.create_run(experiment, run_name=f"run-{number:02d}").info.run_id
    client.log_batch(run, metrics=[Metric("loss", loss, 10**12 + step * 1000, step) for step, loss in enumerate(losses)])
    client.set_terminated(run)
print(experiment)
"""
SVG_LINES = "document.querySelectorAll('.series-view svg path[d]').length >= {}"
PLOTLY_LINES = "document.querySelectorAll('.scatterlayer path.js-line[d]').length >= {}"


def venv(folder: Path) -> tuple[Path, dict[str, str]]:
    """A scratch venv, and what could not be installed into it with pip's last word on it."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    missing = {}
    for package in ("tensorboard", "mlflow"):
        command = [folder / "bin/python", "-m", "pip", "install", "--quiet", package]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            missing[package] = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:120]
    return folder / "bin", missing


@contextlib.contextmanager
def served(command: list[Any], address: str, folder: Path) -> Iterator[None]:
    """The server as a process, from its first answer on; it ends with the block."""
    with (folder / "console").open("ab") as out:
        process = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_for(lambda: process.poll() is not None or _answers(address), 120, every=0.3)
        assert process.poll() is None, (folder / "console").read_text()[-2000:]
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 15)
        process.wait(20)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def tensorboard(binaries: Path, curves: Path, folder: Path, browser: Browser, times: int) -> list[float]:
    python, port = binaries / "python", free_port()
    _run([python, "-c", WRITE_EVENTS, curves, folder / "events"], folder)
    address, drawn = f"http://127.0.0.1:{port}/", SVG_LINES.format(_count(curves))
    command = [binaries / "tensorboard", "--logdir", folder / "events", "--port", str(port), "--host", "127.0.0.1"]
    with served(command, address, folder):
        page_address = f"{address}?forceSVG=true&smoothing=0#timeseries"
        with fresh_page(browser) as page:  # its server has read all events when all lines are there
            seconds_until(page, page_address, drawn)
        return [_visit(browser, page_address, drawn) for _ in range(times)]


def mlflow(binaries: Path, curves: Path, folder: Path, browser: Browser, times: int) -> list[float]:
    store, port = f"sqlite:///{folder / 'mlflow.db'}", free_port()
    experiment = _run([binaries / "python", "-c", LOG_BATCHES, curves, store], folder).split()[-1]
    address, drawn = f"http://127.0.0.1:{port}/", PLOTLY_LINES.format(_count(curves))
    command = [binaries / "mlflow", "server", "--backend-store-uri", store, "--port", str(port), "--host", "127.0.0.1"]
    with served([*command, "--workers", "1"], f"{address}health", folder):
        page_address = f"{address}#/experiments/{experiment}/runs?compareRunsMode=CHART"
        with fresh_page(browser) as page:
            seconds_until(page, page_address, PLOTLY_LINES.format(10))  # as many as it shows unasked
            page.wait_for_timeout(2000)  # it writes the view's state a moment later
            kept = json.dumps(page.context.storage_state())
        assert "FIRST_10_RUNS" in kept, "MLflow keeps the choice of runs elsewhere now: mend tests/bench/trackers.py"
        chosen = json.loads(kept.replace("FIRST_10_RUNS", "SHOWALL"))
        return [_visit(browser, page_address, drawn, storage_state=chosen) for _ in range(times)]


def _visit(browser: Browser, address: str, drawn: str, **options: Any) -> float:
    with fresh_page(browser, **options) as page:
        return seconds_until(page, address, drawn)


def _count(curves: Path) -> int:
    return len(json.loads(curves.read_text()))


def _run(command: list[Any], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


TRACKERS: dict[str, Callable[[Path, Path, Path, Browser, int], list[float]]] = {"tensorboard": tensorboard, "mlflow": mlflow}
