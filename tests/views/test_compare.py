"""The compare page: what is chosen, what is marked, what differs; and curves that fit on the wire."""

from __future__ import annotations

import math
import re

import pytest

from experiments import comparison, overlaid
from experiments.loop.workspace import Workspace
from experiments.states import State
from tests.factories import add_points, make_experiment, make_program, make_run

URL = "/compare/"


@pytest.fixture
def run(db):
    return make_run(make_program("one"), tag="night")


def tried(run, number: int, score: float | None, **fields):
    return make_experiment(run, fields.pop("state", State.DISCARDED), score, number=number, **fields)


def rows_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'<th scope="row">([^<]+)</th>(.*?)</tr>', page, re.DOTALL))


def test_the_best_of_a_row_is_marked_in_its_direction(signed_in, run):
    a = tried(run, 1, 1.5, summary={"peak_vram_mb": 2048, "mfu_percent": 40.0, "depth": 4})
    b = tried(run, 2, 1.4, summary={"peak_vram_mb": 1024, "mfu_percent": 41.0, "depth": 4})
    rows = rows_of(signed_in.get(f"{URL}?e={a.pk},{b.pk}").text)
    marked = [("val_bpb", "1.400000", "1.500000"), ("Memory", "1.0 GB", "2.0 GB"), ("MFU", "41.0 %", "40.0 %")]
    for label, best, other in marked:
        assert re.search(rf'class="num best"[^★]*★</span> {best}', rows[label], re.DOTALL), label
        assert not re.search(rf"★</span> {other}", rows[label])
    assert "−0.100000" in rows["val_bpb"] and "★" not in rows["Depth"]


def test_only_differences_leaves_out_what_is_equal(signed_in, run):
    a, b = tried(run, 1, 1.5, summary={"depth": 4}), tried(run, 2, 1.4, summary={"depth": 4})
    assert "Depth" in rows_of(signed_in.get(f"{URL}?e={a.pk},{b.pk}").text)
    rows = rows_of(signed_in.get(f"{URL}?e={a.pk},{b.pk}&only=1").text)
    assert "val_bpb" in rows and "Depth" not in rows


def test_boxes_become_an_address_to_share(signed_in, run):
    a, b = tried(run, 1, 1.5), tried(run, 2, 1.4)
    answer = signed_in.get(f"{URL}?e={a.pk}&e={b.pk}&only=1")
    assert answer.url == f"{URL}?e={a.pk},{b.pk}&only=1"
    added = signed_in.get(f"{URL}?e={a.pk},{b.pk}&e={tried(run, 3, 1.3).pk}", follow=True).text
    assert "3 experiments" in added


def test_across_runs_and_programs_each_is_named(signed_in, run):
    other = make_run(make_program("two"), tag="day")
    a, b = tried(run, 1, 1.5), tried(other, 1, 1.4)
    page = signed_in.get(f"{URL}?e={a.pk},{b.pk}").text
    assert "one/night #1" in page and "two/day #1" in page and "They belong to different programs" in page
    assert ">#1</a>" in signed_in.get(f"{URL}?e={a.pk}").text


def test_the_diff_of_any_two_is_of_their_files(signed_in, run):
    Workspace.create(run.program.repo, {"train.py": "LR = 1\n"}, "first")
    workspace = Workspace(run.program.repo)
    commits = [workspace.commit(None, {"train.py": f"LR = {n}\nB = 2\n"}, "x") for n in range(3)]
    a, b, c = (tried(run, n, 1.5 - n / 10, commit=commit) for n, commit in enumerate(commits))
    ids = f"{a.pk},{b.pk},{c.pk}"
    page = signed_in.get(f"{URL}?e={ids}&a={b.pk}&b={c.pk}").text
    shown = re.sub(r"<[^>]+>", "", page)
    assert "LR = 1" in shown and "LR = 2" in shown and "LR = 0" not in shown
    assert "Choose two different" in signed_in.get(f"{URL}?e={ids}&a={b.pk}&b={b.pk}").text
    gone = tried(run, 7, 1.0, commit="f" * 40)
    assert "fffffff of #7 is not in the repository" in signed_in.get(f"{URL}?e={a.pk},{gone.pk}").text


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?e=abc", "abc is no experiment"), ("?e=999999", "no experiment with the id 999999"),
        ("?e=" + "9" * 40, "is no experiment"), ("?e=1%00,<b>", "&lt;b&gt; is no experiment"),
        ("?e=-1,+2", "is no experiment"),
    ],
)
def test_a_wrong_choice_is_said_and_the_page_still_helps(signed_in, run, query, words):
    page = signed_in.get(URL + query)
    assert page.status_code == 200 and words in page.text and "Which experiments?" in page.text


def test_at_most_fifty(signed_in, run):
    ids = ",".join(str(tried(run, n, 1.0).pk) for n in range(52))
    page = signed_in.get(f"{URL}?e={ids}").text
    assert "52 experiments were chosen; the first 50 are shown" in page


def test_more_are_found_by_number_or_words_and_none_twice(signed_in, run):
    a, b = tried(run, 1, 1.5, description="Wider <b>"), tried(run, 2, 1.4, description="Raise the rate")
    found = signed_in.get(f"{URL}?e={a.pk}&q=RATE raise").text
    assert f'name="e" value="{b.pk}"' in found
    assert f'type="checkbox" name="e" value="{a.pk}"' not in signed_in.get(f"{URL}?e={a.pk}&q=%231").text
    assert "No experiment matches" in signed_in.get(f"{URL}?q=%23" + "9" * 30).text


def test_the_empty_page_offers_the_latest_of_each_run(signed_in, run):
    assert "No experiment has a score yet" in signed_in.get(URL).text
    a = tried(run, 1, 1.5)
    assert f'value="{a.pk}"' in signed_in.get(URL).text


# Curves


def test_gaps_stay_gaps_and_who_has_no_curve_is_left_out(signed_in, run):
    one = tried(run, 1, 1.5)
    add_points(one, [0.0, 1.0, None, 3.0, 4.0])
    two = tried(run, 2, 1.5)
    answer = signed_in.get(f"{URL}curves.json?e={one.pk},{two.pk}").json()
    assert set(answer) == {str(one.pk)}
    line = answer[str(one.pk)]
    assert line["step"] == [0, 1, 2, 3, 4] and line["loss"] == [0, 1, None, 3, 4]
    assert line["seconds"][-1] == 0.24 and line["tokens"][-1] == 8192
    assert "mfu" not in line and "tok_per_sec" in line  # of what it has


def test_many_curves_are_thinned_and_keep_their_ends(signed_in, run, django_assert_max_num_queries):
    ids = []
    for n in range(30):
        one = tried(run, n, 1.5)
        add_points(one, [3 + math.sin(step / 50) for step in range(1500)])
        ids.append(one.pk)
    with django_assert_max_num_queries(5):
        answer = signed_in.get(f"{URL}curves.json?e={','.join(map(str, ids))}")
    lines = answer.json()
    assert len(lines) == 30 and sum(len(line["step"]) for line in lines.values()) <= overlaid.MOST_POINTS
    for line in lines.values():
        assert (line["step"][0], line["step"][-1]) == (0, 1499) and max(line["loss"]) > 3.99
    assert len(answer.content) < 1_500_000


def test_a_curve_that_grows_is_read_anew(signed_in, run):
    one = tried(run, 1, None, state=State.TRAINING)
    add_points(one, [3.0, 2.0, 1.0])
    assert len(signed_in.get(f"{URL}curves.json?e={one.pk}").json()[str(one.pk)]["step"]) == 3
    add_points(one, [0.9, 0.8, 0.7])
    assert len(signed_in.get(f"{URL}curves.json?e={one.pk}").json()[str(one.pk)]["step"]) == 6


def test_colour_and_dash_together_tell_curves_apart(run):
    sides, _ = comparison.load(comparison.Picks(tuple(tried(run, n, 1.0).pk for n in range(32))))
    assert len({(side.colour, side.dash) for side in sides}) == 32
