"""The compare page as a reader uses it: every choice lands in the address, and a reload brings it all back."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.installation import Installation

SEED = """
import json, math
from tests.factories import *
from experiments.states import State
pks = []
for tag in ("night", "day"):
    run = make_run(Program.objects.filter(name="compared").first() or make_program("compared"), tag, state="ended")
    for number in range(3):
        one = make_experiment(run, State.DISCARDED, 1.5 - number / 10, number=number, description=f"<i>{tag}</i> {number}")
        pks.append(one.pk)
        if number < 2:
            add_points(one, [None if 30 < i < 40 else 4 - i / 100 + math.sin(i) / 5 for i in range(200)])
print(json.dumps(pks))
"""
LINES = "[data-overlay] .scatterlayer .trace"


@pytest.fixture(scope="module")
def pks(here: Installation) -> list[int]:
    found: list[int] = json.loads(here.python(SEED))
    return found


@pytest.fixture
def compared(here: Installation, pks: list[int], page: Page) -> Page:
    """Two of one run, one of another, and one without a curve."""
    page.goto(f"{here.url}/compare/?e={pks[0]},{pks[1]},{pks[3]},{pks[2]}")
    expect(page.locator(LINES)).to_have_count(3)
    return page


def key(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=f"Curve of {name}", exact=True)


def test_every_choice_is_in_the_address_and_comes_back(compared: Page, pks: list[int]):
    expect(compared.locator("[data-note]")).to_have_text(
        "No curve: night #2. Not finite for a while, drawn as a gap: night #0, night #1, day #0."
    )
    compared.get_by_role("button", name="Tokens", exact=True).click()
    compared.get_by_label("log y").check()
    compared.get_by_label("Smooth").fill("0.9")
    compared.get_by_label("What is drawn").select_option("tok_per_sec")
    key(compared, "night #1").click()
    assert compared.url.endswith(f"&x=tokens&logy=1&smooth=0.9&y=tok_per_sec&off={pks[1]}")
    for _ in range(2):
        expect(compared.locator(LINES)).to_have_count(4)  # two smoothed, each over its own as it is
        expect(compared.get_by_role("button", name="Tokens", exact=True)).to_have_attribute("aria-pressed", "true")
        expect(compared.get_by_label("log y")).to_be_checked()
        expect(compared.get_by_label("What is drawn")).to_have_value("tok_per_sec")
        expect(key(compared, "night #1")).to_have_attribute("aria-pressed", "false")
        assert compared.locator("[data-overlay] .xtitle").text_content() == "tokens"
        compared.reload()


def test_links_and_fragments_carry_what_was_chosen_since(compared: Page, pks: list[int]):
    compared.get_by_role("button", name="Wall time").click()
    compared.get_by_role("link", name="Only differences").click()
    expect(compared.get_by_role("link", name="Show all rows")).to_be_visible()
    expect(compared).to_have_url(re.compile(r"only=1"))
    compared.get_by_label("From").select_option(str(pks[1]))
    expect(compared).to_have_url(re.compile(rf"a={pks[1]}"))
    assert "x=seconds" in compared.url and "only=1" in compared.url
    compared.get_by_role("link", name="Leave day #0 out").click()
    expect(compared).to_have_url(re.compile(rf"e={pks[0]},{pks[1]},{pks[2]}(&|$)"))
    for part in ("x=seconds", "only=1", f"a={pks[1]}"):
        assert part in compared.url
    expect(compared.get_by_role("button", name="Wall time")).to_have_attribute("aria-pressed", "true")


def test_another_one_is_found_while_typing_and_added(compared: Page, pks: list[int]):
    compared.get_by_label("log x").check()
    compared.get_by_label("Find an experiment to add").press_sequentially("day #1")
    compared.get_by_role("link", name="Add #1 of compared/day").click()
    expect(compared.locator(LINES)).to_have_count(4)
    assert f",{pks[4]}" in compared.url and "logx=1" in compared.url
    assert compared.locator(".sides li").count() == 5


def test_zoom_shows_all_and_comes_back(compared: Page):
    def low_and_high() -> list[float]:
        found: list[float] = compared.evaluate("document.querySelector('[data-overlay]').layout.yaxis.range")
        return found

    usual = low_and_high()
    compared.get_by_role("button", name="Show all").click()
    high = "document.querySelector('[data-overlay]').layout.yaxis.range[1]"
    compared.wait_for_function(f"{high} > {usual[1]} + 0.1")
    compared.get_by_role("button", name="Reset zoom").click()
    compared.wait_for_function(f"Math.abs({high} - {usual[1]}) < 1e-6")
    assert low_and_high() == usual
    box = compared.locator("[data-overlay] .nsewdrag").bounding_box()
    assert box is not None
    compared.mouse.move(box["x"] + 100, box["y"] + 100)
    compared.mouse.down()
    compared.mouse.move(box["x"] + 400, box["y"] + 250, steps=4)
    compared.mouse.up()
    compared.wait_for_function(f"{high} < {usual[1]} - 0.1")
    key(compared, "night #1").click()
    expect(compared.locator(LINES)).to_have_count(2)
    assert low_and_high() != usual, "a zoom outlives what is hidden or shown"
    compared.get_by_role("button", name="Reset zoom").click()
    compared.wait_for_function("document.querySelector('[data-overlay]').layout.xaxis.range[0] < 1")


def test_ticked_boxes_lead_to_the_page(here: Installation, pks: list[int], page: Page):
    page.goto(f"{here.url}/compare/")
    button = page.get_by_role("button", name="Compare")
    expect(button).to_be_disabled()
    for pk in pks[:2]:
        page.locator(f"input[data-pick][value='{pk}']").check()
    expect(button).to_have_text("Compare 2")
    button.click()
    expect(page).to_have_url(re.compile(rf"e={pks[0]},{pks[1]}$"))
    expect(page.locator(LINES)).to_have_count(2)
