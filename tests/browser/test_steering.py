"""What a person steers a live run with: notes, ideas, the mode, the limits, keep or discard, cancel, a pause."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.steps import climb, git, start, stop
from tests.installation import Installation, wait_for
from tests.standin_llm import StandIn

BRANCH = ["rev-parse", "BRANCH"]
LONG = 60_000  # ms: a training, a proposal and a verdict on a busy machine


@pytest.fixture
def llm() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


def open_run(page: Page, here: Installation, run: int) -> Page:
    page.goto(f"{here.url}/runs/{run}/")
    return page


def button(page: Page, name: str) -> None:
    page.get_by_role("button", name=re.compile(name)).click()


def test_a_note_and_an_idea_reach_the_next_proposal(here: Installation, context: BrowserContext, llm: StandIn):
    run = start(here, llm=llm, mode="approve_diffs")
    mine, other = (open_run(context.new_page(), here, run) for _ in range(2))
    mine.get_by_label("A note to the researcher").fill("leave <b>depth</b> alone")
    button(mine, "^Send$")
    expect(mine.get_by_label("A note to the researcher")).to_have_value("")
    mine.get_by_label("An idea to try").fill("a longer warmdown")
    button(mine, "^Add$")
    for window in (mine, other):
        expect(window.locator("#notes")).to_contain_text("leave <b>depth</b> alone")
        expect(window.locator("#ideas")).to_contain_text("a longer warmdown")
    button(other, "^Send$")
    expect(other.locator("#note-form")).to_contain_text("Write a note first.")

    expect(mine.locator("#activity")).to_contain_text("Waits for you", timeout=LONG)
    expect(mine.locator("#notes")).to_contain_text(re.compile("not read yet|first read in #1"))  # asked before or after
    button(mine, "^Reject")
    expect(other.locator("#notes")).to_contain_text(re.compile(r"first read in #[12]"), timeout=LONG)
    expect(other.locator("#ideas .used summary")).to_contain_text("1 used", timeout=LONG)
    expect(other.locator("#activity")).to_contain_text("#2")
    asked = str(llm.requests[-1])
    assert "leave <b>depth</b> alone" in asked and (len(llm.requests) < 2 or "a longer warmdown" in str(llm.requests))
    other.locator("#ideas .used summary").click()
    other.locator("#ideas .used a").click()
    expect(other.locator("#head")).to_contain_text("From the queue of ideas")
    expect(other.locator("#head")).to_contain_text("a longer warmdown")
    stop(here, run)


def test_in_another_mode_what_waited_goes_on(here: Installation, page: Page):
    run = start(here, mode="approve_diffs", max_experiments=2)
    open_run(page, here, run)
    expect(page.locator("#experiment-1")).to_contain_text("needs review", timeout=LONG)
    button(page, "^Autopilot$")
    expect(page.get_by_role("button", name="Autopilot")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="Approve diffs")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#experiment-1")).to_contain_text(re.compile("kept|discarded"), timeout=LONG)


def test_a_gain_is_kept_or_discarded_by_hand(here: Installation, page: Page, llm: StandIn):
    llm.answer = climb()
    run = start(here, "ladder", llm=llm, mode="approve_keeps", max_experiments=3)
    open_run(page, here, run)
    expect(page.locator("#activity")).to_contain_text("Waits for you: keep it", timeout=LONG)
    assert git(here, run, *BRANCH) == here.rows(run)[0]["commit"]
    button(page, "^Keep")
    expect(page.locator("#experiment-1")).to_contain_text("kept", timeout=LONG)
    expect(page.locator("#experiment-2")).to_contain_text("needs", timeout=LONG)
    page.get_by_label("Why not?").fill("too lucky")
    page.locator("#activity").click(position={"x": 5, "y": 5})  # out of the box: there the key is a letter
    page.keyboard.press("r")
    expect(page.locator("#experiment-2")).to_contain_text("discarded", timeout=LONG)
    kept, discarded = here.rows(run)[1:3]
    assert [kept["state"], discarded["state"]] == ["kept", "discarded"]
    wait_for(lambda: git(here, run, *BRANCH) == kept["commit"], 20, every=0.5)
    expect(page.locator("#activity")).to_contain_text("too lucky")


def test_a_training_is_cancelled_from_the_run_and_from_its_own_page(here: Installation, page: Page):
    run = start(here, "slow", budget=60)
    open_run(page, here, run)
    button(page, "^Cancel this experiment$")
    expect(page.locator("#experiment-0")).to_contain_text("cancelled")
    again = page.locator("#table tr", has_text="training")  # without a baseline there is nothing: it is trained once more
    expect(again).to_contain_text("baseline", timeout=LONG)
    again.get_by_role("link").first.click()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name=re.compile(r"^Cancel #\d$")).click()
    expect(page.locator("#head")).to_contain_text("cancelled")
    expect(page.locator(".messages")).to_contain_text("is cancelled.")
    stop(here, run)
    wait_for(lambda: not here.processes("train.py"), 20)


def test_a_pause_lets_the_training_finish(here: Installation, page: Page):
    run = start(here, "slow", budget=6)
    open_run(page, here, run)
    expect(page.locator("#experiment-0")).to_contain_text("training", timeout=LONG)
    page.keyboard.press("p")
    expect(page.locator("#head")).to_contain_text("#0 is finished first")
    expect(page.locator("#experiment-0")).to_contain_text("kept", timeout=LONG)
    expect(page.locator("#head")).not_to_contain_text("finished first")
    page.wait_for_timeout(2500)  # two ticks of the loop
    expect(page.locator("#table tbody")).not_to_contain_text("training")
    page.keyboard.press("p")
    expect(page.get_by_role("button", name="Pause now")).to_be_visible()
    expect(page.locator("#table tbody")).to_contain_text("training", timeout=LONG)
    stop(here, run)


def test_limits_are_corrected_in_place_and_raised(here: Installation, page: Page):
    run = start(here, max_experiments=1)
    open_run(page, here, run)
    page.get_by_role("button", name="Raise the limits").click(timeout=LONG)
    dialog, count = page.locator("dialog#limits"), page.get_by_label("End after so many experiments", exact=True)
    expect(count).to_have_value("1")
    count.fill("many")
    page.wait_for_timeout(500)  # the fresh form has come
    expect(count).to_have_value("many")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog).to_contain_text("Enter a whole number, or leave it empty for no limit.")
    expect(count).to_have_value("many")
    count.fill("2")
    dialog.get_by_role("button", name="Save and resume").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#experiment-1")).to_contain_text(re.compile("kept|discarded"), timeout=LONG)
    expect(page.locator("#head")).to_contain_text("The limit of experiments is reached: 2.", timeout=LONG)
    page.locator("#tiles").get_by_role("link", name="limits").click()
    expect(count).to_have_value("2")
    count.fill("7")
    dialog.get_by_role("button", name="Save", exact=True).click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#head")).not_to_contain_text("Raise the limits")
    page.reload()
    page.locator("#tiles").get_by_role("link", name="limits").click()
    expect(count).to_have_value("7")
