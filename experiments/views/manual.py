"""A person edits the files of the best, sees the diff, and has it trained as an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from experiments import diffs, tasks
from experiments.forms_manual import LOST, ManualForm
from experiments.models import Experiment, Run
from experiments.states import StateError
from experiments.views.answers import by, is_htmx


@never_cache
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """The editor; a POST with step=diff shows what would change, any other one adds the experiment."""
    run = get_object_or_404(Run.objects.select_related("program"), pk=pk)
    source = _source(request, run)
    if request.method == "POST":
        return _posted(request, run, source)
    try:
        start = tasks.manual_start(run, source)
    except StateError as error:
        return _page(request, run, refused=str(error))
    form = ManualForm(run, start.texts, initial={"based_on": start.best.pk})
    return _page(request, run, form=form, parent=start.best, source=source, word=start.word,
                 **_changes(start.files, start.texts))  # fmt: skip


def _source(request: HttpRequest, run: Run) -> Experiment | None:
    """?from=: the experiment whose change the editor starts with."""
    pk = request.GET.get("from", "")
    return get_object_or_404(run.experiments, pk=int(pk)) if pk.isdecimal() and len(pk) < 10 else None


def _posted(request: HttpRequest, run: Run, source: Experiment | None) -> HttpResponse:
    sent = [path for path in run.program.editable if f"file:{path}" in request.POST]
    form = ManualForm(run, dict.fromkeys(sent, ""), request.POST)
    valid = form.is_valid()
    parent, texts = form.cleaned_data.get("based_on"), form.texts()
    try:
        if parent is None:
            return _page(request, run, form=form, status=422, error=LOST)
        before, problem = tasks.manual_problem(run, parent, texts)
        shown = {"form": form, "parent": parent, "source": source, **_changes(before, texts), "problem": problem}
        if request.POST.get("step") == "diff":
            form.errors.clear()  # nobody has asked for it yet
            template = "manual.html#changes" if is_htmx(request) else "manual.html"
            return render(request, template, {"run": run, "program": run.program, **shown})
        if not valid or problem:
            return _page(request, run, status=422, error=problem, **shown)
        made = tasks.add_manual(
            run, texts, parent=parent, description=form.cleaned_data["description"],
            hypothesis=form.cleaned_data["hypothesis"], by=by(request),
        )  # fmt: skip
    except StateError as error:
        return _page(request, run, form=form, parent=parent, status=409, error=str(error))
    when = "It is trained next." if run.is_active else "Resume the run and it is trained next."
    messages.success(request, f"#{made.number} is added. {when}")
    return redirect("experiment", made.pk)


def _changes(before: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, Any]:
    """The diff of each file against the best."""
    pairs = [(before[path], texts[path], path) for path in before if path in texts]
    return {"files": [file for old, new, path in pairs for file in diffs.between(old, new, path)]}


def _page(request: HttpRequest, run: Run, *, status: int = 200, **context: Any) -> HttpResponse:
    return render(request, "manual.html", {"run": run, "program": run.program, **context}, status=status)
