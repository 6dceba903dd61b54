"""A new program, step by step; a model is tried with a real call before anything depends on it."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from experiments import model_check, tasks
from experiments.forms_new import ModelForm, NewProgramForm
from experiments.forms_program import free_tag
from experiments.models import Program
from experiments.states import StateError
from experiments.views.answers import by


@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    form = NewProgramForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        return _create(request, form)
    context = {"form": form, "first": not Program.objects.exists()}
    return render(request, "new.html", context, status=422 if form.errors else 200)


def _create(request: HttpRequest, form: NewProgramForm) -> HttpResponse:
    program = tasks.create_program(**form.program_fields())
    options = form.run_options()
    if options is None:
        messages.success(request, f"{program} is there. Read its program.md, then start a run.")
        return redirect("program", program.pk)
    tag, old = free_tag(program, timezone.localdate()), form.cleaned_data["instead_of"]
    try:
        run = tasks.start_run(program, tag, by=by(request), instead_of=old, **options)
    except StateError as error:
        messages.error(request, f"{program} is there, but its run has not started: {error} Start it here.")
        return redirect("program", program.pk)
    room = f" {old} makes room: its runs pause after what they train now." if old else ""
    messages.success(request, f"{run} has started with the baseline.{room}")
    return redirect("run", run.pk)


@require_POST
def check_model(request: HttpRequest) -> HttpResponse:
    """One short real call, so that a wrong key is found now and not at midnight."""
    form = ModelForm(request.POST)
    if form.is_valid():
        answer = model_check.check(form.cleaned_data["model"], form.cleaned_data["api_base"], form.prices)
    else:
        answer = model_check.Answer(False, " ".join(str(error[0]) for error in form.errors.values()))
    return render(request, "partials/model_check.html", {"answer": answer})
