import pytest

from experiments.states import RunState, State
from tests.factories import make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db


def test_a_stranger_is_sent_to_sign_in(client):
    answer = client.get("/")
    assert answer.status_code == 302
    assert answer.url.startswith("/sign-in/")


def test_empty_home_says_what_will_be_here(admin_client):
    assert "Nothing is here yet" in admin_client.get("/").content.decode()


def test_a_program_without_a_run_links_to_its_first(admin_client):
    make_program()
    assert "Start the first one" in admin_client.get("/").content.decode()


def test_a_run_card_answers_better_and_alive(admin_client):
    run = make_run()
    make_experiment(run, State.KEPT, 1.5)
    make_experiment(run, State.KEPT, 1.2)
    make_experiment(run, State.DISCARDED, 1.3)
    make_experiment(run, State.FAILED)
    make_experiment(run, State.TRAINING, description="wider MLP")
    page = admin_client.get("/").content.decode()
    for text in ("1.200000", "−20.00 %", "2 kept", "1 discarded", "1 failed", "#4", "wider MLP", "<polyline"):
        assert text in page


def test_the_inbox_has_what_waits_for_a_person_with_its_buttons(admin_client):
    run = make_run()
    waiting = make_experiment(run, State.REVIEWING)
    paused = make_run(run.program, "two", state=RunState.PAUSED, reason="circuit_breaker", detail="10 failures in a row.")
    moved = make_run(run.program, "three", state=RunState.PAUSED, reason="branch_moved")
    page = admin_client.get("/?part=needs").content.decode()
    assert f"/experiments/{waiting.pk}/approve/" in page
    assert f"/runs/{paused.pk}/resume/" in page and "10 failures in a row." in page
    assert f"/runs/{moved.pk}/adopt/" in page and f"/runs/{moved.pk}/resume/" not in page
    assert "3 need you" in admin_client.get("/?part=pill").content.decode()


def test_nothing_that_has_ended_needs_a_person(admin_client):
    run = make_run(state=RunState.ENDED)
    make_experiment(run, State.CONFIRMING, 1.0)
    assert "Nothing needs you" in admin_client.get("/").content.decode()


def test_ideas_are_text_not_html(admin_client):
    make_experiment(make_run(), State.REVIEWING, description="<img src=x onerror=alert(1)>")
    page = admin_client.get("/").content.decode()
    assert "<img" not in page and "&lt;img" in page


def test_an_unknown_part_is_not_found(admin_client):
    assert admin_client.get("/?part=../base").status_code == 404


def test_queries_do_not_grow_with_runs(admin_client, django_assert_max_num_queries):
    program = make_program()
    for n in range(5):
        run = make_run(program, f"run-{n}")
        make_experiment(run, State.KEPT, 1.5)
        make_experiment(run, State.REVIEWING)
    with django_assert_max_num_queries(14):
        admin_client.get("/")


def test_the_demo_says_what_it_is_until_something_else_is_there(admin_client):
    run = make_run(tag="demo")
    assert "This is a demo" in admin_client.get("/").content.decode()
    make_run(run.program, "two")
    assert "This is a demo" not in admin_client.get("/").content.decode()


def test_a_card_speaks_of_a_state_as_its_badge_does(admin_client):
    make_experiment(make_run(), State.REVIEWING)
    assert "</b> needs review ·" in admin_client.get("/").content.decode()
