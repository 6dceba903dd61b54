"""Weights that were learned elsewhere, written into an edit: none of it trains unless a person has looked at it."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

from experiments.loop import actions, payload
from experiments.states import Failure, Mode, State
from tests.loop.scripted import change, edit

TEMPLATE = Path(__file__).resolve().parents[2] / "trainer" / "template"
TRAIN = (TEMPLATE / "train.py").read_text()
WEIGHTS = random.Random(1).randbytes(90_000)
IN_BASE64 = base64.b64encode(WEIGHTS).decode()


def found(text: str, before: str = TRAIN) -> str:
    return payload.find({"train.py": before}, {"train.py": before + text})


@pytest.mark.parametrize(
    "text",
    [
        f"W = {IN_BASE64!r}\n",
        f"W = {WEIGHTS!r}\n",
        "".join(f"W{n} = {IN_BASE64[n : n + 60]!r}\n" for n in range(0, len(IN_BASE64), 60)),
        "".join(f"# {IN_BASE64[n : n + 60]}\n" for n in range(0, len(IN_BASE64), 60)),
        f"W = [{', '.join(f'{number / 255:.3f}' for number in WEIGHTS)}]\n",
        "".join(f"++ {IN_BASE64[n : n + 60]}\n" for n in range(0, len(IN_BASE64), 60)),
    ],
    ids=["base64", "bytes", "many strings", "comments", "numbers", "like a diff's own lines"],
)
def test_weights_in_any_disguise_are_seen(text: str) -> None:
    assert "kB even when compressed" in found(text)


def test_the_words_say_what_and_how_much() -> None:
    words = found(f"W = {IN_BASE64!r}\n")
    assert "It adds 91 kB" in words and "120,006 characters, begins \"W = '" in words and "16 kB" in words


def test_code_is_none() -> None:
    shipped = {path.name: path.read_text() for path in TEMPLATE.glob("*.py")}
    for name, text in shipped.items():
        assert not payload.find({name: ""}, {name: text}), "all of it new"
    assert not payload.find({"train.py": TRAIN}, {"train.py": "\n".join(reversed(TRAIN.splitlines()))})
    assert not found("TABLE = [0.0] * 100_000\n" + f"ZEROS = {[0] * 10_000!r}\n")


def test_what_was_there_before_may_stay_and_move() -> None:
    heavy = f"W = {IN_BASE64!r}\n"
    assert not payload.find({"train.py": heavy + TRAIN}, {"train.py": TRAIN + heavy})
    assert found(heavy, before=heavy), "once more"


# In a run

HEAVY = edit("Better first weights", "DECAY = 0.1", f"DECAY = 0.1\nW = {IN_BASE64!r}")


@pytest.fixture
def start(make_script_program, loop):
    def start(mode: Mode = Mode.AUTOPILOT):
        run = actions.start_run(make_script_program("score", budget_seconds=1), "night", by="ada", mode=mode)
        loop.baseline(run)
        return run

    return start


@pytest.mark.django_db(transaction=True)
def test_in_autopilot_it_fails_before_any_device_time(start, loop, answers):
    run = start()
    answers(HEAVY, change("WARMDOWN", 0.1))
    failed = loop.finish(run, 2)[1]
    assert (failed.state, failed.reason, failed.training_at) == (State.FAILED, Failure.BAD_PATCH, None)
    assert "It adds 91 kB" in failed.detail
    assert State.REVIEWING not in failed.moves.values_list("new", flat=True), "nobody is called for it"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("mode", [Mode.APPROVE_KEEPS, Mode.APPROVE_DIFFS])
def test_where_a_person_is_asked_it_waits_for_them(mode, start, loop, answers, client, user):
    run = start(mode)
    answers(HEAVY, change("WARMDOWN", 0.1))
    loop.until(run, lambda: run.needs())
    loop.step(run)
    heavy = run.experiments.get(number=1)
    assert heavy.state == State.REVIEWING and "It adds 91 kB" in heavy.detail
    client.force_login(user)
    for page in ("/", f"/runs/{run.pk}/", f"/experiments/{heavy.pk}/"):
        assert "It adds 91 kB" in client.get(page).content.decode(), page
    heavy.approve(by="ada")
    assert (heavy.state, heavy.detail) == (State.READY, "")


@pytest.mark.django_db(transaction=True)
def test_when_nobody_is_asked_any_more_it_fails(start, loop, answers):
    run = start(Mode.APPROVE_KEEPS)
    answers(HEAVY, change("WARMDOWN", 0.1))
    loop.until(run, lambda: run.needs())
    run.set_mode(Mode.AUTOPILOT, by="ada")
    loop.step(run)
    heavy = run.experiments.get(number=1)
    assert (heavy.state, heavy.reason, heavy.training_at) == (State.FAILED, Failure.BAD_PATCH, None)
