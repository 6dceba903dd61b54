"""A run in each of its states, the pages of what is under way, and those of errors: one visit each, with axe.

See looking.py for what is asked of them.
"""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.looking import AXE, LOOKS, Look, put_on, take, visit, window
from tests.installation import Installation

MAKE = "import json\nfrom tests.browser import states\nprint(json.dumps(states.make()))"
LIVE = ["proposing", "reviewing", "training", "evaluating", "confirming"]
STATES = [f"run-{state}" for state in [*LIVE, "circuit-breaker", "branch-moved", "by-hand", "fresh", "long-words"]]
STATES += ["run-device-busy", "run-strange-score"]
NAMES = [*STATES, *(f"experiment-{state}" for state in LIVE), "manual", "home-needs", "machines-busy", "audit-of-one"]
SMALL: Look = {"color_scheme": "light", "viewport": {"width": 320, "height": 700}}
FORCED: Look = {"forced_colors": "active", "viewport": {"width": 1440, "height": 900}}
ALSO_SMALL_AND_FORCED = ["run-training", "run-reviewing", "run-long-words", "experiment-confirming", "home-needs"]


@pytest.fixture(scope="module")
def places(here: Installation) -> dict[str, str]:
    made = json.loads(here.python(MAKE))
    of_one = f"/audit/?run={made['run-proposing'].split('/')[2]}&by=mira"
    return made | {"home-needs": "/", "machines-busy": "/machines/", "audit-of-one": of_one}


@pytest.mark.parametrize("name", NAMES)
def test_it_fits_its_window_and_axe_finds_nothing(here: Installation, opened: Page, places: dict[str, str], name: str):
    looks = [*LOOKS, SMALL, FORCED] if name in ALSO_SMALL_AND_FORCED else LOOKS
    visit(opened, here.url + places[name], name, looks=looks, axe=[AXE[0], AXE[2]])


TOPS = "(names) => names.map((name) => document.querySelector(name).getBoundingClientRect().top)"


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("experiment-reviewing", [("#head", "#changes"), ("#changes", "#curve")]),
        ("run-reviewing", [("#activity", ".progress-card")]),
        ("run-training", [(".progress-card", "#activity"), (".progress-card", "#notes")]),
    ],
)
def test_what_matters_stands_first(
    here: Installation, page: Page, places: dict[str, str], name: str, pairs: list[tuple[str, str]]
):
    page.goto(here.url + places[name])
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for first, second in pairs:
            above, below = page.evaluate(TOPS, [first, second])
            assert above < below, f"{second} stands above {first} at {width}"


@pytest.mark.parametrize(
    ("name", "path", "status"), [("sign-in", "/sign-in/", 200), ("sign-in-refused", "/sign-in/MQ/old-token/", 403)]
)
def test_who_is_not_signed_in(here: Installation, browser: Browser, name: str, path: str, status: int):
    with window(browser, None) as page:
        visit(page, here.url + path, name, status=status, axe=AXE)


def test_a_page_that_does_not_exist(here: Installation, opened: Page):
    visit(opened, f"{here.url}/nowhere/", "error-404", status=404, axe=[AXE[0]])


@pytest.mark.parametrize("name", ["403", "403_csrf", "500"])
def test_an_error_page(here: Installation, page: Page, name: str):
    """As Django renders it where all else is broken: without a request."""
    html = here.python(f"from django.template.loader import render_to_string\nprint(render_to_string('{name}.html'))")
    page.route("**/broken/", lambda route: route.fulfill(status=500, content_type="text/html", body=html))
    page.goto(f"{here.url}/broken/")
    for look in LOOKS:
        put_on(page, look)
        take(page, f"error-{name}", look)
