"""The page of one experiment, its streams, and what a person can do with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.text import slugify
from django.views.decorators.http import require_GET, require_POST

from experiments import diffs, tasks, words
from experiments.charts import lttb
from experiments.measures import Outcome, measures
from experiments.models import Experiment
from experiments.models import stream as streams
from experiments.states import Kind, State, StateError
from experiments.views.answers import act, by, refuse

PARTS = {"head", "curve", "facts", "exam", "changes", "log-note", "reply-note", "asked", "history"}
LINEAGE = 12  # ancestors shown


def _load(pk: int) -> Experiment:
    rows = Experiment.objects.select_related("run__program", "parent", "subject", "brief")
    return get_object_or_404(rows, pk=pk)


@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """The page, or with ?part= one of its fragments; 204 where the fragment's version ?v= still holds."""
    experiment = _load(pk)
    part = request.GET.get("part", "")
    versions = _versions(experiment)
    if part in PARTS and request.GET.get("v") in versions.values():
        return HttpResponse(status=204)
    template = f"experiment.html#{part}" if part in PARTS else "experiment.html"
    return render(request, template, {**_context(experiment), **versions})


def _versions(experiment: Experiment) -> dict[str, str]:
    """Marks of what fragments show: the experiment alone, and it together with the rest of its run."""
    row = [(name, value) for name, value in vars(experiment).items() if name not in {"_state", "heartbeat_at"}]
    own = hashlib.md5(repr([row, sorted(_written(experiment))]).encode(errors="replace")).hexdigest()[:12]
    last = experiment.run.moves.order_by("pk").values_list("pk", flat=True).last()
    return {"version": own, "run_version": f"{own}-{last}"}


def _written(experiment: Experiment) -> set[str]:
    """The streams that hold anything."""
    return set(experiment.chunks.order_by().values_list("stream", flat=True).distinct())


def _context(experiment: Experiment) -> dict[str, Any]:
    run, parent = experiment.run, experiment.parent
    lineage, files = _lineage(experiment), diffs.parse(experiment.diff)
    return {
        "experiment": experiment,
        "run": run,
        "program": run.program,
        "parent": parent,
        "previous": run.experiments.filter(number__lt=experiment.number).last(),
        "following": run.experiments.filter(number__gt=experiment.number).first(),
        "measures": measures(
            Outcome(experiment.score, experiment.summary),
            Outcome(parent.score, parent.summary) if parent else None,
            metric=run.program.metric,
            lower_is_better=run.program.lower_is_better,
        ),
        "exam_facts": words.exam_facts(experiment.exam, experiment.sandbox),
        "secret_is_shown": experiment.secret_score is not None and experiment.state in {State.KEPT, State.REVERTED},
        "files": files,
        "added": sum(file.added for file in files),
        "removed": sum(file.removed for file in files),
        "lineage": lineage[-LINEAGE:],
        "lineage_left_out": len(lineage) - LINEAGE if len(lineage) > LINEAGE else 0,
        "children": experiment.children.order_by("number"),
        "moves": experiment.moves.all(),
        **_words(experiment),
        **_actions(experiment),
    }


def _words(experiment: Experiment) -> dict[str, Any]:
    """What the page says; a part that has something to show needs no word for its emptiness."""
    state, kind = State(experiment.state), Kind(experiment.kind)
    written = _written(experiment)
    return {
        "says": words.outcome(state, experiment.reason),
        "subject_word": words.RELATIONS.get(kind, "after") if experiment.subject_id else "",
        "no_diff": words.no_diff(state, kind, experiment.reason),
        "has_curve": streams.SERIES in written or state in {State.TRAINING, State.EVALUATING},
        "no_curve": words.no_curve(state),
        "no_log": "" if streams.LOG in written else words.no_log(state),
        "no_reply": "" if streams.REPLY in written else words.no_reply(state, kind),
        "no_prompt": words.no_prompt(state, kind),
    }


def _lineage(experiment: Experiment) -> list[Experiment]:
    """From the baseline to this experiment."""
    return list(experiment.run.experiments.filter(pk__in=experiment.chain()).order_by("number"))


def _actions(experiment: Experiment) -> dict[str, Any]:
    """Which actions fit the state, and what a roll back would change."""
    state, best = State(experiment.state), experiment.run.best
    rolls = state == State.REVERTED or (state == State.KEPT and experiment != best)
    chain = experiment.chain() if rolls else []
    siblings = experiment.run.experiments.order_by("number")
    return {
        "best": best,
        "can_decide": state in {State.REVIEWING, State.CONFIRMING},
        "can_cancel": experiment.is_live,
        "can_roll": rolls,
        "is_best": experiment == best,
        "taken_back": siblings.filter(state=State.KEPT).exclude(pk__in=chain) if rolls else [],
        "kept_again": siblings.filter(state=State.REVERTED, pk__in=chain) if rolls else [],
        "can_revert": state == State.KEPT and experiment.parent_id is not None,
    }


# Streams


@require_GET
def read_stream(request: HttpRequest, pk: int, stream: str) -> HttpResponse:
    """The data from ?after= on, as JSON; ?points=N thins a finished curve out; ?download=1 is a text file."""
    if stream not in streams.NAMES:
        raise Http404(f"There is no stream {stream}.")
    experiment = get_object_or_404(Experiment, pk=pk)
    if request.GET.get("download") == "1" and stream != streams.SERIES:
        return _download(experiment, stream)
    try:
        after, attempt, points = (_number(request, name) for name in ("after", "attempt", "points"))
    except ValueError as error:
        return HttpResponse(str(error), status=400, content_type="text/plain; charset=utf-8")
    part = streams.read(experiment, stream, after=after, attempt=attempt)
    chunks = part.chunks
    if stream == streams.SERIES and points and not experiment.is_live:
        chunks = _thinned(chunks, points)
    return JsonResponse({"attempt": part.attempt, "offset": part.offset, "next": part.next, "data": chunks})


def _number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ValueError(f"?{name}= must be a whole number that is not negative.")
    return int(text)


def _thinned(chunks: tuple[str, ...], points: int) -> tuple[str, ...]:
    rows = [point for chunk in chunks for point in json.loads(chunk)]
    return (json.dumps(lttb(rows, max(points, 10))),) if len(rows) > points else chunks


def _download(experiment: Experiment, stream: str) -> HttpResponse:
    text, part = "", streams.read(experiment, stream)
    while part.chunks:
        text += "".join(part.chunks)
        part = streams.read(experiment, stream, after=part.next, attempt=part.attempt)
    name = f"{slugify(experiment.run.program.name)}-{experiment.run.tag}-{experiment.number}-{stream}.txt"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)


# Actions


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


@require_POST
def approve(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, lambda experiment: experiment.approve(by=by(request)), "#{} is approved.")


@require_POST
def reject(request: HttpRequest, pk: int) -> HttpResponse:
    why = request.POST.get("why", "").replace("\0", "").strip()[:2000]
    return _act(request, pk, lambda experiment: experiment.reject(by=by(request), why=why), "#{} is rejected.")


@require_POST
def cancel(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, lambda experiment: experiment.cancel(by=by(request)), "#{} is cancelled.")


@require_POST
def roll_back(request: HttpRequest, pk: int) -> HttpResponse:
    done = "The branch now ends at #{}. The next idea builds on it."
    return _act(request, pk, lambda experiment: experiment.run.make_best(experiment, by=by(request)), done)


@require_POST
def revert(request: HttpRequest, pk: int) -> HttpResponse:
    experiment = _load(pk)
    try:
        made = tasks.revert(experiment, by=by(request))
    except StateError as error:
        return refuse(request, str(error), _back(request, experiment))
    when = "It is trained" if made.run.is_active else "Once you resume the run it is trained"
    messages.success(request, f"#{made.number} takes #{experiment.number} back. {when} and judged as any other.")
    return redirect("experiment", made.pk)
