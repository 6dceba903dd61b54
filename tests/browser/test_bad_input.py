"""The worst texts, curves and diffs in a real browser: nothing runs, nothing is asked of others, nothing sticks out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Dialog, Page, Request

from tests.browser.looking import DRAWN, expect_to_fit, open_page, without_errors
from tests.installation import Installation

ROWS = r'''
import json
from tests.factories import add_points, add_text, make_experiment, make_program, make_run
from experiments.models import Experiment, Idea, Move, stream
from experiments.states import RunState, State

EVIL = ("</title><script>window.ran=1</script><img src=//evil/x onerror=window.ran=1><svg onload=window.ran=1>"
        "<b id=hx hx-get=/audit/ hx-trigger=load data-hx-get=/audit/>hx</b><a href=javascript:window.ran=1>a</a>"
        "<style>*{display:none}</style><iframe src=//evil></iframe> %{y} <sub>s</sub>")
TEXTS = ["W" * 10_000, "deeper and wider " * 600, "עומק הרשת " * 1000, "safe \u202egnp.exe\u202c \u2066a " * 200,
         "🧪👩‍👩‍👧" * 2000,
         EVIL * 25, "\x1b[31mred\x1b[0m \x1b]8;;http://evil\x07l\x1b]8;;\x07 \x07" * 300, "a\tb\r\nc\x0b\u2028d " * 900]
program = make_program("bad <b hx-get=/audit/>" + "w" * 55, metric="val_<b>x</b>")
run = make_run(program, "texts", state=RunState.PAUSED, detail=EVIL * 25)
score = 2.0
make_experiment(run, State.KEPT, score)
for text in TEXTS:
    score -= 0.01
    one = make_experiment(run, State.KEPT, score, description=text, hypothesis=text, detail=text)
    add_text(one, "log", text * 3)
    add_text(one, "reply", text)
    add_points(one, [3 - i / 100 for i in range(50)])
    make_experiment(run, State.DISCARDED, score + 0.1, description=text, detail=text, diff=text)
    make_experiment(run, State.FAILED, None, description=text, reason="crash", detail=text)
    run.notes.create(text=text[:4000], author=text[:150])
    Idea.objects.create(run=run, text=text[:2000], author=text[:150], position=run.ideas.count())
    Move.objects.create(run=run, experiment=one, old="", new="edited", by=text[:150], why=text)
for state in (State.REVIEWING, State.CONFIRMING):
    score = 1.5 if state == State.CONFIRMING else None
    make_experiment(run, state, score, description=EVIL * 25, hypothesis=EVIL, detail=EVIL)

odd = make_run(program, "odd", state=RunState.ENDED)
def curve(points, **fields):
    one = make_experiment(odd, State.DISCARDED, 2.0, **fields)
    for start in range(0, len(points), 20_000):
        part = points[start:start + 20_000]
        stream.append(one, "series", start, start + len(part), json.dumps(part))
    return one.pk
def point(step, loss, **more):
    return {"step": step, "loss": loss, "seconds": step * 0.1, "tokens": step * 2048, "percent": 1.0, "lrm": 1.0,
            "dt_ms": 60.0, "tok_per_sec": 1e4, "mfu": None, "remaining_s": 1.0, **more}
nan, inf = float("nan"), float("inf")
long = "x" * 1_000_000
lines = "".join(f"-old {n}\n+new {n}\n" for n in range(10_000))
head = "--- a/{0}\n+++ b/{0}\n"
name = 'a <b>\u202e"q"\t{long}.py'.replace("{long}", "n" * 300)
places = {
    "one": curve([point(0, 3.0)]), "none": curve([point(n, None) for n in range(50)]),
    "gaps": curve([point(n, [3.0, nan, inf, -inf, None][n % 5]) for n in range(500)]),
    "huge": curve([point(n, [3.0, 1e308, -1e308, 0.0][n % 4]) for n in range(500)]),
    "back": curve([point(n, 3.0 + n / 100) for n in (5, -3, -3, 9, 2, 2, 1)]),
    "long": curve([point(n, 3 - n / 1e6) for n in range(200_000)]),
    "lines": curve([], diff=head.format("train.py") + "@@ -1,10000 +1,10000 @@\n" + lines),
    "line": curve([], diff=head.format("train.py") + f"@@ -1,1 +1,1 @@\n-{long}\n+{long}y\n"),
    "name": curve([], diff=head.format(name) + "@@ -1,1 +1,1 @@\n-a\n+b\n"),
    "returns": curve([], hypothesis="\r".join("x" * 500)), "binary": curve([]),
}
by = Experiment.objects.in_bulk(places.values())
add_text(by[places["returns"]], "log", "\r".join(f"step {n} loss 3.0" for n in range(50_000)))
add_text(by[places["binary"]], "log", bytes(range(256)).decode("latin-1") * 2000)
print(json.dumps({"run": run.pk, "program": program.pk, "kept": [e.pk for e in run.experiments.filter(state="kept")],
                  "other": [e.pk for e in run.experiments.exclude(state="kept")], "odd_run": odd.pk, "odd": places}))
'''
INERT = """() => [window.ran, document.querySelectorAll(
    '#hx, [onerror], iframe, [data-hx-get], main style, main [href^=javascript]').length]"""
TURNED = r"/[\u202a-\u202e\u2066-\u2069\x1b]/.test(document.body.innerText + document.title)"


@pytest.fixture(scope="module")
def places(here: Installation) -> dict[str, object]:
    return json.loads(here.python(ROWS))


@pytest.fixture
def strict(opened: Page, here: Installation) -> Iterator[Page]:
    """A page that asks nothing of anybody else, opens no dialog and has no error."""
    seen: list[str] = []

    def ask(request: Request) -> None:
        if not request.url.startswith(here.url):
            seen.append(request.url)

    def open_dialog(dialog: Dialog) -> None:
        seen.append(dialog.message)
        dialog.dismiss()

    opened.on("request", ask)
    opened.on("dialog", open_dialog)
    with without_errors(opened):
        yield opened
    opened.remove_listener("request", ask)
    opened.remove_listener("dialog", open_dialog)
    assert seen == []


def open_and_check(page: Page, url: str, tallest: int = 16_000) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    open_page(page, url)
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function(DRAWN)
        expect_to_fit(page, f"{url} at {width}")
        assert page.evaluate("document.documentElement.scrollHeight") < tallest, f"{url} is a wall of text at {width}"
        assert page.evaluate(INERT) == [None, 0]
        assert page.evaluate(TURNED) is False, f"{url} turns letters around"


@pytest.mark.parametrize("name", ["home", "run", "report", "audit", "compare", "program", "machines", "chosen"])
def test_the_worst_texts_on_a_page(here: Installation, strict: Page, places: dict[str, object], name: str):
    picked = ",".join(map(str, places["kept"]))  # type: ignore[call-overload]
    paths = {"home": "/", "run": f"/runs/{places['run']}/", "report": f"/runs/{places['run']}/report/", "audit": "/audit/",
             "compare": f"/compare/?e={picked}", "program": f"/programs/{places['program']}/", "machines": "/machines/",
             "chosen": "/compare/"}  # fmt: skip
    open_and_check(strict, here.url + paths[name])


def test_the_worst_texts_on_the_pages_of_experiments(here: Installation, strict: Page, places: dict[str, object]):
    for pk in [*places["kept"], *places["other"][-4:]]:  # type: ignore[misc,index]
        open_and_check(strict, f"{here.url}/experiments/{pk}/", tallest=50_000)  # a page of a diff is 2,000 lines


def test_hover_and_labels_of_the_chart_are_text(here: Installation, strict: Page, places: dict[str, object]):
    strict.goto(f"{here.url}/runs/{places['run']}/")
    strict.wait_for_selector("[data-progress][data-drawn]")
    strict.evaluate("""() => { const chart = document.querySelector('[data-progress]');
        const trace = chart.data.findIndex((one) => one.text?.some((text) => text.includes('script')));
        const point = chart.data[trace].text.findIndex((text) => text.includes('script'));
        Plotly.Fx.hover(chart, [{ curveNumber: trace, pointNumber: point }]); }""")
    label = strict.locator(".hoverlayer .hovertext")
    label.wait_for()
    assert "<script>" in label.text_content() and "val_<b>x</b>" in label.text_content()
    inside = "document.querySelectorAll('[data-progress] svg :is(a, script, image, foreignObject, style)').length"
    assert strict.evaluate(inside) == 0
    assert strict.evaluate(INERT)[0] is None


ODD = ["one", "none", "gaps", "huge", "back", "long", "lines", "line", "name", "returns", "binary"]


@pytest.mark.parametrize("name", ODD)
def test_odd_curves_diffs_and_logs_on_the_page_of_an_experiment(
    here: Installation, strict: Page, places: dict[str, dict[str, int]], name: str
):
    open_and_check(strict, f"{here.url}/experiments/{places['odd'][name]}/", tallest=60_000)


def test_odd_curves_over_each_other(here: Installation, strict: Page, places: dict[str, dict[str, int]]):
    picked = ",".join(str(places["odd"][name]) for name in ("one", "none", "gaps", "huge", "back", "long"))
    open_and_check(strict, f"{here.url}/compare/?e={picked}")
    open_and_check(strict, f"{here.url}/compare/?e={picked}&logx=1&logy=1&smooth=0.9&x=tokens")
    open_and_check(strict, f"{here.url}/runs/{places['odd_run']}/")
