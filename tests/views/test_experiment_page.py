from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from experiments import tasks, words
from experiments.measures import Outcome, measures
from experiments.models import Experiment, Run
from experiments.states import Failure, Kind, State, StateError
from tests.factories import add_points, add_text, make_experiment, make_run

HTMX = {"HX-Request": "true"}
NASTY = "<script>alert(1)</script> javascript:alert(2) \x1b[31m \u202eevil"


@pytest.fixture
def run(db: None) -> Run:
    run = make_run()
    make_experiment(run, score=1.3)
    return run


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    runs: list[int] = []
    monkeypatch.setattr(tasks, "wake", runs.append)
    return runs


def page_of(client: Client, experiment: Experiment, part: str = "") -> str:
    answer = client.get(reverse("experiment", args=[experiment.pk]) + (f"?part={part}" if part else ""))
    assert answer.status_code == 200
    return answer.text


def act(client: Client, name: str, experiment: Experiment, headers: dict[str, str] | None = None, **data: str) -> Any:
    return client.post(reverse(f"experiment-{name}", args=[experiment.pk]), data, headers=headers)


# The page


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_its_words(signed_in: Client, run: Run, state: State):
    page = page_of(signed_in, make_experiment(run, state, 1.2))
    assert words.STATES[state] in page


@pytest.mark.parametrize("reason", list(Failure))
def test_every_failure_is_said_in_a_sentence(signed_in: Client, run: Run, reason: Failure):
    failed = make_experiment(run, State.FAILED, reason=reason, detail="line 7: boom")
    head = page_of(signed_in, failed, "head")
    assert words.FAILURES[reason].replace("'", "&#x27;") in head
    assert "line 7: boom" in head


def test_an_unknown_reason_stays_readable():
    assert words.failure("cosmic_ray") == "Failed: cosmic ray."
    assert words.failure("") == "Failed."


def test_a_rejected_idea_is_not_just_cancelled(signed_in: Client, run: Run):
    experiment = make_experiment(run, State.REVIEWING)
    experiment.reject(by="mara", why="the batch is fixed")
    head = page_of(signed_in, experiment, "head")
    assert "Rejected before it trained" in head
    assert "the batch is fixed" in head


@pytest.mark.parametrize("part", ["head", "curve", "facts", "changes", "log-note", "reply-note", "asked", "history"])
def test_a_fragment_is_the_same_as_in_the_page(signed_in: Client, run: Run, part: str):
    experiment = make_experiment(run, State.KEPT, 1.2)
    fragment = page_of(signed_in, experiment, part)
    assert f'id="{part}"' in fragment
    assert "<html" not in fragment


def test_an_unknown_part_is_the_page(signed_in: Client, run: Run):
    assert "<html" in page_of(signed_in, run.best, "../secret")


def test_a_fragment_that_has_not_changed_is_not_sent_again(signed_in: Client, run: Run):
    experiment = make_experiment(run, State.TRAINING)
    url = reverse("experiment", args=[experiment.pk])
    version = signed_in.get(url).context["version"]
    assert signed_in.get(f"{url}?part=facts&v={version}").status_code == 204
    add_text(experiment, "log", "a line")
    assert signed_in.get(f"{url}?part=facts&v={version}").status_code == 200


def test_the_head_notices_what_happens_elsewhere_in_the_run(signed_in: Client, run: Run):
    first = make_experiment(run, State.KEPT, 1.2)
    url = reverse("experiment", args=[first.pk])
    version = signed_in.get(url).context["run_version"]
    make_experiment(run, State.EVALUATING).move_to(State.KEPT, by="loop", score=1.1)
    assert "Roll back to here" in signed_in.get(f"{url}?part=head&v={version}").text


def test_what_models_write_is_text(signed_in: Client, run: Run):
    experiment = make_experiment(
        run, State.FAILED, reason=NASTY[:40], detail=NASTY, description=NASTY, hypothesis=NASTY, diff=NASTY,
        prompt=[{"role": NASTY, "content": NASTY}], summary={NASTY: 1.0, "depth": NASTY}, commit=NASTY[:40],
    )  # fmt: skip
    experiment.moves.create(run=run, new=NASTY[:40], by=NASTY, why=NASTY)
    page = page_of(signed_in, experiment)
    assert "<script>alert" not in page
    assert 'href="javascript:' not in page
    assert "U+202E" in page_of(signed_in, experiment, "changes")


def test_links_lead_to_parent_subject_brief_and_neighbours(signed_in: Client, run: Run):
    kept = make_experiment(run, State.KEPT, 1.2)
    undo = make_experiment(run, State.TRAINING, kind=Kind.REVERT, subject=kept)
    head = page_of(signed_in, undo, "head")
    assert f'<a href="/experiments/{kept.pk}/">reverts #1</a>' in head
    assert f'on <a href="/experiments/{kept.pk}/">#1</a>' in head
    assert f"/programs/{run.program.pk}/brief/1/" in head
    assert "← #1" in head


@pytest.mark.parametrize(
    ("kind", "word"), [(Kind.IDEA, "repairs"), (Kind.REBASE, "rebased from"), (Kind.REPEAT, "repeats")]
)
def test_the_relation_to_the_subject_is_said(signed_in: Client, run: Run, kind: Kind, word: str):
    experiment = make_experiment(run, State.READY, kind=kind, subject=run.best)
    assert f"{word} #0" in page_of(signed_in, experiment, "head")


@pytest.mark.parametrize(
    ("state", "kind", "fields", "expected"),
    [
        (State.FAILED, Kind.IDEA, {}, "No curve: it failed before the first step."),
        (State.READY, Kind.IDEA, {}, "The curve starts with the training."),
        (State.CANCELLED, Kind.IDEA, {}, "No log: it never trained."),
        (State.KEPT, Kind.BASELINE, {"diff": ""}, "No diff: the baseline is the program as it stands."),
        (State.KEPT, Kind.REPEAT, {"diff": ""}, "No diff: a repeat is the same commit with another seed."),
        (State.FAILED, Kind.IDEA, {"diff": "", "reason": "bad_patch"}, "No diff: the edit could not be used."),
        (State.PROPOSING, Kind.IDEA, {"diff": ""}, "The diff appears when the reply is complete"),
        (State.READY, Kind.REVERT, {}, "No prompt: a revert takes one commit back"),
        (State.PROPOSING, Kind.IDEA, {"summary": {}}, "The score and the training&#x27;s own numbers come here."),
    ],
)
def test_an_empty_part_says_why(
    signed_in: Client, run: Run, state: State, kind: Kind, fields: dict[str, Any], expected: str
):
    page = page_of(signed_in, make_experiment(run, state, kind=kind, **fields))
    assert expected.replace("&#x27;", "'") in page.replace("&#x27;", "'")


def test_the_exact_prompt_is_there(signed_in: Client, run: Run):
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "# Aim\nLower it."}]
    asked = page_of(signed_in, make_experiment(run, prompt=prompt), "asked")
    assert "Be brief." in asked
    assert "# Aim\nLower it." in asked


def test_theme_and_kind_of_idea_are_said(signed_in: Client, run: Run):
    head = page_of(signed_in, make_experiment(run, score=1.2, theme="<optimizer>", strategy="explore"), "head")
    assert "theme <b>&lt;optimizer&gt;</b>" in head and "kind of idea <b>explore</b>" in head
    assert "theme <b>" not in page_of(signed_in, make_experiment(run, score=1.2), "head")


def test_moves_say_who_and_why(signed_in: Client, run: Run):
    experiment = make_experiment(run, State.REVIEWING)
    experiment.reject(by="mara", why="the batch is fixed")
    history = page_of(signed_in, experiment, "history")
    assert "by mara" in history
    assert "the batch is fixed" in history


@pytest.mark.parametrize("name", ["experiment", "experiment-stream"])
def test_what_does_not_exist_is_a_404(signed_in: Client, run: Run, name: str):
    assert signed_in.get(reverse(name, args=[999, *(["log"] if "stream" in name else [])])).status_code == 404


def test_the_title_says_the_number_in_its_run_and_not_the_id(signed_in: Client, run: Run):
    make_experiment(make_run(run.program, tag="other"), score=1.2)
    experiment = make_experiment(run, State.KEPT, 1.2, description="Raise it")
    page = page_of(signed_in, experiment)
    assert "<title>#1 of small-gpt/demo · Raise it</title>" in page


def test_a_failure_shows_its_last_words_and_what_came_next(signed_in: Client, run: Run):
    failed = make_experiment(run, State.FAILED, reason="crash", detail="Exit code 1. The end of the log:\nboom <b>")
    add_text(failed, "log", "".join(f"line {i}\n" for i in range(500)) + "progress 1\rprogress 2\n\x1b[31mboom <b>\x1b[0m\n")
    head = page_of(signed_in, failed, "head")
    assert "progress 2\nboom &lt;b&gt;</pre>" in head
    assert "line 480" not in head
    assert head.count("boom") == 1
    assert "the next idea comes in a moment" in head
    following = make_experiment(run, State.TRAINING)
    assert f'<a href="/experiments/{following.pk}/">#2' in page_of(signed_in, failed, "head")
    repair = make_experiment(run, State.TRAINING, subject=failed)
    head = page_of(signed_in, failed, "head")
    assert "repaired it" in head
    assert f'<a href="/experiments/{repair.pk}/">#3' in head


def test_after_a_failure_that_paused_the_run_the_pause_is_said(signed_in: Client, run: Run):
    failed = make_experiment(run, State.FAILED, reason="crash")
    run.pause(by="loop", now=False, reason="circuit_breaker", why="Five failures in a row. Look at the log.")
    assert "The run is paused. Five failures in a row." in page_of(signed_in, failed, "head")


def test_a_verdict_that_is_due_says_what_to_look_at(signed_in: Client, run: Run):
    parent = make_experiment(run, State.KEPT, 1.25, summary={"peak_vram_mb": 1024.0})
    make_experiment(run, State.DISCARDED, 1.27, kind=Kind.REPEAT, subject=parent)
    asked = make_experiment(
        run, State.CONFIRMING, 1.24, parent=parent, badges=["verified", "implausible"], summary={"peak_vram_mb": 2048.0}
    )
    head = page_of(signed_in, asked, "head")
    for words_ in ("Read its diff", "below that of #1", "Memory: 2.0 GB, where #1 needed 1.0 GB", "+1 −1 lines"):
        assert words_ in head
    assert "this may be noise" in head
    assert "the branch autoresearch/demo moves to it" in head


def test_lineage_shows_what_repeats_repairs_or_reverts_it(signed_in: Client, run: Run):
    kept = make_experiment(run, State.KEPT, 1.2)
    again = make_experiment(run, State.DISCARDED, 1.21, kind=Kind.REPEAT, subject=kept)
    history = page_of(signed_in, kept, "history")
    assert f'href="/experiments/{again.pk}/"' in history
    assert "repeats it" in history


def test_an_idea_from_the_queue_names_its_author(signed_in: Client, run: Run):
    experiment = make_experiment(run, State.TRAINING)
    run.ideas.create(text="try a longer warm-up", author="mara", position=1, used_by=experiment)
    assert "From the queue of ideas, by mara: try a longer warm-up" in page_of(signed_in, experiment, "head")


def test_text_that_turns_letters_around_is_defused(signed_in: Client, run: Run):
    experiment = make_experiment(run, State.DISCARDED, 1.3, description=NASTY, hypothesis=NASTY, detail=NASTY)
    for part in ("head", "history"):
        assert not {"\u202e", "\x1b"} & set(page_of(signed_in, experiment, part))


def test_without_a_script_log_and_reply_are_there_as_text(signed_in: Client, run: Run):
    add_text(run.best, "log", "\x1b[32mready\x1b[0m <b>\n")
    add_text(run.best, "reply", "IDEA:\n\n<i>\n")
    add_points(run.best, [3.0, 2.0, float("nan"), 1.0, 1.5])
    page = page_of(signed_in, run.best)
    assert "ready &lt;b&gt;</pre></noscript>" in page
    assert "IDEA:\n\n&lt;i&gt;\n</pre></noscript>" in page
    assert page.count("<polyline points=") == 2  # a gap between them


def test_an_action_says_what_it_does_before_it_is_done(signed_in: Client, run: Run):
    head = page_of(signed_in, make_experiment(run, State.REVIEWING), "head")
    assert "it trains for 20 s on the next free device" in head
    assert "Its diff stays." in head
    assert "The training ends at once." in page_of(signed_in, make_experiment(run, State.TRAINING), "head")


# Actions


@pytest.mark.parametrize(
    ("state", "shown", "hidden"),
    [
        (State.REVIEWING, ["Approve", "Reject", "Cancel"], ["Revert this commit", "Roll"]),
        (State.CONFIRMING, ["Keep", "Discard", "Cancel"], ["Revert this commit"]),
        (State.TRAINING, ["Cancel"], ["Approve", "Reject"]),
        (State.KEPT, ["Revert this commit"], ["Cancel", "Approve", "Roll back to here"]),
        (State.REVERTED, ["Roll forward to here"], ["Cancel", "Revert this commit"]),
        (State.DISCARDED, [], ["Cancel", "Roll", "Approve", "Revert this commit"]),
    ],
)
def test_actions_fit_the_state(signed_in: Client, run: Run, state: State, shown: list[str], hidden: list[str]):
    head = page_of(signed_in, make_experiment(run, state, 1.2), "head")
    assert [word for word in shown if word not in head] == []
    assert [word for word in hidden if word in head] == []


def test_the_baseline_is_not_reverted(signed_in: Client, run: Run):
    assert "Revert this commit" not in page_of(signed_in, run.best, "head")


def test_approve_lets_it_train_and_wakes_the_run(signed_in: Client, run: Run, woken: list[int]):
    experiment = make_experiment(run, State.REVIEWING)
    answer = act(signed_in, "approve", experiment)
    experiment.refresh_from_db()
    assert (answer["Location"], experiment.state) == (f"/experiments/{experiment.pk}/", State.READY)
    assert experiment.moves.get().by == "owner"
    assert woken == [run.pk]


def test_a_double_click_approves_once_and_says_so(signed_in: Client, run: Run):
    experiment = make_experiment(run, State.REVIEWING)
    act(signed_in, "approve", experiment)
    page = signed_in.get(act(signed_in, "approve", experiment)["Location"]).text
    assert "there is nothing to approve" in page
    assert experiment.moves.count() == 1


def test_a_refused_action_is_a_409_for_htmx(signed_in: Client, run: Run, woken: list[int]):
    answer = act(signed_in, "approve", make_experiment(run, State.DISCARDED), HTMX)
    assert (answer.status_code, answer["Content-Type"]) == (409, "text/plain; charset=utf-8")
    assert "nothing to approve" in answer.text
    assert woken == []


def test_reject_keeps_the_reason(signed_in: Client, run: Run):
    experiment = make_experiment(run, State.REVIEWING)
    act(signed_in, "reject", experiment, why=" too\x00 risky " + "x" * 5000)
    experiment.refresh_from_db()
    assert experiment.state == State.CANCELLED
    assert experiment.detail.startswith("too risky x")
    assert len(experiment.detail) == 2000


def test_cancel(signed_in: Client, run: Run):
    experiment = make_experiment(run, State.TRAINING)
    assert act(signed_in, "cancel", experiment, HTMX).status_code == 204
    experiment.refresh_from_db()
    assert experiment.state == State.CANCELLED


def test_the_dialog_says_what_a_roll_back_takes_back_and_the_post_does_it(signed_in: Client, run: Run):
    first = make_experiment(run, State.KEPT, 1.2, description="first idea")
    second = make_experiment(run, State.KEPT, 1.1, description="second idea")
    head = page_of(signed_in, first, "head")
    assert "second idea" in head[head.index("Become reverted") :]
    act(signed_in, "roll-back", first)
    second.refresh_from_db()
    assert (run.best, second.state) == (first, State.REVERTED)
    again = page_of(signed_in, second, "head")
    assert "second idea" in again[again.index("Are kept again") :]
    act(signed_in, "roll-back", second)
    assert run.best == second


def test_rolling_to_what_was_never_kept_is_refused(signed_in: Client, run: Run):
    answer = act(signed_in, "roll-back", make_experiment(run, State.DISCARDED), HTMX)
    assert answer.status_code == 409
    assert "was never kept" in answer.text


def test_a_revert_leads_to_the_new_experiment(signed_in: Client, run: Run, monkeypatch: pytest.MonkeyPatch):
    kept = make_experiment(run, State.KEPT, 1.2)

    def revert(experiment: Experiment, *, by: str) -> Experiment:
        return make_experiment(run, State.READY, kind=Kind.REVERT, subject=experiment, worker=by)

    monkeypatch.setattr(tasks, "revert", revert)
    answer = act(signed_in, "revert", kept)
    made = Experiment.objects.get(kind=Kind.REVERT)
    assert (answer["Location"], made.worker) == (f"/experiments/{made.pk}/", "owner")


def test_a_revert_in_conflict_says_so(signed_in: Client, run: Run, monkeypatch: pytest.MonkeyPatch):
    def revert(experiment: Experiment, *, by: str) -> Experiment:
        raise StateError("train.py was changed again by a later keep.")

    monkeypatch.setattr(tasks, "revert", revert)
    answer = act(signed_in, "revert", run.best, HTMX)
    assert (answer.status_code, answer.text) == (409, "train.py was changed again by a later keep.")


@pytest.mark.parametrize("name", ["approve", "reject", "cancel", "roll-back", "revert"])
def test_actions_are_posts_by_who_is_signed_in(signed_in: Client, run: Run, name: str):
    url = reverse(f"experiment-{name}", args=[run.best.pk])
    assert signed_in.get(url)["Location"] == f"/experiments/{run.best.pk}/"
    assert not run.best.moves.exists()
    assert reverse("sign-in") in Client().post(url)["Location"]
    assert signed_in.post(reverse(f"experiment-{name}", args=[999])).status_code == 404


@pytest.mark.parametrize(("target", "local"), [("/runs/1/", True), ("https://evil.example/", False)])
def test_an_action_goes_back_to_this_site_only(signed_in: Client, run: Run, target: str, local: bool):
    answer = act(signed_in, "cancel", make_experiment(run, State.TRAINING), next=target)
    assert (answer["Location"] == target) == local


# Numbers


def test_measures_stand_beside_the_parents():
    rows = measures(
        Outcome(1.2, {"peak_vram_mb": 2048.0, "num_steps": 1200, "depth": 3}),
        Outcome(1.25, {"peak_vram_mb": 1024.0, "num_steps": 1300, "depth": 3}),
        metric="val_bpb", lower_is_better=True,
    )  # fmt: skip
    assert [(row.label, row.value, row.delta, row.better) for row in rows] == [
        ("val_bpb", "1.200000", "−0.050000 (−4.00%)", True),
        ("Memory", "2.0 GB", "+1.0 GB", None),
        ("Steps", "1,200", "−100", None),
        ("Depth", "3", "=", None),
    ]


def test_a_direction_is_a_shape_and_a_word_not_only_a_colour():
    mine = Outcome(1.2, {"num_steps": 90, "total_tokens_m": 10.0, "training_seconds": 20.0, "mfu_percent": 31.0})
    parent = Outcome(1.25, {"num_steps": 100, "mfu_percent": 31.0})
    rows = {row.label: row for row in measures(mine, parent, metric="val_bpb", lower_is_better=True)}
    assert (rows["val_bpb"].shape, rows["val_bpb"].word) == ("▼", "better")
    assert (rows["Steps"].shape, rows["Steps"].word) == ("▼", "")
    assert (rows["MFU"].shape, rows["MFU"].delta) == ("", "=")
    assert rows["Tokens/s"].value == "500,000"


@pytest.mark.parametrize(("lower_is_better", "better"), [(True, False), (False, True)])
def test_better_depends_on_the_direction(lower_is_better: bool, better: bool):
    (row,) = measures(Outcome(2.0, {}), Outcome(1.0, {}), metric="m", lower_is_better=lower_is_better)
    assert row.better is better


def test_removed_lines_that_begin_with_dashes_are_counted(signed_in: Client, run: Run):
    diff = "--- a/query.sql\n+++ b/query.sql\n@@ -1,2 +1 @@\n--- a comment\n select 1\n"
    facts = page_of(signed_in, make_experiment(run, diff=diff), "facts")
    assert '<span class="good">+0</span> <span class="bad">−1</span>' in facts


def test_what_is_no_number_is_left_out():
    summary = {"depth": "deep", "num_steps": None, "mfu_percent": float("nan"), "ok": True, "extra": 1.5}
    assert [row.label for row in measures(Outcome(None, summary), None, metric="m", lower_is_better=True)] == ["extra"]


def test_the_prompt_card_says_its_size_and_what_was_left_out(admin_client):
    experiment = make_experiment(make_run(), prompt=[{"role": "user", "content": "x" * 54_900}], prompt_limit=26_000)
    url = f"/experiments/{experiment.pk}/?part=asked"
    assert "About 18,300 tokens of at most 26,000. Nothing was left out." in admin_client.get(url).content.decode()
    experiment.prompt_cut = ["the diffs of 3 keeps", "<b>"]
    experiment.save()
    assert "Left out for lack of room: the diffs of 3 keeps; &lt;b&gt;." in admin_client.get(url).content.decode()
    experiment.prompt = []
    experiment.save()
    assert "tokens" not in admin_client.get(url).content.decode()


def test_a_scored_one_is_repeated_with_another_seed(signed_in: Client, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("experiments.loop.actions.Workspace", lambda repo: type("W", (), {"set_ref": lambda *args: None})())
    kept = make_experiment(run, State.KEPT, 1.5)
    failed = make_experiment(run, State.FAILED)
    assert "Repeat with another seed" in signed_in.get(f"/experiments/{kept.pk}/").content.decode()
    assert "Repeat with another seed" not in signed_in.get(f"/experiments/{failed.pk}/").content.decode()
    page = signed_in.post(f"/experiments/{kept.pk}/repeat/", follow=True).content.decode()
    made = run.experiments.get(kind="repeat")
    assert (made.seed, made.commit, made.state) == (kept.seed + 1, kept.commit, "ready")
    assert f"repeats #{kept.number} with seed {made.seed}" in page
    assert signed_in.post(f"/experiments/{failed.pk}/repeat/", headers={"HX-Request": "true"}).status_code == 409
