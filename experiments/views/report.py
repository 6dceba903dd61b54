"""The report of a run, as a page to read or print and as Markdown to take along."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils import timezone
from django.utils.text import slugify
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from experiments import costs, diffs, preflights, report
from experiments.models import Run
from experiments.views import report_words
from experiments.views.report_markdown import markdown

DIFF_LIMIT = 40_000  # characters of one diff that are coloured here
ALL_LIMIT = 400_000  # of all diffs; the others are a click away


@dataclass(frozen=True)
class Shown:
    """A keep with its diff made ready; `too_long` says why there is none."""

    keep: report.Keep
    files: tuple[diffs.FileDiff, ...]
    too_long: bool


def _report(pk: int) -> report.Report:
    run = get_object_or_404(Run.objects.select_related("program"), pk=pk)
    return report.build(run, timezone.now())


def _shown(keeps: list[report.Keep]) -> list[Shown]:
    left, out = ALL_LIMIT, []
    for keep in keeps:
        fits = len(keep.diff) <= min(left, DIFF_LIMIT)
        left -= len(keep.diff) if fits else 0
        out.append(Shown(keep, diffs.parse(keep.diff) if fits else (), too_long=not fits))
    return out


@never_cache
@require_GET
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """?diffs=1 opens all diffs, as a print wants them."""
    built = _report(pk)
    paid = costs.rows_of(built.run)
    context: dict[str, Any] = {
        "report": built,
        "run": built.run,
        "program": built.run.program,
        "tiles": built.tiles,
        "times": built.times,
        "keeps": _shown(built.keeps),
        "headline": report_words.headline(built),
        "verdict": report_words.verdict(built),
        "noise": report_words.noise(built),
        "text": report_words.text(built),
        "standing": report_words.standing(built),
        "steps": report_words.next_steps(built),
        "rehearsals": preflights.count(built.run).line,
        "spent": costs.by_day(paid) + costs.by_model(paid),
        "tokens_each": built.per_keep(built.tiles.tokens),
        "seconds_each": built.per_keep(built.times.device_seconds),
        "open_diffs": request.GET.get("diffs") == "1",
    }
    return render(request, "report.html", context)


@never_cache
@require_GET
def as_markdown(request: HttpRequest, pk: int) -> HttpResponse:
    built = _report(pk)
    answer = HttpResponse(markdown(built, request.build_absolute_uri), content_type="text/markdown; charset=utf-8")
    name = f"report-{slugify(built.run.program.name) or 'run'}-{built.run.tag}.md"
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
