"""What a person can do with an experiment."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from experiments import tasks
from experiments.models import Experiment
from experiments.states import State, StateError
from experiments.views.answers import act, by, post_only, refuse

MAX_QUESTION = 1000  # characters


def _load(pk: int) -> Experiment:
    return get_object_or_404(Experiment.objects.select_related("run__program", "parent"), pk=pk)


def _act(request: HttpRequest, pk: int, change: Callable[[Experiment], None], done: str) -> HttpResponse:
    experiment = _load(pk)

    def change_and_wake() -> None:
        change(experiment)
        tasks.wake(experiment.run_id)

    return act(request, _back(request, experiment), change_and_wake, done.format(experiment.number))


def _back(request: HttpRequest, experiment: Experiment) -> str:
    target = request.POST.get("next", "")
    local = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return target if local else reverse("experiment", args=[experiment.pk])


@post_only("experiment")
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, lambda experiment: experiment.approve(by=by(request)), "#{} is approved.")


@post_only("experiment")
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    why = request.POST.get("why", "").replace("\0", "").strip()[:2000]
    return _act(request, pk, lambda experiment: experiment.reject(by=by(request), why=why), "#{} is rejected.")


@post_only("experiment")
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, lambda experiment: experiment.cancel(by=by(request)), "#{} is cancelled.")


@post_only("experiment")
def roll_back(request: HttpRequest, pk: int) -> HttpResponse:
    target = _load(pk)
    later = target.run.experiments.filter(state=State.KEPT).exclude(pk__in=target.chain()).order_by("number")
    taken = ", ".join(f"#{number}" for number in later.values_list("number", flat=True))
    done = "The branch now ends at #{}. The next idea builds on it."
    if taken:
        done += f" Reverted: {taken}. To undo this, roll forward on the page of the last of them."
    return _act(request, pk, lambda experiment: experiment.run.make_best(experiment, by=by(request)), done)


@post_only("experiment")
def revert(request: HttpRequest, pk: int) -> HttpResponse:
    experiment = _load(pk)
    try:
        made = tasks.revert(experiment, by=by(request))
    except StateError as error:
        return refuse(request, str(error), _back(request, experiment))
    when = "It is trained" if made.run.is_active else "Once you resume the run it is trained"
    messages.success(request, f"#{made.number} takes #{experiment.number} back. {when} and judged as any other.")
    return redirect("experiment", made.pk)


@post_only("experiment")
def repeat(request: HttpRequest, pk: int) -> HttpResponse:
    experiment = _load(pk)
    try:
        made = tasks.repeat(experiment, by=by(request))
    except StateError as error:
        return refuse(request, str(error), _back(request, experiment))
    when = "It trains next" if made.run.is_active else "Once you resume the run it trains"
    done = f"#{made.number} repeats #{experiment.number} with seed {made.seed}. {when}; it is never kept."
    messages.success(request, done)
    return redirect("experiment", made.pk)


@post_only("experiment")
def explain(request: HttpRequest, pk: int) -> HttpResponse:
    experiment, question = _load(pk), request.POST.get("question", "").replace("\0", "").strip()[:MAX_QUESTION]
    back = f"{_back(request, experiment)}#explained"
    return act(request, back, lambda: tasks.ask_to_explain(experiment, question, by=by(request)))


@post_only("experiment")
def train_anyway(request: HttpRequest, pk: int) -> HttpResponse:
    experiment = _load(pk)
    try:
        made = tasks.train_anyway(experiment, by=by(request))
    except StateError as error:
        return refuse(request, str(error), _back(request, experiment))
    messages.success(request, f"#{made.number} trains what the rehearsal of #{experiment.number} refused.")
    return redirect("experiment", made.pk)
