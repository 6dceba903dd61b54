"""The file of the logits is the training's to write at any time: what it writes late must not count."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.test_exam import SECRET, TEXT, VOCAB, T, honest, remembering, sensible_rows_only
from trainer import judge
from trainer.checks import LAST_SIGMAS
from trainer.desk import SLOTS, Desk
from trainer.exam import Exam
from trainer.judge import HeldOut
from trainer.paper import rows_per_batch
from trainer.scoring import FileAnswer, Floats, Integers, Scorer
from trainer.spec import ExamSpec


@dataclass(frozen=True)
class Swapped:
    """The fastest that can be: what has been read once holds other logits at once."""

    file: FileAnswer
    later: bytes
    positions: int
    vocab: int

    def read(self, first: int, count: int) -> Floats:
        found = self.file.read(first, count)
        size = 4 * self.vocab
        os.pwrite(self.file.file, self.later[first * size : (first + count) * size], first * size)
        return found


def leaky(x: Integers) -> Floats:
    """Peeks where no dice are, and where it is not compared with the last position."""
    leaked = sensible_rows_only(x)
    leaked[:, T // 2 :] = honest(x)[:, T // 2 :]
    return leaked


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    opened = os.open(tmp_path / "logits", os.O_RDWR | os.O_CREAT)
    yield opened
    os.close(opened)


def test_honest_looks_swapped_in_for_the_logits_that_were_scored_change_nothing(file: int) -> None:
    for seed in range(3):
        rows = rows_per_batch(8, TEXT, VOCAB)
        exam = Exam({"text": TEXT, "secret": SECRET}, rows, VOCAB, np.random.default_rng(seed), scorer=Scorer())
        for questions in exam.stages():
            for question in questions:
                os.pwrite(file, leaky(question.x).tobytes(), 0)
                answer = FileAnswer(file, 0, "float32", rows * T, VOCAB)
                exam.mark(question, Swapped(answer, honest(question.x).tobytes(), rows * T, VOCAB))
        marks = exam.marks()
        assert marks.problem == "leak", marks
        assert "when only later tokens were replaced" in marks.detail


class Late(Desk):
    """With the fastest training that can be: it has read a question, gone back over its last answer and given the next
    before the judge does anything else."""

    model = staticmethod(remembering(sensible_rows_only))
    given: Floats | None = None

    def ask(self, x: Integers) -> None:
        slot, before = self.asked % SLOTS, (self.asked - 1) % SLOTS
        super().ask(x)
        if self.given is not None:  # what follows each row is shown now
            self.given[:, -1] += 20 * np.eye(VOCAB, dtype=np.float32)[x[:, 0]]
            os.pwrite(self.logits, self.given.tobytes(), before * self.slot_bytes)
        self.given = self.model(x)
        os.pwrite(self.logits, self.given.tobytes(), slot * self.slot_bytes)
        answer = {"answer": self.asked - 1, "slot": slot, "shape": (*x.shape, VOCAB), "dtype": "float32"}
        (self.folder / "answers").write_text(json.dumps(answer) + "\n")


def test_what_the_next_question_shows_comes_too_late_for_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = {"dataset": "chain", "validation_hash": "", "validation_bytes": TEXT.bytes}
    monkeypatch.setattr(HeldOut, "load", lambda *_: HeldOut(meta, {"text": TEXT, "secret": SECRET}, VOCAB, TEXT.x.ravel()))
    monkeypatch.setattr(judge, "Desk", Late)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    examining = judge.Judge(tmp_path, ExamSpec("", T, 60, None, str(tmp_path)))
    problem, _ = examining._examine({"begin": {"batch_size": 8}})
    assert problem == "leak", examining.report
    assert examining.report.checks["last_sigmas"] > LAST_SIGMAS
