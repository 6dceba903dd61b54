"""Holds the exam of one training: the only process that reads the held-out text. None of the edited code runs in it.

    python -I trainer/judge.py WORKSPACE

The spec names the data and the channel's folder (desk.py); exam.py says what is asked and what the answers show. What would
be kept is asked about in a second process too (second.py), when the first one has ended. The report is WORKSPACE/exam.json,
out of the training's reach: written first when the exam begins, then before the training hears the result. Where there is
none, the training never asked to be examined.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import statistics
import sys
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # no matrix is multiplied here: its threads would only cost start-up
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # -I leaves our own folder out

import numpy as np
from numpy.typing import NDArray

from trainer import compiled
from trainer.desk import LINE_BYTES, Desk, ExamEnded, tame
from trainer.exam import Exam
from trainer.paper import Shard, rows_per_batch
from trainer.scoring import AnswerError, Doubles, Scorer, Sealed
from trainer.second import Second
from trainer.spec import EXAM, TENSORS, ExamSpec, write_json

VERSION = "bpb/1"  # of the metric
ANSWERS = "answers.npz"  # nats of each token in the workspace, for the judges of later trainings
MOST_NATS = 6e4  # half precision holds no more; where a target weighs nothing it may be infinite
TRAIN_TOKENS = 2**20  # of the training text, to fill rows up with
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
    exam: int = EXAM
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
    twice: str = ""  # by a second process: "" for not asked | due | passed | unproven
    why_not: str = ""  # where it is unproven
    second_seconds: float = 0.0


@dataclass(frozen=True)
class HeldOut:
    """What the judge knows of a data set."""

    meta: dict[str, Any]
    shards: dict[str, Shard]
    vocab: int
    train: NDArray[np.generic]  # some of the training text's tokens

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
            train = np.fromfile(min((folder / "train").iterdir()), kind, TRAIN_TOKENS)
        except (OSError, ValueError, KeyError, TypeError) as error:
            todo = "Remove this folder and prepare the data again."
            raise SystemExit(f"judge: the data in {folder} are damaged: {error!r}. {todo}") from error
        return cls(meta, shards, len(sizes), train)


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
        self.second = Desk(Path(spec.second)) if spec.second else None
        self.desk = Desk(Path(spec.folder))  # the last: the training may begin when it is there
        self.exam: Exam | None = None
        self.why_not = ""  # a second process can be asked nothing
        signal.signal(signal.SIGTERM, self._no_more)

    def run(self) -> None:
        try:
            first = self.desk.hear()
        except EOFError:
            return  # it never came
        except ExamEnded as ended:
            first, self.report.detail = {}, ended.detail
        started = time.monotonic()
        now = read_spec(self.workspace)  # this process may be older than the best of now
        self.spec = replace(self.spec, secret_below=now.secret_below, references=now.references)
        self.desk.until = started + self.spec.deadline_seconds
        self.report.began_at = time.time()
        self._save()
        self.report.problem, self.report.detail = self._outcome(first)
        self.report.seconds, self.report.batches = time.monotonic() - started, self.desk.answered
        self._note_waits()
        self.report.twice = "due" if self._is_gain else ""
        self._save()  # before the training hears it
        with contextlib.suppress(ExamEnded):
            if self.report.problem:
                self.desk.say(error=self.report.detail)
            else:
                self.desk.say(bpb=self.report.val_bpb)
        if self.second and self.exam and self.report.twice:
            self._examine_second(self.second, self.exam)

    @property
    def _is_gain(self) -> bool:
        below = self.spec.secret_below
        return self.report.val_bpb is not None and bool(self.second) and (below is None or self.report.val_bpb <= below)

    def _examine_second(self, desk: Desk, exam: Exam) -> None:
        """Whether a second process, which was never shown the answers, says the same. To the report."""
        self.desk.forget()
        shape, self.desk, began = self.desk.shape, desk, time.monotonic()
        self.report.twice, self.report.why_not = "unproven", self.why_not
        if not self.why_not:
            try:
                second = Second(exam, self.held_out.train, np.random.default_rng(), self._references())
                self._ask_second(desk, shape, second)
            except (ExamEnded, AnswerError) as error:
                self.report.why_not = f"The second process gave no proper answers: {error}"
            except TimeoutError:
                self.report.why_not = f"The second process took more than the {self.spec.deadline_seconds:g} s of an exam."
            except EOFError:
                said = "" if desk.asked else self._last_words()  # of what was shown to it, nothing
                self.report.why_not = f"The second process ended, after {desk.answered} answers.{said}"
        self.report.second_seconds = time.monotonic() - began
        self._save()

    def _ask_second(self, desk: Desk, shape: tuple[int, int, int], second: Second) -> None:
        if desk.hear().get("begin") is None:
            raise ExamEnded("answer", "it did not begin.")
        desk.until = time.monotonic() + self.spec.deadline_seconds
        desk.set_terms(*shape)
        for question in second.questions():
            desk.ask(question.x)
            second.mark(question, desk.answer())
        found = second.findings()
        self.report.checks |= found.numbers
        if found.problem in {"leak", "nan"}:
            self.report.problem, self.report.detail, self.report.val_bpb = found.problem, found.detail, None
            self.report.secret_bpb = None
        self.report.why_not = found.detail
        self.report.twice = "unproven" if found.problem else "passed"
        self._save_answers(second.nats)
        desk.say(bpb=self.report.val_bpb or 0.0)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError), (self.workspace / "second.log").open("rb") as log:
            log.seek(-min(LINE_BYTES, log.seek(0, os.SEEK_END)), os.SEEK_END)
            lines = log.read().decode(errors="replace").strip().splitlines()
            return f" It said: {tame(lines[-1])}" if lines else ""
        return ""

    def _references(self) -> list[dict[str, Doubles]]:
        """Nats (rows, T) by shard of what it is compared with; not those of another text."""
        shapes = {name: shard.x.shape for name, shard in self.held_out.shards.items()}
        found: list[dict[str, Doubles]] = []
        for path in self.spec.references:
            with contextlib.suppress(OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile), np.load(path) as stored:
                kept = {name: np.asarray(stored[name], np.float64) for name in stored}
                found.append({name: nats for name, nats in kept.items() if nats.shape == shapes.get(name)})
        return [each for each in found if each]

    def _save_answers(self, nats: Mapping[str, Doubles]) -> None:
        with contextlib.suppress(OSError):  # the next is examined without them
            short: dict[str, Any] = {name: np.minimum(each, MOST_NATS).astype(np.float16) for name, each in nats.items()}
            np.savez_compressed(self.workspace / ANSWERS, **short)

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
        self.why_not = self._take_tensors(begin)
        size = begin.get("batch_size") if isinstance(begin, dict) else None
        if type(size) is not int or size < 1:
            raise ExamEnded("answer", "evaluate_bpb's third argument, the batch size, must be a whole number from 1.")
        text, vocab = self.held_out.shards["text"], self.held_out.vocab
        rows = rows_per_batch(size, text, vocab)
        dice = np.random.default_rng()  # seeded by the system: nobody knows the cuts beforehand
        scorer = Scorer(min(CORES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else CORES))
        exam = Exam(self.held_out.shards, rows, vocab, dice, self.spec.secret_below, scorer)
        self.exam = exam
        self.desk.set_terms(rows, self.spec.seq_len, vocab)
        for questions in exam.stages():
            self.desk.ask(questions[0].x)
            for question, following in zip(questions, [*questions[1:], None], strict=True):
                answer = Sealed(self.desk.answer(), question.ends)
                if following:  # is out while this answer is scored
                    self.desk.ask(following.x)
                exam.mark(question, answer)
        marks = exam.marks()
        self.report.val_bpb, self.report.secret_bpb, self.report.checks = marks.val_bpb, marks.secret_bpb, marks.checks
        return marks.problem, marks.detail

    def _take_tensors(self, begin: object) -> str:
        """Before the first question: what it is asked can be in none of them. Why there are none to be had, or ""."""
        if (made := self.workspace / "out" / compiled.FOLDER).is_dir():  # for the second process, and for its children
            compiled.copy(made, self.workspace / compiled.BEFORE)
        if self.second is None:
            return ""
        given = begin.get("no_tensors") if isinstance(begin, dict) else ""
        try:
            if given and isinstance(given, str):
                (self.desk.folder / TENSORS).unlink(missing_ok=True)  # half of them
                raise OSError(errno.EINVAL, tame(given))
            self.desk.take_tensors(self.workspace / TENSORS)
        except OSError as error:
            return f"The model's tensors could not be handed to a second process: {error.strerror}."
        return ""

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
