"""Bring in a run that was made elsewhere: the form, and the progress of a fetch."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods
from django_htmx.http import HttpResponseClientRedirect

from experiments import tasks
from experiments.forms_import import ImportForm
from experiments.importing import jobs, source
from experiments.importing.bring import Wish, bring, check
from experiments.importing.refused import ImportRefused
from experiments.models import Run
from experiments.views.answers import by, is_htmx


@never_cache
@require_http_methods(["GET", "POST"])
def form(request: HttpRequest) -> HttpResponse:
    if request.method == "GET":
        return render(request, "import.html", {"form": ImportForm()})
    filled = ImportForm(request.POST, request.FILES)
    if not filled.is_valid():
        return render(request, "import.html", {"form": filled}, status=422)
    wish = filled.wish()
    try:
        check(wish)
        return _fetch(request, wish) if source.is_remote(wish.where) else _bring(request, wish)
    except ImportRefused as refused:
        filled.refuse(refused)
        return render(request, "import.html", {"form": filled, "there": _there(refused.run)}, status=422)


def _fetch(request: HttpRequest, wish: Wish) -> HttpResponse:
    return redirect("import-job", tasks.fetch_import(wish, by=by(request)))


def _bring(request: HttpRequest, wish: Wish) -> HttpResponse:
    done = bring(wish, by=by(request))
    messages.success(request, f"Imported {done.counts}.")
    return redirect("run", done.run.pk)


def _there(pk: int | None) -> Run | None:
    """The run that is there already."""
    return Run.objects.filter(pk=pk).select_related("program").first() if pk else None


@never_cache
@require_GET
def job(request: HttpRequest, token: str) -> HttpResponse:
    """How far a fetch is; in the end its run, or the form again with what was wrong."""
    found = jobs.read(token)
    if found is None:
        raise Http404("There is no such import any more.")
    if found.state == jobs.DONE:
        return _leave(request, resolve_url("run", found.run))
    if found.is_open:
        template = "import.html#job" if is_htmx(request) else "import.html"
        return render(request, template, {"job": found, "token": token})
    if is_htmx(request):
        return _leave(request, resolve_url("import-job", token))
    filled = ImportForm({"where": found.where, "branch": found.branch})
    filled.is_valid()
    filled.refuse(ImportRefused(found.says, found.field))
    context = {"form": filled, "there": _there(found.run), "table_again": found.table_name}
    return render(request, "import.html", context)


def _leave(request: HttpRequest, to: str) -> HttpResponse:
    return HttpResponseClientRedirect(to) if is_htmx(request) else redirect(to)
