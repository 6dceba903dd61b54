"""What no page may break on: numbers that are none, addresses that mean nothing, forms that come too late."""

from __future__ import annotations

import json
import math
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from experiments.models import Program, Run
from experiments.states import RunState, State
from tests.factories import add_points, make_experiment, make_run

ENCODED = "application/x-www-form-urlencoded"
SCORES = [2.0, math.inf, -math.inf, 1e308, -1e308, 0.0, -3.5, 1e-300, 1e17]


@pytest.fixture
def odd_run(db: None) -> Run:
    """Every odd score as a keep, as a discard, and three times for one commit."""
    run = make_run()
    for score in SCORES:
        make_experiment(run, State.KEPT, score)
        make_experiment(run, State.DISCARDED, score, commit="a" * 40)
        make_experiment(run, State.REVERTED, score)
        summary = {"peak_vram_mb": abs(score) if math.isfinite(score) else 1e308, "num_steps": 10**30}
        add_points(make_experiment(run, State.KEPT, score, summary=summary), [score] * 3)
    return run


def strictly(text: str) -> Any:
    """JSON as a browser reads it: no NaN, no Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_odd_scores_break_no_page(signed_in: Client, odd_run: Run):
    picked = ",".join(str(pk) for pk in odd_run.experiments.values_list("pk", flat=True)[:50])
    run = f"/runs/{odd_run.pk}/"
    pages = ["/", "/audit/", f"/programs/{odd_run.program_id}/", f"/compare/?e={picked}", f"/compare/?e={picked}&only=1"]
    pages += [run, f"{run}report/", f"{run}report.md", f"{run}results.tsv", f"{run}?sort=-delta&cols=steps,memory"]
    pages += [f"/experiments/{pk}/" for pk in odd_run.experiments.values_list("pk", flat=True)]
    for path in pages:
        answer = signed_in.get(path)
        assert answer.status_code == 200, path
        text = answer.content.decode()
        assert not any(f">{word}<" in text for word in ("inf", "nan", "-inf", "−inf", "+inf")), path


def test_odd_scores_leave_json_that_a_browser_reads(signed_in: Client, odd_run: Run):
    chart = strictly(signed_in.get(f"/runs/{odd_run.pk}/chart.json").content.decode())
    assert len(chart["kept"]["score"]) == 2 * (len(SCORES) - 4)  # neither infinite nor 1e308
    picked = ",".join(str(pk) for pk in odd_run.experiments.values_list("pk", flat=True)[:50])
    strictly(signed_in.get(f"/compare/curves.json?e={picked}").content.decode())
    for pk in odd_run.experiments.values_list("pk", flat=True):
        strictly(signed_in.get(f"/experiments/{pk}/series").content.decode())


HUGE = "9" * 400
ODD_ADDRESSES = [
    f"/experiments/{HUGE}/", f"/runs/{HUGE}/", f"/programs/{HUGE}/", f"/experiments/{2**63}/", f"/runs/{2**63}/report/",
    "/experiments/0/", "/runs/0/", "/experiments/-1/", "/experiments/x/", "/runs/{run}/?part=nothing", "/?part=nothing",
    "/compare/?part=nothing", "/experiments/{experiment}/nothing", "/import/0123456789abcdef/", "/import/..%2f..%2fx/",
    "/programs/{program}/brief/999/", "/programs/{program}/brief/compare/?from=1&to=x", f"/programs/1/brief/{HUGE}/",
    f"/experiments/{HUGE}/log", f"/experiments/{HUGE}/patch", f"/runs/{HUGE}/manual/", f"/runs/{HUGE}/results.tsv",
    f"/runs/{HUGE}/chart.json",
]  # fmt: skip
PAGES = ["-1", "0", "abc", "1" + "0" * 30, HUGE * 20, "", "1.5", "%00", "١"]
ANSWERED = [
    *(f"/runs/{{run}}/?page={page}" for page in PAGES), *(f"/audit/?page={page}" for page in PAGES),
    *(f"/runs/{{run}}/?sort={sort}" for sort in ["evil", "-", "--number", "pk", "run__program__name", "%00", "score;drop"]),
    "/runs/{run}/?cols=evil&cols=,,,&state=x&kind=y&q=%00&q=%25%27%22", f"/audit/?run={HUGE}&by=%00&action=evil",
    "/experiments/{experiment}/?part=evil", "/experiments/{experiment}/?diff=evil&from=-1&open=x",
    f"/experiments/{{experiment}}/?from={HUGE}", f"/runs/{{run}}/?q={'%F0%9F%92%A9' * 500}", "/runs/{run}/?q=%FF%FE",
    *(f"/compare/?e={picks}" for picks in
      ["", "0", "{experiment}", "{experiment},{experiment}", "x", "-1", "1.5", "1e3", HUGE, "%00", ",,,",
       ",".join(map(str, range(1, 52))), ",".join(map(str, range(1, 10_001))), "<script>", "' OR 1=1--", "%F0%9F%92%A9"]),
    f"/compare/?e={{experiment}}&a={HUGE}&b=x", "/compare/curves.json?e=x&x=evil&y=evil", "/compare/curves.json?e=" + HUGE,
    "/compare/curves.json", "/compare/?q=%00", f"/compare/?q=%23{HUGE}", "/compare/?x=%3Cscript%3E&smooth=evil&off=x",
]  # fmt: skip


@pytest.fixture
def places(db: None) -> dict[str, int]:
    experiment = make_experiment(make_run(), State.KEPT, 2.0)
    return {"experiment": experiment.pk, "run": experiment.run_id, "program": experiment.run.program_id}


@pytest.mark.parametrize("path", ODD_ADDRESSES, ids=lambda path: path[:60])
def test_what_is_not_there_is_said_on_a_page(signed_in: Client, places: dict[str, int], path: str):
    answer = signed_in.get(path.format(**places))
    assert answer.status_code == 404
    assert "Nothing here" in answer.content.decode()


@pytest.mark.parametrize("path", ANSWERED, ids=lambda path: path[:60])
def test_an_odd_query_is_answered(signed_in: Client, places: dict[str, int], path: str):
    answer = signed_in.get(path.format(**places), follow=True)
    assert answer.status_code == 200
    assert b"<script>" not in answer.content


def test_a_compare_of_too_many_says_how_many_it_shows(signed_in: Client, places: dict[str, int]):
    run = Run.objects.get(pk=places["run"])
    made = [make_experiment(run, State.DISCARDED, 2.0) for _ in range(59)]
    text = signed_in.get("/compare/?e=" + ",".join(str(one.pk) for one in made)).content.decode()
    assert "59 experiments were chosen; only the first 50 are shown" in text
    assert "50 experiments" in text
    assert "is shown" not in signed_in.get(f"/compare/?e={places['experiment']},{places['experiment']}").content.decode()


POST_ONLY = ["/programs/{program}/brief/", "/programs/{program}/brief/1/restore/", "/programs/{program}/recipe/",
             "/programs/{program}/researcher/", "/programs/{program}/runs/", "/programs/{program}/brief/preview/",
             "/new/model/", "/sign-out/"]  # fmt: skip


@pytest.mark.parametrize("path", POST_ONLY)
def test_a_link_to_a_button_says_what_it_is(signed_in: Client, places: dict[str, int], path: str):
    answer = signed_in.get(path.format(**places))
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert "only takes a button or a form" in answer.content.decode()


@pytest.mark.parametrize("path", ["/", "/audit/", "/compare/", "/runs/{run}/", "/experiments/{experiment}/log"])
def test_a_form_sent_to_a_page_says_so(signed_in: Client, places: dict[str, int], path: str):
    answer = signed_in.post(path.format(**places))
    assert answer.status_code == 405 and "GET" in answer["Allow"]
    assert "takes no form" in answer.content.decode()


def test_a_text_that_is_too_large_to_read_is_refused_in_words(signed_in: Client, places: dict[str, int]):
    url = f"/programs/{places['program']}/brief/"
    answer = signed_in.post(url, b"based_on=1&text=" + b"x" * 9_000_000, content_type=ENCODED)
    assert answer.status_code == 400
    assert "over 8 MB" in answer.text and "Nothing was changed" in answer.text


BRIEFS = ["x" * 5_000_000, "[" * 250_000, b"\xff\xfe\x00", b"caf\xe9", "a\x00b"]


@pytest.mark.parametrize("text", BRIEFS, ids=lambda text: repr(text[:4]))
def test_a_brief_that_is_none_is_refused_and_kept_in_the_form(signed_in: Client, places: dict[str, int], text: str | bytes):
    body = b"based_on=1&text=" + quote(text).encode()
    answer = signed_in.post(f"/programs/{places['program']}/brief/", body, content_type=ENCODED)
    assert answer.status_code == 422
    assert Program.objects.get(pk=places["program"]).brief.number == 1
    typed = text.decode(errors="replace") if isinstance(text, bytes) else text
    assert typed[-4000:] in answer.text


@pytest.mark.parametrize(("first", "second"), [("approve", "reject"), ("reject", "approve"), ("approve", "approve")])
@pytest.mark.parametrize("state", [State.REVIEWING, State.CONFIRMING])
def test_of_two_people_who_decide_the_second_is_told(signed_in: Client, state: State, first: str, second: str):
    experiment = make_experiment(make_run(state=RunState.PAUSED), state, 1.5, number=1)
    made = signed_in.post(f"/experiments/{experiment.pk}/{first}/", {"why": "x"}, headers={"HX-Request": "true"})
    experiment.refresh_from_db()
    after, moves = experiment.state, experiment.run.moves.count()
    late = signed_in.post(f"/experiments/{experiment.pk}/{second}/", {"why": "y"}, headers={"HX-Request": "true"})
    experiment.refresh_from_db()
    assert (made.status_code, late.status_code) == (204, 409)
    assert f"#1 is {after}" in late.text
    assert (experiment.state, experiment.run.moves.count()) == (after, moves)


@pytest.mark.parametrize("action", ["approve", "reject", "cancel", "roll-back", "revert"])
@pytest.mark.parametrize("state", [State.DISCARDED, State.FAILED, State.CANCELLED])
def test_an_action_on_what_has_ended_is_refused_in_words(signed_in: Client, state: State, action: str):
    experiment = make_experiment(make_run(state=RunState.PAUSED), state, 1.5, number=1)
    late = signed_in.post(f"/experiments/{experiment.pk}/{action}/", headers={"HX-Request": "true"})
    assert late.status_code == 409
    assert 10 < len(late.text) < 300 and "Traceback" not in late.text
    plain = signed_in.post(f"/experiments/{experiment.pk}/{action}/", follow=True)
    assert plain.status_code == 200 and 'class="message error"' in plain.text


@pytest.mark.parametrize("page", ["/programs/{}/brief/", "/runs/{}/note/", "/runs/{}/ideas/drop/"])
def test_a_form_for_what_is_gone_is_a_404(signed_in: Client, page: str):
    for pk in ("999", HUGE):
        assert signed_in.post(page.format(pk), {"text": "x", "based_on": HUGE, "idea": HUGE, "to": HUGE}).status_code == 404
