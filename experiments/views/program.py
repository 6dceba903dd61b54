"""The page of a program: its brief in versions, its settings, its runs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.db.models import Count, F, Max, Min, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_GET, require_POST

from experiments import diffs, forms_stale, markup, tasks
from experiments.forms_new import other_data
from experiments.forms_program import MAX_BRIEF, BriefForm, StartRunForm
from experiments.forms_recipe import RecipeForm, ResearcherForm
from experiments.models import BriefConflict, BriefVersion, Program, Run
from experiments.states import Kind, Mode, RunState, State, StateError
from experiments.views.answers import by, is_htmx, refuse

_KEPT = Q(experiments__state__in=[State.KEPT, State.REVERTED])  # a roll back does not unmake a good idea
_JUDGED = _KEPT | Q(experiments__state__in=[State.DISCARDED, State.FAILED])
_NOT_OF_BRIEF = [Kind.BASELINE, Kind.REPEAT, Kind.REEXAMINED, Kind.MANUAL]  # what no researcher has proposed
_IDEA = ~Q(experiments__kind__in=_NOT_OF_BRIEF)


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
        "preview": markup.html(brief.text),
        "recipe_form": RecipeForm(instance=Program.objects.get(pk=program.pk)),
        "researcher_form": ResearcherForm(instance=Program.objects.get(pk=program.pk)),
        "active": program.runs.filter(state=RunState.ACTIVE).order_by("-pk"),
        "start_form": StartRunForm(program),
        "versions": _versions(program),
        "runs": _runs(program),
        "other_data": SimpleLazyObject(lambda: other_data(program)),  # a part of the page does not ask
        **changed,
    }


def _versions(program: Program) -> QuerySet[BriefVersion]:
    """Newest first, each with the ideas it led to, how many of them were kept, and the best gain (as a delta)."""
    best = Min if program.lower_is_better else Max
    return program.briefs.defer("text").order_by("-number").annotate(
        tried=Count("experiments", filter=_IDEA),
        judged=Count("experiments", filter=_IDEA & _JUDGED),
        kept=Count("experiments", filter=_IDEA & _KEPT),
        gain=best(F("experiments__score") - F("experiments__parent__score"), filter=_IDEA & _KEPT),
    )


def _runs(program: Program) -> QuerySet[Run]:
    gain = Q(experiments__state=State.KEPT) & ~Q(experiments__kind__in=[Kind.BASELINE, Kind.REEXAMINED])
    return program.runs.order_by("-pk").annotate(tried=Count("experiments"), kept=Count("experiments", filter=gain))


# The brief


@require_POST
def preview(request: HttpRequest, pk: int) -> HttpResponse:
    """The text as it would be shown; nothing is saved."""
    text = request.POST.get("text", "")[:MAX_BRIEF]
    return render(request, "program.html#preview", {"preview": markup.html(text)})


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
    return f"Saved as version {saved.number}. {_who_reads(saved.program)}"


def _who_reads(program: Program) -> str:
    sweeps = program.researcher == Program.Researcher.SWEEP
    return "The built-in sweep does not read it; an LLM would." if sweeps else "The next proposal reads it."


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
    if is_htmx(request):
        context = {"program": program, "brief": program.brief, "brief_form": form, **more}
        return render(request, "program.html#brief-status", context, status=status)
    text = str(form["text"].value() or "")
    more["preview"] = markup.html(text) if len(text) <= MAX_BRIEF else ""  # what is refused for its length costs no more
    return render(request, "program.html", _context(program, brief_form=form, **more), status=status)


@require_GET
def brief_version(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """An old version, what has changed since, and the way back to it."""
    rows = BriefVersion.objects.select_related("program").filter(program_id=pk)
    shown = get_object_or_404(rows, number=number)
    current = shown.program.brief
    numbers = rows.order_by("number").values_list("number", flat=True)
    context = {
        "program": shown.program,
        "shown": shown,
        "current": current,
        "files": diffs.between(shown.text, current.text, "program.md"),
        "preview": markup.html(shown.text),
        "previous": numbers.filter(number__lt=number).last(),
        "following": numbers.filter(number__gt=number).first(),
        "ideas": shown.experiments.exclude(kind__in=_NOT_OF_BRIEF).select_related("run"),
    }
    return render(request, "program_version.html", context)


@require_GET
def compare_briefs(request: HttpRequest, pk: int) -> HttpResponse:
    """?from= and ?to=: what changed between two versions, the older one first."""
    program = get_object_or_404(Program, pk=pk)
    old, new = sorted(_number(request, name) for name in ("from", "to"))
    before, after = (get_object_or_404(program.briefs, number=number) for number in (old, new))
    context = {
        "program": program,
        "before": before,
        "after": after,
        "files": diffs.between(before.text, after.text, "program.md"),
        "numbers": program.briefs.order_by("-number").values_list("number", "author"),
    }
    return render(request, "program_compare.html", context)


def _number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Http404(f"?{name}= is no number of a version")
    return int(text)


@require_POST
def restore_brief(request: HttpRequest, pk: int, number: int) -> HttpResponse:
    """A new version with the text of an old one; refused where somebody has saved since the page was shown."""
    program = get_object_or_404(Program, pk=pk)
    old = get_object_or_404(program.briefs, number=number)
    based_on = request.POST.get("based_on", "")
    try:
        saved = program.save_brief(old.text, by=by(request), based_on=int(based_on) if based_on.isdecimal() else 0)
    except BriefConflict as conflict:
        saved = conflict.latest
        why = f"Not restored: {saved.author} saved version {saved.number} in the meantime. Look at it, then restore."
        return refuse(request, why, resolve_url("program-brief-version", pk, number))
    messages.success(request, f"Version {number} is back, as version {saved.number}. {_who_reads(program)}")
    return redirect("program", pk)


# Settings and runs


@require_POST
def save_recipe(request: HttpRequest, pk: int) -> HttpResponse:
    program = get_object_or_404(Program, pk=pk)
    form = RecipeForm(request.POST, instance=Program.objects.get(pk=pk))
    if form.is_valid() and "editable" in form.changed_data:
        missing = tasks.missing_files(program, form.cleaned_data["editable"])
        if missing:
            form.add_error("editable", f"The repository has no file {', '.join(missing)}. Enter paths that it has.")
    return _saved_form(request, program, form, "recipe_form")


@require_POST
def save_researcher(request: HttpRequest, pk: int) -> HttpResponse:
    program = get_object_or_404(Program, pk=pk)
    form = ResearcherForm(request.POST, instance=Program.objects.get(pk=pk))
    return _saved_form(request, program, form, "researcher_form")


def _saved_form(request: HttpRequest, program: Program, form: RecipeForm | ResearcherForm, name: str) -> HttpResponse:
    if not form.is_valid():
        return render(request, "program.html", _context(program, **{name: form}), status=422)
    if request.POST.get("seen", form.seen) != form.seen:
        form.add_error(None, forms_stale.words(form))
        return render(request, "program.html", _context(program, **{name: form}), status=409)
    form.save()
    labels = [str(form.fields[name].label).lower() for name in form.changed_data]
    done = f"Saved: {', '.join(labels)}. It holds from the next experiment on." if labels else "Nothing was changed."
    messages.success(request, done)
    # Without a fragment the browser keeps #recipe, and the message at the top is out of sight.
    return redirect(f"{resolve_url('program', program.pk)}#top")


@require_POST
def start_run(request: HttpRequest, pk: int) -> HttpResponse:
    program = get_object_or_404(Program, pk=pk)
    form = StartRunForm(program, request.POST)
    if form.is_valid():
        data = form.cleaned_data
        if data.get("unprotected"):
            Program.objects.filter(pk=pk).update(unprotected=True)
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
