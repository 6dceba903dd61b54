"""A run in each of its states, the pages of what is under way, and those of errors: pictures, and axe.

See looking.py for what is asked of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.looking import AXE, LOOKS, axe_at, look_at, take
from tests.installation import Installation

MAKE = "import json\nfrom tests.browser import states\nprint(json.dumps(states.make()))"
LIVE = ["proposing", "reviewing", "training", "evaluating", "confirming"]
STATES = [f"run-{state}" for state in [*LIVE, "circuit-breaker", "branch-moved", "by-hand", "fresh", "long-words"]]
NAMES = [*STATES, *(f"experiment-{state}" for state in LIVE), "manual", "home-needs", "machines-busy", "audit-of-one"]
SMALL = {"color_scheme": "light", "viewport": {"width": 320, "height": 700}}
FORCED = {"forced_colors": "active", "viewport": {"width": 1440, "height": 900}}


@pytest.fixture(scope="module")
def here() -> Iterator[Installation]:
    with Installation() as installation:
        yield installation


@pytest.fixture(scope="module")
def places(here: Installation) -> dict[str, str]:
    of_all = {"home-needs": "/", "machines-busy": "/machines/", "audit-of-one": "/audit/?run=1&by=mira"}
    return json.loads(here.python(MAKE)) | of_all


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_its_window(here: Installation, browser: Browser, session: Any, places: dict[str, str], name: str):
    look_at(browser, session, here, name, places[name])


@pytest.mark.parametrize("look", [AXE[0], AXE[2]], ids=["light-1440", "dark-390"])
@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing(
    here: Installation, browser: Browser, session: Any, places: dict[str, str], name: str, look: dict[str, Any]
):
    axe_at(browser, session, here, places[name], look)


@pytest.mark.parametrize("name", ["run-training", "run-reviewing", "run-long-words", "experiment-confirming", "home-needs"])
def test_it_fits_the_smallest_phone_and_forced_colours(
    here: Installation, browser: Browser, session: Any, places: dict[str, str], name: str
):
    look_at(browser, session, here, name, places[name], looks=[SMALL, FORCED])


TOPS = "(names) => names.map((name) => document.querySelector(name).getBoundingClientRect().top)"


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        ("experiment-reviewing", "#head", "#changes"),
        ("experiment-reviewing", "#changes", "#curve"),
        ("run-reviewing", "#activity", ".progress-card"),
        ("run-training", ".progress-card", "#activity"),
        ("run-training", ".progress-card", "#notes"),
    ],
)
def test_what_matters_stands_first(
    here: Installation, browser: Browser, session: Any, places: dict[str, str], name: str, first: str, second: str,
    width: int,
):
    context = browser.new_context(storage_state=session, viewport={"width": width, "height": 900})
    page = context.new_page()
    page.goto(here.url + places[name])
    above, below = page.evaluate(TOPS, [first, second])
    context.close()
    assert above < below, f"{second} stands above {first}"


@pytest.mark.parametrize(
    ("name", "path", "status"), [("sign-in", "/sign-in/", 200), ("sign-in-refused", "/sign-in/MQ/old-token/", 403)]
)
def test_who_is_not_signed_in(here: Installation, browser: Browser, name: str, path: str, status: int):
    look_at(browser, None, here, name, path, status=status)
    for look in AXE:
        axe_at(browser, None, here, path, look, status)


def test_a_page_that_does_not_exist(here: Installation, browser: Browser, session: Any):
    look_at(browser, session, here, "error-404", "/nowhere/", status=404)
    axe_at(browser, session, here, "/nowhere/", AXE[0], 404)


@pytest.mark.parametrize("name", ["403", "403_csrf", "500"])
def test_an_error_page(here: Installation, browser: Browser, session: Any, name: str):
    """As Django renders it where all else is broken: without a request."""
    html = here.python(f"from django.template.loader import render_to_string\nprint(render_to_string('{name}.html'))")
    for look in LOOKS:
        context = browser.new_context(storage_state=session, **look)
        page = context.new_page()
        page.route("**/broken/", lambda route: route.fulfill(status=500, content_type="text/html", body=html))
        page.goto(f"{here.url}/broken/")
        take(page, f"error-{name}", look)
        context.close()
