"""The audit log of the whole installation."""

from __future__ import annotations

from urllib.parse import urlencode

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from experiments import audit
from experiments.models import Run

PAGE = 50


@never_cache
@require_GET
def log(request: HttpRequest) -> HttpResponse:
    wanted = _wanted(request.GET)
    rows = Paginator(audit.Log(wanted), PAGE).get_page(request.GET.get("page"))
    people, others = audit.actors()
    context = {
        "rows": rows,
        "pages": rows.paginator.get_elided_page_range(rows.number, on_each_side=2, on_ends=1),
        "wanted": wanted,
        "people": people,
        "others": others,
        "runs": Run.objects.select_related("program").order_by("-pk"),
        "actions": [(name, words) for name, (words, _) in audit.ACTIONS.items()],
        "query": _query(request.GET),
    }
    return render(request, "audit.html", context)


def _wanted(query: QueryDict) -> audit.Wanted:
    """A run that is no number is the run 0: it finds nothing, and the page says so."""
    run, by, action = (query.get(name, "").replace("\0", "").strip()[:200] for name in ("run", "by", "action"))
    number = int(run) if run.isascii() and run.isdigit() and len(run) < 10 else 0
    return audit.Wanted(by=by, run=number if run else None, action=action)


def _query(query: QueryDict) -> str:
    """The filter as the beginning of a page's address."""
    kept = {name: query.get(name, "") for name in ("by", "run", "action") if query.get(name)}
    return f"{urlencode(kept)}&" if kept else ""
