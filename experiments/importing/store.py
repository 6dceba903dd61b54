"""Writes an import: a program, its repository, an ended run, an experiment for each row. In one transaction."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone
from django.utils.text import slugify

from experiments.importing import gitcall
from experiments.importing.commits import Found, Known
from experiments.importing.refused import ImportRefused
from experiments.importing.source import Source
from experiments.importing.tsv import CRASH, KEEP, Row, Table
from experiments.models import BriefVersion, Experiment, Move, Program, Run
from experiments.states import Badge, Failure, Kind, RunState, State

NO_BRIEF = "# Imported\n\nThis program was imported; the repository has no program.md.\n"
BATCH = 500
_TICK = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Imported:
    run: Run
    remarks: tuple[str, ...]
    counts: str  # "126 experiments: 23 kept, 102 discarded, 1 failed; 24 with a diff"


def save(where: Source, table: Table, known: Known, *, by: str) -> Imported:
    """Raises ImportRefused where the same was imported before."""
    text = (f"{where.text}#{known.branch}" if known.copy else where.text)[:400]
    _refuse_twice(text, table)
    program: Program | None = None
    made = False
    try:
        with transaction.atomic():
            program, made = _program(where, table, known)
            _move_repository(program, known)
            run = _run(program, text, known)
            rows = _experiments(run, table, known)
            _finish(run, rows, table, known, by)
    except BaseException:
        if program is not None and made:
            shutil.rmtree(program.repo, ignore_errors=True)  # its row was taken back
        raise
    return Imported(run, table.remarks, _counts(rows))


def _refuse_twice(text: str, table: Table) -> None:
    """The same source with as many rows is the same; a table that has grown is imported as another run."""
    for run in Run.objects.filter(source=text).select_related("program"):
        count = run.experiments.count()
        if count >= len(table.rows):
            raise ImportRefused(f"It was imported before, as {run} with {count} experiments.", run=run.pk)


# The program and its repository


def _program(where: Source, table: Table, known: Known) -> tuple[Program, bool]:
    """The program of this source, and whether it is new."""
    same = {"metric": table.metric, "lower_is_better": table.lower_is_better}
    earlier = Program.objects.filter(runs__source__startswith=f"{where.text}#", **same).order_by("pk").first()
    if known.copy and earlier and earlier.repo.is_dir():
        return earlier, False
    program = Program.objects.create(
        name=_free_name(where.name), command=["uv", "run", "train.py"], editable=["train.py"], fixed=[], dataset="", **same
    )
    brief = known.brief if known.brief.strip() else NO_BRIEF
    BriefVersion.objects.create(program=program, number=1, text=brief, author="import")
    return program, True


def _free_name(name: str) -> str:
    taken, again, free = set(Program.objects.values_list("name", flat=True)), 1, name
    while free in taken:
        again += 1
        free = f"{name}-{again}"
    return free


def _move_repository(program: Program, known: Known) -> None:
    """The copy becomes the program's repository, or its objects join the one that is there."""
    copy = known.copy
    if copy is None:
        _bare_repository(program)
    elif program.repo.exists():
        pack = copy.folder / "objects" / "pack"
        for file in sorted(pack.glob("pack-*"), key=lambda path: path.suffix == ".idx"):  # the index last: git goes by it
            target = program.repo / "objects" / "pack" / file.name
            if not target.exists():
                shutil.copy2(file, target)
        with contextlib.suppress(OSError):
            if not (program.repo / "shallow").exists():
                shutil.copy2(copy.folder / "shallow", program.repo / "shallow")
    else:
        program.repo.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(copy.folder, program.repo)
    if copy is not None:
        copy.folder = program.repo


def _bare_repository(program: Program) -> None:
    """Of a table alone: one commit with its program.md, so that git finds a main."""
    program.repo.mkdir(parents=True)
    gitcall.create(program.repo)
    blob = gitcall.call(program.repo, "hash-object", "-w", "--stdin", stdin=program.brief.text).strip()
    tree = gitcall.call(program.repo, "mktree", stdin=f"100644 blob {blob}\tprogram.md\n").strip()
    author = ("-c", "user.name=autoresearch-web", "-c", "user.email=autoresearch-web@localhost")
    commit = gitcall.call(program.repo, *author, "commit-tree", tree, "-m", "Imported without a repository").strip()
    gitcall.call(program.repo, "update-ref", "refs/heads/main", commit)


# The run and its experiments


def _run(program: Program, text: str, known: Known) -> Run:
    now = timezone.now()
    tag = _free_tag(program, known.branch)
    return Run.objects.create(
        program=program, tag=tag, base_commit=known.base, tip="", state=RunState.ENDED, reason="imported", source=text,
        ended_at=now,
    )


def _free_tag(program: Program, branch: str) -> str:
    tag = slugify(re.sub(r"[^\w]+", "-", branch.removeprefix("autoresearch/")))[:50].strip("-_") or "imported"
    taken, again, free = set(program.runs.values_list("tag", flat=True)), 1, tag
    while free in taken:
        again += 1
        free = f"{tag}-{again}"
    return free


def _experiments(run: Run, table: Table, known: Known) -> list[Experiment]:
    brief, times = run.program.brief, _times(table.rows, known.found)
    rows = [_experiment(run, brief, index, row, known, table, times[index]) for index, row in enumerate(table.rows)]
    made = Experiment.objects.bulk_create(rows, batch_size=BATCH)
    dated = [row for row, experiment in enumerate(made) if _known_time(table.rows[row], known.found[row]) and experiment]
    for index, parent in enumerate(known.parents):
        if parent is not None:
            made[index].parent = made[parent]
    for index in dated:
        made[index].created_at = made[index].finished_at or made[index].created_at
    Experiment.objects.bulk_update(made, ["parent", "created_at"], batch_size=BATCH)
    return made


def _experiment(
    run: Run, brief: BriefVersion, number: int, row: Row, known: Known, table: Table, finished_at: datetime
) -> Experiment:
    state, reason, why = _fate(row, table)
    found, scored = known.found[number], state != State.FAILED
    description = row.description if len(row.description) <= 200 else f"{row.description[:199]}…"
    in_full = row.description if len(row.description) > 200 else ""
    return Experiment(
        run=run, number=number, kind=Kind.BASELINE if number == 0 and (row.is_baseline or row.status == KEEP) else Kind.IDEA,
        state=state, reason=reason, detail=" ".join(text for text in (why, found.detail) if text), brief=brief,
        commit=found.commit or row.commit, description=description, hypothesis=row.hypothesis or in_full, diff=found.diff,
        score=row.score if scored else None, badges=[Badge.SELF_REPORTED] if scored and row.score is not None else [],
        summary=row.summary, proposed_at=found.at, trained_at=row.at, finished_at=finished_at,
    )  # fmt: skip


def _fate(row: Row, table: Table) -> tuple[State, str, str]:
    """State, reason and a sentence. A keep without a score is none: nothing may build on it."""
    if row.status == CRASH:
        return State.FAILED, _crash_reason(row), f"The table says {row.said}."
    if row.not_finite:
        return State.FAILED, Failure.NAN, f"The table says {row.said}, with the score {row.score_text}."
    if row.score is None and (row.status == KEEP or row.score_text):
        shown = row.score_text or "empty"
        return State.FAILED, Failure.NO_SCORE, f"The table says {row.said}, but its {table.metric} is {shown}: no score."
    state = State.KEPT if row.status == KEEP else State.DISCARDED
    return state, "", f"The table says {row.said}."


def _crash_reason(row: Row) -> Failure:
    text = f"{row.said} {row.description}".casefold()
    if re.search(r"\boom\b|out of memory", text):
        return Failure.OOM
    if re.search(r"\bnan\b|\binf\b|diverge", text):
        return Failure.NAN
    return Failure.TIMEOUT if re.search(r"time-?d?[ _]?out|too slow", text) else Failure.CRASH


def _known_time(row: Row, found: Found) -> datetime | None:
    return row.at or found.at


def _times(rows: Sequence[Row], found: Sequence[Found]) -> list[datetime]:
    """When each ended, as far as the table or its commit says; in between a thousandth of a second, to keep the order."""
    known = [_known_time(row, one) for row, one in zip(rows, found, strict=True)]
    at = next((time for time in known if time), timezone.now() - timedelta(seconds=len(rows) / 100)) - _TICK
    times: list[datetime] = []
    for time in known:
        at = max(at + _TICK, time or at)
        times.append(at)
    return times


def _finish(run: Run, rows: Sequence[Experiment], table: Table, known: Known, by: str) -> None:
    """Refs, dates and the audit log."""
    best = run.best
    if known.copy is not None:
        _set_refs(run, rows, best, known)
    dated = any(_known_time(row, found) for row, found in zip(table.rows, known.found, strict=True))
    moves = [Move(run=run, experiment=row, new=row.state, by="import", why=row.detail[:500]) for row in rows]
    Move.objects.bulk_create(moves, batch_size=BATCH)
    run.detail = " ".join([f"Taken from {run.source}: {_counts(rows)}. A record: it cannot go on here.", *table.remarks])
    run.save(update_fields=["detail", "tip"])
    if dated:
        started, ended = rows[0].finished_at or run.created_at, rows[-1].finished_at
        Run.objects.filter(pk=run.pk).update(created_at=started, resumed_at=started, ended_at=ended)
    run.record(by, "imported", why=run.detail[:1000])


def _set_refs(run: Run, rows: Sequence[Experiment], best: Experiment | None, known: Known) -> None:
    """Every commit under its own ref, the run's branch at its best, and main where a new run starts."""
    assert known.copy is not None
    there = {row.ref: row.commit for row, found in zip(rows, known.found, strict=True) if found.commit}
    best_there = best.commit if best is not None and best.ref in there else known.tip
    branch = f"refs/heads/{run.branch}"
    known.copy.keep({"refs/heads/main": known.base or known.tip, branch: best_there, **there})
    run.tip = gitcall.call(known.copy.folder, "rev-parse", "--verify", branch).strip()


def _counts(rows: Sequence[Experiment]) -> str:
    count: Counter[str] = Counter(row.state for row in rows)
    states = [f"{count[state]} {state}" for state in (State.KEPT, State.DISCARDED, State.FAILED) if count[state]]
    diffs = sum(bool(row.diff) for row in rows)
    return f"{len(rows)} experiment{'s' * (len(rows) != 1)}: {', '.join(states)}; {diffs or 'none'} with a diff"

