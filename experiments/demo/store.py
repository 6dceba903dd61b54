"""Puts a made-up night into the database and its commits into git, in bulk."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from django.conf import settings
from django.db import models, transaction

from experiments.demo import night
from experiments.demo.night import Tried
from experiments.loop import actions
from experiments.models import BriefVersion, Chunk, Experiment, Idea, Move, Note, Program, Run, stream
from experiments.states import Failure, Kind, RunState, State
from trainer import presets

DETAILED = 50  # of the last and of the best that have a full curve, a log and a reply
BATCH = 500  # rows of one INSERT
_COPIED = (
    "number", "kind", "state", "reason", "detail", "description", "hypothesis", "theme", "diff", "score", "secret_score",
    "badges", "exam", "summary", "tokens_in", "tokens_out", "cost", "created_at", "proposed_at", "training_at", "trained_at",
    "finished_at",
)  # fmt: skip
BRIEFS = (
    "\n## What we know by now\n\nSmaller batches help; warm-up does not. Stay below 60 GB.\n",
    "\n## What we know by now\n\nSmaller batches help; warm-up does not. Stay below 60 GB.\nLeave the depth alone: try the "
    "optimizer and attention.\n",
)
NOTES = (
    "Batch below 262K is worth a try: the H100 has room for more steps.",
    "No more depth changes, please. They cost a training each and never win.",
    "If two changes won alone, try them together once.",
)
IDEAS = (
    "Combine the short window of 256 with RoPE base 200K.", "Weight decay that falls with the learning rate.",
    "Give the value embeddings a rate of their own.", "z-loss, 1e-4.", "Halve the vocabulary's share of the parameters.",
    "Muon with Nesterov momentum.", "Skip the last block's MLP.",
)  # fmt: skip


def seed(count: int, *, runs: int = 1, random_seed: int = 42, now: datetime) -> list[Run]:
    """A program with `runs` ended runs of `count` experiments each."""
    with transaction.atomic():
        program = actions.create_program(_free_name(count), preset="h100", researcher="litellm", model="demo/none")
        briefs = _briefs(program)
        source = presets.apply(_train_py(), presets.PRESETS["h100"].constants)
        return [_run(program, briefs, source, count, random_seed + index, now) for index in range(runs)]


def _train_py() -> str:
    return (Path(settings.TEMPLATE_DIR) / "train.py").read_text()


def _free_name(count: int) -> str:
    taken, name, again = set(Program.objects.values_list("name", flat=True)), f"demo-{count}", 1
    while name in taken:
        again += 1
        name = f"demo-{count}-{again}"
    return name


@contextmanager
def _own_dates(*fields: tuple[type[models.Model], str]) -> Iterator[None]:
    """Inside, dates that are set by themselves otherwise keep the value they are given."""
    found = [model._meta.get_field(name) for model, name in fields]
    for field in found:
        field.auto_now_add = False  # type: ignore[union-attr]
    try:
        yield
    finally:
        for field in found:
            field.auto_now_add = True  # type: ignore[union-attr]


def _briefs(program: Program) -> list[BriefVersion]:
    first = program.brief
    later = [
        BriefVersion(program=program, number=number, text=first.text + text, author=night.PEOPLE[0])
        for number, text in enumerate(BRIEFS, start=2)
    ]
    BriefVersion.objects.bulk_create(later)
    return list(program.briefs.order_by("number"))


def _run(
    program: Program, briefs: Sequence[BriefVersion], source: str, count: int, random_seed: int, now: datetime
) -> Run:
    tried = night.Night(source, count, seed=random_seed, ends_at=now - timedelta(minutes=25)).make()
    run = _bare_run(program, count, tried, now)
    with _own_dates((Experiment, "created_at"), (Move, "at"), (Note, "created_at"), (Idea, "created_at")):
        commits = _commits(run, source, tried)
        rows = [_row(run, one, commits, briefs[min(len(briefs) - 1, one.number * 3 // max(1, count))]) for one in tried]
        Experiment.objects.bulk_create(rows, batch_size=BATCH)
        _link(run, tried)
        by_number = dict(run.experiments.values_list("number", "pk"))
        _moves(run, tried, by_number, now)
        _streams(tried, by_number, Random(random_seed))
        _talk(run, tried, by_number, now)
    best = run.best
    run.tip = best.commit if best else run.base_commit
    run.save(update_fields=["tip"])
    return run


def _bare_run(program: Program, count: int, tried: Sequence[Tried], now: datetime) -> Run:
    """Ended, as after a night that reached its limit: no worker goes on with it."""
    tag, ended = f"night-{program.runs.count() + 1}", tried[-1].finished_at if tried else now
    base = _git(program.repo, "rev-parse", "refs/heads/main").strip()
    run = Run.objects.create(
        program=program, tag=tag, base_commit=base, tip=base, state=RunState.ENDED, ended_at=ended,
        reason="experiments" if count else "by_hand", max_experiments=count or None,
        detail=f"The limit of experiments is reached: {count}." if count else "Stopped before the first experiment.",
    )
    started = tried[0].created_at if tried else now
    Run.objects.filter(pk=run.pk).update(created_at=started, resumed_at=started)
    return run


def _row(run: Run, one: Tried, commits: dict[int, str], brief: BriefVersion) -> Experiment:
    values: dict[str, Any] = {name: getattr(one, name) for name in _COPIED}
    trained = one.training_at is not None
    return Experiment(
        run=run, brief=brief, commit=commits.get(one.number, ""), seed=43 + one.number if one.kind == Kind.REPEAT else 42,
        sandbox="bubblewrap" if trained else "", device="cuda:0" if trained else "", **values,
    )


def _link(run: Run, tried: Sequence[Tried]) -> None:
    """Parents and subjects: one UPDATE for all that build on the same one."""
    by_number = dict(run.experiments.values_list("number", "pk"))
    for field in ("parent", "subject"):
        children: dict[int, list[int]] = {}
        for one in tried:
            if (number := getattr(one, field)) is not None:
                children.setdefault(number, []).append(by_number[one.number])
        for number, pks in children.items():
            for start in range(0, len(pks), BATCH):
                Experiment.objects.filter(pk__in=pks[start : start + BATCH]).update(**{f"{field}_id": by_number[number]})


def _moves(run: Run, tried: Sequence[Tried], by_number: dict[int, int], now: datetime) -> None:
    started = (tried[0].created_at if tried else None) or now
    rows = [Move(run=run, new="active", by="owner", why="started", at=started)]
    for one in tried:
        rows.append(Move(run=run, new=f"#{one.number} created", by="loop", why="next idea", at=one.created_at or now))
        rows += [
            Move(run=run, experiment_id=by_number[one.number], old=old, new=new, by=by, why=why[:500], at=at)
            for old, new, by, why, at in one.moves
        ]
    rows.append(Move(run=run, old="active", new="ended", by="loop", why=run.detail, at=run.ended_at or now))
    rows.sort(key=lambda move: move.at)
    Move.objects.bulk_create(rows, batch_size=BATCH)


def _streams(tried: Sequence[Tried], by_number: dict[int, int], random: Random) -> None:
    scored = sorted((one for one in tried if one.score is not None), key=lambda one: one.score or 0.0)
    detailed = {one.number for one in [*tried[:1], *tried[-DETAILED:], *scored[:DETAILED]]}
    chunks: list[Chunk] = []
    for one in tried:
        if one.training_at is None:
            continue
        rows = night.curve(one, random.randint(60, 200) if one.number in detailed else 16, random)
        pk = by_number[one.number]
        chunks.append(_chunk(pk, stream.SERIES, len(rows), json.dumps(rows)))
        if one.number in detailed or one.reason in {Failure.CRASH, Failure.OOM}:
            chunks.append(_text(pk, stream.LOG, night.log(one, rows)))
        if one.number in detailed and one.kind == Kind.IDEA:
            chunks.append(_text(pk, stream.REPLY, night.reply(one)))
    Chunk.objects.bulk_create(chunks, batch_size=BATCH)


def _text(pk: int, name: str, text: str) -> Chunk:
    return _chunk(pk, name, len(text.encode()), text)


def _chunk(pk: int, name: str, end: int, data: str) -> Chunk:
    return Chunk(experiment_id=pk, attempt=1, stream=name, offset=0, end=end, data=data)


def _talk(run: Run, tried: Sequence[Tried], by_number: dict[int, int], now: datetime) -> None:
    """Notes and ideas: the first ones are taken up, one is dropped, the rest wait."""
    asked = [one for one in tried if one.kind == Kind.IDEA]
    spread = [asked[len(asked) * part // 10] for part in (2, 4, 6)] if len(asked) >= 10 else []
    notes, queue = (NOTES, IDEAS) if tried else ((), ())
    for index, text in enumerate(notes):
        reader = spread[index] if index < len(spread) else None
        at = (reader and reader.created_at) or now - timedelta(hours=1)
        Note.objects.create(
            run=run, text=text, author=night.PEOPLE[index % 2], created_at=at - timedelta(minutes=2),
            read_by_id=by_number[reader.number] if reader else None,
        )
    for index, text in enumerate(queue):
        user = spread[index] if index < len(spread) - 1 else None
        Idea.objects.create(
            run=run, text=text, author="researcher" if index % 3 == 2 else night.PEOPLE[index % 2], position=index + 1,
            created_at=now - timedelta(hours=3, minutes=-index), used_by_id=by_number[user.number] if user else None,
            dropped_at=now - timedelta(hours=1) if index == len(queue) - 1 else None,
        )


# Git: all commits of a run in one fast-import


def _environment(repo: Path) -> dict[str, str]:
    nothing = ("GIT_CONFIG_GLOBAL", "HOME", "XDG_CONFIG_HOME")  # the first is git's from 2.32 on
    return os.environ | {"GIT_DIR": str(repo), "GIT_CONFIG_NOSYSTEM": "1"} | dict.fromkeys(nothing, os.devnull)


def _git(repo: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], env=_environment(repo), check=True, capture_output=True, text=True)
    return done.stdout


def _commits(run: Run, source: str, tried: Sequence[Tried]) -> dict[int, str]:
    """A commit under its own ref for each experiment that has one. Returns them by number."""
    if not tried:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        marks = Path(folder) / "marks"
        command = ["git", "fast-import", "--quiet", "--force", f"--export-marks={marks}"]
        with subprocess.Popen(command, env=_environment(run.program.repo), stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            for piece in _import_stream(run, source, tried):
                process.stdin.write(piece)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        pairs = (line.split() for line in marks.read_text().splitlines()) if marks.exists() else iter(())
        made = {int(mark[1:]): commit for mark, commit in pairs}
    return _with_repeats(run, tried, made)


def _import_stream(run: Run, source: str, tried: Sequence[Tried]) -> Iterator[bytes]:
    lines = source.splitlines(keepends=True)
    best = tried[0]
    ref = f"refs/autoresearch/{run.pk}"
    yield f"reset {ref}/0\nfrom {run.base_commit}\n\n".encode()
    for one in tried[1:]:
        if one.kind == Kind.REPEAT:  # the same commit, under a ref of its own
            yield f"reset {ref}/{one.number}\nfrom {_above(run, best)}\n\n".encode()
        if one.edit is None:
            continue
        line, text = one.edit
        now_lines = [*lines[:line], text, *lines[line + 1 :]]
        whole, message = "".join(now_lines).encode(), _message(run, one)
        at = int(one.proposed_at.timestamp()) if one.proposed_at else 0
        person = f"autoresearch-web <autoresearch-web@localhost> {at} +0000"
        head = f"commit {ref}/{one.number}\nmark :{one.number}\ncommitter {person}\ndata {len(message)}\n"
        yield head.encode() + message
        yield f"from {_above(run, best)}\nM 100644 inline train.py\ndata {len(whole)}\n".encode() + whole + b"\n"
        if one.state == State.KEPT:
            lines, best = now_lines, one
    yield f"reset refs/heads/{run.branch}\nfrom {_above(run, best)}\n\n".encode()


def _above(run: Run, best: Tried) -> str:
    return f":{best.number}" if best.number else run.base_commit


def _message(run: Run, one: Tried) -> bytes:
    trailers = f"Autoresearch-Experiment: {one.number}\nAutoresearch-Run: {run.program.name}/{run.tag}\n"
    return f"{one.description}\n\n{trailers}".encode()


def _with_repeats(run: Run, tried: Sequence[Tried], made: dict[int, str]) -> dict[int, str]:
    """The baseline is the base; a repeat is the commit it repeats."""
    commits = made | {0: run.base_commit}
    for one in tried:
        if one.kind == Kind.REPEAT and one.subject is not None:
            commits[one.number] = commits[one.subject]
    return commits
