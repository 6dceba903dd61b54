"""Whether an open run page grows while the run goes on: JavaScript heap and nodes after a forced collection.

The updates are real ones, only faster: rows are changed in the installation and the socket announces it. Each brings a new
score and idea of a row, points and log lines of what trains; every tenth another training with its own curve and log. Two
experiments take turns, so that the page has as much to show at the end as at the start.
"""

from __future__ import annotations

from typing import Any

from playwright.sync_api import CDPSession, Page

from tests.bench.pages import Visitor, seconds_until
from tests.bench.table import Line, at_most
from tests.installation import Installation

EXPERIMENTS, WARM_UP, UPDATES, EACH = 100, 260, 500, 100  # the browser compiles and caches during the first hundreds
HOUR = 600  # updates: one each 6 s
PACE = 0.5  # seconds
UPDATE = """
import itertools
import time
from django.utils import timezone
from experiments import events
from experiments.models import Chunk, Experiment, Run
from experiments.states import State
from tests.factories import add_points, add_text
from datetime import timedelta
run = Run.objects.get(pk={run})
first, second, other = run.experiments.order_by("-number")[:3]
for number in range({start}, {start} + {count}):
    began = time.monotonic()
    now, last = (first, second) if number // 10 % 2 else (second, first)
    if number % 10 == 0:
        Chunk.objects.filter(experiment=now).delete()
        Experiment.objects.filter(pk=last.pk).update(
            state=State.DISCARDED, score=1.0, worker="", finished_at=timezone.now(), trained_at=timezone.now())
        Experiment.objects.filter(pk=now.pk).update(
            state=State.TRAINING, attempt=1 + number // 10, score=None, training_at=timezone.now(), finished_at=None,
            worker="elsewhere:1:1", heartbeat_at=timezone.now() + timedelta(days=1))  # no worker here touches it
        now.refresh_from_db()
    Experiment.objects.filter(pk=other.pk).update(score=1 + number % 7 / 1000, description=f"Idea {{number:06d}}")
    add_points(now, [2 + number % 10 / 10] * 5)
    add_text(now, "log", f"step {{number:06d}} loss 2.345678 dt 60 ms tok/s 34,000 mfu 41.0\\n" * 5)
    events.changed(run.pk, "experiment", now.pk)
    time.sleep(max(0, {pace} - (time.monotonic() - began)))
"""
COUNT = """() => {
  window.swaps = {};
  const { swaps } = window;
  document.addEventListener("htmx:afterSwap", ({ detail: { target: { id } } }) => { swaps[id] = 1 + (swaps[id] ?? 0); });
}"""


def lines(here: Installation, visitor: Visitor) -> list[Line]:
    address = here.manage("seed_demo", "--experiments", str(EXPERIMENTS)).split("experiments, ")[1].split()[0]
    run = int(address.strip("/").split("/")[-1])
    with visitor.fresh_page() as page:
        session = page.context.new_cdp_session(page)
        _update(here, run, 0, 1)
        seconds_until(page, here.url + address, "document.querySelector('[data-progress]')?.dataset.drawn")
        _update(here, run, 1, WARM_UP - 1)
        page.evaluate(COUNT)
        found = [_measure(page, session)]
        for start in range(WARM_UP, WARM_UP + UPDATES, EACH):
            _update(here, run, start, EACH)
            found.append(_measure(page, session))
        swaps = page.evaluate("window.swaps")
        assert page.locator(".offline").is_hidden()
    return _lines(found, swaps)


def _update(here: Installation, run: int, start: int, count: int) -> None:
    here.python(UPDATE.format(run=run, start=start, count=count, pace=PACE))


def _measure(page: Page, session: CDPSession) -> tuple[float, int, int]:
    """MB, nodes (those that left the page, too), listeners."""
    page.wait_for_timeout(3000)
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
    counters: dict[str, Any] = session.send("Memory.getDOMCounters")
    used: float = session.send("Runtime.getHeapUsage")["usedSize"]
    return used / 1e6, counters["nodes"], counters["jsEventListeners"]


def _lines(found: list[tuple[float, int, int]], swaps: dict[str, int]) -> list[Line]:
    """A hint that comes while the page still fetches is merged with the next: so the swaps are shown, too."""
    heap, nodes, listeners = zip(*found, strict=True)
    print(f"heap, MB: {[round(one, 2) for one in heap]}; nodes: {list(nodes)}; listeners: {list(listeners)}")
    name, hundreds = f"run page, {UPDATES} live updates", UPDATES / 100
    return [
        at_most(f"{name}: table drawn anew", swaps.get("table", 0), "", None),
        at_most(f"{name}: another training's curve", swaps.get("activity", 0), "", None),
        at_most(f"{name}: heap before", heap[0], "MB", None),
        at_most(f"{name}: heap, after a collection, grew by", heap[-1] - heap[0], "MB", 1),
        at_most(f"{name}: heap grew by", 100 * (heap[-1] / heap[0] - 1), "%", 5),
        at_most(f"{name}: the same for an hour's {HOUR}", (heap[-1] - heap[0]) / hundreds * HOUR / 100, "MB", 1),
        at_most(f"{name}: nodes before, in the page or held", nodes[0], "", None),
        at_most(f"{name}: nodes grew by", 100 * (nodes[-1] / nodes[0] - 1), "%", 5),
        at_most(f"{name}: listeners grew by", 100 * (listeners[-1] / listeners[0] - 1), "%", 5),
    ]
