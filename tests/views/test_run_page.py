import pytest
from redis.exceptions import ConnectionError as RedisAway

from experiments import presence, tasks
from experiments.models import Idea, Note
from experiments.states import Mode, RunState, State, StateError
from tests.factories import make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db
HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture(autouse=True)
def woken(monkeypatch):
    """Runs that the views woke; workers are there."""
    seen: list[int] = []
    monkeypatch.setattr(tasks, "wake", seen.append)
    monkeypatch.setattr(presence, "workers", lambda: {"think": 1, "gpu": 1})
    return seen


@pytest.fixture
def run():
    run = make_run()
    make_experiment(run, State.KEPT, 1.5)
    return run


def get(client, run, query=""):
    answer = client.get(f"/runs/{run.pk}/{query}")
    assert answer.status_code == 200
    return answer.content.decode()


# What it shows


def test_the_page_has_its_parts(admin_client, run):
    make_experiment(run, State.KEPT, 1.2)
    page = get(admin_client, run)
    for part in ("head", "tiles", "activity", "table", "notes"):
        assert f'id="{part}"' in page
    for text in ("1.200000", "−20.00 %", f'data-socket="/ws/runs/{run.pk}/?drawn='):
        assert text in page


@pytest.mark.parametrize("part", ["head", "tiles", "activity", "notes", "table"])
def test_each_part_comes_alone(admin_client, run, part):
    fragment = get(admin_client, run, f"?part={part}")
    assert f'id="{part}"' in fragment and "<html" not in fragment


def test_an_unknown_part_or_run_is_not_found(admin_client, run):
    assert admin_client.get(f"/runs/{run.pk}/?part=nonsense").status_code == 404
    assert admin_client.get("/runs/999/").status_code == 404


def test_a_new_run_says_what_will_be_here(admin_client):
    page = get(admin_client, make_run())
    assert "appears with the baseline" in page and "The first experiment, the baseline" in page


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State.PROPOSING, 'data-stream="reply"'),
        (State.REVIEWING, "/approve/"),
        (State.READY, "as soon as a device is free"),
        (State.TRAINING, "data-curve"),
        (State.EVALUATING, "being scored"),
        (State.CONFIRMING, ">Keep<"),
    ],
)
def test_the_activity_card_changes_with_the_state(admin_client, run, state, text):
    make_experiment(run, state, 1.4 if state == State.CONFIRMING else None)
    assert text in get(admin_client, run, "?part=activity")


def test_what_trains_comes_first_and_the_next_below(admin_client, run):
    make_experiment(run, State.PROPOSING, description="")
    make_experiment(run, State.TRAINING, description="wider")
    card = get(admin_client, run, "?part=activity")
    assert card.index("wider") < card.index('class="list coming"') < card.index("the idea is being worked out")


def test_a_ready_experiment_says_that_no_worker_is_there(admin_client, run, monkeypatch):
    make_experiment(run, State.READY)
    monkeypatch.setattr(presence, "workers", lambda: {"think": 1, "gpu": 0})
    assert "No gpu worker is running" in get(admin_client, run, "?part=activity")


def test_the_page_stands_without_redis(admin_client, run, monkeypatch):
    def away():
        raise RedisAway

    make_experiment(run, State.READY)
    monkeypatch.setattr(presence, "workers", away)
    assert "Redis does not answer" in get(admin_client, run)


def test_text_of_models_and_people_is_escaped(admin_client, run):
    make_experiment(run, State.REVIEWING, description="<b>x</b>", hypothesis="<i>y</i>", diff="+<script>alert(1)</script>\n")
    Note.objects.create(run=run, text="<u>z</u>", author="me")
    page = get(admin_client, run)
    assert not any(tag in page for tag in ("<b>x", "<i>y", "<u>z", "<script>alert"))


# The table


def test_the_table_filters_searches_and_pages(admin_client, run):
    for n in range(1, 131):
        state, score = (State.DISCARDED, 1.6) if n % 2 else (State.FAILED, None)
        make_experiment(run, state, score, number=n, description=f"idea-{n:03d}")
    first, second = get(admin_client, run, "?part=table"), get(admin_client, run, "?part=table&page=2")
    assert "idea-130" in first and "idea-080" not in first
    assert "idea-080" in second and "idea-130" not in second
    failed = get(admin_client, run, "?part=table&state=failed")
    assert "idea-130" in failed and "idea-129" not in failed
    assert "idea-077" in get(admin_client, run, "?part=table&q=IDEA-077")
    assert "idea-077" in get(admin_client, run, "?part=table&q=%2377")
    assert "Nothing matches" in get(admin_client, run, "?part=table&q=nowhere")


def test_a_fragment_of_the_table_refetches_itself_with_its_filter(admin_client, run):
    answer = admin_client.get(f"/runs/{run.pk}/?part=table&state=kept&q=base&junk=1")
    assert answer["HX-Replace-Url"] == f"/runs/{run.pk}/?state=kept&q=base&junk=1"
    assert "?part=table&amp;state=kept&amp;q=base&amp;junk=1" in answer.content.decode()


ODD_QUERIES = ["?page=999", "?page=x", "?state=nonsense", "?q=%00", "?q=" + "x" * 5000, "?q=%23" + "9" * 30]


@pytest.mark.parametrize("query", ODD_QUERIES)
def test_odd_queries_are_answered(admin_client, run, query):
    assert admin_client.get(f"/runs/{run.pk}/{query}").status_code == 200


def test_queries_do_not_grow_with_experiments(admin_client, run, django_assert_max_num_queries):
    for n in range(1, 60):
        make_experiment(run, State.DISCARDED, 1.6, number=n)
    with django_assert_max_num_queries(18):
        get(admin_client, run)


def test_the_chart_and_the_results(admin_client, run):
    make_experiment(run, State.DISCARDED, 1.6)
    data = admin_client.get(f"/runs/{run.pk}/chart.json").json()
    assert [len(data[name]["pk"]) for name in ("kept", "discarded", "failed")] == [1, 1, 0]
    results = admin_client.get(f"/runs/{run.pk}/results.tsv")
    assert results.content.decode().startswith("commit\t")


# What a person does


CHANGES = [
    "pause", "resume", "stop", "mode", "limits", "note", "note/drop", "adopt", "restore",
    "ideas", "ideas/edit", "ideas/drop",
]  # fmt: skip


@pytest.mark.parametrize("action", CHANGES)
def test_changes_need_a_post_and_a_person(client, admin_client, run, action):
    answer = admin_client.get(f"/runs/{run.pk}/{action}/", follow=True)
    assert answer.redirect_chain == [(f"/runs/{run.pk}/", 302)] and "Nothing was changed" in answer.content.decode()
    assert admin_client.put(f"/runs/{run.pk}/{action}/").status_code == 405
    client.logout()
    assert client.post(f"/runs/{run.pk}/{action}/").status_code == 302
    run.refresh_from_db()
    assert run.is_active


def test_pause_lets_the_training_finish(admin_client, run, woken):
    training = make_experiment(run, State.TRAINING)
    assert admin_client.post(f"/runs/{run.pk}/pause/", {"now": "0"}).url == f"/runs/{run.pk}/"
    run.refresh_from_db()
    training.refresh_from_db()
    assert (run.state, training.state, woken) == (RunState.PAUSED, State.TRAINING, [run.pk])
    assert run.moves.last().by == "admin"


def test_pause_now_sends_the_training_back(admin_client, run):
    training = make_experiment(run, State.TRAINING)
    admin_client.post(f"/runs/{run.pk}/pause/", {"now": "1"})
    training.refresh_from_db()
    assert (training.state, training.attempt) == (State.READY, 2)


def test_resume_and_stop(admin_client, run):
    run.pause(by="me", now=False)
    assert admin_client.post(f"/runs/{run.pk}/resume/", **HTMX).status_code == 204
    assert admin_client.post(f"/runs/{run.pk}/stop/", **HTMX)["HX-Trigger"]
    run.refresh_from_db()
    assert run.state == RunState.ENDED


def test_a_second_click_is_told_so_and_changes_nothing(admin_client, run, woken):
    admin_client.post(f"/runs/{run.pk}/pause/", **HTMX)
    again = admin_client.post(f"/runs/{run.pk}/pause/", **HTMX)
    assert (again.status_code, again.content.decode()) == (409, "A run that is paused cannot become paused.")
    assert "cannot become paused" in admin_client.post(f"/runs/{run.pk}/pause/", follow=True).content.decode()
    assert (woken, run.moves.count()) == ([run.pk], 1)


def test_mode(admin_client, run):
    admin_client.post(f"/runs/{run.pk}/mode/", {"mode": "approve_both"})
    run.refresh_from_db()
    assert run.mode == Mode.APPROVE_BOTH
    assert admin_client.post(f"/runs/{run.pk}/mode/", {"mode": "yolo"}, **HTMX).status_code == 409


def test_a_pause_says_what_is_finished_first(admin_client, run):
    experiment = make_experiment(run, State.TRAINING)
    run.pause(by="me", now=False)
    assert f"#{experiment.number} is finished first." in get(admin_client, run, "?part=head")


def test_the_limits_of_a_page_that_is_hours_old_offer_to_resume(admin_client, run):
    assert "Save and resume" not in get(admin_client, run, "?part=limits")
    run.stop(by="loop", reason="experiments", why="The limit of experiments is reached: 1.")
    assert "Save and resume" in get(admin_client, run, "?part=limits")


def test_an_experiment_that_ended_without_an_idea_is_not_being_worked_out(admin_client, run):
    make_experiment(run, State.FAILED, description="", reason="researcher_error", finished_at=run.created_at)
    assert "no idea came" in get(admin_client, run, "?part=table")


def test_limits_are_set_and_lift_an_end(admin_client, run):
    run.max_experiments = 1
    run.save()
    run.stop(by="loop", reason="experiments", why="The limit of experiments is reached: 1.")
    assert "Raise the limits" in get(admin_client, run)
    assert "Raise the limit first" in admin_client.post(f"/runs/{run.pk}/resume/", **HTMX).content.decode()
    admin_client.post(f"/runs/{run.pk}/limits/", {"max_experiments": "50", "hours": "1.5", "resume": "1"})
    run.refresh_from_db()
    assert (run.state, run.max_experiments, run.deadline_at is not None) == (RunState.ACTIVE, 50, True)


def test_the_form_of_the_limits_keeps_what_is_set(admin_client, run):
    limits = {"max_experiments": "50", "max_without_gain": "12", "max_cost": "2.5", "max_tokens": "90000"}
    admin_client.post(f"/runs/{run.pk}/limits/", limits)
    shown = get(admin_client, run, "?part=limits")
    assert all(f'name="{name}"' in shown and f'value="{value}"' in shown for name, value in limits.items())


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"max_cost": "0"}, "Enter dollars"),
        ({"max_tokens": "12"}, "at least 1000"),
        ({"max_without_gain": "many"}, "whole number from 1"),
        ({"max_experiments": "0"}, "At least 1 experiment"),
        ({"max_experiments": "100001"}, "At most 100000"),
        ({"max_experiments": "many"}, "whole number"),
        ({"hours": "-1"}, "cannot be negative"),
        ({"hours": "1001"}, "At most 1000 hours"),
        ({"hours": "nan"}, "Enter hours as a number"),
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_wrong_limits_are_explained_and_stay_in_the_form(admin_client, run, data, error, headers):
    answer = admin_client.post(f"/runs/{run.pk}/limits/", data, **headers)
    page = answer.content.decode()
    assert answer.status_code == 422
    assert error in page and f'value="{next(iter(data.values()))}"' in page
    run.refresh_from_db()
    assert run.max_experiments is None


def test_a_note_is_kept_and_shown(admin_client, run, woken):
    answer = admin_client.post(f"/runs/{run.pk}/note/", {"text": "Try the window."}, **HTMX)
    assert "Try the window." not in answer.content.decode()  # the form is empty again
    assert "Try the window." in get(admin_client, run, "?part=notes") and "not read yet" in get(admin_client, run)
    assert woken == [run.pk]


EMPTY = "Write a note first"


@pytest.mark.parametrize(("text", "error"), [("", EMPTY), (" \n", EMPTY), ("x" * 4001, "4000")])
def test_a_bad_note_loses_nothing(admin_client, run, text, error):
    answer = admin_client.post(f"/runs/{run.pk}/note/", {"text": text})
    assert answer.status_code == 422
    assert error in answer.content.decode() and text in answer.content.decode()
    assert not run.notes.exists()


@pytest.mark.parametrize("action", ["adopt", "restore"])
def test_a_moved_branch_asks_and_takes_the_answer(admin_client, run, monkeypatch, action):
    asked = []
    monkeypatch.setattr(tasks, f"{action}_branch", lambda run, *, by: asked.append((run.pk, by)))
    run.pause(by="loop", now=False, reason="branch_moved", why="It was moved.")
    assert f"/runs/{run.pk}/{action}/" in get(admin_client, run, "?part=head")
    assert admin_client.post(f"/runs/{run.pk}/{action}/").status_code == 302
    assert asked == [(run.pk, "admin")]


def test_a_refused_adoption_says_why(admin_client, run, monkeypatch):
    def refuse(run, *, by):
        raise StateError("The branch is where we set it.")

    monkeypatch.setattr(tasks, "adopt_branch", refuse)
    answer = admin_client.post(f"/runs/{run.pk}/adopt/", **HTMX)
    assert (answer.status_code, answer.content.decode()) == (409, "The branch is where we set it.")


def test_while_a_repeat_waits_for_its_device_the_card_shows_it_and_not_the_score_that_it_is_for(admin_client, run):
    strange = make_experiment(run, State.EVALUATING, 0.1, badges=["verified", "implausible"], description="too good")
    why = "Waits: another training holds GPU 0."
    make_experiment(run, State.READY, subject=strange, kind="repeat", detail=why, description="once more")
    card = admin_client.get(f"/runs/{run.pk}/?part=activity").content.decode()
    shown, _, coming = card.partition("</article>")
    assert "once more" in shown and "being scored" not in card
    assert "too good" in coming and "another seed says whether it holds" in coming


def test_only_the_first_that_waits_owns_the_keys(admin_client, run):
    make_experiment(run, State.TRAINING)
    make_experiment(run, State.REVIEWING)
    make_experiment(run, State.REVIEWING)
    card = get(admin_client, run, "?part=activity")
    assert (card.count("/approve/\" hx-post"), card.count('data-key="a"'), card.count('data-key="r"')) == (2, 1, 1)


# The kind of idea, and a sweep that the researcher asked for


def test_a_person_forces_the_kind_of_idea_and_takes_it_back(admin_client, run, woken):
    for value in ("explore", ""):
        assert admin_client.post(f"/runs/{run.pk}/strategy/", {"strategy": value}, **HTMX).status_code == 204
        run.refresh_from_db()
        assert run.strategy == value
    assert list(run.moves.order_by("pk").values_list("new", "by")) == [
        ("strategy: explore", "admin"), ("strategy: by the ledger", "admin"),
    ]  # fmt: skip
    assert woken == [run.pk] * 2
    assert admin_client.post(f"/runs/{run.pk}/strategy/", {"strategy": "pray"}, **HTMX).status_code == 409
    assert admin_client.get(f"/runs/{run.pk}/strategy/").status_code == 302


def test_the_mode_and_its_reason_are_shown_where_an_llm_reads_them(admin_client, run):
    assert "Mode" not in get(admin_client, run, "?part=activity")
    run.program.researcher = "litellm"
    run.program.save()
    for _ in range(6):
        make_experiment(run, State.DISCARDED, 1.6)
    assert "<b>rethink</b>" not in get(admin_client, run, "?part=activity")  # one keep: nothing older to go back to
    run.strategy = "explore"
    run.save()
    page = get(admin_client, run, "?part=activity")
    assert "<b>explore</b>" in page and "a person chose it" in page and "not tried yet: " in page
    assert '<option value="explore" selected>' in get(admin_client, run)


def test_a_waiting_sweep_is_shown_and_dropped(admin_client, run, woken):
    asker = run.experiments.get()
    run.sweep_order = {"file": "train.py", "constants": {"A<b>": [0.1, 2]}, "of": 6, "left": 4, "asked_by": asker.number}
    run.save()
    part = get(admin_client, run, "?part=ideas")
    assert f'<a href="/experiments/{asker.pk}/">#0</a>' in part and "4 of 6 left" in part and "A&lt;b&gt;" in part
    assert admin_client.post(f"/runs/{run.pk}/sweep/drop/", **HTMX).status_code == 204
    run.refresh_from_db()
    assert run.sweep_order == {} and run.moves.get().new == "sweep dropped" and woken == [run.pk]
    answer = admin_client.post(f"/runs/{run.pk}/sweep/drop/", **HTMX)
    assert answer.status_code == 409 and "No sweep is waiting" in answer.content.decode()


def test_strangers_neither_force_nor_drop(client, run):
    for path in ("strategy", "sweep/drop"):
        assert client.post(f"/runs/{run.pk}/{path}/").status_code == 302
    run.refresh_from_db()
    assert run.strategy == "" and not run.moves.exists()


def test_the_researchers_own_ideas_are_reminders_behind_those_of_people(admin_client, run):
    Idea.add_own(run, ["own first"], source=0)
    Idea.add(run, "a person's", by="ada")
    Idea.add_own(run, ["own last"], source=0)
    part = get(admin_client, run, "?part=ideas")
    assert part.index("a person&#x27;s") < part.index("own first") < part.index("own last")
    assert part.count("its own reminder") == 2 and part.count("· next") == 1
@pytest.mark.parametrize(("state", "words"), [(State.REVIEWING, "#1 waits for you"), (State.TRAINING, None)])
def test_the_head_leads_to_what_waits_for_a_person(admin_client, run, state, words):
    make_experiment(run, state)
    head = get(admin_client, run, "?part=head")
    assert words in head if words else 'href="#activity"' not in head


def test_a_change_of_mode_says_what_it_does(admin_client, run):
    answer = admin_client.post(f"/runs/{run.pk}/mode/", {"mode": "approve_diffs"}, **HTMX)
    assert "each diff waits for you" in answer["HX-Trigger"] and "refresh" in answer["HX-Trigger"]


def test_a_proposal_for_an_older_best_says_what_an_approval_does(admin_client, run):
    first = run.experiments.get()
    make_experiment(run, State.KEPT, 1.4, parent=first)
    make_experiment(run, State.REVIEWING, parent=first)
    card = get(admin_client, run, "?part=activity")
    assert "The best is #1 by now" in card and "you are asked again" in card


def test_a_proposal_that_was_sent_back_says_why(admin_client, run):
    again = make_experiment(run, State.READY)
    again.move_to(State.PROPOSING, by="loop", why="the best is now #0, and the edit does not fit it", attempt=2)
    assert "Worked out anew: the best is now #0" in get(admin_client, run, "?part=activity")


def test_who_holds_the_device_is_named(admin_client, run):
    make_experiment(run, State.READY)
    other = make_experiment(make_run(make_program("other")), State.TRAINING)
    assert f"now #{other.number} of {other.run} trains." in get(admin_client, run, "?part=activity")


def test_tokens_without_a_price_are_not_free(admin_client, run):
    make_experiment(run, State.DISCARDED, 1.6, tokens_in=900, tokens_out=100)
    shown = get(admin_client, run, "?part=tiles")
    assert "1 k tokens" in shown and ">unknown</p>" in shown and "$0" not in shown
    make_experiment(run, State.DISCARDED, 1.6, cost=0.5)
    assert "at least $0.50" in get(admin_client, run, "?part=tiles")


@pytest.mark.parametrize(("researcher", "words"), [("sweep", "reads no notes"), ("litellm", "Stands in every prompt")])
def test_only_an_llm_reads_notes(admin_client, run, researcher, words):
    type(run.program).objects.update(researcher=researcher)
    assert words in get(admin_client, run)
    assert words in admin_client.post(f"/runs/{run.pk}/note/", {"text": "x"}, **HTMX).content.decode()


def test_a_note_is_taken_back_and_stays_in_the_audit_log(admin_client, run, woken):
    run.add_note("Try the window.", by="me")
    data = {"note": run.notes.get().pk}
    assert admin_client.post(f"/runs/{run.pk}/note/drop/", data, **HTMX).status_code == 204
    assert not run.notes.exists() and run.moves.last().why == "Try the window."
    again = admin_client.post(f"/runs/{run.pk}/note/drop/", data, **HTMX)
    assert (again.status_code, again.content.decode()) == (409, "This note was taken back already.")
    assert admin_client.post(f"/runs/{run.pk}/note/drop/", {"note": "x"}, **HTMX).status_code == 409
