"""The table of experiments as a reader leaves it: sorted, filtered, searched, with columns and ticks, while rows arrive."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.installation import Installation

SEED = """
from tests.factories import *
from experiments.states import Kind, State
run = make_run(make_program("wide"), state="ended")
best = None
for i in range(300):
    state = State.KEPT if i % 50 == 0 else State.FAILED if i % 7 == 0 else State.DISCARDED
    score = None if state == State.FAILED else 1.5 + i / (-1000 if state == State.KEPT else 1000)
    one = make_experiment(
        run, state, score, number=i, parent=best, reason="oom" if state == State.FAILED else "",
        kind=Kind.MANUAL if i in {33, 34} else Kind.IDEA if i else Kind.BASELINE,
        description="a needle" if i == 123 else f"idea {i}",
    )
    best = one if state == State.KEPT else best
print(run.pk)
"""
ADD = """
from tests.factories import *
from experiments import events
from experiments.models import Run
from experiments.states import State
run = Run.objects.get(pk={run})
one = make_experiment(run, State.{state}, {score}, description="{description}", number=run.next_number())
events.changed(run.pk, "experiment", one.pk)
print(one.number)
"""
ROWS = "#table tbody tr[id]"


@pytest.fixture(scope="module")
def run(here: Installation) -> int:
    return int(here.python(SEED))


@pytest.fixture
def table(here: Installation, run: int, page: Page) -> Page:
    page.goto(f"{here.url}/runs/{run}/")
    expect(page.locator(ROWS)).to_have_count(50)
    return page


def add(here: Installation, run: int, description: str, state: str = "DISCARDED", score: float | None = 1.4) -> int:
    return int(here.python(ADD.format(run=run, description=description, state=state, score=score)))


def first(page: Page) -> Locator:
    return page.locator(ROWS).first


def chip(page: Page, label: str) -> Locator:
    return page.get_by_label("Filter").get_by_role("link", name=re.compile(rf"^{label} \d+$"))


def test_a_click_on_a_head_sorts_and_another_turns_it_round(table: Page):
    head = table.locator("#sort-score")
    head.click()
    expect(first(table)).to_have_id("experiment-250")
    expect(table.locator("th", has=head)).to_have_attribute("aria-sort", "ascending")
    assert table.evaluate("document.activeElement.id") == "sort-score"
    table.keyboard.press("Enter")
    expect(table.locator("th", has=head)).to_have_attribute("aria-sort", "descending")
    expect(first(table)).to_have_id("experiment-299")
    table.reload()
    expect(table.locator("th", has=head)).to_have_attribute("aria-sort", "descending")
    table.locator("#sort-idea").click()
    expect(first(table)).to_have_id("experiment-123")  # "a needle" before "idea …"


def test_filters_by_state_and_by_kind_go_together(table: Page):
    chip(table, "Failed").click()
    expect(table.locator(".pages, #table tbody")).to_have_count(1)  # all on one page
    assert set(table.locator(f"{ROWS} .badge").evaluate_all("all => all.map((one) => one.dataset.state)")) == {"failed"}
    assert table.locator(ROWS).count() == 42
    chip(table, "All").click()
    chip(table, "manual").click()
    expect(table.locator(ROWS)).to_have_count(2)
    chip(table, "Kept").or_(chip(table, "Discarded")).first.click()
    expect(table.locator(ROWS)).to_have_count(2)
    expect(table).to_have_url(re.compile("kind=manual"))
    expect(table).to_have_url(re.compile("state=discarded"))
    table.reload()
    expect(table.locator(ROWS)).to_have_count(2)
    expect(chip(table, "manual")).to_have_attribute("aria-current", "true")


def test_words_numbers_and_reasons_are_found(table: Page):
    table.keyboard.press("/")
    box = table.get_by_label("Search experiments")
    expect(box).to_be_focused()
    table.keyboard.type("needle")
    expect(table.locator(ROWS)).to_have_count(1)  # it stands on a later page
    expect(first(table)).to_have_id("experiment-123")
    expect(table).to_have_url(re.compile("q=needle"))  # "need" finds it too, and a reload then loses what was typed after
    table.reload()
    expect(box).to_have_value("needle")
    expect(table.locator(ROWS)).to_have_count(1)
    box.fill("#288")
    expect(first(table)).to_have_id("experiment-288")
    box.fill("oom")
    expect(table.locator(ROWS)).to_have_count(42)
    box.fill("no such words")
    expect(table.locator("#table")).to_contain_text("Nothing matches.")
    table.get_by_role("link", name="Show all experiments").click()
    expect(table.locator(ROWS)).to_have_count(50)


def test_chosen_columns_are_theirs_on_every_visit(here: Installation, run: int, table: Page):
    expect(table.locator("#sort-steps")).to_have_count(0)
    table.locator("#columns summary").click()
    table.locator("#columns").get_by_label("steps").check()
    expect(table.locator("#sort-steps")).to_be_visible()
    table.locator("#columns").get_by_label("commit").uncheck()
    expect(table.locator("#sort-commit")).to_have_count(0)
    table.reload()
    expect(table.locator("#sort-steps")).to_be_visible()
    table.goto(f"{here.url}/runs/{run}/")
    expect(table.locator("#sort-steps")).to_be_visible()
    expect(table.locator("#sort-commit")).to_have_count(0)
    expect(table.locator(f"{ROWS}").first).to_contain_text("300")


def test_pages_turn_and_ticks_go_along(table: Page):
    first(table).get_by_role("checkbox").check()
    table.get_by_label("Pages", exact=True).last.get_by_role("link", name="6").click()
    expect(table.locator("#experiment-0")).to_be_visible()
    expect(table).to_have_url(re.compile("page=6"))
    table.locator("#experiment-0").get_by_role("checkbox").check()
    expect(table.locator("#compare")).to_contain_text("Compare 2")
    table.reload()
    expect(table.locator("#experiment-0")).to_be_visible()
    table.go_back()


def test_all_of_it_survives_a_live_update_and_a_reload(here: Installation, run: int, table: Page):
    chip(table, "Discarded").click()
    expect(chip(table, "Discarded")).to_have_attribute("aria-current", "true")
    table.locator("#sort-score").click()
    expect(table.locator("th", has=table.locator("#sort-score"))).to_have_attribute("aria-sort", "ascending")
    table.locator("#columns summary").click()
    table.locator("#columns").get_by_label("LLM tokens").check()
    expect(table.locator("#sort-tokens")).to_be_visible()
    box = table.get_by_label("Search experiments")
    box.fill("idea 12")
    expect(table.locator(ROWS)).to_have_count(9)  # 120 to 129, without the needle; 126 failed: and 12 itself
    for number in ("121", "129"):
        table.locator(f"#experiment-{number}").get_by_role("checkbox").check()
    box.focus()
    table.keyboard.press("Home")
    table.keyboard.press("Shift+ArrowRight")
    table.evaluate("window.same = true")

    hidden = add(here, run, "another thing")
    number = add(here, run, "idea 12 once more", score=1.01)
    expect(first(table)).to_have_id(f"experiment-{number}")
    assert table.evaluate("window.same") is True
    for _ in range(2):
        expect(table.locator(ROWS)).to_have_count(10)
        expect(table.locator(f"#experiment-{hidden}")).to_have_count(0)
        expect(box).to_have_value("idea 12")
        expect(table.locator("#sort-tokens")).to_be_visible()
        expect(chip(table, "Discarded")).to_have_attribute("aria-current", "true")
        expect(table.locator("th", has=table.locator("#sort-score"))).to_have_attribute("aria-sort", "ascending")
        if table.evaluate("window.same"):
            expect(box).to_be_focused()
            assert table.evaluate("[q.selectionStart, q.selectionEnd]") == [0, 1]
            for ticked in ("121", "129"):
                expect(table.locator(f"#experiment-{ticked}").get_by_role("checkbox")).to_be_checked()
            expect(table.locator("#compare")).to_contain_text("Compare 2")
        table.reload()
