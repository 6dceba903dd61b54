"""The compare page: what is chosen, what is marked, what differs; and curves that fit on the wire."""

from __future__ import annotations

import math
import re

import pytest

from experiments import overlaid
from experiments.loop.workspace import Workspace
from experiments.states import State
from tests.factories import add_points, make_experiment, make_program, make_run

URL, CURVES = "/compare/", "/compare/curves.json"


@pytest.fixture(autouse=True)
def nothing_remembered():
    overlaid._thinned.clear()  # a rolled back test gives its ids to the next one


@pytest.fixture
def run(db):
    return make_run(make_program("one"), tag="night")


def tried(run, number: int, score: float | None, **fields):
    return make_experiment(run, fields.pop("state", State.DISCARDED), score, number=number, **fields)


def rows_of(page: str) -> dict[str, str]:
    rows = re.findall(r'<th scope="row">([^<]+)(.*?)</tr>', page, re.DOTALL)
    return {label.strip(): cells for label, cells in rows}


def test_the_best_of_a_row_is_marked_in_its_direction(signed_in, run):
    a = tried(run, 1, 1.5, summary={"peak_vram_mb": 2048, "mfu_percent": 40.0, "depth": 4})
    b = tried(run, 2, 1.4, summary={"peak_vram_mb": 1024, "mfu_percent": 41.0, "depth": 4})
    rows = rows_of(signed_in.get(f"{URL}?e={a.pk},{b.pk}").text)
    marked = [("val_bpb", "1.400000", "1.500000"), ("Memory", "1.0 GB", "2.0 GB"), ("MFU", "41.0 %", "40.0 %")]
    for label, best, other in marked:
        assert re.search(rf'class="num  best"[^★]*★ </span><span class="sr">best: </span>{best}<', rows[label]), label
        assert re.search(rf'class="num "[^★]*>{other}<', rows[label]), label
    assert "★" not in rows["Depth"]
    assert "−0.100000" in rows["to the first, #1"] and "+0.100000" in rows["to the best, #2"]


def test_scores_of_different_texts_are_shown_and_never_compared(signed_in, run):
    exams = [{"dataset": "stdlib", "text": text, "validation_hash": text or "0ld"} for text in ("", "stdlib/1")]
    a, b = (tried(run, number, 1.5 - number / 10, exam=exam) for number, exam in enumerate(exams))
    page = signed_in.get(f"{URL}?e={a.pk},{b.pk}").text
    rows = rows_of(page)
    assert "1.500000" in rows["val_bpb"] and "1.400000" in rows["val_bpb"] and "★" not in rows["val_bpb"]
    assert not [label for label in rows if label.startswith("to the ")]
    assert "scored on different texts: stdlib (0ld), stdlib/1 (stdlib/1)" in page
    assert "stdlib/1 (stdlib/1)" in rows["Text"]
    alike = tried(run, 3, 1.3, exam=exams[1])
    assert "★" in rows_of(signed_in.get(f"{URL}?e={b.pk},{alike.pk}").text)["val_bpb"]


def test_scores_of_two_exams_are_shown_and_never_compared(signed_in, run):
    exams = [{"dataset": "stdlib", "validation_hash": "3cb1", **version} for version in ({}, {"exam": 2}, {"exam": 2})]
    a, b, c = (tried(run, number, 1.5 - number / 10, exam=exam) for number, exam in enumerate(exams))
    page = signed_in.get(f"{URL}?e={a.pk},{b.pk}").text
    rows = rows_of(page)
    assert "Exams 1 and 2 gave their scores. Those of two are not compared" in page
    assert "★" not in rows["val_bpb"] and not [label for label in rows if label.startswith("to the ")]
    assert re.findall(r">(\d)<", rows["Exam"]) == ["1", "2"]
    page = signed_in.get(f"{URL}?e={b.pk},{c.pk}").text
    assert "★" in rows_of(page)["val_bpb"] and "gave their scores" not in page


def test_only_differences_leaves_out_what_is_equal(signed_in, run):
    a, b = tried(run, 1, 1.5, summary={"depth": 4}), tried(run, 2, 1.4, summary={"depth": 4})
    assert "Depth" in rows_of(signed_in.get(f"{URL}?e={a.pk},{b.pk}").text)
    rows = rows_of(signed_in.get(f"{URL}?e={a.pk},{b.pk}&only=1").text)
    assert "val_bpb" in rows and "Depth" not in rows


def test_boxes_become_an_address_to_share(signed_in, run):
    a, b = tried(run, 1, 1.5), tried(run, 2, 1.4)
    answer = signed_in.get(f"{URL}?e={a.pk}&e={b.pk}&only=1")
    assert answer.url == f"{URL}?only=1&e={a.pk},{b.pk}"
    added = signed_in.get(f"{URL}?e={a.pk},{b.pk}&e={tried(run, 3, 1.3).pk}", follow=True).text
    assert "3 experiments" in added


def test_across_runs_and_programs_each_is_named(signed_in, run):
    other = make_run(make_program("two"), tag="day")
    a, b = tried(run, 1, 1.5), tried(other, 1, 1.4)
    page = signed_in.get(f"{URL}?e={a.pk},{b.pk}").text
    assert "one/night #1" in page and "two/day #1" in page and "They belong to different programs" in page
    assert ">#1</a>" in signed_in.get(f"{URL}?e={a.pk}").text


def test_runs_of_one_program_are_told_apart_by_their_tag(signed_in, run):
    a, b = tried(run, 1, 1.5), tried(make_run(run.program, tag="day"), 1, 1.4)
    page = signed_in.get(f"{URL}?e={a.pk},{b.pk}").text
    assert ">night #1</a>" in page and ">day #1</a>" in page


def test_one_alone_is_shown_and_asks_for_another(signed_in, run):
    page = signed_in.get(f"{URL}?e={tried(run, 1, 1.5).pk}").text
    assert "add another one" in page and "1.500000" in page and 'id="diff"' not in page


def test_the_diff_of_any_two_is_of_their_files(signed_in, run):
    Workspace.create(run.program.repo, {"train.py": "LR = 1\n"}, "first")
    workspace = Workspace(run.program.repo)
    commits = [workspace.commit(None, {"train.py": f"LR = {n}\nB = 2\n"}, "x") for n in range(3)]
    a, b, c = (tried(run, n, 1.5 - n / 10, commit=commit) for n, commit in enumerate(commits))
    ids = f"{a.pk},{b.pk},{c.pk}"
    page = signed_in.get(f"{URL}?e={ids}&a={b.pk}&b={c.pk}").text
    shown = re.sub(r"<[^>]+>", "", page)
    assert "LR = 1" in shown and "LR = 2" in shown and "LR = 0" not in shown
    part = signed_in.get(f"{URL}?part=diff&e={ids}&a={b.pk}&b={c.pk}&x=tokens")
    assert "<html" not in part.text and "LR = 2" in re.sub(r"<[^>]+>", "", part.text)
    assert part.headers["HX-Replace-Url"] == f"{URL}?a={b.pk}&b={c.pk}&x=tokens&e={ids}"
    assert "Choose two different" in signed_in.get(f"{URL}?e={ids}&a={b.pk}&b={b.pk}").text
    gone = tried(run, 7, 1.0, commit="f" * 40)
    assert "fffffff of #7 is not in the repository" in signed_in.get(f"{URL}?e={a.pk},{gone.pk}").text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?e=abc", "abc: no id of an experiment"), ("?e=999999", "no experiment with the id 999999"),
        ("?e=" + "9" * 40, "no id of an experiment"), ("?e=1%00,<b>", "&lt;b&gt;: no id of an experiment"),
        ("?e=-1,+2", "no id of an experiment"), ("?e=a,b,c,d,e,f,g", "a, b, c, d, e and 2 more"),
    ],
)
def test_a_wrong_choice_is_said_and_the_page_still_helps(signed_in, run, query, words):
    page = signed_in.get(URL + query)
    assert page.status_code == 200 and words in page.text and "Choose what to compare" in page.text


def test_at_most_fifty(signed_in, run):
    ids = ",".join(str(tried(run, n, 1.0).pk) for n in range(52))
    page = signed_in.get(f"{URL}?e={ids}").text
    assert "52 experiments were chosen; only the first 50 are shown" in page


def test_more_are_found_by_number_or_words_and_none_twice(signed_in, run):
    a, b = tried(run, 1, 1.5, description="Wider <b>"), tried(run, 2, 1.4, description="Raise the rate")
    found = signed_in.get(f"{URL}?e={a.pk}&q=RATE raise").text
    assert f"?e={a.pk},{b.pk}" in found
    again = signed_in.get(f"{URL}?e={a.pk}&q=%231&x=tokens").text
    assert "No other experiment matches “#1”" in again and f"?e={a.pk},{a.pk}" not in again
    assert f"?e={a.pk},{b.pk}&amp;x=tokens" in signed_in.get(f"{URL}?part=found&e={a.pk}&q=night%202&x=tokens").text
    assert "No other experiment matches" in signed_in.get(f"{URL}?q=%23" + "9" * 30).text
    assert signed_in.get(f"{URL}?q=%00").status_code == 200


def test_links_keep_what_else_is_chosen(signed_in, run):
    a, b, c = tried(run, 1, 1.5), tried(run, 2, 1.4), tried(run, 3, 1.4)
    page = signed_in.get(f"{URL}?e={a.pk},{b.pk},{c.pk}&x=tokens&only=1&a={b.pk}").text
    assert f"?e={a.pk},{c.pk}&amp;x=tokens&amp;only=1&amp;a={b.pk}" in page  # without #2
    assert f'?e={a.pk},{b.pk},{c.pk}&amp;x=tokens&amp;only=&amp;a={b.pk}#numbers"' in page


def test_an_unknown_part_is_not_there(signed_in, run):
    assert signed_in.get(f"{URL}?part=all").status_code == 404


def test_a_secret_score_shows_only_where_it_does_on_its_own_page(signed_in, run):
    a = tried(run, 0, 1.5, state=State.KEPT, secret_score=1.51)
    b = tried(run, 2, 1.6, secret_score=1.77)
    row = rows_of(signed_in.get(f"{URL}?e={a.pk},{b.pk}").text)["on the secret text"]
    assert "1.510000" in row and "1.77" not in row


def test_the_empty_page_offers_the_latest_of_each_run(signed_in, run):
    assert "Nothing has a score yet" in signed_in.get(URL).text
    a = tried(run, 1, 1.5)
    assert f'value="{a.pk}"' in signed_in.get(URL).text


# Curves


def test_gaps_stay_gaps_and_who_has_no_curve_is_left_out(signed_in, run):
    one = tried(run, 1, 1.5)
    add_points(one, [0.0, 1.0, None, 3.0, 4.0])
    two = tried(run, 2, 1.5)
    answer = signed_in.get(f"{CURVES}?e={one.pk},{two.pk}").json()
    assert set(answer["curves"]) == {str(one.pk)}
    line = answer["curves"][str(one.pk)]
    assert line["step"] == [0, 1, 2, 3, 4] and line["y"] == [0, 1, None, 3, 4]
    for axis, last in (("seconds", 0.24), ("tokens", 8192)):
        other = signed_in.get(f"{CURVES}?e={one.pk}&x={axis}").json()["curves"][str(one.pk)]
        assert other[axis][-1] == last and other["y"] == line["y"] and set(other) == {"step", axis, "y"}
    assert set(signed_in.get(f"{CURVES}?e={one.pk}&x=y").json()["curves"][str(one.pk)]) == {"step", "y"}
    assert answer["values"] == ["loss", "tok_per_sec", "dt_ms", "lrm"]  # mfu is none of what it has


def test_what_is_not_finite_is_a_gap(signed_in, run):
    one = tried(run, 1, 1.5)
    add_points(one, [1.0, math.nan, 1.0, math.inf, -math.inf, 2.0])  # as NaN and Infinity in the stored JSON
    line = signed_in.get(f"{CURVES}?e={one.pk}").json()["curves"][str(one.pk)]
    assert line["y"] == [1, None, 1, None, None, 2]


def test_a_gap_outlives_the_thinning(signed_in, run):
    one = tried(run, 1, 1.5)
    add_points(one, [math.nan if 1200 < step < 1210 else math.sin(step / 50) for step in range(3000)])
    line = signed_in.get(f"{CURVES}?e={one.pk}").json()["curves"][str(one.pk)]
    assert len(line["y"]) <= overlaid.MOST and line["y"][line["step"].index(1201)] is None


def test_another_value_is_drawn_where_two_have_it(signed_in, run):
    one, two = tried(run, 1, 1.5), tried(run, 2, 1.5)
    for each in (one, two):
        add_points(each, [3.0, 2.0])
    answer = signed_in.get(f"{CURVES}?e={one.pk},{two.pk}&y=tok_per_sec").json()
    assert answer["value"] == "tok_per_sec" and answer["curves"][str(two.pk)]["y"] == [34000, 34000]
    assert signed_in.get(f"{CURVES}?e={one.pk}&y=percent").json()["value"] == "loss"


def test_nothing_chosen_is_no_error(signed_in, run):
    assert signed_in.get(f"{CURVES}?e=abc,99").json() == {"value": "loss", "values": [], "curves": {}}


def test_many_curves_are_thinned_and_keep_their_ends(signed_in, run, django_assert_max_num_queries):
    ids = []
    for n in range(30):
        one = tried(run, n, 1.5)
        for _ in range(3):
            add_points(one, [3 + math.sin(step / 50) for step in range(500)])
        ids.append(one.pk)
    with django_assert_max_num_queries(4):  # two of them are the session and the person
        answer = signed_in.get(f"{CURVES}?e={','.join(map(str, ids))}")
    lines = answer.json()["curves"]
    assert len(lines) == 30 and sum(len(line["step"]) for line in lines.values()) <= overlaid.MOST_POINTS
    for line in lines.values():
        assert (line["step"][0], line["step"][-1]) == (0, 1499) and max(line["y"]) > 3.99
    assert len(answer.content) < 1_000_000


def test_a_finished_curve_is_read_once(signed_in, run, django_assert_max_num_queries):
    one = tried(run, 1, 1.5)
    add_points(one, [3.0, 2.0])
    first = signed_in.get(f"{CURVES}?e={one.pk}").content
    with django_assert_max_num_queries(3):
        assert signed_in.get(f"{CURVES}?e={one.pk}").content == first


def test_a_curve_that_grows_is_read_anew(signed_in, run):
    one = tried(run, 1, None, state=State.TRAINING)
    add_points(one, [3.0, 2.0, 1.0])
    assert len(signed_in.get(f"{CURVES}?e={one.pk}").json()["curves"][str(one.pk)]["step"]) == 3
    add_points(one, [0.9, 0.8, 0.7])
    assert len(signed_in.get(f"{CURVES}?e={one.pk}").json()["curves"][str(one.pk)]["step"]) == 6
