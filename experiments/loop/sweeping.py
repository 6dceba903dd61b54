"""A sweep that the researcher asked for, as the run has it: what is due of it, and what is left after each step."""

from __future__ import annotations

import logging
from dataclasses import replace

from experiments.loop.proposing import directed, sweep_context
from experiments.models import Experiment, Run
from experiments.researcher.base import Context, Proposal, Researcher
from experiments.researcher.edit_error import EditError
from experiments.researcher.ordered import OrderedSweep, first_step, next_step, order_from_json

log = logging.getLogger(__name__)


def step_due(experiment: Experiment) -> OrderedSweep | None:
    """The next step of the run's sweep; None where none is due, or where a repair or a person's idea goes first."""
    run = experiment.run
    order, best = run.sweep_order, run.best or experiment.parent
    if not order or experiment.subject_id or best is None or directed(experiment):
        return None
    asked_by = int(order["asked_by"])
    at = int(order["of"]) - int(order["left"]) + 1
    asker = run.experiments.filter(number=asked_by).first()
    try:
        step = next_step(order_from_json(order), sweep_context(experiment, best), asked_by=asked_by, at=at)
    except EditError as error:
        run.drop_sweep(by="loop", why=str(error))
        return None
    return OrderedSweep(step, theme=asker.theme if asker else "")


def settled(proposal: Proposal, experiment: Experiment, researcher: Researcher, context: Context) -> Proposal:
    """What a reply comes to: a sweep that it asks for begins with this experiment. Raises EditError where it cannot."""
    if isinstance(researcher, OrderedSweep):
        return replace(proposal, memo=researcher.step.memo)
    memo = {key: value for key, value in proposal.memo.items() if key != "sweep"}  # ours to write
    proposal = replace(proposal, memo=memo)
    if not proposal.sweep:
        return proposal
    begun = Run.objects.get(pk=experiment.run_id).sweep_order.get("asked_by")
    if begun is not None:
        raise EditError(f"A sweep that #{begun} asked for is under way. Propose one edit instead.")
    return first_step(proposal, context, experiment.number)


def note(experiment: Experiment) -> None:
    """Keep what is left of the sweep, in the transaction in which a step of it was proposed."""
    place = experiment.memo.get("sweep")
    if not place:
        return
    run = Run.locked(experiment.run_id)
    mine = place["asked_by"] == experiment.number
    if run.sweep_order.get("asked_by") != (None if mine else place["asked_by"]):
        return  # dropped in the meantime, or another one was begun
    done = run.experiments.filter(memo__sweep__asked_by=place["asked_by"]).count()
    left = place["of"] - done
    order = {name: place[name] for name in ("file", "constants", "of", "asked_by")} | {"left": left}
    run.sweep_order = order if left > 0 else {}
    run.save(update_fields=["sweep_order"])
    if mine:
        run.record("loop", f"sweep of {place['of']} begun", why=f"asked for by #{experiment.number}")
