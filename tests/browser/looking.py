"""What the tests that look at pages share: opening a page until it stands still, its pictures, and axe.

The pictures are for people, in var/pictures or where AUTORESEARCH_PICTURES says. The tests ask that nothing sticks out
to the side and that no script fails.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.installation import ROOT, Installation

PICTURES = Path(os.environ.get("AUTORESEARCH_PICTURES", ROOT / "var" / "pictures"))
LOOKS: list[dict[str, Any]] = [
    {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    for width in (1440, 390)
    for scheme in ("light", "dark")
]
CUT_OFF = """[...document.querySelectorAll(".js-plotly-plot")].filter((chart) =>
  chart.querySelector(".main-svg").getBoundingClientRect().height < chart.clientHeight - 2).length"""
AXE = [LOOKS[0], LOOKS[1], LOOKS[3]]  # both colours wide, and a phone
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
CHARTS = "[data-progress], [data-curve], [data-overlay]"


def open_page(page: Page, url: str, status: int = 200) -> None:
    """Go there and wait until all is read and drawn; a chart without data keeps its words."""
    answer = page.goto(url, wait_until="load")
    assert answer is not None and answer.status == status, f"{url}: {answer and answer.status}"
    if page.locator(CHARTS).count():
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(400)  # curves are drawn at most every 300 ms


def look_at(
    browser: Browser, session: Any, here: Installation, name: str, path: str, *, status: int = 200,
    looks: list[dict[str, Any]] = LOOKS,
) -> None:
    """Every look of one page, a picture of each; each must fit its window."""
    for look in looks:
        context = browser.new_context(storage_state=session, **look)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error, seen=errors: seen.append(str(error)))
        open_page(page, here.url + path, status)
        take(page, name, look)
        context.close()
        assert errors == [], f"{name}: {errors}"


def take(page: Page, name: str, look: dict[str, Any]) -> None:
    """The picture of an open page, which must fit its window."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    kind, width = look.get("color_scheme", "forced-colors"), look["viewport"]["width"]
    page.screenshot(path=PICTURES / f"{name}-{kind}-{width}.png", full_page=True)
    beyond = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert beyond <= 0, f"{name} is {beyond} px wider than {width}"
    assert page.evaluate(CUT_OFF) == 0, f"{name}: a chart is cut off below"


def axe_at(browser: Browser, session: Any, here: Installation, path: str, look: dict[str, Any], status: int = 200) -> None:
    """axe finds nothing on this page, in this look."""
    context = browser.new_context(storage_state=session, **look)
    page = context.new_page()
    open_page(page, here.url + path, status)
    found = Axe().run(page, options=RULES)
    context.close()
    assert found.violations_count == 0, found.generate_report()
