"""Which kind of idea is due in a run, and what is known of its noise: for the loop and for the pages."""

from __future__ import annotations

from experiments.charts import noise_sigma
from experiments.models import Run
from experiments.models.text import parent_score, version_of
from experiments.researcher.base import Past
from experiments.researcher.strategy import Plan, Strategy, next_plan
from experiments.states import Kind, State
from experiments.themes import theme

CHOICES = {  # of a person, for the run page; empty: nothing is forced
    "": "by the results",
    Strategy.EXPLOIT.value: "exploit: tune around the best",
    Strategy.EXPLORE.value: "explore: a theme not tried",
    Strategy.COMBINE.value: "combine: near-misses together",
    Strategy.SIMPLIFY.value: "simplify: fewer lines, equal score",
    Strategy.RETHINK.value: "rethink: from an older keep",
}


def plan_for(run: Run, *, under_way: int = 0) -> Plan:
    """By the run's ledger, unless a person has forced a strategy. `under_way`: ideas before this one without a verdict."""
    best = run.best
    ids = _by_this_exam(run, best.chain()[::-1]) if best else []
    led = {pk: (number, diff) for pk, number, diff in run.experiments.filter(pk__in=ids).values_list("pk", "number", "diff")}
    diffs = dict(led[pk] for pk in ids)  # only of the chain, in its order: a page asks for this after every move
    rows = run.experiments.exclude(state=State.PROPOSING).order_by("number").values_list(
        "number", "kind", "state", "reason", "description", "score", parent_score(), "theme", "strategy"
    )
    past = [
        Past(
            number=number, kind=kind, state=state, reason=reason, description=description, score=score,
            delta=None if score is None or before is None else score - before, diff=diffs.get(number, ""),
            theme=named or theme(description), strategy=strategy,
        )
        for number, kind, state, reason, description, score, before, named, strategy in rows
    ]  # fmt: skip
    return next_plan(
        past, chain=list(diffs), forced=run.strategy, sigma=sigma_of(run), lower_is_better=run.program.lower_is_better,
        under_way=under_way,
    )


def _by_this_exam(run: Run, chain: list[int]) -> list[int]:
    """What of the chain may be branched from: not what an earlier exam gave its score."""
    anew = run.experiments.filter(pk__in=chain, kind=Kind.REEXAMINED).values_list("pk", flat=True)
    return chain[max((chain.index(pk) for pk in anew), default=0) :]


def sigma_of(run: Run) -> float | None:
    """The noise of a score by the seed alone; None where too little was repeated."""
    scores = run.experiments.filter(score__isnull=False).values_list("commit", version_of(), "score")
    return noise_sigma((commit and f"{commit} {exam}", float(score or 0)) for commit, exam, score in scores)
