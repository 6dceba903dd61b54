"""What the tests that look at pages share: one visit of a page in all its looks, axe in the same visit, and pictures.

`make pictures` has a picture of each look made, for people, in the folder AUTORESEARCH_PICTURES. The tests ask that
nothing sticks out to the side, that axe finds nothing and that no script fails.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from axe_playwright_python.base import AxeResults
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, TimeoutError

Look = dict[str, Any]
PICTURES = os.environ.get("AUTORESEARCH_PICTURES", "")
LOOKS: list[Look] = [
    {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    for width in (1440, 390)
    for scheme in ("light", "dark")
]
AXE = [LOOKS[0], LOOKS[1], LOOKS[3]]  # both colours wide, and a phone
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
OF_COLOURS = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}  # all that other colours alone can break
CHARTS = "[data-progress], [data-curve], [data-overlay]"
DRAWN = """() => {
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  const isNear = (one, other) => Math.abs(one - other) < 1;
  return [...document.querySelectorAll(".js-plotly-plot")].every(({ _fullLayout: drawn, clientWidth, clientHeight }) =>
    drawn.font.color === ink && isNear(drawn.width, clientWidth) && isNear(drawn.height, clientHeight));
}"""
CUT_OFF = """[...document.querySelectorAll(".js-plotly-plot")].filter((chart) =>
  chart.querySelector(".main-svg").getBoundingClientRect().height < chart.clientHeight - 2).length"""
WEIGHT = """["navigation", "resource"].flatMap((kind) => performance.getEntriesByType(kind))
  .reduce((bytes, one) => bytes + one.encodedBodySize, 0)"""  # also of what was loaded before
FADED = """() => Promise.all(document.getAnimations().filter((one) => one instanceof CSSTransition)
  .map((one) => one.finished.catch(() => null)))"""


@contextlib.contextmanager
def window(browser: Browser, session: Any) -> Iterator[Page]:
    """One for all the pages of a file: its scripts are read and compiled once."""
    context = browser.new_context(storage_state=session, **LOOKS[0])
    yield context.new_page()
    context.close()


@contextlib.contextmanager
def without_errors(page: Page) -> Iterator[None]:
    """No script fails meanwhile."""
    errors: list[str] = []

    def note(error: Error) -> None:
        errors.append(str(error))

    page.on("pageerror", note)
    try:
        yield
    finally:
        page.remove_listener("pageerror", note)
    assert errors == []


def visit(
    page: Page, url: str, name: str, *, status: int = 200, looks: list[Look] = LOOKS, axe: list[Look] | None = None,
) -> float:  # fmt: skip
    """One page, loaded once: each look must fit its window, and axe finds nothing in those of `axe`.

    Returns the bytes that a first visit loads.
    """
    audited: list[Any] = []
    with without_errors(page):
        put_on(page, looks[0])
        open_page(page, url, status)
        for look in looks:
            put_on(page, look)
            take(page, name, look)
            if look in (axe or []):
                audit(page, OF_COLOURS if look["viewport"] in audited else RULES)
                audited.append(look["viewport"])
    return float(page.evaluate(WEIGHT))


def open_page(page: Page, url: str, status: int = 200) -> None:
    """Go there and wait until all is read and drawn; a chart without data keeps its words."""
    answer = page.goto(url, wait_until="load")
    assert answer is not None and answer.status == status, f"{url}: {answer and answer.status}"
    if page.locator(CHARTS).count():
        page.wait_for_load_state("networkidle")  # half a second of silence: curves are drawn at most every 300 ms
        page.wait_for_function(DRAWN)


def put_on(page: Page, look: Look) -> None:
    """The window's size and colours, as a person changes them under an open page."""
    page.set_viewport_size(look["viewport"])
    page.emulate_media(color_scheme=look.get("color_scheme", "light"), forced_colors=look.get("forced_colors", "none"))
    page.evaluate(FADED)
    page.wait_for_function(DRAWN)


def take(page: Page, name: str, look: Look) -> None:
    """A page must fit its window. And its picture, where pictures are made."""
    kind, width = look.get("color_scheme", "forced-colors"), look["viewport"]["width"]
    if PICTURES:
        page.wait_for_timeout(400)  # a chart writes its labels anew a moment after its window has changed
        page.screenshot(path=Path(PICTURES) / f"{name}-{kind}-{width}.png", full_page=True)
    expect_to_fit(page, f"{name} {kind} at {width}")
    assert page.evaluate(CUT_OFF) == 0, f"{name}: a chart is cut off below"


def expect_to_fit(page: Page, name: str) -> None:
    """Nothing sticks out to the side; a chart has a moment to follow its window."""
    beyond = "document.documentElement.scrollWidth - innerWidth"
    with contextlib.suppress(TimeoutError):
        page.wait_for_function(f"{beyond} <= 0", timeout=5000)
    assert page.evaluate(beyond) <= 0, f"{name} sticks out by {page.evaluate(beyond)} px"


def audit(page: Page, rules: Any = RULES) -> None:
    """axe finds nothing on this page as it looks now."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(Axe().axe_script)
    found = AxeResults(page.evaluate("(wanted) => axe.run(wanted)", {"runOnly": rules, "reporter": "no-passes"}))
    assert found.violations_count == 0, found.generate_report()
