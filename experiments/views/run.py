"""The run page: every part of it can be fetched alone with ?part=, from the same template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.paginator import Paginator
from django.db.models import Count, F, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from django_htmx.http import replace_url

from experiments import charts
from experiments.activity import activity
from experiments.forms import LimitsForm, NoteForm
from experiments.models import Experiment, Run
from experiments.results import results_tsv
from experiments.states import LIVE, Mode, RunState, State
from experiments.tiles import tiles

PAGE = 100  # rows of the table
FILTERS: dict[str, frozenset[State]] = {
    "kept": frozenset({State.KEPT}),
    "discarded": frozenset({State.DISCARDED}),
    "failed": frozenset({State.FAILED}),
    "cancelled": frozenset({State.CANCELLED}),
    "reverted": frozenset({State.REVERTED}),
    "live": LIVE,
}
_FINISHED_FIRST = {State.TRAINING, State.EVALUATING}  # before a pause takes hold
HEAVY = ("prompt", "edits", "memo", "hypothesis", "detail")


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
        context |= _table(request, run)
        return replace_url(render(request, "run/table.html", context), context["here"])
    if part not in PARTS:
        raise Http404("no such part")
    return render(request, f"run/{part}.html", context | PARTS[part](run))


def page(request: HttpRequest, run: Run, *, status: int = 200, **context: Any) -> HttpResponse:
    """The whole page; also the answer to a form that was filled in wrongly, with its text."""
    whole: dict[str, Any] = {"run": run, "program": run.program, "note_form": NoteForm()}
    for build in PARTS.values():
        whole |= build(run)
    return render(request, "run.html", whole | _table(request, run) | context, status=status)


def _limits(run: Run) -> dict[str, Any]:
    left = (run.deadline_at - timezone.now()).total_seconds() / 3600 if run.deadline_at else 0
    hours = round(left, 2) if left > 0 else None
    return {"limits_form": LimitsForm(initial={"max_experiments": run.max_experiments, "hours": hours})}


def _head(run: Run) -> dict[str, Any]:
    modes = [(mode.value, mode.value.replace("_", " ").capitalize()) for mode in Mode]
    limited = run.state != RunState.ACTIVE and run.limit_reached() is not None
    finishing = run.experiments.filter(state__in=_FINISHED_FIRST) if run.state == RunState.PAUSED else []
    last = run.experiments.exclude(sandbox="").order_by("-trained_at").values_list("sandbox", flat=True).first()
    return {"modes": modes, "limited": limited, "finishing": finishing, "unsealed": last == "limits"}


def _tiles(run: Run) -> dict[str, Any]:
    return {"tiles": tiles(run, timezone.now())}


def _activity(run: Run) -> dict[str, Any]:
    return {"activity": activity(run)}


def _notes(run: Run) -> dict[str, Any]:
    notes = run.notes.select_related("read_by").only("text", "author", "created_at", "read_by__number")
    return {"notes": notes.order_by("-pk")[:50]}


def _table(request: HttpRequest, run: Run) -> dict[str, Any]:
    wanted, words = request.GET.get("state", ""), request.GET.get("q", "").replace("\0", "").strip()[:200]
    found = _search(run, words)
    counts = {row["state"]: row["n"] for row in found.order_by().values("state").annotate(n=Count("pk"))}
    chips = [("", "All", sum(counts.values()))]
    for name, states in FILTERS.items():
        chips.append((name, name.capitalize(), sum(counts.get(state, 0) for state in states)))
    shown = found.filter(state__in=FILTERS[wanted]) if wanted in FILTERS else found
    light = shown.order_by("-number").annotate(parent_score=F("parent__score")).defer(*HEAVY)
    rows = Paginator(light, PAGE).get_page(request.GET.get("page"))
    return {
        "rows": rows,
        "page_numbers": rows.paginator.get_elided_page_range(rows.number, on_each_side=2, on_ends=1),
        "chips": [chip for chip in chips if chip[2] or chip[0] in {"", wanted}],
        "wanted": wanted if wanted in FILTERS else "",
        "q": words,
        "here": _here(request, rows.number, wanted if wanted in FILTERS else "", words),
    }


def _here(request: HttpRequest, page_number: int, state: str, words: str) -> str:
    """The page's own address with this filter, without ?part=."""
    query = request.GET.copy()
    query.pop("part", None)
    for name, value in {"state": state, "q": words, "page": str(page_number) if page_number > 1 else ""}.items():
        query[name] = value
        if not value:
            del query[name]
    return f"{request.path}?{query.urlencode()}" if query else request.path


def _search(run: Run, words: str) -> QuerySet[Experiment]:
    """Experiments whose idea, reason, number or commit has these words; all of them where there are none."""
    if not words:
        return run.experiments.all()
    number = words.removeprefix("#")
    match = Q(description__icontains=words) | Q(reason__icontains=words.replace(" ", "_"))
    if number.isdecimal() and len(number) < 8:
        match |= Q(number=int(number))
    if len(words) >= 4:
        match |= Q(commit__startswith=words.lower())
    return run.experiments.filter(match)


PARTS: dict[str, Callable[[Run], dict[str, Any]]] = {
    "head": _head, "tiles": _tiles, "activity": _activity, "notes": _notes, "limits": _limits,
}  # fmt: skip


@never_cache
@require_GET
def chart(_request: HttpRequest, pk: int) -> JsonResponse:
    run = _run(pk)
    rows = run.experiments.exclude(state__in=LIVE).values_list(
        "pk", "number", "state", "score", "description", "reason", "parent__score"
    )
    tried = (charts.Tried(*row) for row in rows)
    program = run.program
    return JsonResponse(charts.progress(tried, metric=program.metric, lower_is_better=program.lower_is_better))


@require_GET
def results(_request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    answer = HttpResponse(results_tsv(run), content_type="text/tab-separated-values; charset=utf-8")
    answer["Content-Disposition"] = f'inline; filename="results-{run.tag}.tsv"'
    return answer
