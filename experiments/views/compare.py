"""Any experiments side by side, also of different runs: curves, numbers, and the diff of any two."""

from __future__ import annotations

from typing import Any

from django.db.models import Case, IntegerField, Q, QuerySet, Value, When
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from django_htmx.http import replace_url

from experiments import comparison, diffs, overlaid, tasks
from experiments.comparison import Side
from experiments.models import Experiment, Run

PARTS = {"chosen", "found", "numbers", "diff"}
IN_ADDRESS = {"numbers", "diff"}  # what is chosen in these parts belongs into the link that is shared
LATEST, OFFERED_RUNS = 8, 12  # experiments of a run, and runs, that the empty page offers
FOUND = 20


@never_cache
@require_GET
def compare(request: HttpRequest) -> HttpResponse:
    """The page, or with ?part= one of its fragments."""
    part, asked = request.GET.get("part", ""), request.GET.getlist("e")
    rest = _rest(request.GET)
    if len(asked) > 1 and not part:  # from checkboxes: the short address is the one to share
        rest["e"] = ",".join(asked)
        return redirect(f"{request.path}?{rest.urlencode(safe=',')}")
    sides, problems = comparison.load(comparison.read_picks(asked))
    picked = ",".join(str(side.experiment.pk) for side in sides)
    context: dict[str, Any] = {"sides": sides, "problems": problems, "picked": picked, "rest": rest}
    if part and part not in PARTS:
        raise Http404("no such part")
    for name in [part] if part else PARTS:
        context |= BUILD[name](request.GET, sides)
    if not part:
        context |= {"offered": [] if sides else _offered(), "values": overlaid.VALUES.items()}
        return render(request, "compare.html", context)
    answer = render(request, f"compare.html#{part}", context)
    if part not in IN_ADDRESS:
        return answer
    rest["e"] = picked
    return replace_url(answer, f"{request.path}?{rest.urlencode(safe=',')}")


@require_GET
def curves(request: HttpRequest) -> HttpResponse:
    """The curves of ?e=, thinned; ?x= is one of overlaid.AXES, ?y= one of overlaid.VALUES. Odd ones count as none."""
    picks = comparison.read_picks(request.GET.getlist("e"))
    axis, value = request.GET.get("x", ""), request.GET.get("y", "")
    axis, value = axis if axis in overlaid.AXES else "step", value if value in overlaid.VALUES else "loss"
    return HttpResponse(overlaid.curves_json(picks.pks, axis, value), content_type="application/json")


def _rest(query: QueryDict) -> QueryDict:
    """All that is chosen but the experiments and what is searched for; nothing empty."""
    rest = QueryDict(mutable=True)
    for name, value in query.items():
        if name not in {"e", "q", "part"} and value:
            rest[name] = str(value)[:1000]
    return rest


def _chosen(query: QueryDict, sides: list[Side]) -> dict[str, Any]:
    return {"is_live": any(side.experiment.is_live for side in sides), "several": len(sides) > 1}


def _numbers(query: QueryDict, sides: list[Side]) -> dict[str, Any]:
    rows, only = comparison.table(sides), query.get("only") == "1"
    switch = _rest(query)
    switch["only"] = "" if only else "1"
    shown = [row for row in rows if row.differs] if only else rows
    return {"rows": shown, "only": only, "alike": len(rows) - len(shown), "switch": switch}


def _diff(query: QueryDict, sides: list[Side]) -> dict[str, Any]:
    pair = comparison.pair(sides, query.get("a", ""), query.get("b", ""))
    if pair is None:
        return {}
    files, problem = ((), pair.problem) if pair.problem else _files(pair)
    return {"pair": pair, "pair_problem": problem, "files": files}


def _files(pair: comparison.Pair) -> tuple[tuple[diffs.FileDiff, ...], str]:
    """What differs in the editable files of two commits, or why that cannot be said."""
    program, texts = pair.a.experiment.run.program, []
    for side in (pair.a, pair.b):
        found = tasks.read_files(program, side.experiment.commit, program.editable)
        if not found:
            return (), f"The commit {side.experiment.commit[:7]} of {side.name} is not in the repository: no diff."
        texts.append(found)
    old, new = texts
    paths = sorted({*old, *new})
    return tuple(file for path in paths for file in diffs.between(old.get(path, ""), new.get(path, ""), path)), ""


def _found(query: QueryDict, sides: list[Side]) -> dict[str, Any]:
    """More to add: by number, by words of the idea, by run; those of the same runs first."""
    asked = query.get("q", "").replace("\0", "").strip()[:200]
    if not asked:
        return {"q": "", "found": []}
    rows: QuerySet[Experiment] = Experiment.objects.select_related("run__program")
    for word in asked.split()[:8]:
        rows = rows.filter(_matches(word))
    runs = {side.experiment.run_id for side in sides}
    near = Case(When(run__in=runs, then=Value(0)), default=1, output_field=IntegerField())
    rows = rows.exclude(pk__in=[side.experiment.pk for side in sides]).order_by(near, "-pk")
    return {"q": asked, "found": rows.only("number", "description", "kind", "score", "state", "reason", "run")[:FOUND]}


def _matches(word: str) -> Q:
    match = Q(description__icontains=word) | Q(run__tag__icontains=word) | Q(run__program__name__icontains=word)
    digits = word.removeprefix("#")
    if digits.isascii() and digits.isdigit() and len(digits) < 10:
        return Q(number=int(digits)) if word.startswith("#") else match | Q(number=int(digits))
    return match


def _offered() -> list[tuple[Run, list[Experiment]]]:
    """The latest runs with the latest scored experiments of each, for a page where nothing is chosen."""
    runs = Run.objects.select_related("program").order_by("-pk")[:OFFERED_RUNS]
    return [(run, latest) for run in runs if (latest := _latest(run))]


def _latest(run: Run) -> list[Experiment]:
    scored = run.experiments.filter(score__isnull=False).order_by("-number")
    return list(scored.only("number", "description", "kind", "score", "state", "reason", "run")[:LATEST])


BUILD = {"chosen": _chosen, "found": _found, "numbers": _numbers, "diff": _diff}
