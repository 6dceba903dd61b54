"""Every page with 0, 1, 30 and 1,000 experiments, light and dark, wide and phone: one visit each.

The tests ask that nothing sticks out to the side, that axe (WCAG 2.2 AA) finds nothing, and that a first visit loads at
most 500 KB.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.looking import AXE, open_page, take, visit
from tests.installation import Installation

SIZES = (0, 1, 30, 1000)
MOST_BYTES = 500_000
PLACES = """
import json
from experiments.models import Experiment, Run
places = {}
for run in Run.objects.order_by("pk"):
    rows = run.experiments.order_by("-number")
    def first(**fields): return rows.filter(**fields).values_list("pk", flat=True).first()
    size = rows.count()
    picks = list(rows.filter(score__isnull=False).values_list("pk", flat=True)[:4])
    pages = {"run": f"/runs/{run.pk}/", "report": f"/runs/{run.pk}/report/", "program": f"/programs/{run.program_id}/"}
    if size:
        pages["compare"] = "/compare/?e=" + ",".join(map(str, picks))
        for state in ("kept", "discarded", "failed", "cancelled", "reverted"):
            if first(state=state): pages[f"experiment-{state}"] = f"/experiments/{first(state=state)}/"
    if size == 30:
        brief = f"/programs/{run.program_id}/brief/"
        pages |= {"version": f"{brief}2/", "versions": f"{brief}compare/?from=1&to=3"}
        pages |= {"one-compared": f"/compare/?e={picks[0]}", "compare-nothing-found": "/compare/?q=zzz"}
        pages |= {"nothing-found": f"/runs/{run.pk}/?q=zzz"}
    places[size] = pages
print(json.dumps(places))
"""
OF_ALL = ["home", "compare", "machines", "audit", "new", "import"]
EMPTY = {"home": "/", **{name: f"/{name}/" for name in OF_ALL[1:]}}


@pytest.fixture(scope="module")
def places(here: Installation) -> dict[str, str]:
    """Name -> path."""
    for size in SIZES:
        here.manage("seed_demo", "--experiments", str(size), "--seed", str(size))
    found = json.loads(here.python(PLACES))
    named = {f"{name}-{size}": path for size, pages in found.items() for name, path in pages.items()}
    return named | {f"{name}-all": EMPTY[name] for name in OF_ALL}


def names() -> list[str]:
    kinds = ["run", "report", "program", "compare", "experiment-kept", "experiment-discarded", "experiment-failed"]
    once = ["version-30", "versions-30", "one-compared-30", "nothing-found-30", "compare-nothing-found-30"]
    once += ["experiment-cancelled-1000", "experiment-reverted-1000", *(f"{name}-all" for name in OF_ALL)]
    return [f"{kind}-{size}" for size in SIZES for kind in kinds] + once


@pytest.mark.parametrize("name", EMPTY)
def test_an_empty_installation_fits_its_window(here: Installation, opened: Page, name: str):
    """Stands first: the tests below fill the installation."""
    visit(opened, here.url + EMPTY[name], f"{name}-0")


@pytest.mark.parametrize("name", names())
def test_it_fits_its_window_axe_finds_nothing_and_a_first_visit_is_light(
    here: Installation, opened: Page, places: dict[str, str], name: str
):
    if name not in places:
        assert name.endswith(("-0", "-1")), f"the data set has no {name}"
        return
    size = visit(opened, here.url + places[name], name, axe=AXE if name.endswith(("-30", "-all")) else None)
    assert 0 < size <= MOST_BYTES, f"{name} loads {size:,.0f} bytes"


def test_the_report_on_paper(here: Installation, browser: Browser, session: Any, places: dict[str, str]):
    look = {"color_scheme": "dark", "viewport": {"width": 720, "height": 1000}}
    context = browser.new_context(storage_state=session, **look)
    page = context.new_page()
    open_page(page, here.url + places["report-30"])
    page.emulate_media(media="print")
    take(page, "report-30-paper", look)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "paper is white"
    assert not page.locator(".top, .tools").filter(visible=True).count(), "paper has nothing to press"
    context.close()
