"""The audit log: what is in it, its filters and its pages."""

import pytest
from django.contrib.auth.models import User

from experiments.models import Move
from experiments.states import Mode, State
from tests.factories import make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db


def page(client, query=""):
    answer = client.get("/audit/" + query)
    assert answer.status_code == 200
    return answer.content.decode()


def rows(client, query=""):
    """The (who, new) of the lines."""
    return [(entry.by, entry.new) for entry in client.get("/audit/" + query).context["rows"]]


@pytest.fixture
def busy():
    User.objects.create_user("maria")
    run = make_run()
    experiment = make_experiment(run, State.REVIEWING, description="a wider MLP")
    experiment.approve(by="owner")
    make_experiment(run, State.REVIEWING).reject(by="maria", why="too slow")
    run.set_mode(Mode.APPROVE_BOTH, by="maria")
    run.add_note("Try <b>depth</b>", by="owner")
    run.record("loop", "#0 created", why="next idea")
    return run


def test_an_empty_log_says_what_will_be_here(signed_in):
    assert "Nothing has happened yet" in page(signed_in)


def test_newest_first_with_the_versions_of_briefs(signed_in, busy):
    busy.program.save_brief("# new\n", by="maria", based_on=1)
    assert rows(signed_in) == [
        ("maria", "program.md v2"), ("loop", "created"), ("owner", "note"), ("maria", "mode: approve both"),
        ("maria", "cancelled"), ("owner", "ready"), ("template", "program.md v1"),
    ]  # fmt: skip


def test_a_line_names_from_to_and_reason_and_stays_text(signed_in, busy):
    text = page(signed_in)
    assert "mode: autopilot →" in text and "too slow" in text and "reviewing →" in text
    assert "<b>depth" not in text and "&lt;b&gt;depth" in text


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?by=maria", [("maria", "mode: approve both"), ("maria", "cancelled")]),
        ("?by=loop", [("loop", "created")]),
        ("?action=approved", [("owner", "ready")]),
        ("?action=rejected", [("maria", "cancelled")]),
        ("?action=mode", [("maria", "mode: approve both")]),
        ("?action=created", [("loop", "created")]),
        ("?action=brief", [("template", "program.md v1")]),
        ("?action=note&by=maria", []),
        ("?action=nonsense", []),
        ("?run=999", []),
        ("?run=x", []),
        ("?by=%00", [("loop", "created")]),
    ],
)
def test_filters(signed_in, busy, query, wanted):
    found = rows(signed_in, query)
    assert found == wanted or (query == "?by=%00" and len(found) == 6)


def test_people_are_those_who_can_sign_in(signed_in, busy):
    assert {who for who, _ in rows(signed_in, "?by=people")} == {"owner", "maria"}


def test_one_run_has_no_lines_of_another(signed_in, busy):
    other = make_run(busy.program, "other")
    other.record("owner", "limits")
    assert rows(signed_in, f"?run={other.pk}") == [("owner", "limits")]


def test_a_filter_that_finds_nothing_says_so(signed_in, busy):
    assert "Nothing matches this filter" in page(signed_in, "?by=nobody")


def test_pages_keep_the_filter(signed_in):
    run = make_run()
    Move.objects.bulk_create(Move(run=run, new="note", by="owner", why=f"n{n}") for n in range(120))
    first = page(signed_in, "?by=owner&action=note")
    assert "120 entries" in first and 'href="?by=owner&amp;action=note&amp;page=2"' in first
    last = signed_in.get("/audit/?by=owner&page=3").context["rows"]
    assert [entry.why for entry in last] == [f"n{n}" for n in range(19, -1, -1)]
    assert len(rows(signed_in, "?page=999")) == 21  # the last page, with the template's brief
    assert len(rows(signed_in, "?page=x")) == 50


def test_queries_do_not_grow_with_the_log(signed_in, django_assert_max_num_queries):
    program = make_program()
    for tag in ("a", "b", "c"):
        run = make_run(program, tag)
        for _ in range(6):
            make_experiment(run, State.REVIEWING).approve(by="owner")
            run.record("loop", "#0 created")
    with django_assert_max_num_queries(18):
        page(signed_in)


def test_the_log_needs_a_sign_in(client):
    assert client.get("/audit/").status_code == 302


def test_nothing_is_changed_here(signed_in):
    assert signed_in.post("/audit/").status_code == 405
