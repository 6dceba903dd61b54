"""The report as HTML and as Markdown, with nothing, little and much in the run."""

import re

import pytest
from django.urls import reverse
from django.utils import timezone

from experiments.cards import program_cards
from experiments.report import build
from experiments.states import Failure, Kind, RunState, State
from tests.factories import DIFF, make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db


def html(client, run, query=""):
    answer = client.get(reverse("report", args=[run.pk]) + query)
    assert answer.status_code == 200
    return answer.content.decode()


def markdown(client, run):
    answer = client.get(reverse("report-markdown", args=[run.pk]))
    assert answer.status_code == 200
    return answer.content.decode()


def headline(page):
    return re.search(r"<h1>(.*?)</h1>", page, re.S)[1]


def night(run, keeps=2, discards=3):
    best = make_experiment(run, State.KEPT, 2.0)
    for n in range(keeps):
        best = make_experiment(run, State.KEPT, 1.9 - n / 100, parent=best, cost=0.1, badges=["verified"])
    for n in range(discards):
        make_experiment(run, State.DISCARDED, 2.1 + n / 100, parent=best)
    return best


def test_where_the_best_was_examined_anew_its_step_is_no_gain_and_no_loss(signed_in):
    """2.0, 1.9 by exam 1; the same again is 1.95 by exam 2; then 1.85."""
    run, new = make_run(), {"validation_hash": "3cb1", "exam": 2}
    night(run, keeps=1, discards=0)
    run.experiments.update(exam={"validation_hash": "3cb1"})
    anew = make_experiment(run, State.KEPT, 1.95, kind=Kind.REEXAMINED, description="#1 examined anew, by exam 2", exam=new)
    make_experiment(run, State.KEPT, 1.85, exam=new)
    make_experiment(run, State.DISCARDED, 1.89, parent=run.experiments.get(number=1), exam=new)
    report, page = build(run, timezone.now()), html(signed_in, run)
    assert (report.best.score, report.gain) == (1.85, pytest.approx(0.2))
    assert [keep.row.number for keep in report.keeps] == [1, 3]
    assert report.near == []
    assert report.tiles.gain_percent == pytest.approx(10.0) and report.tiles.kept == 3
    assert "Exams 1 and 2 gave its scores; those of two are not compared. Where the best was examined anew, in #2" in page
    assert "anew, in \\#2, its score moved: no gain" in markdown(signed_in, run)
    (card,) = [card for program in program_cards() for card in program.runs]
    assert (card.best, card.gain_percent) == (1.85, pytest.approx(10.0))
    chart = signed_in.get(reverse("run-chart", args=[run.pk])).json()["kept"]
    assert chart["gain"] == [0.0, -0.1, None, -0.1] and chart["text"][2] == anew.description
    assert chart["delta"][2:] == [None, -0.1]
    table = signed_in.get(reverse("run", args=[run.pk])).context["table"].rows
    assert [row.difference for row in table][:3] == [None, pytest.approx(-0.1), None]


def test_an_empty_run_says_what_will_be_here(signed_in):
    run = make_run()
    page = html(signed_in, run)
    assert headline(page) == "Nothing has been tried yet."
    assert "the baseline comes first" in page and "Nothing has been tried yet" in markdown(signed_in, run)


def test_a_baseline_alone_is_no_gain(signed_in):
    run = make_run()
    make_experiment(run, State.KEPT, 2.0)
    assert headline(html(signed_in, run)).startswith("So far: the baseline&#x27;s val_bpb is 2.000000; no idea")


def test_a_baseline_without_a_score_is_said(signed_in):
    run = make_run(state=RunState.ENDED)
    make_experiment(run, State.FAILED, None, reason=Failure.CRASH, detail="no such file")
    page = html(signed_in, run)
    assert headline(page).startswith("No experiment has a score over 1 experiment") and "no such file" in page


def test_the_headline_says_what_was_gained_and_for_how_much(signed_in):
    run = make_run(state=RunState.ENDED)
    night(run)
    assert headline(html(signed_in, run)).startswith("val_bpb went from 2.000000 to 1.890000 (−5.50 %) over 6 experiments")
    assert "for $0.20." in headline(html(signed_in, run))


def test_a_run_in_progress_says_so_far(signed_in):
    run = make_run()
    night(run)
    make_experiment(run, State.TRAINING)
    page = html(signed_in, run)
    assert headline(page).startswith("So far: val_bpb went") and "still running" in page


def test_noise_is_never_invented(signed_in):
    run = make_run(make_program(preset="cpu", budget_seconds=20))
    night(run)
    page = html(signed_in, run)
    assert "not known. Repeat the baseline 3 times to know it" in page and "0.014" in page
    assert "within noise" not in page


def test_a_gain_that_may_be_luck_is_called_so(signed_in):
    run = make_run()
    best = night(run, keeps=1)
    for score in (2.0, 2.2, 1.8):
        make_experiment(run, State.DISCARDED, score, kind=Kind.REPEAT, commit="b" * 40, parent=best)
    assert "That is within noise" in html(signed_in, run) and "? within noise" in html(signed_in, run)
    assert "within noise" in markdown(signed_in, run)


def test_diffs_are_folded_until_asked_for(signed_in):
    run = make_run()
    night(run)
    assert "<details open>" not in html(signed_in, run) and "MATRIX_LR" in html(signed_in, run)
    assert html(signed_in, run, "?diffs=1").count("<details open>") == 2


def test_a_diff_that_is_too_long_is_a_link(signed_in):
    run = make_run()
    base = make_experiment(run, State.KEPT, 2.0)
    long = make_experiment(run, State.KEPT, 1.9, parent=base, diff=DIFF + "+x\n" * 30_000)
    page = html(signed_in, run)
    assert "too long to show here" in page and reverse("experiment", args=[long.pk]) in page and len(page) < 50_000


def test_what_waits_for_a_person_comes_first(signed_in):
    run = make_run()
    night(run)
    waiting = make_experiment(run, State.REVIEWING, description="a wider MLP")
    page = html(signed_in, run)
    assert f"#{waiting.number} waits for you: approve or reject its diff" in page
    assert page.index("waits for you") < page.index("What is real")


def test_a_paused_run_says_why(signed_in):
    run = make_run(state=RunState.PAUSED, reason="circuit_breaker", detail="Five failures in a row. Look at #3.")
    night(run)
    assert "The run is paused. Five failures in a row." in html(signed_in, run)


def test_an_imported_run_is_a_record(signed_in):
    run = make_run(source="https://example.org/clone.git", state=RunState.ENDED)
    nothing = {"training_at": None, "trained_at": None, "finished_at": None}
    base = make_experiment(run, State.KEPT, 0.9979, **nothing)
    make_experiment(run, State.KEPT, 0.98, parent=base, diff="", **nothing)
    page = html(signed_in, run)
    assert "https://example.org/clone.git" in page and "An imported run brings no times" in page
    assert "was imported and is a record" in page and "its commit was not in the repository" in page
    assert "unverified" in page and "Raise its limits" not in page


def test_taken_back_keeps_are_named(signed_in):
    run = make_run()
    base = make_experiment(run, State.KEPT, 2.0)
    make_experiment(run, State.REVERTED, 1.0, parent=base)
    assert "taken back" in html(signed_in, run) and "taken back" not in headline(html(signed_in, run))


def test_what_others_wrote_is_text_in_html(signed_in):
    run = make_run()
    base = make_experiment(run, State.KEPT, 2.0)
    bad = "<script>alert(1)</script>"
    make_experiment(run, State.KEPT, 1.9, parent=base, description=bad, hypothesis=bad, detail=bad, diff=f"+{bad}")
    make_experiment(run, State.FAILED, None, parent=base, description=bad, reason="<b>", detail=bad)
    assert "<script>alert" not in html(signed_in, run)


def test_what_others_wrote_cannot_break_out_of_the_markdown(signed_in):
    run = make_run()
    base = make_experiment(run, State.KEPT, 2.0)
    bad = "a | b\n# head ![x](http://evil) <img src=x>\x1b[31m"
    make_experiment(run, State.KEPT, 1.9, parent=base, description=bad, hypothesis=bad, diff="+```\n+# out\n")
    text = markdown(signed_in, run)
    assert "\n# head" not in text and "![x]" not in text and " <img" not in text and "\x1b" not in text
    assert "````diff\n+```\n+# out\n````" in text and "a \\| b" in text


def test_markdown_is_a_download_with_full_links(signed_in):
    run = make_run()
    best = night(run)
    answer = signed_in.get(reverse("report-markdown", args=[run.pk]))
    assert answer["Content-Type"].startswith("text/markdown")
    assert answer["Content-Disposition"] == 'attachment; filename="report-small-gpt-demo.md"'
    assert f"http://testserver{reverse('experiment', args=[best.pk])}" in answer.content.decode()


def test_reports_need_a_sign_in_and_a_run(client, signed_in):
    assert signed_in.get("/runs/999/report/").status_code == 404
    assert signed_in.get("/runs/999/report.md").status_code == 404
    run = make_run()
    assert signed_in.post(reverse("report", args=[run.pk])).status_code == 405
    client.logout()
    for name in ("report", "report-markdown"):
        assert client.get(reverse(name, args=[run.pk])).status_code == 302


def test_queries_do_not_grow_with_experiments(signed_in, django_assert_max_num_queries):
    run = make_run()
    night(run, keeps=8, discards=20)
    with django_assert_max_num_queries(14):
        html(signed_in, run)
