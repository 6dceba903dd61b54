"""An external agent in a browser: chosen on the page, its output as the reply, hostile text as text."""

from __future__ import annotations

import os

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import program_of
from tests.installation import Installation
from tests.researcher.agents import SCRIPTS
from trainer.sandbox import BUBBLEWRAP, level

pytestmark = pytest.mark.skipif(level().name != BUBBLEWRAP, reason=level().why or "never")


def test_its_fields_are_there_where_it_is_chosen_and_its_reply_is_shown_as_text(here: Installation, page: Page):
    run = here.start_run("score", tag=f"t{os.urandom(3).hex()}", max_experiments=2)
    page.goto(f"{here.url}/runs/{run}/")
    page.goto(f"{here.url}/programs/{program_of(here, run)}/#researcher")
    card = page.locator("#researcher")
    command, model = card.get_by_label("Command of the agent"), card.get_by_label("Model", exact=True)
    expect(command).to_be_hidden()
    expect(model).to_be_hidden()
    card.get_by_label("Who proposes the edits").select_option("command")
    expect(command).to_be_visible()
    expect(card.locator("#effect-agent_command")).to_be_hidden()
    command.fill("{python} 'no end")
    expect(card.locator("#effect-agent_command")).to_contain_text("The next proposal starts this command")
    page.keyboard.press("Enter")
    expect(card).to_contain_text("Close every quote")
    command.fill(f"{{python}} {SCRIPTS}/controls.py")
    page.keyboard.press("Enter")
    expect(page.locator(".message.success")).to_contain_text("command of the agent")
    this = f"from experiments.models import Run; r = Run.objects.get(pk={run});"
    here.python(f"{this} Run.objects.filter(pk={run}).update(max_experiments=6)")
    here.python(f"{this} r.state == 'ended' and r.resume(by='test')")  # both of its experiments may be done by now
    page.goto(f"{here.url}/runs/{run}/")
    page.get_by_role("link", name="<b>bold</b> idea").first.click()
    reply = page.locator("#reply")
    expect(reply).to_contain_text("[Output of an external agent: ")
    expect(reply).to_contain_text("<script>alert(1)</script>")
    assert page.locator("script:has-text('alert(1)'), #reply img").count() == 0
