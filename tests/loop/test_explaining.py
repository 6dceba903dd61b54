"""A person asks about a result: the model is asked once, its answer and its price are kept with the experiment."""

from __future__ import annotations

import pytest

from experiments.loop import explaining
from experiments.models import Experiment
from experiments.researcher.base import ResearcherAway
from experiments.states import State, StateError
from tests.factories import make_experiment, make_program, make_run
from tests.loop.scripted import Reply, Scripted

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(make_script_program):
    program = make_script_program("score", researcher="litellm", model="openai/standin")
    from experiments.loop import actions

    return actions.start_run(program, "night", by="ada")


@pytest.fixture
def model(monkeypatch):
    def answers(*replies: Reply) -> Scripted:
        researcher = Scripted(*replies)
        monkeypatch.setattr(explaining, "researcher_of", lambda program: researcher)
        return researcher

    return answers


def finished(run, state=State.DISCARDED, **fields) -> Experiment:
    base = make_experiment(run, State.KEPT, 1.5, number=0, commit=run.base_commit)
    return make_experiment(run, state, 1.6, number=1, parent=base, **fields)


def test_the_answer_is_kept_and_counted_once(run, model):
    scripted = model("Too hot: the loss rose \x1b[31mafter\x1b[0m step 100.")
    experiment = finished(run)
    place = explaining.ask(experiment, "Why?", by="ada")
    for _ in range(2):  # the message came twice
        explaining.answer(experiment.pk, place)
    experiment.refresh_from_db()
    one = experiment.explanations[0]
    assert (one["question"], one["by"], one["text"]) == ("Why?", "ada", "Too hot: the loss rose after step 100.")
    assert (len(scripted.messages), experiment.tokens_in, experiment.cost) == (1, 10, 0.01)
    assert "#1 to be explained" in run.moves.values_list("new", flat=True)


def test_an_error_stands_where_the_answer_would(run, model):
    model(ResearcherAway("no reply in 5 tries."))
    experiment = finished(run)
    explaining.answer(experiment.pk, explaining.ask(experiment, "", by="ada"))
    experiment.refresh_from_db()
    assert experiment.explanations[0]["error"] == "no reply in 5 tries. Then ask again."
    run.refresh_from_db()
    assert run.is_active and run.away_since is None


def test_a_failure_comes_with_the_end_of_its_log(run, model):
    from tests.factories import add_text

    scripted = model("Shapes.")
    experiment = finished(run, State.FAILED)
    add_text(experiment, "log", "RuntimeError: shapes do not match\n")
    explaining.answer(experiment.pk, explaining.ask(experiment, "", by="ada"))
    assert "shapes do not match" in scripted.messages[0][1].content


def test_what_cannot_be_explained_is_refused(run):
    experiment = finished(run)
    run.set_limits(max_experiments=None, hours=None, max_tokens=1000, by="ada")
    Experiment.objects.filter(pk=experiment.pk).update(tokens_in=2000)
    with pytest.raises(StateError, match="Raise the limit first"):
        explaining.ask(experiment, "", by="ada")
    with pytest.raises(StateError, match="is not finished"):
        explaining.ask(make_experiment(run, State.TRAINING, number=2), "", by="ada")
    with pytest.raises(StateError, match="Only an LLM"):
        explaining.ask(finished(make_run(make_program("swept"))), "", by="ada")
