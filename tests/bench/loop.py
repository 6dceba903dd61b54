"""make bench-loop: what the loop and its pages cost, with a real browser and an LLM stand-in that takes 10 s."""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.bench import share
from tests.bench.table import Line, at_most, show
from tests.browser.chromium import ARGS, executable
from tests.installation import Installation, wait_for
from tests.standin_llm import StandIn, propose

THINK_SECONDS, BUDGET_SECONDS, TRAININGS = 10, 14, 8
_count = itertools.count()

GAPS = """
from experiments.models import Experiment
import itertools
import json
rows = Experiment.objects.filter(run_id={run}, training_at__isnull=False).order_by("training_at")
times = [(row.training_at, row.trained_at) for row in rows]
print(json.dumps([(b[0] - a[1]).total_seconds() for a, b in zip(times, times[1:]) if a[1]]))
"""
MANY = """
from tests.factories import make_program, make_run, make_experiment
from experiments.states import State
import random
random.seed(1)
run = make_run(make_program("many"), state="ended")
best = 1.0
for number in range(1000):
    score = best + random.gauss(0.002, 0.002)
    kept = number == 0 or score < best
    best = min(best, score)
    state = State.FAILED if number % 25 == 24 else State.KEPT if kept else State.DISCARDED
    make_experiment(run, state, None if state == State.FAILED else score, number=number)
print(run.pk)
"""
WATCH = """() => {
  window.delays = [];
  const seen = new Set();
  const look = () => {
    const now = Date.now() / 1000;
    for (const match of document.body.textContent.matchAll(/at: (\\d+\\.\\d+)/g)) {
      if (!seen.has(match[1])) { seen.add(match[1]); window.delays.push(now - parseFloat(match[1])); }
    }
  };
  look(); window.delays = [];
  new MutationObserver(() => requestAnimationFrame(() => { look(); }))
    .observe(document.body, {childList: true, subtree: true, characterData: true});
}"""


def think(messages: list[dict[str, Any]]) -> str:
    time.sleep(THINK_SECONDS)
    return propose(messages, next(_count))


def gaps(here: Installation, llm: StandIn) -> list[float]:
    """Seconds from the end of one training to the start of the next."""
    run = here.start_run("slow", budget=BUDGET_SECONDS, tag="gaps", program={
        "researcher": "litellm", "model": "openai/standin", "api_base": llm.api_base,
    })
    wait_for(lambda: len(here.finished(run)) >= TRAININGS, TRAININGS * (BUDGET_SECONDS + 15), every=2)
    found: list[float] = json.loads(here.python(GAPS.format(run=run)))
    here.python(f"from experiments.models import Run; Run.objects.get(pk={run}).stop(by='bench')")
    return found


def line_to_pixel(here: Installation, page: Page) -> list[float]:
    run = here.start_run("stamped", budget=25, tag="pixels")
    wait_for(lambda: any(row["state"] == "training" for row in here.rows(run)), 60)
    page.goto(f"{here.url}/runs/{run}/")
    page.wait_for_function("/at: \\d/.test(document.body.textContent)", timeout=20_000)
    page.evaluate(WATCH)
    page.wait_for_timeout(12_000)
    found: list[float] = page.evaluate("window.delays")
    here.python(f"from experiments.models import Run; Run.objects.get(pk={run}).stop(by='bench')")
    return found


def thousand(here: Installation, page: Page) -> tuple[float, float]:
    """(server milliseconds, seconds until the chart is drawn) of a run page with 1,000 experiments, medians."""
    run = int(here.python(MANY))
    server, drawn = [], []
    for _ in range(7):
        began = time.monotonic()
        answer = page.request.get(f"{here.url}/runs/{run}/")
        server.append((time.monotonic() - began) * 1000)
        assert answer.ok
        page.goto(f"{here.url}/runs/{run}/", wait_until="commit")
        page.wait_for_function("document.querySelector('[data-progress] .scatterlayer .point, [data-progress] canvas')")
        drawn.append(page.evaluate("performance.now()") / 1000)
    return statistics.median(server), statistics.median(drawn)


def memory_mb(here: Installation) -> float:
    """Proportional set size of all our processes, trainings left out."""
    total = 0
    for pid in here.processes():
        folder = Path("/proc") / str(pid)
        with contextlib.suppress(OSError, StopIteration):  # it has ended meanwhile
            if b"AUTORESEARCH_WORKSPACE" not in (folder / "environ").read_bytes():
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def start_seconds(here: Installation) -> float:
    """From `up` to the first page, on an installation that was there before."""
    here.stop()
    began = time.monotonic()
    here.start_process()
    wait_for(here.answers, 60, every=0.05)
    seconds = time.monotonic() - began
    here.wait_ready()
    return seconds


def main() -> int:
    lines: list[Line] = []
    with StandIn(answer=think) as llm, Installation(OPENAI_API_KEY="stand-in") as here, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=ARGS)
        page = browser.new_page()
        lines.append(at_most("start to first page, warm", start_seconds(here), "s", 8))
        page.goto(here.sign_in_link())
        run = here.start_run("slow", budget=4, tag="memory")
        wait_for(lambda: len(here.finished(run)) >= 2, 60)
        lines.append(at_most("memory of our processes, sweep", memory_mb(here), "MB", 400))
        here.python(f"from experiments.models import Run; Run.objects.get(pk={run}).stop(by='bench')")
        server, drawn = thousand(here, page)
        lines.append(at_most("1,000 experiments: server", server, "ms", 150))
        lines.append(at_most("1,000 experiments: chart drawn", drawn, "s", 1.5))
        delays = sorted(line_to_pixel(here, page))
        lines.append(at_most(f"step line to pixel, median of {len(delays)}", statistics.median(delays), "s", 0.3))
        lines.append(at_most("step line to pixel, p99", delays[int(len(delays) * 0.99)], "s", 0.8))
        found = gaps(here, llm)
        lines.append(at_most(f"training to training, median of {len(found)}", statistics.median(found), "s", 0.5))
        lines.append(at_most("training to training, worst", max(found), "s", None))
        lines.append(at_most("memory of our processes, with litellm", memory_mb(here), "MB", None))
        lines += share.lines(here)
    return show("loop", lines)


if __name__ == "__main__":
    sys.exit(main())
