"""What a click has done is seen: a dialog stays until its form is sent, a change says so, the keyboard keeps its place."""

from __future__ import annotations

import os
import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.installation import Installation, wait_for


@pytest.fixture
def paused(here: Installation) -> str:
    """A paused run with three ideas in its queue."""
    pk = here.start_run("slow", tag=f"t{os.urandom(3).hex()}", program={"researcher": "litellm", "model": "openai/none"})
    here.python(
        f"from experiments.models import Idea, Run; run = Run.objects.get(pk={pk}); run.pause(by='test', now=True)\n"
        "[Idea.add(run, text, by='test') for text in ('one', 'two', 'three')]"
    )
    return f"{here.url}/runs/{pk}/"


def test_the_limits_stay_open_until_they_are_saved(paused: str, page: Page):
    page.goto(paused)
    page.get_by_role("link", name="limits").click()
    dialog = page.locator("dialog#limits")
    page.wait_for_load_state("networkidle")  # the form has been fetched anew
    dialog.get_by_label("End after so many experiments", exact=True).fill("abc")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog).to_contain_text("Enter a whole number")
    dialog.get_by_label("End after so many experiments", exact=True).fill("7")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog).to_be_hidden()
    expect(page.locator("[data-toasts]")).to_have_text("The limits are saved.", timeout=30_000)


def test_a_change_of_mode_says_what_it_does(paused: str, page: Page):
    page.goto(paused)
    page.get_by_role("button", name="Approve diffs").click()
    expect(page.locator("[data-toasts]")).to_contain_text("each diff waits for you", timeout=30_000)


@pytest.mark.parametrize(("status", "words"), [(0, "each diff waits for you"), (409, "Somebody was faster.")])
def test_it_is_said_also_where_the_form_was_swapped_away_meanwhile(paused: str, page: Page, status: int, words: str):
    held: list[Route] = []
    page.route("**/mode/", lambda route: held.append(route))
    page.goto(paused)
    button = page.get_by_role("button", name="Approve diffs")
    form = button.locator("xpath=ancestor::form").element_handle()
    button.click()
    wait_for(lambda: page.wait_for_timeout(50) or held, 20)
    form.evaluate("(form) => form.replaceWith(form.cloneNode(true))")
    if status:
        held[0].fulfill(status=status, body=words)
    else:
        held[0].continue_()
    expect(page.locator("[data-toasts]")).to_contain_text(words, timeout=30_000)


def test_the_keyboard_brings_an_idea_to_the_top_and_down_again(paused: str, page: Page):
    page.goto(paused)
    page.get_by_role("button", name="Up: idea 2").focus()
    page.keyboard.press("Enter")
    texts = page.locator("[data-idea] .note-text")
    expect(texts.first).to_contain_text("two")
    expect(page.get_by_role("button", name="Down: idea 1")).to_be_focused()
    page.keyboard.press("Enter")
    expect(texts.nth(1)).to_contain_text("two")


def test_a_note_is_taken_back(paused: str, page: Page):
    page.goto(paused)
    page.get_by_label("A note to the researcher").fill("Try the window.")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#notes")).to_contain_text("Try the window.")
    page.get_by_role("button", name="Take back").click()
    expect(page.locator("#notes")).to_contain_text(re.compile("No notes yet"))
