"""The queue of ideas: edited, moved by drag and by keys, dropped. Another window follows; an open editor is left alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.installation import Installation

SEED = """
from tests.factories import *
from experiments.models import Idea
run = make_run(make_program("{name}", researcher="litellm"), state="ended")
for text in ("one", "two", "three"):
    Idea.add(run, text, by="mara")
print(run.pk)
"""


@pytest.fixture
def run(here: Installation) -> int:
    return int(here.python(SEED.format(name=f"i{os.urandom(3).hex()}")))


@pytest.fixture
def windows(here: Installation, run: int, context: BrowserContext) -> Iterator[list[Page]]:
    pages = [context.new_page() for _ in range(2)]
    for page in pages:
        page.goto(f"{here.url}/runs/{run}/")
    yield pages


def item(page: Page, text: str) -> Locator:
    return page.locator("[data-idea]", has_text=text)


def expect_order(pages: list[Page], *texts: str) -> None:
    for page in pages:
        expect(page.locator("[data-idea] > .note-text")).to_have_text(
            [re.compile(rf"{number} {text}$") for number, text in enumerate(texts, 1)]
        )


def test_moved_by_keys_edited_and_dropped_in_two_windows(windows: list[Page]):
    mine, _ = windows
    expect_order(windows, "one", "two", "three")
    mine.get_by_role("button", name="Down: idea 1").focus()
    mine.keyboard.press("Enter")
    expect_order(windows, "two", "one", "three")
    mine.keyboard.press("Enter")  # the focus has gone along with it
    expect_order(windows, "two", "three", "one")
    mine.get_by_role("button", name="Up: idea 2").click()
    expect_order(windows, "three", "two", "one")

    item(mine, "two").locator("summary").click()
    item(mine, "two").get_by_role("textbox").fill("two, <b>in other words</b>")
    item(mine, "two").get_by_role("button", name="Save").click()
    expect_order(windows, "three", "two, <b>in other words</b>", "one")
    item(mine, "three").locator("summary").click()
    item(mine, "three").get_by_role("button", name="Drop").click()
    expect_order(windows, "two, <b>in other words</b>", "one")


def test_dragged_by_its_grip(windows: list[Page]):
    mine, _ = windows
    item(mine, "three").locator("[data-grip]").drag_to(item(mine, "one"), target_position={"x": 20, "y": 4})
    expect_order(windows, "three", "one", "two")
    mine.reload()
    expect_order(windows, "three", "one", "two")


def test_what_is_being_edited_is_left_alone_by_the_other_window(windows: list[Page]):
    mine, other = windows
    item(mine, "two").locator("summary").click()
    item(mine, "two").get_by_role("textbox").fill("half a sentence")
    other.get_by_label("An idea to try").fill("four")
    other.get_by_role("button", name="Add").click()
    expect_order([other], "one", "two", "three", "four")
    mine.wait_for_timeout(1000)
    expect(item(mine, "two").get_by_role("textbox")).to_have_value("half a sentence")
    item(mine, "two").get_by_role("textbox").fill(" ")
    item(mine, "two").get_by_role("button", name="Save").click()
    expect(mine.locator("[data-toasts]")).to_contain_text("Write the idea first.")
    item(mine, "two").locator("summary").click()  # closed unsaved: now the page catches up
    expect_order(windows, "one", "two", "three", "four")
