"""A night of experiments as data: a falling staircase in noise, failures, costs. Pure; the same seed, the same night."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from experiments.demo import ideas
from experiments.states import Badge, Failure, Kind, State
from trainer.spec import EXAM

START_BPB, FLOOR_BPB, NOISE_BPB = 0.9979, 0.9640, 0.0012
FATES = ("keep",) * 3 + ("fail",) * 2 + ("discard",) * 15  # of any 20 in a row
KEEP_SHARE = FATES.count("keep") / len(FATES)
BUDGET_SECONDS = 300.0
DOLLARS_IN, DOLLARS_OUT = 3e-6, 15e-6  # a token
PEOPLE = ("mira", "owner")


@dataclass
class Tried:
    """One made-up experiment. `parent` and `subject` are numbers; `edit` is (line from 0, its new text)."""

    number: int
    kind: Kind
    state: State
    description: str
    parent: int | None = None
    subject: int | None = None
    hypothesis: str = ""
    theme: str = ""
    reason: str = ""
    detail: str = ""
    edit: tuple[int, str] | None = None
    diff: str = ""
    score: float | None = None
    secret_score: float | None = None
    badges: list[str] = field(default_factory=list)
    exam: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = None
    created_at: datetime | None = None
    proposed_at: datetime | None = None
    training_at: datetime | None = None
    trained_at: datetime | None = None
    finished_at: datetime | None = None
    moves: list[tuple[str, str, str, str, datetime]] = field(default_factory=list)  # old, new, by, why, at


class Night:
    """Makes `count` experiments on `source`, the text of train.py; the last one ends at `ends_at`."""

    def __init__(self, source: str, count: int, *, seed: int, ends_at: datetime) -> None:
        self.random = Random(seed)
        self.lines = source.splitlines(keepends=True)
        self.count = count
        self.clock = ends_at - timedelta(seconds=count * (BUDGET_SECONDS + 40))
        self.best: Tried | None = None
        self.parent_summary = {"peak_vram_mb": 45060.2, "mfu_percent": 39.8, "num_steps": 953.0, "num_params_m": 50.3}
        self.fates: list[str] = []
        self.tried: list[Tried] = []

    def make(self) -> list[Tried]:
        for number in range(self.count):
            tried = self._baseline() if number == 0 else self._next(number)
            self._pass_time(tried)
            self.tried.append(tried)
        return self.tried

    # What is tried

    def _baseline(self) -> Tried:
        tried = Tried(0, Kind.BASELINE, State.KEPT, "baseline", score=START_BPB, detail=f"baseline: {START_BPB:.6f}")
        self._measure(tried)
        self.best = tried
        return tried

    def _next(self, number: int) -> Tried:
        assert self.best is not None
        fate, chance = self._fate(), self.random.random()
        if fate == "discard" and chance < 0.03:
            tried = self._repeat(number, self.best)
        else:
            tried = self._idea(number, self.best)
            tried.kind = Kind.MANUAL if chance > 0.99 else Kind.IDEA
        if tried.kind == Kind.IDEA:
            self._ask(tried)
        if fate == "fail":
            self._fail(tried)
        elif tried.kind == Kind.IDEA and fate == "discard" and 0.5 < chance < 0.515:
            tried.state, tried.reason, tried.detail = State.CANCELLED, "rejected", "We tried this last week: no gain."
        else:
            self._score(tried, self.best, keep=fate == "keep")
        return tried

    def _fate(self) -> str:
        if not self.fates:
            self.fates = self.random.sample(FATES, len(FATES))
        return self.fates.pop()

    def _idea(self, number: int, best: Tried) -> Tried:
        change = ideas.draw(self.lines, self.random)
        edit = (change.line, change.text)
        diff = one_line_diff("train.py", self.lines, *edit)
        return Tried(
            number, Kind.IDEA, State.DISCARDED, change.description, parent=best.number, hypothesis=change.hypothesis,
            theme=change.theme, edit=edit, diff=diff, reason=change.breaks,
        )  # the reason stays only if it fails

    def _repeat(self, number: int, best: Tried) -> Tried:
        seed = self.random.randint(43, 999)
        return Tried(
            number, Kind.REPEAT, State.DISCARDED, f"Repeat of #{best.number} with seed {seed}", parent=best.number,
            subject=best.number, hypothesis="How much of the score is luck?",
        )

    def _ask(self, tried: Tried) -> None:
        tried.tokens_in = self.random.randint(9_000, 15_000)
        tried.tokens_out = self.random.randint(250, 1_600)
        tried.cost = round(tried.tokens_in * DOLLARS_IN + tried.tokens_out * DOLLARS_OUT, 5)

    # What comes of it

    def _score(self, tried: Tried, best: Tried, *, keep: bool) -> None:
        tried.reason = ""
        assert best.score is not None
        if keep:
            self._keep(tried, best)
        else:
            loss = self._repeated() if tried.kind == Kind.REPEAT else max(2e-6, self._worse())
            tried.score = round(best.score + loss, 6)
            tried.detail = f"{'worse' if loss > 0 else 'better'} by {abs(loss):.6f}: {_against(tried.score, best)}"
        self._measure(tried)

    def _repeated(self) -> float:
        """A repeat differs by noise alone; what was kept was lucky, so most come out a little worse."""
        return self.random.gauss(NOISE_BPB / 2, NOISE_BPB / 2)

    def _worse(self) -> float:
        wild = self.random.uniform(0.02, 0.12) if self.random.random() < 0.05 else 0.0
        return abs(self.random.gauss(0, NOISE_BPB)) + self.random.expovariate(1 / 0.0018) + wild

    def _keep(self, tried: Tried, best: Tried) -> None:
        assert best.score is not None and tried.edit is not None
        room = (best.score - FLOOR_BPB) * 4.0 / max(1.0, self.count * KEEP_SHARE)
        gain = max(2e-6, min(room * self.random.expovariate(1.0), (best.score - FLOOR_BPB) / 2))
        tried.score = round(best.score - gain, 6)
        tried.detail = f"better by {best.score - tried.score:.6f}: {_against(tried.score, best)}"
        if self.random.random() < 0.02:
            tried.state = State.REVERTED
            return
        tried.state = State.KEPT
        line, text = tried.edit
        self.lines[line] = text
        self.best = tried

    def _fail(self, tried: Tried) -> None:
        breaks = Failure(tried.reason or Failure.CRASH)
        usual = [breaks, breaks, Failure.CRASH, Failure.OOM, Failure.BAD_PATCH, Failure.TIMEOUT, Failure.NO_SCORE]
        reason = self.random.choice(usual) if self.random.random() > 0.03 else Failure.LEAK
        tried.state, tried.reason, tried.detail = State.FAILED, reason, DETAILS[reason]
        if reason == Failure.BAD_PATCH:
            tried.edit, tried.diff = None, ""
        elif reason == Failure.LEAK:
            tried.badges = [Badge.LEAK]

    def _measure(self, tried: Tried) -> None:
        """Summary, exam and badges of a training that came through."""
        assert tried.score is not None
        near = {key: value * (1 + self.random.gauss(0, 0.012)) for key, value in self.parent_summary.items()}
        if "Depth" in tried.description or "Width" in tried.description or "Batch" in tried.description:
            near = {key: value * self.random.uniform(0.75, 1.35) for key, value in near.items()}
        steps = max(50, round(near["num_steps"]))
        tried.summary = {
            "val_bpb": tried.score, "training_seconds": round(BUDGET_SECONDS + self.random.random() / 3, 1),
            "total_seconds": round(BUDGET_SECONDS + self.random.uniform(24, 31), 1),
            "peak_vram_mb": round(near["peak_vram_mb"], 1), "mfu_percent": round(min(near["mfu_percent"], 58.0), 2),
            "total_tokens_m": round(steps * 0.524288, 1), "num_steps": steps,
            "num_params_m": round(near["num_params_m"], 1), "depth": 8,
        }  # fmt: skip
        if tried.state == State.KEPT:
            self.parent_summary = {key: float(tried.summary[key]) for key in self.parent_summary}
        tried.badges = [Badge.VERIFIED]
        if tried.state == State.DISCARDED and self.random.random() < 0.01:
            tried.badges.append(Badge.OVERTIME)
        if tried.state in {State.KEPT, State.REVERTED}:
            tried.secret_score = round(tried.score + 0.0021 + self.random.gauss(0, 0.0004), 6)
        tried.exam = self._exam(tried)

    def _exam(self, tried: Tried) -> dict[str, Any]:
        return {
            "dataset": "climbmix", "validation_hash": "5e1fbb7a9c204d11", "bytes": 98_211_840, "version": "bpb/1",
            "exam": EXAM, "val_bpb": tried.score, "secret_bpb": tried.secret_score, "problem": "", "detail": "",
            "seconds": round(self.random.uniform(13, 16), 1), "batches": 160, "began_at": 0.0,
            "after_seconds": round(self.random.uniform(311, 316), 1),
            "checks": {
                "causal": 0.0, "repeat": round(self.random.uniform(0, 2e-6), 9),
                "learned_bpb": round(self.random.gauss(0, 1e-5), 8), "last_sigmas": round(self.random.gauss(0, 1), 2),
            },
        }  # fmt: skip

    # When

    def _pass_time(self, tried: Tried) -> None:
        seconds = self.random.uniform
        tried.created_at = self.clock - timedelta(seconds=seconds(100, 280))  # while the one before it trained
        tried.proposed_at = tried.created_at + timedelta(seconds=seconds(8, 60))
        trains = tried.state != State.CANCELLED and tried.reason != Failure.BAD_PATCH
        if trains:
            tried.training_at = self.clock + timedelta(seconds=seconds(0.3, 3))
            whole = tried.score is not None or tried.reason in {Failure.NO_SCORE, Failure.LEAK}
            lasts = 600.0 if tried.reason == Failure.TIMEOUT else seconds(312, 329) if whole else seconds(6, 200)
            tried.trained_at = tried.training_at + timedelta(seconds=lasts)
            self.clock = tried.trained_at + timedelta(seconds=seconds(0.5, 4))
        tried.finished_at = self.clock if trains else tried.proposed_at
        tried.moves = self._moves(tried)

    def _moves(self, tried: Tried) -> list[tuple[str, str, str, str, datetime]]:
        assert tried.created_at and tried.proposed_at and tried.finished_at
        end = State.KEPT if tried.state == State.REVERTED else tried.state
        by = "researcher" if tried.kind == Kind.IDEA else self.random.choice(PEOPLE)
        path: list[tuple[str, str, datetime]] = [(State.READY, by, tried.proposed_at)]
        if tried.training_at and tried.trained_at:
            path.append((State.TRAINING, "gpu:0", tried.training_at))
            if tried.score is not None or tried.reason == Failure.LEAK:
                path.append((State.EVALUATING, "gpu:0", tried.trained_at))
        if tried.reason == Failure.BAD_PATCH:
            path = []
        elif tried.state == State.CANCELLED:
            path, by = [(State.REVIEWING, by, tried.proposed_at)], PEOPLE[0]
        judge = "verdict" if tried.score is not None else by if tried.state == State.CANCELLED else "loop"
        path.append((end, judge, tried.finished_at))
        if tried.state == State.REVERTED:
            path.append((State.REVERTED, PEOPLE[0], tried.finished_at + timedelta(seconds=200)))
        return self._linked(tried, path)

    def _linked(self, tried: Tried, path: Sequence[tuple[str, str, datetime]]) -> list[tuple[str, str, str, str, datetime]]:
        olds = [State.PROPOSING, *(new for new, _, _ in path)]
        if tried.kind in {Kind.BASELINE, Kind.REPEAT, Kind.MANUAL} and path[0][0] == State.READY:
            olds, path = olds[1:], path[1:]
        ends = {State.FAILED, State.KEPT, State.DISCARDED, State.CANCELLED}
        whys = {State.REVERTED: f"rolled back to #{tried.parent}"} | dict.fromkeys(ends, tried.detail)
        return [(old, new, by, whys.get(State(new), ""), at) for old, (new, by, at) in zip(olds, path, strict=False)]


def _against(score: float, best: Tried) -> str:
    return f"{score:.6f} against {best.score:.6f} of #{best.number}"


_TRACE = """Exit code 1. The end of the log:
Traceback (most recent call last):
  File "train.py", line 612, in <module>
    loss = model(inputs, targets)
  File "train.py", line 371, in forward
    x = x + attention(norm(x), tokens, cos, sin)
"""
DETAILS: dict[str, str] = {
    Failure.CRASH: f"{_TRACE}RuntimeError: The size of tensor a (512) must match the size of tensor b (768) at dimension 2",
    Failure.OOM: f"{_TRACE}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 12.00 GiB. GPU 0 has a total "
    "capacity of 79.11 GiB of which 9.42 GiB is free.",
    Failure.NAN: "The loss was nan from step 214 on. The end of the log:\nFAIL: loss is nan",
    Failure.TIMEOUT: "Ended after 600 s: budget and grace of the recipe. Raise the grace?",
    Failure.BAD_PATCH: "Edit 1 of 1: the text to replace does not occur in train.py. It reads: MATRIX_LR = 0.05",
    Failure.NO_SCORE: "It ended without calling evaluate_bpb, so it has no score. The end of the log:\n(no output)",
    Failure.LEAK: "Logits before the cut changed with what comes after it, by 0.41 nats: the model looks ahead.",
}


def one_line_diff(path: str, lines: Sequence[str], line: int, text: str, context: int = 3) -> str:
    """The unified diff that puts `text` in the place of one line."""
    first, last = max(0, line - context), min(len(lines), line + context + 1)
    body = [f" {old}" for old in lines[first:line]] + [f"-{lines[line]}", f"+{text}"]
    body += [f" {old}" for old in lines[line + 1 : last]]
    size = last - first
    return f"--- a/{path}\n+++ b/{path}\n@@ -{first + 1},{size} +{first + 1},{size} @@\n{''.join(body)}"


def curve(tried: Tried, points: int, random: Random) -> list[dict[str, Any]]:
    """Points of the training as the loop stores them; a failed one ends early, a NaN one in NaN."""
    steps = int(tried.summary.get("num_steps") or 900)
    whole = tried.score is not None or tried.reason in {Failure.LEAK, Failure.NO_SCORE, Failure.TIMEOUT}
    share = 1.0 if whole else random.uniform(0.05, 0.6)
    points = max(2, round(points * share))
    end = (tried.score or START_BPB) * 2.62
    return [_point(tried, i, points, share, steps, end, random) for i in range(points)]


def _point(tried: Tried, i: int, points: int, share: float, steps: int, end: float, random: Random) -> dict[str, Any]:
    part = share * i / (points - 1)
    step, seconds = round(part * (steps - 1)), part * BUDGET_SECONDS
    loss: float | None = end + (9.01 - end) * (1 + 90 * part) ** -1.15 + random.gauss(0, 0.02)
    if tried.reason == Failure.NAN and i >= points - max(1, points // 6):
        loss = None
    return {
        "step": step, "loss": None if loss is None else round(loss, 5), "seconds": round(seconds, 2),
        "tokens": step * 524288, "percent": round(part * 100, 1), "lrm": round(min(1.0, 2 * (1 - part)), 3),
        "dt_ms": round(1000 * BUDGET_SECONDS / steps + random.gauss(0, 2), 1), "tok_per_sec": round(524288 * steps / 300),
        "mfu": round(float(tried.summary.get("mfu_percent") or 39.0) + random.gauss(0, 0.3), 1),
        "remaining_s": round(BUDGET_SECONDS - seconds, 1),
    }  # fmt: skip


def log(tried: Tried, points: Sequence[dict[str, Any]]) -> str:
    """What such a training prints."""
    head = "device: NVIDIA H100 80GB HBM3, bf16, FlashAttention 3\nparameters: 50.3 M, batch 524,288 tokens\n"
    steps = "".join(
        f"\rstep {row['step']:05d} ({row['percent']:.1f}%) | loss: {math.nan if row['loss'] is None else row['loss']:.6f} | "
        f"lrm: {row['lrm']:.2f} | dt: {row['dt_ms']:.0f}ms | tok/sec: {row['tok_per_sec']:,} | mfu: {row['mfu']:.1f}% | "
        f"epoch: 1 | remaining: {row['remaining_s']:.0f}s"
        for row in points
    )
    if tried.score is None:
        return f"{head}{steps}\n{tried.detail.partition('of the log:')[2].strip() or tried.detail}\n"
    return f"{head}{steps}\n---\n" + "".join(f"{key + ':':<18}{value}\n" for key, value in tried.summary.items())


def reply(tried: Tried) -> str:
    changed = [line for line in tried.diff.splitlines()[3:] if line[:1] in "+-"]
    old, new = (next((line[1:] for line in changed if line[0] == sign), "") for sign in "-+")
    return (
        f"IDEA: {tried.description}\nHYPOTHESIS: {tried.hypothesis}\nTHEME: {tried.theme}\n\n"
        f"train.py\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n"
    )
