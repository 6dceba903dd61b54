"""The experiment page as a reader uses it: the log of any length, the diff in its views, the keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.installation import Installation

SEED = r"""
from tests.factories import *
from experiments.models import Chunk
from experiments.states import State
run = make_run(make_program(NAME), state="paused")
base = make_experiment(run, State.KEPT, 1.3)
one = make_experiment(run, State.KEPT, 1.2, description="<b>Raise</b> it", diff=DIFF)
add_text(one, "log", "\x1b[31mred <script>document.title='owned'</script>\x1b[0m\nstep 1\rstep 2\r\n")
add_text(one, "log", "needle\nno \x1b[32mnee\x1b[0mdle\n")
add_points(one, [3.0 if not 20 <= i < 25 else None for i in range(60)])
long = make_experiment(run, State.DISCARDED, 1.4)
def part(i):
    return "".join(f"{n:04d} part {i:03d} of a very long log that goes on\n" for n in range(5000)) if i < 400 else ""
start = 0
for i in range(400):  # each chunk begins and ends in the middle of a line
    data = part(i)[20 if i else 0:] + part(i + 1)[:20]
    Chunk.objects.create(experiment=long, attempt=1, stream="log", offset=start, end=start + len(data), data=data)
    start += len(data)
print(json.dumps([base.pk, one.pk, long.pk]))
"""
LINES = "document.querySelectorAll('[data-log] .line').length"


@pytest.fixture(scope="module")
def pks(here: Installation) -> list[int]:
    return json.loads(here.python("import json\n" + SEED.replace("NAME", "'reading'")))


@pytest.fixture
def one(here: Installation, pks: list[int], page: Page) -> Iterator[Page]:
    page.goto(f"{here.url}/experiments/{pks[1]}/")
    expect(page.locator("[data-log] .line").first).to_be_visible()
    yield page


@pytest.fixture
def long(here: Installation, pks: list[int], page: Page) -> Iterator[Page]:
    page.goto(f"{here.url}/experiments/{pks[2]}/")
    expect(page.locator("[data-log] .line").first).to_be_visible()
    yield page


def box(page: Page) -> dict[str, Any]:
    names = ["scrollTop", "scrollHeight", "clientHeight"]
    return {name: page.evaluate(f"document.querySelector('[data-log]').{name}") for name in names}


def test_a_log_is_shown_as_a_terminal_would(one: Page):
    lines = one.locator("[data-log] .line")
    assert lines.all_inner_texts() == ["red <script>document.title='owned'</script>", "step 2", "needle", "no needle"]
    expect(lines.first.locator("span.ansi-1")).to_contain_text("red")
    expect(one).not_to_have_title("owned")
    expect(one.locator("h1")).to_contain_text("<b>Raise</b> it")


def test_words_are_found_across_colours(one: Page):
    one.get_by_label("Find in the log").fill("NEEDLE")
    count = one.locator("[data-log-count]")
    expect(count).to_have_text("2 found")
    one.keyboard.press("Enter")
    expect(count).to_have_text("1 of 2")
    one.get_by_label("Next hit").click()
    one.get_by_label("Next hit").click()
    expect(count).to_have_text("1 of 2")
    one.get_by_label("Find in the log").press("Shift+Enter")
    expect(count).to_have_text("2 of 2")
    assert one.evaluate("CSS.highlights.get('log-hits').size") == 2
    assert one.evaluate("[...CSS.highlights.get('log-hit')][0].toString()") == "needle"
    one.get_by_label("Find in the log").fill("hay")
    expect(count).to_have_text("not in what is loaded")


def test_of_90_mb_the_end_is_shown_and_earlier_lines_come_by_steps(long: Page):
    assert long.locator("[data-log] .line").last.inner_text().startswith("4999 part 399")
    assert long.evaluate(LINES) < 6000
    place = box(long)
    assert place["scrollTop"] + place["clientHeight"] >= place["scrollHeight"] - 2
    long.evaluate("document.querySelector('[data-log]').scrollTop = 0")
    expect(long.get_by_label("Follow")).not_to_be_checked()
    before, second = long.evaluate(LINES), long.locator("[data-log] .line").nth(1).inner_text()  # the first is cut
    long.get_by_role("button", name="Show earlier lines").click()
    long.wait_for_function(f"{LINES} > {before}")
    texts = long.locator("[data-log] .line").all_inner_texts()
    at = texts.index(second)
    assert at > 1000
    assert_whole(texts[1:])  # the first may be cut
    place = box(long)
    assert place["scrollTop"] > 1000  # the reader still sees what was there
    expect(long.locator("[data-log-earlier]")).to_contain_text("MB stand before this")


def assert_whole(texts: list[str]) -> None:
    """No line is missing, doubled or cut."""
    assert [text for text in texts if not re.fullmatch(r"\d{4} part \d{3} of a very long log that goes on", text)] == []
    assert all((int(b[:4]) - int(a[:4])) % 5000 == 1 for a, b in pairwise(texts))


def append(here: Installation, pk: int, code: str) -> None:
    head = "from tests.factories import *\nfrom experiments.models import Experiment\n"
    here.python(f"{head}e = Experiment.objects.get(pk={pk})\n{code}")


def test_a_growing_log_is_followed_until_the_reader_scrolls_up(here: Installation, pks: list[int], long: Page):
    append(here, pks[2], "for i in range(30): add_text(e, 'log', f'fresh {i}\\n')")
    expect(long.locator("[data-log] .line").last).to_have_text("fresh 29")
    place = box(long)
    assert place["scrollTop"] + place["clientHeight"] >= place["scrollHeight"] - 2
    long.evaluate("document.querySelector('[data-log]').scrollTop = 100")
    expect(long.get_by_label("Follow")).not_to_be_checked()
    append(here, pks[2], "add_text(e, 'log', 'more\\n')")
    expect(long.locator("[data-log] .line").last).to_have_text("more")
    assert box(long)["scrollTop"] == 100
    long.get_by_label("Follow").check()
    place = box(long)
    assert place["scrollTop"] + place["clientHeight"] >= place["scrollHeight"] - 2


def test_a_log_that_grows_all_night_does_not_grow_the_page(here: Installation, pks: list[int], long: Page):
    code = """
text = "".join(f"{i:05} " + "x" * 93 + "\\n" for i in range(30_000))
for i in range(60):  # 3 MB, cut in the middle of lines
    add_text(e, "log", text[max(0, i * 50_000 - 33) : (i + 1) * 50_000 - 33])
add_text(e, "log", text[-33:])
"""
    append(here, pks[2], code)
    expect(long.locator("[data-log] .line").last).to_contain_text("29999 x")
    assert long.evaluate(LINES) < 25_000
    assert long.evaluate("document.querySelector('[data-log]').textContent.length") < 1_300_000
    count = long.evaluate(LINES)
    long.get_by_role("button", name="Show earlier lines").click()  # what was dropped comes back whole
    long.wait_for_function(f"{LINES} > {count}")
    texts = long.locator("[data-log] .line").all_inner_texts()[1:]
    assert [text for text in texts if not re.fullmatch(r"\d{5} x{93}", text)] == []
    assert all(int(b[:5]) - int(a[:5]) == 1 for a, b in pairwise(texts))


def test_the_views_of_a_diff_change_in_place_and_stay_chosen(one: Page):
    one.evaluate("window.same = true")
    one.get_by_role("link", name="Side by side").click()
    expect(one.locator("#changes .two").first).to_be_visible()
    assert one.evaluate("window.same") is True
    one.reload()
    expect(one.locator("#changes .two").first).to_be_visible()
    one.set_viewport_size({"width": 390, "height": 800})
    sides = one.locator("#changes .two:not(.both) > .r").all()
    assert len({(side.bounding_box() or {})["x"] for side in sides}) == 1  # below each other
    one.set_viewport_size({"width": 1440, "height": 900})
    one.get_by_role("link", name="Unified").click()
    expect(one.locator("#changes .two")).to_have_count(0)
    one.get_by_role("link", name="Whole file").click()
    expect(one.locator("#changes")).to_contain_text("is not in the repository")


def test_the_diff_is_copied_as_a_patch(one: Page):
    one.context.grant_permissions(["clipboard-read", "clipboard-write"])
    one.locator("#changes").get_by_role("button", name="Copy").click()
    expect(one.locator("#changes").get_by_role("button", name="Copied")).to_be_visible()
    assert "+MATRIX_LR = 0.08" in one.evaluate("navigator.clipboard.readText()")


def test_the_keys_lead_to_the_neighbours(here: Installation, pks: list[int], one: Page):
    one.keyboard.press("j")
    expect(one).to_have_url(re.compile(f"/experiments/{pks[2]}/"))
    one.keyboard.press("k")
    expect(one).to_have_url(re.compile(f"/experiments/{pks[1]}/"))


def test_a_curve_that_is_not_finite_says_so_and_changes_its_axis(one: Page):
    expect(one.locator("[data-number=gaps]")).to_contain_text("not finite from step 20 on")
    one.get_by_role("button", name="Steps").click()
    expect(one.get_by_role("button", name="Steps")).to_have_attribute("aria-pressed", "true")
    one.wait_for_function("document.querySelector('[data-curve]').data[1].x.at(-1) === 59")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_reaches_over_the_edge(here: Installation, pks: list[int], page: Page, scheme: Any):
    append(here, pks[0], "word = '\\u202e\\U0001f389<i>' * 2500\n"
           "Experiment.objects.filter(pk=e.pk).update(description='x' * 200, hypothesis=word, detail='y' * 100000)\n"
           "add_text(e, 'log', 'z' * 100000 + '\\n'); add_text(e, 'reply', 'w' * 100000)")
    page.emulate_media(color_scheme=scheme)
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"{here.url}/experiments/{pks[0]}/")
        expect(page.locator("[data-log] .line").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
