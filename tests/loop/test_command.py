"""External agents through the whole engine: proposed, trained, kept; what goes wrong ends in a clear state."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.loop import actions, engine
from experiments.models import Experiment, Program, stream
from experiments.states import RunState, State
from tests.loop.conftest import look, wait_for
from tests.researcher.agents import SCRIPTS, alive
from trainer.agent import joined
from trainer.sandbox import BUBBLEWRAP, level

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.sqlite_is_enough,
    pytest.mark.skipif(level().name != BUBBLEWRAP, reason=level().why or "never"),
]


@pytest.fixture(autouse=True)
def agents(settings):
    settings.AGENT_READ = [str(SCRIPTS)]
    yield Path(settings.AGENT_DIR)
    assert alive(Path(settings.AGENT_DIR)) == [] and not list(Path(settings.AGENT_DIR).glob("agent-*"))


@pytest.fixture
def begin(make_script_program, loop):
    """A run whose baseline is trained, of a program with this agent."""

    def begin(script: str, *arguments: str, **fields):
        path = str(SCRIPTS / script)
        command = ["{python}", path, *arguments] if script.endswith(".py") else [path, *arguments]
        program = make_script_program("score", script, researcher="command", agent_command=command, **fields)
        run = actions.start_run(program, "night", by="ada")
        loop.baseline(run)
        return run

    return begin


def reply_of(experiment: Experiment) -> str:
    return "".join(stream.read(experiment, stream.REPLY).chunks)


def test_an_agents_edit_is_trained_and_its_output_is_the_reply(begin, loop):
    run = begin("good.py")
    idea = loop.finish(run, 2)[1]
    assert (idea.state, idea.description) == (State.KEPT, "a higher matrix rate")
    assert (idea.tokens_in, idea.tokens_out, idea.cost) == (1200, 340, 0.0125)
    assert "-MATRIX_LR = 0.04\n+MATRIX_LR = 0.05" in idea.diff and '"search": "import time' not in idea.edits
    reply = reply_of(idea)
    assert reply.startswith(f"[Output of an external agent: {joined(run.program.agent_command)}. It runs in a sandbox")
    assert "IDEA: a higher matrix rate\n" in reply and "+MATRIX_LR = 0.05" in reply
    assert "Edit in place: train.py" in idea.prompt[0]["content"] and "SEARCH" not in idea.prompt[0]["content"]
    assert idea.moves.get(new=State.READY).by.endswith("(external agent)")


def test_a_night_of_agents_sees_what_was_tried_and_says_no_cost(begin, loop):
    run = begin("tuner.sh")
    ideas = loop.finish(run, 4)[1:]
    assert [idea.description for idea in ideas] == ["Matrix rate 0.051", "Matrix rate 0.052", "Matrix rate 0.053"]
    assert {idea.cost for idea in ideas} == {None}


def test_no_change_is_a_bad_patch_and_what_it_printed_is_no_edit(begin, loop):
    run = begin("idle.py")
    idea = loop.finish(run, 2)[1]
    assert (idea.state, idea.reason) == (State.FAILED, "bad_patch")
    assert "The agent changed none of the files that may be edited (train.py)" in idea.detail
    reply = reply_of(idea)
    assert reply.count("<<<<<<< SEARCH") == 2 and "Asked again, 1 left" in reply  # asked twice, then it is given up


def test_invalid_python_goes_back_once_with_the_error(begin, loop):
    idea = loop.finish(begin("repairs.py"), 2)[1]
    assert (idea.state, idea.description) == (State.KEPT, "mended")
    assert "is no Python after the edit" in reply_of(idea) and len(idea.prompt) == 4


def test_a_missing_command_pauses_the_run_and_is_named(begin, loop):
    run = begin("good.py")
    Program.objects.update(agent_command=["no-such-agent", "-p"])
    loop.until(run, lambda: run.state == RunState.PAUSED)
    assert "The agent's command no-such-agent was not found on this machine" in run.detail


def test_a_hang_fails_the_proposal_and_the_loop_goes_on(begin, loop):
    run = begin("hang.py", agent_seconds=1)
    idea = loop.finish(run, 2)[1]
    assert (idea.state, idea.reason) == (State.FAILED, "researcher_error") and "still running after 1 s" in idea.detail
    assert "working\n" in reply_of(idea)
    Program.objects.update(agent_command=["{python}", str(SCRIPTS / "good.py")])
    assert loop.finish(run, 3)[2].state == State.KEPT


def test_what_it_cost_counts_though_its_edit_cannot_be_used(begin, loop):
    code = "print('COST_USD=0.25')"
    run = begin("good.py")
    Program.objects.update(agent_command=["{python}", "-c", code])
    idea = loop.finish(run, 2)[1]
    assert (idea.reason, idea.cost) == ("bad_patch", 0.5)  # asked twice


def test_a_cancelled_proposal_ends_a_silent_agent(begin, agents, worker):
    run = begin("hang.py")
    idea = wait_for(lambda: next((pk for stage, pk in look(run) if stage == "propose"), None))
    proposing = worker(engine.propose, idea)
    wait_for(lambda: any("sleep" in process.name() for process in alive(agents)))
    Experiment.objects.get(pk=idea).cancel(by="ada")
    proposing.result(15)
    assert Experiment.objects.get(pk=idea).state == State.CANCELLED and alive(agents) == []


def test_a_crash_of_its_edit_is_given_back_to_it(begin, loop):
    crashed, repaired = loop.finish(begin("crash.py"), 3)[1:]
    assert (crashed.state, crashed.reason) == (State.FAILED, "crash")
    assert repaired.subject == crashed and (repaired.state, repaired.description) == (State.KEPT, "repaired")


def test_hostile_output_reaches_the_database_as_text(begin, loop):
    idea = loop.finish(begin("controls.py"), 2)[1]
    assert idea.state == State.KEPT and idea.description == "<b>bold</b> idea"
    assert "<script>alert(1)</script>" in reply_of(idea) and "\0" not in reply_of(idea) and "\x1b" not in reply_of(idea)


def test_edits_of_fixed_files_do_not_reach_the_commit(begin, loop):
    idea = loop.finish(begin("meddle.py"), 2)[1]
    assert idea.state == State.KEPT and "prepare.py" not in idea.diff and "prepare.py" not in idea.edits
    assert "[Ignored: " in reply_of(idea)


def test_two_runs_at_once(begin, loop, worker):
    runs = [begin("good.py"), begin("claude_like.py")]
    ideas = [pk for run in runs for stage, pk in look(run) if stage == "propose"]
    for proposing in [worker(engine.propose, pk) for pk in ideas]:
        proposing.result(30)
    rows = Experiment.objects.filter(pk__in=ideas).order_by("pk")
    assert [row.description for row in rows] == ["a higher matrix rate", "a rate of 0.13"]
