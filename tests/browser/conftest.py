"""A real installation per module, a signed-in browser, and pages that fail the test on a script error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.chromium import ARGS, executable
from tests.installation import Installation

expect.set_options(timeout=30_000)  # the machine may be busy; what holds is seen at once all the same


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return {"executable_path": executable(), "args": ARGS}


@pytest.fixture(scope="module")
def here() -> Iterator[Installation]:
    # One idea at a time: of two at once the later may be trained first on a busy machine, and the tests name them by number.
    with Installation(OPENAI_API_KEY="stand-in", AUTORESEARCH_LLM_TRIES="2", AUTORESEARCH_AHEAD="1") as installation:
        yield installation


@pytest.fixture(scope="module")
def session(here: Installation, browser: Browser) -> Any:
    """The cookies of a person who used the sign-in link."""
    context = browser.new_context()
    context.new_page().goto(here.sign_in_link())
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def context(browser: Browser, session: Any) -> Iterator[BrowserContext]:
    context = browser.new_context(storage_state=session, viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(90_000)  # a baseline of 20 s comes before the first idea, and the machine may be busy
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    assert errors == []
