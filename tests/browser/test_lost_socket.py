"""The line is lost for three heartbeats, in three ways, and comes back: the page says so, and heals without a reload."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.relay import CUTS, Relay
from tests.installation import Installation, wait_for

CURVE = "document.querySelector('[data-curve]')?.data?.[1]"
LAST = f"({CURVE}?.text.at(-1) ?? -1)"  # the last step drawn; the number of points falls whenever a long curve is thinned
# No step is missing, none came twice; a long curve is thinned evenly, but for its last point
IS_WHOLE = f"(({{text}}) => text.every((step, i) => i === text.length - 1 || step === i * (text[1] - text[0])))({CURVE})"

WATCH = """() => {
  const strip = document.querySelector("[data-offline]");
  window.same = true;
  new MutationObserver(() => { window.wasOffline ||= !strip.hidden; }).observe(strip, { attributes: true });
}"""


@pytest.fixture(scope="module")
def run(here: Installation) -> Iterator[int]:
    """One training that outlives this file, and the next edit waiting for approval."""
    pk = here.start_run("slow", budget=600, tag="lost", mode="approve_diffs")
    wait_for(lambda: [row["state"] for row in here.rows(pk)] == ["training", "reviewing"], 60, every=0.5)
    yield pk
    change(here, pk, "run.stop(by='test')")


def change(here: Installation, run: int, code: str) -> None:
    here.python(f"from experiments.models import Run; run = Run.objects.get(pk={run}); {code}")


def test_a_line_that_is_lost_for_a_while_and_comes_back(here: Installation, run: int, context: BrowserContext):
    with ExitStack() as stack:
        relays = [stack.enter_context(Relay(here.port)) for _ in CUTS]
        pages = [context.new_page() for _ in CUTS]
        for relay, page in zip(relays, pages, strict=True):
            page.goto(f"{relay.url}/runs/{run}/")
            page.wait_for_function(f"{LAST} > 5")
            page.evaluate("window.same = true")
        for relay, how in zip(relays, CUTS, strict=True):
            relay.cut(how)
        change(here, run, "run.add_note('written while away', by='mara'); run.experiments.get(number=1).approve(by='mara')")
        pages[0].wait_for_timeout(6_000)
        for page, how in zip(pages, CUTS, strict=True):
            expect(page.locator("[data-offline]"), how).to_contain_text(re.compile(r"Offline since \d\d:\d\d"))
            expect(page.locator("[data-offline]"), how).to_be_visible()
            if how != "no sockets":  # there the requests of the minute still bring what is new
                expect(page.locator("#table"), how).to_contain_text("needs review")
        pages[0].wait_for_timeout(3_000)
        for relay in relays:
            relay.mend()

        fresh = context.new_page()
        fresh.goto(f"{here.url}/runs/{run}/")
        fresh.wait_for_function(f"{LAST} > 5")
        for page, how in zip(pages, CUTS, strict=True):
            expect(page.locator("[data-offline]"), how).to_be_hidden(timeout=40_000)
            page.wait_for_function(f"{LAST} >= {fresh.evaluate(LAST)}", timeout=20_000)
            assert page.evaluate(IS_WHOLE), how
            expect(page.locator("#notes"), how).to_contain_text("written while away")
            rows = fresh.locator("#table tbody").inner_text()
            expect(page.locator("#table tbody"), how).to_have_text(rows, use_inner_text=True)
            before = page.evaluate(LAST)
            page.wait_for_function(f"{LAST} > {before}", timeout=10_000)  # and it lives on
            assert page.evaluate("window.same") is True, how


def test_a_hint_that_comes_while_a_fragment_is_on_its_way_is_not_lost(here: Installation, run: int, page: Page):
    """The answer of before is held back until there is something newer."""
    held: list[tuple[Route, object]] = []

    def hold(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append((route, route.fetch()))

    page.goto(f"{here.url}/runs/{run}/")
    page.wait_for_function(f"{LAST} > 0")
    page.route("**/*part=notes*", hold)
    change(here, run, "run.add_note('the first of two', by='mara')")
    wait_for(lambda: page.wait_for_timeout(50) or held, 20)
    change(here, run, "run.add_note('the second of two', by='mara')")
    page.wait_for_timeout(500)
    route, answer = held[0]
    route.fulfill(response=answer)
    expect(page.locator("#notes")).to_contain_text("the second of two", timeout=8_000)


def test_a_server_that_was_started_again_shows_what_happened_meanwhile(here: Installation, run: int, page: Page):
    page.goto(f"{here.url}/runs/{run}/")
    page.wait_for_function(f"{LAST} > 3")
    page.evaluate(WATCH)
    killed = here.child("web")
    os.kill(killed, signal.SIGKILL)
    change(here, run, "run.pause(by='mara', now=False); run.experiments.get(number=1).cancel(by='mara')")
    wait_for(lambda: here.answers() and here.is_replaced("web", killed), 60)
    page.wait_for_function("document.querySelector('[data-offline]').hidden", timeout=60_000)
    expect(page.locator("#head")).to_contain_text(re.compile("paused", re.I), timeout=20_000)  # sooner than the next resync
    expect(page.locator("#experiment-1")).to_contain_text("cancelled")
    before = page.evaluate(LAST)
    page.wait_for_function(f"{LAST} > {before}", timeout=30_000)
    assert page.evaluate(f"window.same && {IS_WHOLE}")
