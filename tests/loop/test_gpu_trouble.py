"""A GPU that fails under a training: no idea is to blame, the run pauses with the next step, and nothing loops.

The cards are NVML's stand-in; the trainings, and what is tried in the sandbox, are real.
"""

from __future__ import annotations

import re

import pytest

from experiments.loop import actions, devices, gpu_trouble, training
from experiments.models import Move, stream
from experiments.states import Failure, RunState, State
from tests.loop.conftest import look, ready
from tests.loop.scripted import become, change, edit
from tests.standin_nvml import Handle, StandInNvml
from trainer import gpus

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]


without_gpu = pytest.mark.skipif(gpus.devices() != ("cpu",), reason="there is a GPU, and torch may use it")
NO_GPU = r"torch \S+ cannot use the GPU 0: (Torch not compiled with CUDA enabled|Found no NVIDIA driver)"  # by torch's build


@pytest.fixture
def cards(monkeypatch):
    """Two of them; the machine trains on the first until a test says otherwise."""
    cards = [Handle("GPU-one"), Handle("GPU-two")]
    monkeypatch.setattr(gpus, "pynvml", StandInNvml(cards))
    monkeypatch.setattr(devices, "names", lambda: ("0",))
    devices.facts.cache_clear()
    yield cards
    devices.facts.cache_clear()


@pytest.fixture
def run(cards, make_script_program, loop, answers):
    """A run whose baseline was kept on the first card."""
    run = actions.start_run(make_script_program("score", budget_seconds=1), "night", by="ada")
    answers(change("MATRIX_LR", 0.09))
    assert loop.finish(run, 1)[0].device == "0"
    return run


def lose(card, monkeypatch):
    """From now on the card is gone when a training of it has ended."""
    follow = training.follow

    def and_lose(experiment, *more):
        outcome = follow(experiment, *more)
        card.is_gone = card.is_gone or experiment.device == "0"
        return outcome

    monkeypatch.setattr(training, "follow", and_lose)


def says(words: str) -> str:
    return edit("Says", "STEPS = 4", f'STEPS = 4\nraise RuntimeError("{words}")')


def test_a_card_that_is_lost_pauses_the_run_and_nothing_loops(run, cards, loop, answers, monkeypatch):
    answers(says("CUDA error: unspecified launch failure"))
    lose(cards[0], monkeypatch)
    loop.until(run, lambda: run.state == RunState.PAUSED)
    idea = run.experiments.get(number=1)
    assert (run.reason, idea.state, idea.reason, idea.score) == ("device", State.READY, "", None)
    assert "GPU 0 is not there: NVIDIA's driver does not list it. See `nvidia-smi`" in run.detail
    moves = Move.objects.count()
    for _ in range(5):
        assert "train" not in dict(look(run))
    assert Move.objects.count() == moves and idea.attempt <= 3
    run.resume(by="ada")
    loop.until(run, lambda: run.state == RunState.PAUSED)  # and again, with no training
    assert run.experiments.get(number=1).training_at == idea.training_at


def test_with_another_card_it_goes_on_there(run, cards, loop, answers, monkeypatch):
    monkeypatch.setattr(devices, "names", lambda: ("0", "1"))
    lose(cards[0], monkeypatch)
    answers(become("crash"))
    failed = loop.finish(run, 2)[1]
    assert (failed.state, failed.reason, failed.device) == (State.FAILED, Failure.CRASH, "1")  # there it is its own fault
    why = failed.moves.filter(old=State.TRAINING, new=State.READY).get().why
    assert why.startswith("While #1 trained, its card was lost: GPU 0 is not there")


ECC = "CUDA error: uncorrectable ECC error encountered"


def test_what_only_a_card_does_is_tried_once_more_and_then_it_is_the_edits_own_fault(run, loop, answers):
    """A log may say so whatever the card does: it must not stop the night."""
    answers(says(ECC), change("MATRIX_LR", 0.09))
    failed = loop.finish(run, 2)[1]
    assert (failed.state, failed.reason, failed.attempt) == (State.FAILED, Failure.CRASH, 2)
    why = failed.moves.filter(old=State.TRAINING, new=State.READY).get().why
    assert why.startswith("GPU 0 failed while #1 trained: uncorrectable ECC error")


@pytest.fixture
def asked(run, monkeypatch):
    """Our own try of the card says this; only programs with an exam are tried."""
    said: list[str] = [""]
    monkeypatch.setattr(gpu_trouble, "_try", lambda _device: said[0])
    monkeypatch.setattr(type(run.program), "has_exam", True)
    return said


LOGS = (
    "CUDA error: unspecified launch failure", "CUDA error: no CUDA-capable device is detected",
    "CUDA driver version is insufficient for CUDA runtime version", "HIP error: invalid device function",
    "Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
    "Found no NVIDIA driver on your system", "prepare: torch 2.13.0 cannot use the GPU 0: it sees none.",
)  # fmt: skip


def test_a_log_about_cuda_is_believed_only_where_our_own_code_fails_too(run, asked):
    idea = ready(run)
    for words in LOGS:
        asked[0], idea.device = "", "0"
        assert gpu_trouble.found(idea, Failure.CRASH, words) == "", words
        asked[0] = "torch 2.13.0 cannot use the GPU 0"
        assert gpu_trouble.found(idea, Failure.CRASH, words) == asked[0], words
        assert gpu_trouble.found(idea, Failure.OOM, words) == ""
        assert gpu_trouble.found(idea, Failure.CRASH, "ValueError: cuda") == ""
        idea.device = "cpu"
        assert gpu_trouble.found(idea, Failure.CRASH, words) == ""


def test_the_second_time_our_own_code_must_fail_too(run, asked):
    idea = ready(run)
    idea.device = "0"
    assert gpu_trouble.found(idea, Failure.CRASH, ECC).startswith("GPU 0 failed while #1 trained")
    idea.losses = 1
    assert gpu_trouble.found(idea, Failure.CRASH, ECC) == ""
    asked[0] = "torch 2.13.0 cannot use the GPU 0"
    assert gpu_trouble.found(idea, Failure.CRASH, ECC) == asked[0]


@without_gpu
def test_our_own_try_goes_the_way_of_a_training_and_says_what_is_missing(cards, settings):
    assert re.match(NO_GPU, gpu_trouble._try("0"))
    assert gpu_trouble._try("cpu") == ""


@without_gpu
@pytest.mark.timeout(240)
def test_the_first_training_says_in_one_line_why_torch_cannot_use_the_card_and_takes_no_cpu(cards, loop, tmp_path):
    """As with a driver too old: all is real but the card."""
    (tmp_path / "train.py").write_text("import prepare\nprint('trains on', prepare.pick_device())\n")
    run = actions.start_run(actions.create_program("first", template=tmp_path), "night", by="ada")
    loop.until(run, lambda: run.state == RunState.PAUSED)
    baseline = run.experiments.get()
    assert (run.reason, baseline.state, baseline.reason, baseline.attempt) == ("device", State.READY, "", 3)
    assert re.fullmatch(f"{NO_GPU}.*", run.detail)
    assert "trains on" not in "".join(stream.read(baseline, stream.LOG).chunks)


def test_a_run_of_a_gpu_does_not_go_on_without_one(run, cards, loop, monkeypatch):
    idea = ready(run)
    monkeypatch.setattr(gpus, "pynvml", StandInNvml(trouble="Driver/library version mismatch"))
    monkeypatch.setattr(devices, "names", devices.functools.cache(lambda: ("cpu",)))
    loop.until(run, lambda: run.state == RunState.PAUSED)
    idea.refresh_from_db()
    assert (run.reason, idea.state, idea.training_at) == ("device", State.READY, None)
    assert run.detail.startswith("This run trained on NVIDIA H100 80GB HBM3, and now no GPU is found (its driver says: ")
