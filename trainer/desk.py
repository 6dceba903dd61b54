"""The judge's end of the channel to a training: two FIFOs, two files. It trusts nothing that comes through them.

    questions  FIFO, JSON lines to the training      tokens  int32, SLOTS x (B, T), each slot from a page on
    answers    FIFO, JSON lines from it              logits  SLOTS x (B, T, V), of any type of scoring.DTYPES
"""

from __future__ import annotations

import errno
import json
import math
import os
import select
import stat
import time
from pathlib import Path
from typing import Any

import numpy as np

from trainer.scoring import DTYPES, FileAnswer, Integers
from trainer.spec import TENSORS

SLOTS = 2  # the training works on one while the judge scores the other
PAGE = 4096  # so aligned, a driver can pin a slot
LINE_BYTES = 4096  # of one message, at most
MOST_TENSORS, READ_BYTES = 2**33, 2**24  # bytes
WORDS = 600  # letters of the training's own words that are kept
FOUND_BY_TRAINING = ("shape", "oom")  # problems that its side finds


class ExamEnded(Exception):
    """There will be no score. `problem` is one of the report's, `detail` says it to a person."""

    def __init__(self, problem: str, detail: str) -> None:
        super().__init__(detail)
        self.problem, self.detail = problem, detail


class Desk:
    """Its files are opened once, when no training is there to lay others in their place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("questions", "answers"):
            os.mkfifo(folder / name, 0o600)
        for name in ("tokens", "logits"):
            (folder / name).touch(0o600, exist_ok=False)
        # `questions` opened for reading too never blocks. `answers` is not, so that its end is seen.
        self.questions = os.open(folder / "questions", os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
        self.answers = os.open(folder / "answers", os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        self.tokens = os.open(folder / "tokens", os.O_RDWR | os.O_NOFOLLOW)
        self.logits = os.open(folder / "logits", os.O_RDWR | os.O_NOFOLLOW)
        self.heard, self.line = b"", b""
        self.until = math.inf  # by the monotonic clock; the exam has begun when it is finite
        self.no_more = False  # the training has ended: what the FIFO holds is all there will be
        self.shape, self.dtype = (0, 0, 0), ""
        self.asked = self.answered = 0
        self.asked_at = 0.0
        self.waits: list[float] = []  # seconds from each question to its answer
        (folder / "ready").touch()

    def say(self, **message: object) -> None:
        try:
            os.write(self.questions, json.dumps(message).encode() + b"\n")
        except BlockingIOError:
            raise ExamEnded("answer", "The training answers, but does not read the questions.") from None

    def hear(self) -> dict[str, Any]:
        """The next message. Raises ExamEnded, TimeoutError at the deadline, EOFError when the training is gone."""
        while b"\n" not in self.heard:
            if len(self.heard) > LINE_BYTES:
                raise ExamEnded("answer", f"The training sent a line of more than {LINE_BYTES} bytes.")
            self.heard += self._read()
        self.line, _, self.heard = self.heard.partition(b"\n")
        try:
            message = json.loads(self.line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise ExamEnded("answer", f"The training sent what is no message: {self._said()}")
        return message

    def set_terms(self, rows: int, length: int, vocab: int) -> None:
        """Make room for batches (B, T, V) and say their shape. The files fill only as they are written."""
        self.shape = (rows, length, vocab)
        self.token_bytes, self.slot_bytes = (-(-4 * size // PAGE) * PAGE for size in (rows * length, rows * length * vocab))
        disk = os.fstatvfs(self.logits)
        missing = SLOTS * self.slot_bytes - disk.f_bavail * disk.f_frsize
        if missing > 0:
            todo = "Call evaluate_bpb with a smaller batch size."
            raise ExamEnded("oom", f"{self.folder} lacks {missing / 1e6:.0f} MB for the logits of {rows} rows. {todo}")
        os.ftruncate(self.tokens, SLOTS * self.token_bytes)
        os.ftruncate(self.logits, SLOTS * self.slot_bytes)
        self.say(slots=SLOTS, slot_bytes=self.slot_bytes, rows=rows, length=length, vocab=vocab)

    def ask(self, x: Integers) -> None:
        """x (B, T)."""
        slot = self.asked % SLOTS
        os.pwrite(self.tokens, x.astype(np.int32).tobytes(), slot * self.token_bytes)
        self.say(ask=self.asked, slot=slot)
        self.asked, self.asked_at = self.asked + 1, time.monotonic()

    def answer(self) -> FileAnswer:
        """The answer to the latest question. Raises as `hear` does."""
        number = self.asked - 1
        message = self.hear()
        self.waits.append(time.monotonic() - self.asked_at)
        if "problem" in message:
            problem = message["problem"] if message["problem"] in FOUND_BY_TRAINING else "answer"
            raise ExamEnded(problem, tame(message["detail"]) if isinstance(message.get("detail"), str) else self._said())
        slot = number % SLOTS
        expected = {"answer": number, "slot": slot, "shape": list(self.shape)}
        dtype = message.get("dtype")
        is_known = isinstance(dtype, str) and dtype in DTYPES and dtype == (self.dtype or dtype)
        if not is_known or any(message.get(name) != value for name, value in expected.items()):
            raise ExamEnded("answer", f"The answer to question {number} was not as asked: {self._said()}")
        self.dtype, self.answered = str(dtype), self.answered + 1
        rows, length, vocab = self.shape
        return FileAnswer(self.logits, slot * self.slot_bytes, self.dtype, rows * length, vocab)

    def _read(self) -> bytes:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        if not select.select([self.answers], [], [], min(0.1, left))[0]:
            if self.no_more:
                raise EOFError
            return b""
        data = os.read(self.answers, LINE_BYTES)
        if not data:
            if self.until < math.inf or self.no_more:
                raise EOFError
            time.sleep(0.02)  # somebody has opened and closed it, and may come again
        return data

    def take_tensors(self, target: Path) -> None:
        """Copy what the training has written of its model out of its reach, unread. Raises OSError."""
        source = os.open(self.folder / TENSORS, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        os.unlink(self.folder / TENSORS)
        with open(source, "rb") as given, target.open("wb") as copy:
            found, disk = os.fstat(source), os.fstatvfs(copy.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            most = min(MOST_TENSORS, disk.f_bavail * disk.f_frsize // 2)
            if found.st_size > most:
                raise OSError(errno.EFBIG, f"{found.st_size / 1e6:,.0f} MB, and there is room for {most / 1e6:,.0f}")
            left = most  # it may still grow
            while left > 0 and (data := given.read(min(left, READ_BYTES))):
                copy.write(data)
                left -= len(data)

    def forget(self) -> None:
        """Free the memory of its logits: nothing more is asked here."""
        os.ftruncate(self.logits, 0)

    def _said(self) -> str:
        return tame(self.line.decode(errors="replace"))


def tame(words: str) -> str:
    """What the training said, as one short printable line."""
    return "".join(letter if letter.isprintable() else " " for letter in words[:WORDS])
