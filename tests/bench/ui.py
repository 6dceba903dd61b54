"""make bench-ui: what the pages cost on the server, on the wire and in a real browser, and other trackers at the same work.

    python -m tests.bench.ui [--trackers BIN]

Median of 5, the worst beside it. BIN: the bin folder of a venv with tensorboard and mlflow; else one is made for the bench.

Predicted before the first run, for two shared cores: compare page 60 ms on the server, its curves 130 ms the first time and
15 ms again, 140 kB with the page; all lines drawn after 0.9 s, TensorBoard 2.0 s (misses 3 times), MLflow 4.2 s. Run of
1,000: 60 ms, first content 0.25 s, chart 0.8 s, the answer to a key 120 ms, whole visit 430 kB; of 5,000: 75 ms, 0.3 s,
1.4 s, 140 ms, 550 kB. Memory flat within 0.5 MB, unless a live curve that was swapped out is still held by its listeners.

"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from tests.bench import live_memory, trackers
from tests.bench.pages import PAINT, Visitor, seconds_until, times, wire_kilobytes
from tests.bench.table import Line, at_least, at_most, show
from tests.browser.chromium import ARGS, executable
from tests.installation import Installation

TIMES, CURVES, POINTS = 5, 50, 1000
FASTER = 3  # at least so many times
WORDS = ("batch", "rate", "depth", "warm", "rope")  # of which the demo's ideas have many

# As the loop writes them: some points at a time.
CURVES_OF = """
import json
from django.db import transaction
from tests.factories import add_points, make_experiment, make_program, make_run
from experiments.states import State
losses = json.load(open({path!r}))
run = make_run(make_program("curves"), state="ended")
for turn in range({sets}):
    with transaction.atomic():
        made = [make_experiment(run, State.DISCARDED, curve[-1]) for curve in losses]
        for experiment, curve in zip(made, losses):
            for start in range(0, len(curve), 50):
                add_points(experiment, curve[start:start + 50])
    print(",".join(str(experiment.pk) for experiment in made))
"""
LINES = "document.querySelectorAll('[data-overlay] .scatterlayer path.js-line[d]').length >= {}"
CHART = "document.querySelector('[data-progress]')?.dataset.drawn"
# Notes when the last key was pressed, the first frame with rows filtered in the page, and that with the server's answer.
WATCH_SEARCH = """() => {
  const box = document.getElementById("q");
  const next = (name, at, typed) =>
    requestAnimationFrame(() => setTimeout(() => { typed[name] ??= performance.now() - at; }));
  let [at, typed] = [0, {}];
  box.addEventListener("input", () => {
    [at, typed] = [performance.now(), {}];
    window.typed = typed;
    next("rows", at, typed);
  });
  new MutationObserver(() => {
    if (document.getElementById("table")?.getAttribute("hx-get").includes(`q=${box.value}`)) next("answer", at, typed);
  }).observe(document.getElementById("table").parentElement, {childList: true});
}"""


def losses() -> list[list[float]]:
    """Like training curves: they fall, each at its own pace, and are noisy."""
    noise = random.Random(1)
    return [
        [3.5 * math.exp(-step / (150 + 4 * number)) + 1 + number / 100 + noise.gauss(0, 0.02) for step in range(POINTS)]
        for number in range(CURVES)
    ]


def compare_page(here: Installation, visitor: Visitor, curves: Path) -> tuple[list[Line], float]:
    """The lines, and the seconds until a fresh browser shows all curves."""
    sets = here.python(CURVES_OF.format(path=str(curves), sets=TIMES)).split()
    page = [visitor.get(f"/compare/?e={picked}") for picked in sets]
    cold = [visitor.get(f"/compare/curves.json?e={picked}") for picked in sets]
    warm = [visitor.get(f"/compare/curves.json?e={picked}") for picked in sets]
    address, drawn = f"{here.url}/compare/?e={sets[0]}", []
    for _ in range(TIMES):
        with visitor.fresh_page() as fresh:
            drawn.append(seconds_until(fresh, address, LINES.format(CURVES)))
    with visitor.fresh_page() as fresh:
        whole, light = wire_kilobytes(fresh, lambda: seconds_until(fresh, address, LINES.format(CURVES)))
    name = f"compare {CURVES} x {POINTS:,}"
    return [
        times(f"{name}: page, server", [one.milliseconds for one in page], "ms", 150),
        times(f"{name}: curves, server, first time", [one.milliseconds for one in cold], "ms", 150),
        times(f"{name}: curves, server, again", [one.milliseconds for one in warm], "ms", 150),
        at_most(f"{name}: curves and page, compressed", (page[0].wire_bytes + cold[0].wire_bytes) / 1000, "kB", 500),
        at_most(f"{name}: curves and page, not compressed", (page[0].plain_bytes + cold[0].plain_bytes) / 1000, "kB", None),
        at_most(f"{name}: whole visit, chart library cached", light, "kB", 500),
        at_most(f"{name}: whole visit, empty cache", whole, "kB", None),
        times(f"{name}: all lines drawn, empty cache", drawn, "s", None),
    ], statistics.median(drawn)


def run_page(
    here: Installation, visitor: Visitor, count: int, chart_seconds: float, first_seconds: float | None = None
) -> list[Line]:
    """`first_seconds`: goal of the first content; the server's own time has one where this has."""
    address = here.manage("seed_demo", "--experiments", str(count)).split("experiments, ")[1].split()[0]
    served = [visitor.get(address).milliseconds for _ in range(TIMES)]
    asked = [visitor.get(f"{address}?part=table&q={word}").milliseconds for word in WORDS]
    again, painted, drawn = [], [], []
    for _ in range(TIMES):
        with visitor.fresh_page() as page:
            drawn.append(seconds_until(page, here.url + address, CHART))
            painted.append(page.evaluate(PAINT) / 1000)
            again.append(seconds_until(page, here.url + address, CHART))  # the library is cached now
    with visitor.fresh_page() as page:
        whole, light = wire_kilobytes(page, lambda: seconds_until(page, here.url + address, CHART))
        rows, answers = search(page)
    name = f"run of {count:,}"
    return [
        times(f"{name}: page, server", served, "ms", first_seconds and 150),
        times(f"{name}: first content, empty cache", painted, "s", first_seconds),
        times(f"{name}: chart drawn, empty cache", drawn, "s", chart_seconds),
        times(f"{name}: chart drawn, library cached", again, "s", chart_seconds),
        times(f"{name}: search, server", asked, "ms", None),
        times(f"{name}: key to rows filtered in the page", rows, "ms", 100),
        times(f"{name}: key to the answer of all rows", answers, "ms", None),
        at_most(f"{name}: whole visit, chart library cached", light, "kB", 500),
        at_most(f"{name}: whole visit, empty cache", whole, "kB", None),
    ]


def search(page: Any) -> tuple[list[float], list[float]]:
    """Milliseconds from the last key of a word to the frames with its rows, as WATCH_SEARCH says."""
    page.evaluate(WATCH_SEARCH)
    rows, answers = [], []
    for word in WORDS:
        page.fill("#q", "")
        page.wait_for_timeout(600)
        page.locator("#q").press_sequentially(word, delay=120)
        page.wait_for_function("() => window.typed.answer")
        typed = page.evaluate("window.typed")
        rows.append(typed["rows"])
        answers.append(typed["answer"])
    return rows, answers


def other_trackers(browser: Browser, curves: Path, binaries: Path | None, ours: float) -> tuple[list[Line], list[str]]:
    lines, words = [], []
    with tempfile.TemporaryDirectory(prefix="bench-ui-") as name:
        folder, missing = Path(name), dict[str, str]()
        if binaries is None:
            binaries, missing = trackers.venv(folder / "venv")
        words += [f"{package} could not be installed: {why}" for package, why in missing.items()]
        for package, measure in trackers.TRACKERS.items():
            if package in missing:
                continue
            (folder / package).mkdir()
            theirs = measure(binaries, curves, folder / package, browser, 3)
            lines.append(times(f"{package}, the same curves: all lines drawn", theirs, "s", None))
            lines.append(at_least(f"{package} : ours", statistics.median(theirs) / ours, "x", FASTER))
    return lines, words


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trackers", type=Path, help="bin folder of a venv with tensorboard and mlflow")
    options = parser.parse_args()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file, sync_playwright() as playwright, Installation() as here:
        json.dump(losses(), file)
        file.flush()
        curves, browser = Path(file.name), playwright.chromium.launch(executable_path=executable(), args=ARGS)
        visitor = Visitor(here, browser)
        lines, ours = compare_page(here, visitor, curves)
        lines += run_page(here, visitor, 1000, 1.5, first_seconds=0.5)
        lines += run_page(here, visitor, 5000, 3)
        lines += live_memory.lines(here, visitor)
        others, words = other_trackers(browser, curves, options.trackers and options.trackers.absolute(), ours)
        browser.close()
    result = show("ui", lines + others)
    print("\n".join(words))
    return result


if __name__ == "__main__":
    sys.exit(main())
