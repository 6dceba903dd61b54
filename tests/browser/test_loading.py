"""While a program's data is loaded, its run's page shows how far it is; cancel and pause do not wait for it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.installation import Installation, wait_for
from tests.slow_hub import Hub

SHARE = "document.querySelector('#activity .live progress')?.position ?? -1"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def here(hub: Hub) -> Iterator[Installation]:
    with Installation(AUTORESEARCH_MIRROR=hub.url) as installation:
        yield installation


@pytest.fixture
def run(here: Installation) -> str:
    """A run of a program whose data is still to be loaded."""
    tag = f"load-{os.urandom(3).hex()}"
    made = here.python(
        "from experiments import tasks; from experiments.models import Program; "
        f"program = tasks.create_program('{tag}', preset='gpu-8gb'); print(tasks.start_run(program, '{tag}', by='test').pk)"
    )
    pk = int(made.split()[-1])
    yield f"{here.url}/runs/{pk}/"
    here.python(f"from experiments.models import Run; Run.objects.get(pk={pk}).stop(by='test')")


def downloads(here: Installation) -> list[str]:
    return [path.name for path in (here.var / "data").glob("preparing-*.json")]


def test_the_bar_moves_by_itself_and_a_cancelled_experiment_ends_the_download(
    here: Installation, hub: Hub, run: str, page: Page
) -> None:
    page.goto(run)
    words = page.locator("[data-loading]")
    expect(words).to_have_text(re.compile(r"Loading tinystories: \d+ of 400 MB, \d+ (s|min) left"))
    expect(page.locator("#activity")).to_contain_text("it goes on where it ended")
    before = page.evaluate(SHARE)
    assert 0 <= before < 1
    page.wait_for_function(f"{SHARE} > {before}")
    page.wait_for_timeout(5000)  # longer than a lease without a heartbeat lives
    expect(page.locator("#activity article header")).not_to_contain_text("attempt")  # nobody took it over
    asked = len(hub.asked)
    page.get_by_role("button", name="Cancel this experiment").click()
    # One at a time loads: the next baseline goes on where that one ended, once it has ended
    wait_for(lambda: len(hub.asked) > asked and hub.asked[-1].startswith("bytes="), seconds=20)
    expect(words).to_have_text(re.compile(r"Loading tinystories: \d+ of 400 MB"))


def test_the_terminal_says_it_and_after_a_killed_worker_it_goes_on(
    here: Installation, hub: Hub, run: str, page: Page
) -> None:
    page.goto(run)
    expect(page.locator("[data-loading]")).to_be_visible()
    asked = len(hub.asked)
    wait_for(lambda: re.search(r"Loading tinystories: \d+ of 400 MB.*%\)", here.console), seconds=10)
    dead = here.child("gpu")
    os.kill(dead, signal.SIGKILL)
    wait_for(lambda: here.is_replaced("gpu", dead), seconds=20)
    expect(page.locator("#activity article header")).to_contain_text("attempt 2")
    expect(page.locator("[data-loading]")).to_be_visible()
    wait_for(lambda: len(hub.asked) > asked, seconds=10)
    assert len(hub.asked) == asked + 1 and hub.asked[-1].startswith("bytes=")


def test_a_pause_does_not_wait_for_the_download(here: Installation, run: str, page: Page) -> None:
    page.goto(run)
    expect(page.locator("[data-loading]")).to_be_visible()
    page.get_by_role("button", name="Pause now").click()
    wait_for(lambda: not downloads(here), seconds=10)
    expect(page.locator("#activity")).to_contain_text("The run is paused. It trains after you resume.")
