"""The queue of ideas of a run: add, edit, move, pin, drop. Each: one change, which stands in the next prompt."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url

from experiments.forms import IdeaForm
from experiments.models import Idea, Run
from experiments.states import StateError
from experiments.views.answers import act, by, is_htmx, post_only, refuse, tell_page
from experiments.views.run import page

STEPS = {"up": -1, "down": 1}


def _idea(request: HttpRequest, run: Run) -> Idea:
    """The idea that the form names, of this run alone."""
    pk = request.POST.get("idea", "")
    return get_object_or_404(run.ideas.select_related("run"), pk=int(pk) if pk.isdecimal() and len(pk) < 16 else 0)


def _run(pk: int) -> Run:
    return get_object_or_404(Run.objects.select_related("program"), pk=pk)


def _queue(run: Run) -> str:
    return f"{resolve_url('run', run.pk)}#ideas"


@post_only("run")
def add(request: HttpRequest, pk: int) -> HttpResponse:
    run, form = _run(pk), IdeaForm(request.POST)
    if form.is_valid():
        try:
            Idea.add(run, form.cleaned_data["text"], by=by(request))
        except StateError as error:
            form.add_error("text", str(error))
    if form.errors:
        if is_htmx(request):
            return render(request, "run/idea_form.html", {"run": run, "idea_form": form}, status=422)
        return page(request, run, status=422, idea_form=form)
    if not is_htmx(request):
        return redirect(_queue(run))
    answer = render(request, "run/idea_form.html", {"run": run, "idea_form": IdeaForm()})
    return tell_page(answer, "refresh")


@post_only("run")
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    idea, form = _idea(request, run), IdeaForm(request.POST)
    if form.is_valid():
        text = form.cleaned_data["text"]
        return act(request, _queue(run), lambda: idea.edit(text, by=by(request)))
    if is_htmx(request):
        return HttpResponse(form.errors["text"][0], status=409, content_type="text/plain; charset=utf-8")
    return page(request, run, status=422, idea_form=form)  # its text is in the form for a new one, with the reason


@post_only("run")
def move(request: HttpRequest, pk: int) -> HttpResponse:
    """`to`: up, down, or its place in the queue, counted from 0."""
    run, to = _run(pk), request.POST.get("to", "")
    idea = _idea(request, run)
    if to in STEPS:
        return act(request, _queue(run), lambda: idea.shift(STEPS[to], by=by(request)))
    if to.isdecimal() and len(to) < 6:
        return act(request, _queue(run), lambda: idea.place(int(to), by=by(request)))
    return refuse(request, "There is no such place in the queue. Reload the page and try again.", _queue(run))


@post_only("run")
def pin(request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    idea, pinned = _idea(request, run), request.POST.get("pinned") == "1"
    return act(request, _queue(run), lambda: idea.pin(pinned, by=by(request)))


@post_only("run")
def drop(request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    idea = _idea(request, run)
    return act(request, _queue(run), lambda: idea.drop(by=by(request)))
