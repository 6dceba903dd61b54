"""What a person can do with a run. Each: one change, then the loop is woken."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url

from experiments import planning, tasks, words
from experiments.forms import LimitsForm, NoteForm
from experiments.models import Run
from experiments.states import Mode, Outage, StateError
from experiments.views.answers import act, by, is_htmx, post_only, refuse, tell_page
from experiments.views.run import page


def _run(pk: int) -> Run:
    return get_object_or_404(Run.objects.select_related("program"), pk=pk)


def _change(request: HttpRequest, run: Run, change: Callable[[], object], done: str = "") -> HttpResponse:
    def change_and_wake() -> None:
        change()
        tasks.wake(run.pk)

    return act(request, resolve_url("run", run.pk), change_and_wake, done)


@post_only("run")
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    run, now = _run(pk), request.POST.get("now") == "1"
    return _change(request, run, lambda: run.pause(by=by(request), now=now))


@post_only("run")
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    return _change(request, run, lambda: run.resume(by=by(request)))


@post_only("run")
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    return _change(request, run, lambda: run.stop(by=by(request)))


@post_only("run")
def mode(request: HttpRequest, pk: int) -> HttpResponse:
    run, wanted = _run(pk), request.POST.get("mode", "")
    if wanted not in set(Mode):
        return refuse(request, "There is no such mode. Reload the page and choose again.", resolve_url("run", pk))
    return _change(request, run, lambda: run.set_mode(Mode(wanted), by=by(request)), words.MODES[wanted])


@post_only("run")
def outage(request: HttpRequest, pk: int) -> HttpResponse:
    run, wanted = _run(pk), request.POST.get("outage", "")
    if wanted not in set(Outage):
        return refuse(request, "There is no such choice. Reload the page and choose again.", resolve_url("run", pk))
    return _change(request, run, lambda: run.set_outage(Outage(wanted), by=by(request)))


@post_only("run")
def ask_now(request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    return _change(request, run, lambda: tasks.ask_researcher_now(run, by=by(request)))


@post_only("run")
def adopt(request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    return _change(request, run, lambda: tasks.adopt_branch(run, by=by(request)))


@post_only("run")
def restore(request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)
    return _change(request, run, lambda: tasks.restore_branch(run, by=by(request)))


@post_only("run")
def strategy(request: HttpRequest, pk: int) -> HttpResponse:
    run, wanted = _run(pk), request.POST.get("strategy", "")
    if wanted not in planning.CHOICES:
        return refuse(request, "There is no such kind of idea. Reload the page and choose again.", resolve_url("run", pk))
    return _change(request, run, lambda: run.force_strategy(wanted, by=by(request)), "The next idea will be of that kind.")


@post_only("run")
def drop_sweep(request: HttpRequest, pk: int) -> HttpResponse:
    run = _run(pk)

    def drop() -> None:
        if not run.drop_sweep(by=by(request), why="dropped by hand"):
            raise StateError("No sweep is waiting any more: it is done, or somebody has dropped it.")

    return _change(request, run, drop, "The sweep is dropped. What it has tried stays.")


@post_only("run")
def limits(request: HttpRequest, pk: int) -> HttpResponse:
    run, form = _run(pk), LimitsForm(request.POST)
    if form.is_valid():
        form.save(run, by=by(request))
        if "resume" in request.POST:
            return resume(request, pk)
        return _change(request, run, lambda: None, "The limits are saved.")
    if is_htmx(request):
        return render(request, "run/limits.html", {"run": run, "limits_form": form}, status=422)
    return page(request, run, status=422, limits_form=form)


@post_only("run")
def note(request: HttpRequest, pk: int) -> HttpResponse:
    run, form = _run(pk), NoteForm(request.POST)
    if not form.is_valid():
        if is_htmx(request):
            return render(request, "run/note_form.html", {"run": run, "program": run.program, "note_form": form}, status=422)
        return page(request, run, status=422, note_form=form)
    run.add_note(form.cleaned_data["text"], by=by(request))
    tasks.wake(run.pk)
    if not is_htmx(request):
        return redirect("run", pk)
    answer = render(request, "run/note_form.html", {"run": run, "program": run.program, "note_form": NoteForm()})
    return tell_page(answer, "refresh")


@post_only("run")
def drop_note(request: HttpRequest, pk: int) -> HttpResponse:
    run, note = _run(pk), request.POST.get("note", "")
    pk_of_note = int(note) if note.isdecimal() and len(note) < 16 else 0
    return _change(request, run, lambda: run.drop_note(pk_of_note, by=by(request)), "The note is in no prompt from now on.")
