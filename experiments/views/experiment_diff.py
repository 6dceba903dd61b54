"""The diff of an experiment: unified, side by side, with the whole file around it, in pages, and as a patch."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from experiments import diffs, patches, tasks
from experiments.models import Experiment

VIEWS = {"unified": "Unified", "split": "Side by side", "whole": "Whole file"}
COOKIE = "diff"  # which of the first two was looked at last
_YEAR = 365 * 24 * 3600


def chosen(request: HttpRequest) -> str:
    """The view that is asked for, else the one that was looked at last."""
    asked, last = request.GET.get("diff", ""), request.COOKIES.get(COOKIE, "")
    return asked if asked in VIEWS else last if last == "split" else "unified"


def remember(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    if request.GET.get("diff") in {"unified", "split"}:
        response.set_cookie(COOKIE, chosen(request), max_age=_YEAR, samesite="Lax", httponly=True)
    return response


def changes(request: HttpRequest, experiment: Experiment) -> dict[str, Any]:
    """What the diff card shows: MAX_ROWS lines of the chosen view."""
    view, start = chosen(request), _whole_number(request, "from")
    text, missing = _whole(experiment) if view == "whole" else (experiment.diff, "")
    files = diffs.parse(text, start)
    total = sum(file.lines for file in files)
    end = min(total, start + diffs.MAX_ROWS)
    shown = [file for file in files if file.blocks or not file.lines]
    return {
        "diff_view": view,
        "diff_views": VIEWS.items(),
        "files": shown,
        "missing": missing,
        "opened": _whole_number(request, "open"),
        "from_line": start,
        "first_line": start + 1,
        "last_line": end,
        "lines_in_all": total,
        "next_from": end if end < total else None,
        "previous_from": max(0, start - diffs.MAX_ROWS) if start else None,
    }


def _whole_number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


def _whole(experiment: Experiment) -> tuple[str, str]:
    """The diff with its files around it, or as it is and why."""
    diff, program = experiment.diff, experiment.run.program
    paths = patches.paths(diff)
    files = tasks.read_files(program, experiment.commit, paths) if paths else {}
    if files or not paths:
        return patches.whole(diff, files), ""
    commit = experiment.commit[:7] or "of this experiment"
    why = "the run was imported without it" if experiment.run.source else "it was removed from outside"
    return diff, f"The commit {commit} is not in the repository ({why}), so there is only the diff."


@require_GET
def patch(request: HttpRequest, pk: int) -> HttpResponse:
    """The diff as a file for `git am` and `git apply`."""
    experiment = get_object_or_404(Experiment.objects.select_related("run__program", "parent"), pk=pk)
    if not experiment.diff.strip():
        raise Http404(f"#{experiment.number} has no diff.")
    text = patches.mail(
        experiment.diff, subject=experiment.description or f"Experiment {experiment.number}",
        body=experiment.hypothesis, commit=experiment.commit, at=experiment.proposed_at or experiment.created_at,
    )  # fmt: skip
    run = experiment.run
    name = f"{slugify(run.program.name)}-{run.tag}-{experiment.number}.patch"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="text/x-patch; charset=utf-8", headers=headers)
