"""How many ideas are worked out at once: as few as keep the devices busy, for each knows less than the one before it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import median
from typing import Any

from django.conf import settings
from django.db.models import F
from django.utils import timezone

from experiments.models import Experiment, Run
from experiments.states import Kind, Mode, State

LOOK_BACK = 10  # experiments
ASKED_AT_ONCE = 24  # ideas of all runs: the other threads of the think worker look at the runs
ONE_IS_ENOUGH = 0.8  # of a training: an idea that takes no longer is there in time
LEAST_SECONDS = 3.0  # what comes sooner is not waited for


def wanted(run: Run) -> int:
    """How many experiments may wait for a device, those included whose idea is being worked out.

    One for each lane where an idea comes while a training lasts. Where it takes longer, as an agent may, as many more as
    make up for it, at most AUTORESEARCH_AHEAD for each lane. Where money is limited it is one: the next idea is only
    asked for when it is known what the last one cost.
    """
    alone = settings.AHEAD == 1 or Mode(run.mode).reviews_diffs  # a person looks at them one by one
    limited = run.max_cost or run.max_tokens
    if alone or limited or run.sweep_order:  # a sweep's steps come at once, by the last score
        return run.lanes
    ideas = run.experiments.filter(kind=Kind.IDEA, asked_at__isnull=False, proposed_at__gt=F("asked_at")).order_by("-number")
    trained = run.experiments.filter(score__isnull=False, trained_at__gt=F("training_at")).order_by("-number")
    idea = max(_median_seconds(ideas.values_list("asked_at", "proposed_at")[:LOOK_BACK]), _under_way_seconds(run))
    training = _median_seconds(trained.values_list("training_at", "trained_at")[:LOOK_BACK])
    if idea < LEAST_SECONDS or not training or idea <= ONE_IS_ENOUGH * training:
        return run.lanes
    return run.lanes * min(settings.AHEAD, 1 + math.ceil(idea / training))


def room(run: Run) -> int:
    """How many more ideas may be asked for now."""
    if run.sweep_order:  # two steps at once would be the same one
        return 1
    return max(0, ASKED_AT_ONCE - Experiment.objects.filter(state=State.PROPOSING).exclude(worker="").count())


def _under_way_seconds(run: Run) -> float:
    """How long somebody has worked on the oldest idea: it will have taken longer than that."""
    worked_on = run.experiments.filter(state=State.PROPOSING, asked_at__isnull=False).exclude(worker="")
    began = worked_on.order_by("asked_at").values_list("asked_at", flat=True).first()
    return (timezone.now() - began).total_seconds() if began else 0.0


def _median_seconds(spans: Iterable[tuple[Any, Any]]) -> float:
    seconds = [(until - since).total_seconds() for since, until in spans]
    return median(seconds) if seconds else 0.0
