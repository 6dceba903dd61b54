"""The page of a program: its brief in versions, its settings, its runs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.views.decorators.http import require_GET, require_POST

from experiments import diffs, tasks
from experiments.forms_program import BriefForm, SettingsForm, StartRunForm
from experiments.models import BriefConflict, BriefVersion, Program, Run
from experiments.states import Kind, Mode, State, StateError
from experiments.views.answers import by, is_htmx

_KEPT = Q(experiments__state__in=[State.KEPT, State.REVERTED])  # a roll back does not unmake a good idea
_JUDGED = _KEPT | Q(experiments__state__in=[State.DISCARDED, State.FAILED])
_IDEA = ~Q(experiments__kind__in=[Kind.BASELINE, Kind.REPEAT])


@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    program = get_object_or_404(Program, pk=pk)
    part = request.GET.get("part", "")
    template = f"program.html#{part}" if part in {"versions", "runs"} else "program.html"
    return render(request, template, _context(program))


def _context(program: Program, **changed: Any) -> dict[str, Any]:
    brief = program.brief
    return {
        "program": program,
        "brief": brief,
        "brief_form": BriefForm(initial={"text": brief.text, "based_on": brief.number}),
        "settings_form": SettingsForm(instance=Program.objects.get(pk=program.pk)),
        "start_form": StartRunForm(program),
        "versions": _versions(program),
        "runs": _runs(program),
        **changed,
    }


def _versions(program: Program) -> QuerySet[BriefVersion]:
    """Newest first, each with how many ideas it led to and how many of them were kept."""
    return program.briefs.defer("text").order_by("-number").annotate(
        tried=Count("experiments", filter=_IDEA),
        judged=Count("experiments", filter=_IDEA & _JUDGED),
        kept=Count("experiments", filter=_IDEA & _KEPT),
    )


def _runs(program: Program) -> QuerySet[Run]:
    return program.runs.order_by("-pk").annotate(
        tried=Count("experiments"),
        kept=Count("experiments", filter=Q(experiments__state=State.KEPT) & ~Q(experiments__kind=Kind.BASELINE)),
    )


# The brief


@require_POST
def save_brief(request: HttpRequest, pk: int) -> HttpResponse:
    """A new version, or the page again with the person's text and what is in its way."""
    program = get_object_or_404(Program, pk=pk)
    before = program.brief
    form = BriefForm(request.POST)
    if not form.is_valid():
        return _brief_again(request, program, form, status=422)
    try:
        saved = form.save(program, by=by(request))
    except BriefConflict as conflict:
        return _conflict(request, program, form, conflict)
    unchanged = saved.pk == before.pk
    done = f"Nothing to save: this is version {saved.number}." if unchanged else _saved_as(saved)
    if is_htmx(request):
        now = BriefForm(initial={"text": saved.text, "based_on": saved.number})
        return _brief_again(request, program, now, status=200, done=done, saved=saved)
    messages.success(request, done)
    return redirect("program", pk)


def _saved_as(saved: BriefVersion) -> str:
    return f"Saved as version {saved.number}. The next proposal reads it."


def _conflict(request: HttpRequest, program: Program, form: BriefForm, conflict: BriefConflict) -> HttpResponse:
    """Both texts; the base is now the latest version, so that saving again is deliberate."""
    latest, text = conflict.latest, form.cleaned_data["text"]
    again = BriefForm(initial={"text": text, "based_on": latest.number})
    return _brief_again(
        request, program, again, status=409,
        conflict=str(conflict), latest=latest, files=diffs.between(latest.text, text, "program.md"),
    )  # fmt: skip


def _brief_again(request: HttpRequest, program: Program, form: BriefForm, *, status: int, **more: Any) -> HttpResponse:
    """Without htmx the whole page; with it the status line only, so that the editor and its caret stay as they are."""
    template = "program.html#brief-status" if is_htmx(request) else "program.html"
    return render(request, template, _context(program, brief_form=form, **more), status=status)


@require_GET
def brief_version(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """An old version, what has changed since, and the way back to it."""
    rows = BriefVersion.objects.select_related("program").filter(program_id=pk)
    shown = get_object_or_404(rows, number=number)
    current = shown.program.brief
    context = {
        "program": shown.program,
        "shown": shown,
        "current": current,
        "files": diffs.between(shown.text, current.text, "program.md"),
        "restore_form": BriefForm(initial={"text": shown.text, "based_on": current.number}),
        "previous": rows.filter(number__lt=number).order_by("-number").values_list("number", flat=True).first(),
        "following": rows.filter(number__gt=number).order_by("number").values_list("number", flat=True).first(),
        "ideas": shown.experiments.filter(~Q(kind__in=[Kind.BASELINE, Kind.REPEAT])).select_related("run"),
    }
    return render(request, "program_version.html", context)


# Settings and runs


@require_POST
def save_settings(request: HttpRequest, pk: int) -> HttpResponse:
    program = get_object_or_404(Program, pk=pk)
    form = SettingsForm(request.POST, instance=Program.objects.get(pk=pk))
    if not form.is_valid():
        return render(request, "program.html", _context(program, settings_form=form), status=422)
    form.save()
    labels = [str(form.fields[name].label).lower() for name in form.changed_data]
    done = f"Saved: {', '.join(labels)}. It holds from the next experiment on." if labels else "Nothing was changed."
    messages.success(request, done)
    # Without a fragment the browser keeps #settings, and the message at the top is out of sight.
    return redirect(f"{resolve_url('program', pk)}#top")


@require_POST
def start_run(request: HttpRequest, pk: int) -> HttpResponse:
    program = get_object_or_404(Program, pk=pk)
    form = StartRunForm(program, request.POST)
    if form.is_valid():
        data = form.cleaned_data
        try:
            run = tasks.start_run(
                program, data["tag"], mode=Mode(data["mode"]), max_experiments=data["max_experiments"],
                hours=data["hours"], by=by(request),
            )  # fmt: skip
        except StateError as error:
            form.add_error("tag", str(error))
        else:
            messages.success(request, f"{run} has started with the baseline.")
            return redirect("run", run.pk)
    return render(request, "program.html", _context(program, start_form=form), status=422)
