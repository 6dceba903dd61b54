"""The page of one experiment; its streams, diff and actions have modules of their own beside this one."""

from __future__ import annotations

import hashlib
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from experiments import advice, log_text, patches, preflights, prompts, stream_reading, words
from experiments.activity import AXES
from experiments.measures import Outcome, measures
from experiments.models import Experiment, Program
from experiments.models import stream as streams
from experiments.models.text import versions
from experiments.states import Failure, Kind, RunState, State
from experiments.views import experiment_diff

PARTS = {"head", "curve", "facts", "exam", "rehearsal", "changes", "log-note", "reply-note", "asked", "explained", "history"}
TEXT_PARTS = {"log-note", "reply-note"}
LINEAGE = 12  # ancestors shown
END_OF_LOG = "The end of the log:"  # from here on a failure's detail repeats the log
LAST_WORDS = 12  # lines of the log beside a failure
WITHOUT_SCRIPT = 300  # lines of log and reply for a browser that runs no script


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
    context = {**_context(experiment), **versions}
    if part == "changes" or part not in PARTS:
        context |= experiment_diff.changes(request, experiment)
    if part in PARTS:
        template = "experiment/texts.html" if part in TEXT_PARTS else "experiment.html"
        return experiment_diff.remember(request, render(request, f"{template}#{part}", context))
    page = render(request, "experiment.html", {**context, **_texts(experiment)})
    return experiment_diff.remember(request, page)


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
    lineage, (added, removed) = _lineage(experiment), patches.counts(experiment.diff)
    noise = advice.spread(run)
    return {
        "experiment": experiment,
        "detail": experiment.detail,
        "run": run,
        "program": run.program,
        "parent": parent,
        "previous": run.experiments.filter(number__lt=experiment.number).last(),
        "following": run.experiments.filter(number__gt=experiment.number).first(),
        "measures": measures(
            Outcome(experiment.score, experiment.summary),
            Outcome(None if versions([experiment.exam, parent.exam]) else parent.score, parent.summary) if parent else None,
            metric=run.program.metric,
            lower_is_better=run.program.lower_is_better,
        ),
        "exam_facts": words.exam_facts(experiment.exam, experiment.sandbox, experiment.hardware),
        "rehearsal": preflights.shown(experiment.preflight),
        "secret_is_shown": experiment.secret_score is not None and experiment.state in {State.KEPT, State.REVERTED},
        "noise_words": advice.noise_words(experiment.delta, noise),
        "added": added,
        "removed": removed,
        "lineage": lineage[-LINEAGE:],
        "lineage_left_out": len(lineage) - LINEAGE if len(lineage) > LINEAGE else 0,
        "children": experiment.children.order_by("number"),
        "related": [(words.RELATIONS.get(Kind(one.kind), "after"), one) for one in _related(experiment)],
        "ideas": experiment.ideas.all(),
        "moves": experiment.moves.all(),
        **_words(experiment),
        **_actions(experiment),
        **_ending(experiment),
    }


def _related(experiment: Experiment) -> list[Experiment]:
    """The repeats, repairs and reverts of it."""
    return list(experiment.run.experiments.filter(subject=experiment).order_by("number")[:50])


def _ending(experiment: Experiment) -> dict[str, Any]:
    """What a verdict needs, or what is left of a failure."""
    if experiment.state == State.CONFIRMING:
        return {"look_at": advice.look_at(experiment)}
    if experiment.state == State.FAILED:
        last = _last_lines(experiment, streams.LOG, LAST_WORDS)
        detail = experiment.detail.partition(END_OF_LOG)[0] if last else experiment.detail
        return {"last_words": last, "detail": detail, "sequel": advice.sequel(experiment)}
    return {}


def _texts(experiment: Experiment) -> dict[str, Any]:
    """The ends of log and reply and the line of the curve, for a browser that runs no script."""
    return {
        "log_text": _last_lines(experiment, streams.LOG, WITHOUT_SCRIPT),
        "reply_text": log_text.plain(_end(experiment, streams.REPLY)),
        "curve_line": stream_reading.polylines(experiment, width=600, height=200),
    }


def _last_lines(experiment: Experiment, name: str, count: int) -> str:
    return log_text.last_lines(_end(experiment, name), count)


def _end(experiment: Experiment, name: str) -> str:
    return "".join(stream_reading.tail(experiment, name).chunks)[-100_000:]


def _words(experiment: Experiment) -> dict[str, Any]:
    """What the page says; a part that has something to show needs no word for its emptiness."""
    state, kind = State(experiment.state), Kind(experiment.kind)
    written = _written(experiment)
    return {
        "says": words.outcome(state, experiment.reason),
        "subject_word": words.RELATIONS.get(kind, "after") if experiment.subject_id else "",
        "no_diff": words.no_diff(state, kind, experiment.reason),
        "has_points": streams.SERIES in written,
        "has_curve": streams.SERIES in written or state in {State.TRAINING, State.EVALUATING},
        "no_curve": words.no_curve(state),
        "no_log": "" if streams.LOG in written else words.no_log(state),
        "no_reply": "" if streams.REPLY in written else words.no_reply(state, kind),
        "no_prompt": words.no_prompt(state, kind),
        "prompt_words": prompts.said(experiment.prompt, experiment.prompt_cut, experiment.prompt_limit),
    }


def _lineage(experiment: Experiment) -> list[Experiment]:
    """From the baseline to this experiment."""
    return list(experiment.run.experiments.filter(pk__in=experiment.chain()).order_by("number"))


def _actions(experiment: Experiment) -> dict[str, Any]:
    """Which actions fit the state, and what a roll back would change."""
    state, best = State(experiment.state), experiment.run.best
    is_open = not experiment.run.source
    has_llm = experiment.run.program.researcher == Program.Researcher.LITELLM
    rolls = is_open and (state == State.REVERTED or (state == State.KEPT and experiment != best))
    chain = experiment.chain() if rolls else []
    siblings = experiment.run.experiments.order_by("number")
    return {
        "best": best,
        "other_best": best if best not in {experiment, experiment.parent} else None,
        "axes": AXES,
        "can_decide": state in {State.REVIEWING, State.CONFIRMING},
        "can_repeat": is_open and state in {State.KEPT, State.REVERTED, State.DISCARDED} and experiment.score is not None,
        "can_explain": is_open and not experiment.is_live and has_llm,
        "can_cancel": experiment.is_live,
        "cancel_does": advice.cancel_does(experiment),
        **advice.effects(experiment),
        "can_roll": rolls,
        "is_best": experiment == best,
        "taken_back": siblings.filter(state=State.KEPT).exclude(pk__in=chain) if rolls else [],
        "kept_again": siblings.filter(state=State.REVERTED, pk__in=chain) if rolls else [],
        "can_train_anyway": (
            is_open and experiment.reason == Failure.PREFLIGHT and bool(experiment.commit)
            and experiment.run.state != RunState.ENDED and not siblings.filter(kind=Kind.MANUAL, subject=experiment).exists()
        ),
        "can_revert": is_open and state == State.KEPT and experiment.parent_id is not None,
    }
