"""A real installation, empty for each module, a signed-in browser, and pages that fail the test on a script error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.chromium import ARGS, executable
from tests.browser.looking import window, without_errors
from tests.installation import Installation
from tests.researcher.agents import SCRIPTS

expect.set_options(timeout=30_000)  # the machine may be busy; what holds is seen at once all the same


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return {"executable_path": executable(), "args": ARGS}


@pytest.fixture(scope="package")
def shared() -> Iterator[Installation]:
    """Started once for the files that kill none of its workers: a start costs as much as a file of tests.

    One idea at a time: of two at once the later may be trained first on a busy machine, and the tests name them by number.
    A worker that is slow to import litellm keeps its proposal: none dies here.
    """
    with Installation(
        OPENAI_API_KEY="stand-in", AUTORESEARCH_LLM_TRIES="2", AUTORESEARCH_AHEAD="1", AUTORESEARCH_STALE="60",
        AUTORESEARCH_TICK="2", AUTORESEARCH_PAGE_BEAT="3", AUTORESEARCH_AGENT_READ=str(SCRIPTS),
    ) as installation:  # fmt: skip
        yield installation


@pytest.fixture(scope="module")
def here(shared: Installation) -> Iterator[Installation]:
    yield shared
    shared.clear()


@pytest.fixture(scope="module")
def session(here: Installation, browser: Browser) -> Any:
    """The cookies of a person who used the sign-in link."""
    context = browser.new_context()
    context.new_page().goto(here.sign_in_link())
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture(scope="module")
def opened(browser: Browser, session: Any) -> Iterator[Page]:
    """A window for `visit`."""
    with window(browser, session) as page:
        yield page


@pytest.fixture(scope="module")
def profile(browser: Browser, session: Any) -> Iterator[BrowserContext]:
    look: Any = {"viewport": {"width": 1440, "height": 1000}, "reduced_motion": "reduce"}  # pulses cost a tenth of a core
    context = browser.new_context(storage_state=session, **look)
    context.set_default_timeout(90_000)  # a baseline of 20 s comes before the first idea, and the machine may be busy
    yield context
    context.close()


@pytest.fixture
def context(profile: BrowserContext, here: Installation, session: Any) -> Iterator[BrowserContext]:
    """As good as a fresh one, but for the scripts that it has read and compiled before."""
    yield profile
    kept = {"origin": here.url, "storageTypes": "local_storage"}
    profile.new_cdp_session(profile.new_page()).send("Storage.clearDataForOrigin", kept)
    for page in profile.pages:
        page.close()
    profile.clear_permissions()
    profile.clear_cookies()
    profile.add_cookies(session["cookies"])


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    with without_errors(page):
        yield page
