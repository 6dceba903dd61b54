"""What a person sees without touching anything: the page follows the training by itself."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.installation import Installation

POINTS = "(document.querySelector('[data-curve]')?.data?.[1]?.x.length ?? 0)"
LOG_LENGTH = "(document.querySelector('[data-stream=log]')?.textContent.length ?? 0)"


@pytest.fixture(params=[12])
def run(here: Installation, request: pytest.FixtureRequest) -> Iterator[str]:
    """A run whose trainings take 12 s, with one under way."""
    pk = here.start_run("slow", budget=request.param, tag=f"live-{os.urandom(3).hex()}")
    yield f"{here.url}/runs/{pk}/"
    here.python(f"from experiments.models import Run; Run.objects.get(pk={pk}).stop(by='test')")


def test_curve_and_log_grow_and_a_reload_shows_all_of_it(run: str, page: Page):
    page.goto(run)
    page.wait_for_function(f"{POINTS} > 20")
    points, length = page.evaluate(POINTS), page.evaluate(LOG_LENGTH)
    page.wait_for_function(f"{POINTS} > {points} + 10 && {LOG_LENGTH} > {length}")
    before = page.evaluate(POINTS)
    page.reload()
    page.wait_for_function(f"{POINTS} >= {before}", timeout=5000)


def test_two_windows_agree(run: str, context: BrowserContext):
    windows = [context.new_page(), context.new_page()]
    for window in windows:
        window.goto(run)
        window.wait_for_function(f"{POINTS} > 10")
    for one, other in (windows, windows[::-1]):  # what the one shows, the other shows
        other.wait_for_function(f"{POINTS} >= {one.evaluate(POINTS)}", timeout=5000)
    windows[0].get_by_role("button", name="Pause now").click()
    for window in windows:
        expect(window.locator("#head")).to_contain_text(re.compile("paused", re.I))
        expect(window.locator("#table tbody")).not_to_contain_text("training")
    rows = [window.locator("#table tbody").inner_text() for window in windows]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("run", [5], indirect=True)
def test_a_verdict_arrives_by_itself(run: str, page: Page):
    page.goto(run)
    expect(page.locator("#table")).to_contain_text("kept", timeout=40_000)
    expect(page.locator(".tiles")).to_contain_text(re.compile(r"1\.\d{6}"))


def test_the_page_says_that_it_is_offline_and_heals(here: Installation, run: str, page: Page):
    page.goto(run)
    page.wait_for_function(f"{POINTS} > 3")
    web = here.child("web")
    os.kill(web, signal.SIGSTOP)
    page.evaluate("document.querySelector('[data-offline]').hidden")  # the page itself still works
    os.kill(web, signal.SIGKILL)
    for _ in range(75):  # on a quick machine it is back before the page has said so: then it dies again
        if page.locator("[data-offline]").is_visible():
            break
        page.wait_for_timeout(200)
        with contextlib.suppress(ValueError, ProcessLookupError):
            os.kill(here.child("web"), signal.SIGKILL)
    expect(page.locator("[data-offline]")).to_be_visible()
    expect(page.locator("[data-offline]")).to_contain_text("Offline since")
    expect(page.locator("[data-offline]")).to_be_hidden(timeout=60_000)  # a start on a busy machine, a pause before a try
    points = page.evaluate(POINTS)
    page.wait_for_function(f"{POINTS} !== {points}", timeout=30_000)


def test_an_idle_socket_stays_open(here: Installation, page: Page):
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.goto(here.url)
    page.wait_for_timeout(5_000)  # longer than a heartbeat
    assert len(sockets) == 1  # none was closed and opened again


@pytest.mark.parametrize("run", [6], indirect=True)
def test_the_chosen_axis_stays_for_the_next_training(run: str, page: Page):
    page.goto(run)
    page.wait_for_function(f"{POINTS} > 3")
    page.get_by_role("button", name="Steps", exact=True).click()
    first = page.locator("[data-curve]").get_attribute("data-experiment")
    page.wait_for_function(f"document.querySelector('[data-curve]')?.dataset.experiment > {first} && {POINTS} > 5")
    expect(page.get_by_role("button", name="Steps", exact=True)).to_have_attribute("aria-pressed", "true")
    across = page.evaluate("(({data}) => [data[1].x.at(-1), data[1].text.at(-1)])(document.querySelector('[data-curve]'))")
    assert across[0] == across[1] > 3  # the field named step
    expect(page.locator("#activity .legend")).to_contain_text("best and parent, #0")
