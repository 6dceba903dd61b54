"""Holds the exam of one training: the only process that reads the held-out text. None of the edited code runs in it.

    python -I trainer/judge.py WORKSPACE

The spec names the data and the channel's folder (desk.py); exam.py says what is asked and what the answers show. The
report is WORKSPACE/exam.json, out of the training's reach: written first when the exam begins, and last before the
training hears the result. Where there is none, the training never asked to be examined.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no matrix is multiplied here: its threads would only cost start-up
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # -I leaves our own folder out

import numpy as np

from trainer.desk import Desk, ExamEnded
from trainer.exam import Exam
from trainer.paper import Shard, rows_per_batch
from trainer.scoring import AnswerError, Scorer
from trainer.spec import ExamSpec, write_json

VERSION = "bpb/1"
CORES = 8  # to score on, at most
SLOW = 2.0  # times its usual time an answer may take: what is beyond is no forward pass


@dataclass
class Report:
    """exam.json."""

    dataset: str
    text: str  # the name of the text, where the data set's does not say all
    validation_hash: str
    train_hash: str
    secret_hash: str
    bytes: int
    version: str = VERSION
    val_bpb: float | None = None
    secret_bpb: float | None = None
    problem: str = "unfinished"  # "" | leak | nan | shape | timeout | oom | answer | unfinished
    detail: str = "The training ended in its exam."
    began_at: float = 0.0  # unix time
    seconds: float = 0.0
    batches: int = 0  # answered
    rows: int = 0  # of a batch
    first_seconds: float = 0.0  # from the first question to its answer
    usual_seconds: float = 0.0  # of the others, the median
    beyond_seconds: float = 0.0  # that the others took beyond SLOW times the usual, together
    checks: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class HeldOut:
    """What the judge knows of a data set."""

    meta: dict[str, Any]
    shards: dict[str, Shard]
    vocab: int

    @classmethod
    def load(cls, folder: Path, length: int) -> HeldOut:
        """Raises SystemExit where the prepared data are not whole."""
        try:
            meta = json.loads((folder / "meta.json").read_text())
            stored = json.loads((folder / "tokenizer.json").read_text())
            sizes = np.array([len(token) // 2 for token in stored["tokens"]] + [0] * len(stored["special"]))
            kind, bos = np.uint32 if len(sizes) > 65536 else np.uint16, len(stored["tokens"])
            shards = {}
            for name, file in (("text", "val"), ("secret", "secret")):
                tokens = np.fromfile(folder / "held_out" / f"{file}.bin", kind)
                size = meta["validation_bytes" if file == "val" else "secret_bytes"]
                if len(tokens) < 2 or tokens.max() >= len(sizes) or sizes[tokens].sum() != size:
                    raise ValueError(f"{file}.bin does not hold the {size} bytes of text that meta.json names")
                shards[name] = Shard.cut(tokens, length, sizes, bos)
        except (OSError, ValueError, KeyError, TypeError) as error:
            todo = "Remove this folder and prepare the data again."
            raise SystemExit(f"judge: the data in {folder} are damaged: {error!r}. {todo}") from error
        return cls(meta, shards, len(sizes))


class Judge:
    """One exam, from `begin` to the report."""

    def __init__(self, workspace: Path, spec: ExamSpec) -> None:
        self.workspace, self.spec = workspace, spec
        self.held_out = HeldOut.load(Path(spec.data_dir), spec.seq_len)
        meta = self.held_out.meta
        self.report = Report(
            meta["dataset"], meta.get("text", ""), meta["validation_hash"], meta.get("train_hash", ""),
            meta.get("secret_hash", ""), meta["validation_bytes"],
        )  # fmt: skip
        self.desk = Desk(Path(spec.folder))
        signal.signal(signal.SIGTERM, self._no_more)

    def run(self) -> None:
        try:
            first = self.desk.hear()
        except EOFError:
            return  # it never came
        except ExamEnded as ended:
            first, self.report.detail = {}, ended.detail
        started = time.monotonic()
        below = read_spec(self.workspace).secret_below  # this process may be older than the best of now
        self.spec = replace(self.spec, secret_below=below)
        self.desk.until = started + self.spec.deadline_seconds
        self.report.began_at = time.time()
        self._save()
        self.report.problem, self.report.detail = self._outcome(first)
        self.report.seconds, self.report.batches = time.monotonic() - started, self.desk.answered
        self._note_waits()
        self._save()  # before the training hears it
        with contextlib.suppress(ExamEnded):
            if self.report.problem:
                self.desk.say(error=self.report.detail)
            else:
                self.desk.say(bpb=self.report.val_bpb)

    def _outcome(self, first: dict[str, Any]) -> tuple[str, str]:
        """Problem and detail; the numbers go to the report."""
        try:
            return self._examine(first)
        except ExamEnded as ended:
            return ended.problem, ended.detail
        except AnswerError as error:
            return "answer", str(error)
        except TimeoutError:
            return "timeout", self._say_late()
        except EOFError:
            return "unfinished", f"The training ended in its exam, at batch {self.desk.asked}. Its log may say why."

    def _examine(self, first: dict[str, Any]) -> tuple[str, str]:
        begin = first.get("begin")
        size = begin.get("batch_size") if isinstance(begin, dict) else None
        if type(size) is not int or size < 1:
            raise ExamEnded("answer", "evaluate_bpb's third argument, the batch size, must be a whole number from 1.")
        text, vocab = self.held_out.shards["text"], self.held_out.vocab
        rows = rows_per_batch(size, text, vocab)
        dice = np.random.default_rng()  # seeded by the system: nobody knows the cuts beforehand
        scorer = Scorer(min(CORES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else CORES))
        exam = Exam(self.held_out.shards, rows, vocab, dice, self.spec.secret_below, scorer)
        self.desk.set_terms(rows, self.spec.seq_len, vocab)
        for questions in exam.stages():
            self.desk.ask(questions[0].x)
            for question, following in zip(questions, [*questions[1:], None], strict=True):
                answer = self.desk.answer()
                if following:  # is out while this answer is scored
                    self.desk.ask(following.x)
                exam.mark(question, answer)
        marks = exam.marks()
        self.report.val_bpb, self.report.secret_bpb, self.report.checks = marks.val_bpb, marks.secret_bpb, marks.checks
        return marks.problem, marks.detail

    def _say_late(self) -> str:
        waited = time.monotonic() - self.desk.asked_at
        rows, length, _ = self.desk.shape
        return (
            f"The exam took more than its {self.spec.deadline_seconds:g} s: {self.desk.answered} batches of {rows} rows of"
            f" {length} tokens were answered, the next was out for {waited:.1f} s. If the model is not stuck, evaluate it"
            " compiled, in half precision, or with another batch size."
        )

    def _note_waits(self) -> None:
        """Seen from here: what the training says of its speed counts for nothing."""
        self.report.rows = self.desk.shape[0]
        if self.desk.waits:
            first, *others = self.desk.waits
            usual = statistics.median(others or [first])
            beyond = sum(max(0.0, wait - SLOW * usual) for wait in others)
            self.report.first_seconds, self.report.usual_seconds, self.report.beyond_seconds = first, usual, beyond

    def _save(self) -> None:
        write_json(self.workspace / "exam.json", asdict(self.report))

    def _no_more(self, *_: object) -> None:
        self.desk.no_more = True


def read_spec(workspace: Path) -> ExamSpec:
    return ExamSpec(**json.loads((workspace / "spec.json").read_text())["exam"])


def main(folder: str) -> None:
    workspace = Path(folder)
    Judge(workspace, read_spec(workspace)).run()


if __name__ == "__main__":
    main(sys.argv[1])
