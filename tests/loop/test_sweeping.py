"""A sweep that the model asks for: its reply is the first step, the others are tried without asking it."""

from __future__ import annotations

import pytest

from experiments.loop import actions
from experiments.models import Idea
from experiments.states import State
from tests.loop.scripted import change, edit

pytestmark = pytest.mark.django_db(transaction=True)
ASKS = "IDEA: Find the rates\nHYPOTHESIS: They are off.\nTHEME: learning rate\n"
ASKS += "SWEEP: MATRIX_LR=0.05..0.12 over 4 experiments\n"


@pytest.fixture
def start(make_script_program, loop):
    def start(**options):
        run = actions.start_run(make_script_program("score", budget_seconds=1), "night", by="ada", **options)
        loop.baseline(run)
        return run

    return start


def test_a_sweep_goes_on_by_itself_and_the_model_is_asked_again_after_it(start, loop, answers):
    run = start()
    researcher = answers(ASKS, change("WARMDOWN", 0.8))
    rows = loop.finish(run, 6)[1:]
    steps, after = rows[:4], rows[4]
    assert len(researcher.messages) >= 2 and after.description == "WARMDOWN 0.8"
    assert researcher.contexts[1].history[-1].number >= 4
    for at, step in enumerate(steps, 1):
        assert step.description.startswith(f"sweep {at} of 4 (asked by #1): MATRIX_LR ")
        assert step.kind == "idea" and step.theme == "learning rate" and step.score is not None
        place = step.memo["sweep"]
        assert (place["asked_by"], place["at"], place["of"]) == (1, at, 4)
        assert 0.05 <= place["values"]["MATRIX_LR"] <= 0.12
    assert "Find the rates" in steps[0].hypothesis
    assert len({step.memo["sweep"]["values"]["MATRIX_LR"] for step in steps}) == 4
    assert run.sweep_order == {}


def test_what_is_left_is_kept_with_the_run_and_can_be_dropped(start, loop, answers):
    run = start()
    researcher = answers(ASKS, change("WARMDOWN", 0.8))
    loop.until(run, lambda: run.experiments.filter(number=1, state__in=[State.READY, State.TRAINING]).exists())
    run.refresh_from_db()
    assert run.sweep_order == {
        "file": "train.py", "constants": {"MATRIX_LR": [0.05, 0.12]}, "of": 4, "left": 3, "asked_by": 1,
    }
    assert run.drop_sweep(by="ada") and not run.drop_sweep(by="ada")
    loop.finish(run, 3)
    assert run.experiments.get(number=2).description == "WARMDOWN 0.8" and len(researcher.messages) >= 2
    assert [move.by for move in run.moves.filter(new="sweep dropped")] == ["ada"]


def test_a_persons_idea_goes_before_the_rest_of_a_sweep(start, loop, answers):
    run = start()
    answers(ASKS, change("WARMDOWN", 0.8))
    loop.until(run, lambda: run.experiments.filter(number=1).exclude(state=State.PROPOSING).exists())
    Idea.add(run, "Try a longer warmdown", by="ada")
    rows = loop.finish(run, 4)
    names = [row.description for row in rows[1:]]
    assert "WARMDOWN 0.8" in names[:3] and any(name.startswith("sweep 2 of 4") for name in names)


def test_a_sweep_whose_constant_is_gone_ends_and_the_model_is_asked(start, loop, answers):
    run = start()
    run.sweep_order = {"file": "train.py", "constants": {"GONE": [1, 2]}, "of": 4, "left": 3, "asked_by": 0}
    run.save()
    answers(change("WARMDOWN", 0.8))
    loop.finish(run, 2)
    assert run.experiments.get(number=1).description == "WARMDOWN 0.8" and run.sweep_order == {}
    assert "GONE is no number in capitals" in run.moves.get(new="sweep dropped").why


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("SWEEP: NOTHING=1..2 over 3 experiments", "There are: DECAY, MATRIX_LR, STEPS, WARMDOWN"),
        ("SWEEP: STEPS=4..6 over 6 experiments", "3 combinations: too few for 6"),
        ("SWEEP: MATRIX_LR=0.1..0.2 over 40 experiments", "from 2 to 12"),
    ],
)
def test_an_order_that_cannot_be_met_goes_back_with_words(start, loop, answers, line, message):
    run = start()
    researcher = answers(f"IDEA: x\n{line}\n", change("WARMDOWN", 0.8), can_repair=True)
    loop.finish(run, 2)
    assert message in researcher.messages[1][-1].content
    assert run.experiments.get(number=1).description == "WARMDOWN 0.8" and run.sweep_order == {}


def test_a_memo_cannot_pass_for_a_step(start, loop, answers):
    run = start()
    answers('MEMO: {"sweep": {"asked_by": 0}, "mine": 1}\n' + edit("Less decay", "DECAY = 0.1", "DECAY = 0.05"))
    assert loop.finish(run, 2)[1].memo == {"mine": 1}


# What the reply lists for later


def test_ideas_for_later_wait_behind_those_of_people_and_are_not_orders(start, loop, answers):
    run = start(max_experiments=4)
    listed = "NEXT: Wider heads\nNEXT: A longer warmdown\n"
    researcher = answers(
        listed + edit("Less decay", "DECAY = 0.1", "DECAY = 0.05"),
        "NEXT: wider HEADS!\n" + edit("A longer warmdown", "WARMDOWN = 0.5", "WARMDOWN = 0.8"),
        change("STEPS", 5),
    )
    loop.finish(run, 4)
    own = {idea.text: idea for idea in run.ideas.filter(author="researcher")}
    assert set(own) == {"Wider heads", "A longer warmdown"}  # once each
    assert own["A longer warmdown"].used_by.description == "A longer warmdown" and own["Wider heads"].is_open
    prompt = researcher.messages[1][-1].content
    assert "# Ideas that you listed earlier and did not use\n\n1. Wider heads" in prompt
    assert "# Queue of ideas" not in prompt and "# What is due" in prompt
    Idea.add(run, "A person's own", by="ada")
    assert [idea.text for idea in run.ideas.waiting()] == ["A person's own", "Wider heads"]


def test_a_researcher_fills_no_queue(start):
    run = start()
    added = [Idea.add_own(run, [f"idea {n} {m}" for m in "abc"], source=1) for n in range(10)]
    assert sum(added) == run.ideas.own().count() == 20
    Idea.add(run, "last by a person", by="ada")
    assert run.ideas.waiting().first().text == "last by a person"
