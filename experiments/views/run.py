"""The run page: every part of it can be fetched alone with ?part=, from the same template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render, resolve_url
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from django_htmx.http import replace_url

from experiments import charts, planning, words
from experiments.activity import activity
from experiments.forms import OUTAGES, IdeaForm, LimitsForm, NoteForm
from experiments.models import Run
from experiments.models.idea import RESEARCHER
from experiments.models.text import Text, parent_score, version_of
from experiments.results import results_tsv
from experiments.states import LIVE, Mode, RunState, State
from experiments.table import table
from experiments.templatetags.texts import line
from experiments.tiles import tiles

_ASKS = {State.REVIEWING, State.CONFIRMING}
# Of this machine: what a paused run waits for.
_MENDABLE = {"data", "sandbox", "device", "disk_full", "baseline_failed", "best_failed"}
_FINISHED_FIRST = {State.TRAINING, State.EVALUATING}  # before a pause takes hold


def _run(pk: int) -> Run:
    return get_object_or_404(Run.objects.select_related("program"), pk=pk)


@never_cache
@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    run, part = _run(pk), request.GET.get("part")
    if part is None:
        return page(request, run)
    context: dict[str, Any] = {"run": run, "program": run.program}
    if part == "table":
        shown = table(run, request.GET)
        answer = render(request, "run/table.html", context | {"table": shown})
        return replace_url(answer, f"{request.path}?{shown.query}" if shown.query else request.path)
    if part not in PARTS:
        raise Http404("no such part")
    return render(request, f"run/{part}.html", context | PARTS[part](run))


def page(request: HttpRequest, run: Run, *, status: int = 200, **context: Any) -> HttpResponse:
    """The whole page; also the answer to a form that was filled in wrongly, with its text."""
    whole: dict[str, Any] = {"run": run, "program": run.program, "note_form": NoteForm(), "idea_form": IdeaForm()}
    for build in PARTS.values():
        whole |= build(run)
    return render(request, "run.html", whole | {"table": table(run, request.GET)} | context, status=status)


def _limits(run: Run) -> dict[str, Any]:
    left = (run.deadline_at - timezone.now()).total_seconds() / 3600 if run.deadline_at else 0
    hours = round(left, 2) if left > 0 else None
    stored = {name: getattr(run, name) for name in LimitsForm.base_fields if name != "hours"}
    return {"limits_form": LimitsForm(initial={**stored, "hours": hours})}


def _head(run: Run) -> dict[str, Any]:
    modes = [(mode.value, mode.value.replace("_", " ").capitalize(), words.MODES[mode]) for mode in Mode]
    limited = run.state != RunState.ACTIVE and run.limit_reached() is not None
    finishing = run.experiments.filter(state__in=_FINISHED_FIRST) if run.state == RunState.PAUSED else []
    finishing = [one for one in finishing if not one.is_repeated_first]
    trained = run.experiments.exclude(sandbox="").order_by("-trained_at").values_list("sandbox", "exam").first()
    sandbox, exam = trained or ("", {})
    rows = run.experiments.filter(state__in=[State.KEPT, *_ASKS]).order_by("number").values_list("number", "state")
    waiting = [number for number, state in rows if state in _ASKS]
    return {
        "modes": modes, "limited": limited, "finishing": finishing, "unsealed": sandbox == "limits", "outages": OUTAGES,
        "earlier_text": Text.of(exam) if exam.get("earlier_text") else None,
        "try_again": run.state == RunState.PAUSED and run.reason in _MENDABLE,
        "waiting": waiting, "has_best": len(rows) > len(waiting),
    }  # fmt: skip


def _tiles(run: Run) -> dict[str, Any]:
    return {"tiles": tiles(run, timezone.now())}


def _activity(run: Run) -> dict[str, Any]:
    return {"activity": activity(run)}


def _notes(run: Run) -> dict[str, Any]:
    notes = run.notes.select_related("read_by").only("text", "author", "created_at", "read_by__number")
    return {"notes": notes.order_by("-pk")[:50]}


def _ideas(run: Run) -> dict[str, Any]:
    used = run.ideas.used().only("text", "author", "used_by__number", "used_by__state", "used_by__reason")
    asked_by = run.sweep_order.get("asked_by")
    asker = run.experiments.filter(number=asked_by).values_list("pk", flat=True).first() if asked_by is not None else None
    ideas = list(run.ideas.waiting())
    reminders: set[int] = set()  # the researcher's own behind all of people's: it takes them up when they fit
    for idea in reversed(ideas):
        if idea.author != RESEARCHER:
            break
        reminders.add(idea.pk)
    return {
        "ideas": ideas, "used": used[:50], "reminders": reminders,
        "sweep_asker": resolve_url("experiment", asker) if asker else "",
    }


def _strategy(_run: Run) -> dict[str, Any]:
    return {"strategies": planning.CHOICES.items()}


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "head": _head, "tiles": _tiles, "activity": _activity, "notes": _notes, "ideas": _ideas, "limits": _limits,
    "strategy": _strategy,
}  # fmt: skip


@never_cache
@require_GET
def chart(_request: HttpRequest, pk: int) -> JsonResponse:
    run = _run(pk)
    rows = run.experiments.exclude(state__in=LIVE).values_list(
        "pk", "number", "state", "score", "description", "reason", parent_score(), "commit", version_of()
    )
    tried = (
        charts.Tried(pk, number, state, score, line(text), why, before, commit, exam)
        for pk, number, state, score, text, why, before, commit, exam in rows
    )
    program = run.program
    return JsonResponse(charts.progress(tried, metric=program.metric, lower_is_better=program.lower_is_better))


@require_GET
def results(_request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    answer = HttpResponse(results_tsv(run), content_type="text/tab-separated-values; charset=utf-8")
    answer["Content-Disposition"] = f'inline; filename="results-{run.tag}.tsv"'
    return answer
