"""The progress chart under a reader's hands: hover, click, zoom, scale, and what a live update leaves as it was."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_table import add
from tests.installation import Installation

SEED = """
import json
from tests.factories import *
from experiments.states import State
run = make_run(make_program("charted"), state="ended")
best, pks = None, []
for i in range(40):
    kept = i % 8 == 0
    state = State.KEPT if kept else State.FAILED if i % 9 == 0 else State.DISCARDED
    score = None if state == State.FAILED else 2 - i / 100 if kept else 2.01 + i / 1000 + (i == 13) * 40
    one = make_experiment(run, state, score, number=i, parent=best, description=f"<i>widen</i> the layer {i}")
    best = one if kept else best
    pks.append(one.pk)
print(json.dumps([run.pk, pks]))
"""
CHART = "document.querySelector('[data-progress]')"
SPOT = f"""([number, score]) => {{
  const {{ xaxis, yaxis }} = {CHART}._fullLayout;
  const box = {CHART}.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.d2p(number), box.top + yaxis._offset + yaxis.d2p(score)];
}}"""


@pytest.fixture(scope="module")
def seeded(here: Installation) -> Any:
    return json.loads(here.python(SEED))


@pytest.fixture
def chart(here: Installation, seeded: Any, page: Page) -> Page:
    page.goto(f"{here.url}/runs/{seeded[0]}/")
    page.wait_for_function(f"{CHART}.dataset.drawn && {CHART}._fullLayout")
    return page


def spot(page: Page, number: int, score: float) -> list[float]:
    page.locator("[data-progress]").scroll_into_view_if_needed()
    found: list[float] = page.evaluate(SPOT, [number, score])
    return found


def ranges(page: Page) -> list[list[float]]:
    found: list[list[float]] = page.evaluate(f"['xaxis', 'yaxis'].map((axis) => [...{CHART}.layout[axis].range])")
    return found


def numbers(page: Page) -> list[int]:
    return sorted(page.evaluate(f"{CHART}.data.filter((trace) => trace.mode === 'markers').flatMap((trace) => trace.x)"))


def drag(page: Page, start: list[float], end: list[float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=5)
    page.mouse.up()


def test_a_point_tells_what_it_was_and_leads_to_it(here: Installation, seeded: Any, chart: Page):
    chart.mouse.move(*spot(chart, 16, 1.84))
    words = chart.locator("[data-progress] .hoverlayer")
    expect(words).to_contain_text("#16 <i>widen</i> the layer 16")
    expect(words).to_contain_text("val_bpb 1.840000 (−0.080000 to its parent)")
    chart.mouse.click(*spot(chart, 16, 1.84))
    expect(chart).to_have_url(f"{here.url}/experiments/{seeded[1][16]}/")
    chart.go_back()
    chart.wait_for_function(f"{CHART}?.dataset.drawn && {CHART}._fullLayout")
    chart.mouse.click(*spot(chart, 12, 2.022))  # a discarded one
    expect(chart).to_have_url(f"{here.url}/experiments/{seeded[1][12]}/")


def test_a_zoom_stays_until_it_is_reset(here: Installation, seeded: Any, chart: Page):
    usual, reset = ranges(chart), chart.get_by_role("button", name="Reset zoom")
    expect(reset).to_be_hidden()
    drag(chart, spot(chart, 10, 1.99), spot(chart, 30, 1.7))
    chart.wait_for_function(f"{CHART}.layout.xaxis.range[0] > 9")
    expect(reset).to_be_visible()
    near = ranges(chart)
    assert near[0] == pytest.approx([10, 30], abs=0.5)
    number = add(here, seeded[0], "a better one", state="KEPT", score=1.55)
    chart.wait_for_function(f"{CHART}.data.some((trace) => trace.x.includes({number}) && trace.mode === 'markers')")
    assert ranges(chart) == near
    reset.click()
    expect(reset).to_be_hidden()
    chart.wait_for_function(f"{CHART}.layout.xaxis.range[1] > {number}")
    assert ranges(chart)[0][0] == pytest.approx(usual[0][0], abs=0.2)


def test_the_logarithm_has_room_for_what_is_far_away(chart: Page):
    log, linear = chart.get_by_role("button", name="Log", exact=True), chart.get_by_role("button", name="Linear")
    expect(linear).to_have_attribute("aria-pressed", "true")
    assert ranges(chart)[1][1] < 10  # the one at 42 sticks to the upper edge
    log.click()
    expect(log).to_have_attribute("aria-pressed", "true")
    chart.wait_for_function(f"{CHART}._fullLayout.yaxis.type === 'log'")
    assert ranges(chart)[1][1] > 1.6  # log10 of 42
    linear.click()
    chart.wait_for_function(f"{CHART}._fullLayout.yaxis.type === 'linear'")
    expect(log).to_have_attribute("aria-pressed", "false")


def test_a_live_update_draws_the_new_point_and_its_label(here: Installation, seeded: Any, chart: Page):
    chart.evaluate("window.same = true")
    before = numbers(chart)
    failed = add(here, seeded[0], "breaks", state="FAILED", score=None)
    best = add(here, seeded[0], "halve the vocabulary", state="KEPT", score=1.45)
    chart.wait_for_function(f"{CHART}.data.some((trace) => trace.x.includes({best}) && trace.mode === 'markers')")
    assert numbers(chart) == sorted([*before, failed, best])
    assert chart.evaluate("window.same") is True
    words = chart.locator("[data-progress] .annotation-text")
    expect(words.filter(has_text="halve the vocabulary")).to_have_count(1)
    boxes = [box for box in (one.bounding_box() for one in words.all()) if box]
    assert len(boxes) >= 3
    for a, b in combinations(boxes, 2):
        apart = a["x"] + a["width"] <= b["x"] or b["x"] + b["width"] <= a["x"]
        above, below = (one["y"] + one["height"] <= other["y"] + 1 for one, other in ((a, b), (b, a)))
        assert apart or above or below, "labels lie over each other"
    chart.reload()
    chart.wait_for_function(f"{CHART}?.dataset.drawn && {CHART}._fullLayout")
    assert numbers(chart) == sorted([*before, failed, best])
    expect(chart.locator("#tiles")).to_contain_text(re.compile(r"1\.450000"))
