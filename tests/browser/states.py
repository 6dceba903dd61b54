"""Runs that stand in each state, for tests that look at pages. Runs inside an installation's Django.

Made-up nights of 12 experiments each, put back to work. Every live row is held by a worker of another machine whose
heartbeat lies in the future, so the loop leaves it alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from experiments.demo.store import seed
from experiments.models import Experiment, Run
from experiments.states import Badge, Kind, Mode, RunState, State
from tests.factories import DIFF, add_points, add_text

HELD = {"worker": "elsewhere:1:1", "attempt": 1}
REPLY = "Warm down later.\n\ntrain.py\n<<<<<<< SEARCH\nWARMDOWN = 0.5\n=======\nWARMDOWN = 0.65\n>>>>>>> REPLACE\n"
LOSSES = [2.4 + 6 / (1 + step / 4) for step in range(140)]
PAUSED = {
    "circuit-breaker": ("circuit_breaker", "10 experiments in a row failed, the last with oom. Mend the cause, resume."),
    "branch-moved": ("branch_moved", "autoresearch/night-7 was moved from outside to 1a2b3c4. Adopt or restore."),
    "by-hand": ("by_hand", "Paused by hand. Resume when ready."),
}  # fmt: skip
LIVE = ("proposing", "reviewing", "training", "evaluating", "confirming")
MIG = "MIG-44444444-5555-6666-7777-888888888888"
LONG = "a_very_long_name_without_a_single_place_to_break_it_" * 3


def make() -> dict[str, str]:
    """Name -> path of the page."""
    runs = iter(seed(12, runs=12, random_seed=7, now=timezone.now()))
    pages = {name: _live(next(runs), State(name)) for name in LIVE}
    places = {f"run-{name}": f"/runs/{row.run_id}/" for name, row in pages.items()}
    places |= {f"experiment-{name}": f"/experiments/{row.pk}/" for name, row in pages.items()}
    for name, (reason, detail) in PAUSED.items():
        run = next(runs)
        _set(run, state=RunState.PAUSED, reason=reason, detail=detail)
        places[f"run-{name}"] = f"/runs/{run.pk}/"
    places["manual"] = f"/runs/{pages['training'].run_id}/manual/"
    places["run-fresh"] = f"/runs/{_fresh(next(runs)).pk}/"
    places["run-device-busy"] = f"/runs/{_busy(next(runs)).pk}/"
    places["run-strange-score"] = f"/runs/{_strange(next(runs)).pk}/"
    places["run-long-words"] = f"/runs/{_long(next(runs)).pk}/"
    return places


def _set(run: Run, **fields: Any) -> None:
    values = {"max_experiments": 200, "ended_at": None, "reason": "", "detail": "", **fields}
    Run.objects.filter(pk=run.pk).update(**values)
    run.refresh_from_db()


def _add(run: Run, state: State, **fields: Any) -> Experiment:
    now = timezone.now()
    if state == State.PROPOSING:
        fields = {"description": "", "diff": "", "hypothesis": "", "commit": ""} | fields
    values = {"description": "Warm down later, to a higher floor", "diff": DIFF, "commit": "1a2b3c4" + "0" * 33}
    values |= {"kind": Kind.IDEA, **HELD}
    values |= {"hypothesis": "The last two keeps came from more cooldown; the floor was tuned before them."}
    return Experiment.objects.create(
        run=run, number=run.next_number(), state=state, parent=run.best, brief=run.program.brief,
        heartbeat_at=now + timedelta(days=30), proposed_at=now, **(values | fields),
    )


def _live(run: Run, state: State) -> Experiment:
    mode = {State.REVIEWING: Mode.APPROVE_DIFFS, State.CONFIRMING: Mode.APPROVE_KEEPS}.get(state, Mode.AUTOPILOT)
    row = _add(run, state, **_fields(run, state))
    if state == State.PROPOSING:
        add_text(row, "reply", REPLY)
    if state in {State.TRAINING, State.EVALUATING, State.CONFIRMING}:
        add_points(row, LOSSES)
        lines = (f"step {n:05d} | loss: {loss:.6f} | tok/sec: 34,000\n" for n, loss in enumerate(LOSSES))
        add_text(row, "log", "".join(lines))
        _add(run, State.PROPOSING)
    _set(run, state=RunState.ACTIVE, mode=mode)  # last: the loop would add rows of its own
    return row


def _fields(run: Run, state: State) -> dict[str, Any]:
    now = timezone.now()
    if state not in {State.TRAINING, State.EVALUATING, State.CONFIRMING}:
        return {}
    fields: dict[str, Any] = {"training_at": now - timedelta(seconds=12), "device": MIG}
    if state == State.CONFIRMING and run.best is not None and run.best.score is not None:
        score = run.best.score - 0.0012
        detail = f"better by 0.001200: {score:.6f} against {run.best.score:.6f} of #{run.best.number}"
        fields |= {"score": score, "detail": detail, "badges": ["verified"], "trained_at": now}
    return fields


def _fresh(run: Run) -> Run:
    """Just started: the baseline trains, nothing has come out."""
    run.experiments.exclude(number=0).update(parent=None, subject=None)
    run.experiments.all().delete()
    fields = {"kind": Kind.BASELINE, "description": "baseline", "diff": "", "hypothesis": "", "training_at": timezone.now()}
    row = _add(run, State.TRAINING, **fields)
    add_points(row, LOSSES[:30])
    _add(run, State.PROPOSING)
    _set(run, state=RunState.ACTIVE)
    return run


def _busy(run: Run) -> Run:
    """An idea waits for a device."""
    why = f"Waits: GPU 1 is used by python3 (process 4242, 20.0 GB); another training holds GPU {MIG}."
    _add(run, State.READY, detail=why)
    _set(run, state=RunState.ACTIVE)
    return run


def _strange(run: Run) -> Run:
    """A score that seems too good, and the training with another seed that says whether it holds."""
    badges = [Badge.VERIFIED, Badge.IMPLAUSIBLE]
    strange = _add(run, State.EVALUATING, score=0.69, badges=badges, device=MIG, trained_at=timezone.now())
    again = {"kind": Kind.REPEAT, "subject": strange, "seed": 43, "description": "Repeat with seed 43", "diff": ""}
    _add(run, State.READY, detail="Waits: another training holds GPU 0.", **again)
    _set(run, state=RunState.ACTIVE)
    return run


def _long(run: Run) -> Run:
    """Words without an end, everywhere where a person or a model writes."""
    _set(run, state=RunState.PAUSED, detail=LONG)
    Run.objects.filter(pk=run.pk).update(tag=LONG[:60])
    run.experiments.filter(state=State.KEPT).update(description=LONG, hypothesis=LONG, detail=LONG)
    run.notes.update(text=LONG, author=LONG[:30])
    run.ideas.update(text=LONG, author=LONG[:30])
    return run
