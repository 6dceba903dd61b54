"""Home: programs and their runs as cards, and what needs a person."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from experiments import inbox
from experiments.cards import program_cards
from experiments.forms_new import other_data
from experiments.templatetags.research import need_pill

PARTS = {"needs", "programs"}


@never_cache
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    part = request.GET.get("part")
    if part == "pill":
        return render(request, "partials/need_pill.html", need_pill())
    if part is not None and part not in PARTS:
        raise Http404("no such part")
    context: dict[str, Any] = {}
    if part != "programs":
        context["needs"] = inbox.needs()
    if part != "needs":
        cards = context["programs"] = program_cards()
        context["demo_alone"] = len(cards) == 1 and [item.run.tag for item in cards[0].runs] == ["demo"]
        context["other_data"] = other_data(cards[0].program) if context["demo_alone"] else []
    return render(request, f"home/{part}.html" if part else "home.html", context)
