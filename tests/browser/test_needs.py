"""What waits for a person is seen from another tab: the title, the icon, and a notification for who asked for it."""

from __future__ import annotations

import os
import re

from playwright.sync_api import BrowserContext, Page, expect

from tests.installation import Installation

RECORD = """
window.shown = [];
window.Notification = class { static permission = "granted"; static requestPermission = async () => "granted";
  constructor(title, options) { window.shown.push(options.body); } };
Object.defineProperty(document, "hidden", { get: () => window.away ?? false });
"""


def test_title_and_icon_tell_and_a_notification_comes_to_who_asked(here: Installation, context: BrowserContext, page: Page):
    page.add_init_script(RECORD)
    page.goto(here.url)
    assert not page.title().startswith("(") and "icon.svg" in page.locator("link[rel=icon]").get_attribute("href")
    page.locator("header details.menu > summary").click()
    page.get_by_role("button", name="Notify me when a run needs me").click()
    expect(page.get_by_role("button", name="Notifications: on")).to_be_visible()
    page.evaluate("window.away = true")  # in another tab

    here.start_run("score", mode="approve_diffs", max_experiments=2, tag=f"n{os.urandom(3).hex()}")
    expect(page).to_have_title(re.compile(r"^\(1\) "))
    assert "icon-need.svg" in page.locator("link[rel=icon]").get_attribute("href")
    assert page.evaluate("window.shown") == ["One run waits for you."]

    page.get_by_role("button", name=re.compile("^Approve")).click()
    expect(page).not_to_have_title(re.compile(r"^\("))
    assert "icon.svg" in page.locator("link[rel=icon]").get_attribute("href")
    assert page.evaluate("window.shown.length") == 1


def test_the_way_from_an_empty_page_to_a_running_one(here: Installation, page: Page):
    """Three questions, nothing typed."""
    page.goto(f"{here.url}/new/")
    expect(page.get_by_label("Model", exact=True)).to_be_hidden()
    page.get_by_label("Who proposes the edits").select_option(label="LLM through litellm")
    expect(page.get_by_label("Model", exact=True)).to_be_visible()
    page.get_by_role("button", name="Try this model").click()
    expect(page.locator("#model-check")).to_contain_text("Enter the model first")
    page.get_by_label("Who proposes the edits").select_option(label="Built-in sweep (no LLM, no key)")
    page.get_by_label("Show me each edit before it trains").check()
    page.get_by_role("button", name="Create the program").click()
    expect(page).to_have_url(re.compile(r"/runs/\d+/$"))
    expect(page.locator("#table")).to_contain_text("training")
    pk = page.url.rstrip("/").rpartition("/")[2]
    here.python(f"from experiments.models import Run; Run.objects.get(pk={pk}).stop(by='test')")
