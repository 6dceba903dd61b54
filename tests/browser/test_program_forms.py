"""The program page's forms: recipe, researcher, a run started from it, and its versions of program.md."""

from __future__ import annotations

import os
import re
import shutil

import pytest
from playwright.sync_api import Page, expect

from tests.installation import Installation

MAKE = """
from experiments.loop import actions
p = actions.create_program("{name}", preset="cpu")
for number, text in enumerate(("# Aim\\n\\nFirst words.\\n", "# Aim\\n\\nOther words.\\n"), 1):
    p.save_brief(text, by="mara", based_on=number)
print(p.pk)
"""


@pytest.fixture(scope="module")
def program(here: Installation) -> int:
    return int(here.python(MAKE.format(name=f"f{os.urandom(3).hex()}")))


@pytest.fixture
def opened(here: Installation, program: int, page: Page) -> Page:
    page.goto(f"{here.url}/programs/{program}/")
    return page


def test_the_recipe_is_corrected_in_place_and_saved(opened: Page):
    recipe = opened.locator("#recipe")
    recipe.get_by_label("Files that may be edited").fill("../secrets.py")
    recipe.get_by_label("Data", exact=True).fill("the web")
    recipe.get_by_role("button", name="Save recipe").click()
    expect(recipe).to_contain_text("../secrets.py leads out of the repository.")
    expect(recipe).to_contain_text("Enter stdlib, torch, tinystories, climbmix, or a folder's whole path")
    expect(recipe.get_by_label("Data", exact=True)).to_have_value("the web")
    assert opened.evaluate("document.querySelector('#recipe').getBoundingClientRect().top < innerHeight")
    recipe.get_by_label("Files that may be edited").fill("train.py")
    recipe.get_by_label("Data", exact=True).fill("stdlib")
    recipe.locator("[name=grace_seconds]").fill("77")
    recipe.get_by_role("button", name="Save recipe").click()
    expect(opened.locator(".messages")).to_contain_text("Saved: ")
    opened.reload()
    expect(recipe.locator("[name=grace_seconds]")).to_have_value("77")


def test_the_researcher_is_corrected_in_place_and_saved(opened: Page):
    researcher = opened.locator("#researcher")
    researcher.locator("[name=researcher]").select_option("litellm")
    researcher.locator("[name=api_base]").fill("ftp://somewhere")
    researcher.get_by_role("button", name="Save researcher").click()
    expect(researcher).to_contain_text("An LLM needs a model")
    expect(researcher).to_contain_text("begins with http:// or https://")
    expect(researcher.locator("[name=researcher]")).to_have_value("litellm")
    researcher.locator("[name=model]").fill("openai/standin")
    researcher.locator("[name=api_base]").fill("")
    researcher.get_by_role("button", name="Save researcher").click()
    expect(opened.locator(".messages")).to_contain_text("It holds from the next experiment on.")
    expect(researcher.locator("[name=model]")).to_have_value("openai/standin")
    researcher.locator("[name=researcher]").select_option("sweep")
    researcher.get_by_role("button", name="Save researcher").click()
    expect(researcher.locator("[name=researcher]")).to_have_value("sweep")


def test_a_run_is_started_and_its_tag_is_taken_then(here: Installation, program: int, opened: Page):
    card = opened.locator("#start")
    card.get_by_label("Tag").fill("two words")
    card.get_by_role("button", name="Start").click()
    expect(card).to_contain_text("Use letters a to z, digits, - and _ only")
    card.get_by_label("Tag").fill("first")
    card.get_by_label("Mode").select_option("approve_both")
    card.get_by_label("End after so many experiments").fill("2")
    card.get_by_role("button", name="Start").click()
    expect(opened).to_have_url(re.compile(r"/runs/\d+/$"))
    expect(opened.locator(".messages")).to_contain_text("has started with the baseline")
    expect(opened.get_by_role("button", name="Approve both")).to_have_attribute("aria-pressed", "true")
    pk = opened.url.rstrip("/").rpartition("/")[2]
    here.python(f"from experiments.models import Run; Run.objects.get(pk={pk}).stop(by='test')")
    opened.goto(f"{here.url}/programs/{program}/")
    expect(opened.locator("#runs")).to_contain_text("first")
    card.get_by_label("Tag").fill("first")
    card.get_by_role("button", name="Start").click()
    expect(card).to_contain_text("This program already has a run first.")


def test_one_click_goes_over_to_data_that_are_there(here: Installation, program: int, opened: Page):
    """Files of the right names: the training that it starts fails at once, without a network."""
    expect(opened.locator("#data")).to_have_count(0)
    folder = here.var / "data" / "climbmix-vocab512-v3"
    (folder / "held_out").mkdir(parents=True)
    (folder / "train").mkdir()
    for name in ("tokenizer.json", "held_out/val.bin", "held_out/secret.bin"):
        (folder / name).touch()
    (folder / "meta.json").write_text('{"dataset": "climbmix", "validation_tokens": 100000}')
    try:
        opened.reload()
        opened.locator("#data").get_by_role("button", name="Train on climbmix").click()
        expect(opened).to_have_url(re.compile(r"/runs/\d+/$"))
        expect(opened.locator(".messages")).to_contain_text("makes room: its runs pause after what they train now.")
        pk = opened.url.rstrip("/").rpartition("/")[2]
        here.python(f"from experiments.models import Run; Run.objects.get(pk={pk}).stop(by='test')")
        opened.goto(f"{here.url}/programs/{program}/")
        expect(opened.locator("#data")).to_contain_text("trains on climbmix.")
    finally:
        shutil.rmtree(folder)


def test_versions_are_compared_and_an_old_one_comes_back(opened: Page):
    versions = opened.locator("#versions")
    versions.get_by_label("Compare from version 2").check()
    versions.get_by_label("Compare to version 3").check()
    opened.evaluate("htmx.trigger(document.body, 'refresh')")  # a live update leaves the choice as it is
    versions.get_by_role("button", name="Compare the two").click()
    expect(opened.locator("h1")).to_contain_text("version 2 to 3")
    expect(opened.locator(".r.del, .del").first).to_contain_text("First words.")
    expect(opened.locator(".r.add, .add").first).to_contain_text("Other words.")
    opened.get_by_role("link", name="v2", exact=True).click()
    opened.get_by_role("button", name="Restore as version 4").click()
    expect(opened.locator(".messages")).to_contain_text("Version 2 is back, as version 4.")
    expect(opened.locator(".write .cm-content")).to_contain_text("First words.")
    expect(versions).to_contain_text("v4")
