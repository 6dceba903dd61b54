"""Which kind of idea is due in a run."""

from __future__ import annotations

from experiments.charts import noise_sigma
from experiments.models import Run
from experiments.researcher.base import Past
from experiments.researcher.strategy import Plan, next_plan
from experiments.states import State


def plan_for(run: Run) -> Plan:
    """By the run's ledger, unless a person has forced a strategy."""
    rows = run.experiments.exclude(state=State.PROPOSING).select_related("parent")
    past = [
        Past(
            number=row.number, kind=row.kind, state=row.state, reason=row.reason, description=row.description,
            score=row.score, delta=row.delta, diff=row.diff,
        )
        for row in rows.defer("prompt", "hypothesis", "edits", "parent__diff", "parent__prompt").order_by("number")
    ]  # fmt: skip
    best = run.best
    chain = run.experiments.filter(pk__in=best.chain()).order_by("number").values_list("number", flat=True) if best else []
    scores = run.experiments.filter(score__isnull=False).values_list("commit", "score")
    sigma = noise_sigma((commit, float(score or 0)) for commit, score in scores)
    return next_plan(
        past, chain=list(chain), forced=run.strategy, sigma=sigma, lower_is_better=run.program.lower_is_better
    )

