"""What the loop tells the researcher beside the files: dynamics of trainings, noise, the budget that remains."""

from __future__ import annotations

import pytest

from experiments.loop import actions, proposing
from experiments.loop.dynamics import dynamics
from tests.factories import add_points
from tests.loop.scripted import change

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_prompt_has_dynamics_noise_and_what_remains(make_script_program, loop, answers):
    run = actions.start_run(make_script_program("score", budget_seconds=1), "night", by="ada", max_experiments=9)
    researcher = answers(change("DECAY", 0.9), change("STEPS", 5))
    loop.finish(run, 3)
    context = researcher.contexts[-1]
    best = context.dynamics[0]
    assert (best.number, best.what) == (run.best.number, "the best")
    assert best.curve[0].loss == 5.0 and best.curve[-1].percent == 100 and best.facts["steps"] == 4
    assert best.facts["tokens/s"] == 10_240 and best.facts["peak memory MB"] == 100
    assert context.sigma is None and "experiments" in context.remaining
    assert "- the best, #" in researcher.messages[-1][-1].content


def test_a_curve_is_read_at_six_places(make_script_program, loop):
    run = actions.start_run(make_script_program("score", budget_seconds=1), "night", by="ada")
    baseline = loop.finish(run, 1)[0]
    baseline.chunks.all().delete()
    add_points(baseline, [float(9 - n / 100) for n in range(301)])
    (best,) = dynamics(run)
    assert len(best.curve) == 6 and best.curve[-1].percent == 100


def test_money_and_tokens_that_remain(make_script_program):
    run = actions.start_run(make_script_program("score"), "night", by="ada")
    run.set_limits(max_experiments=None, hours=None, by="ada", max_cost=2.0, max_tokens=5_000, max_without_gain=7)
    assert proposing.remaining(run) == "$2.00, 5,000 tokens, 7 more without a gain"
