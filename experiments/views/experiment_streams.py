"""The streams of an experiment: by cursor as JSON, whole as a file."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils.text import slugify
from django.views.decorators.http import require_GET

from experiments import stream_reading
from experiments.models import Experiment
from experiments.models import stream as streams
from experiments.models.stream import Part


@require_GET
def read_stream(request: HttpRequest, pk: int, stream: str) -> HttpResponseBase:
    """The data from ?after= on, as JSON; ?download=1 is a text file.

    ?tail=1 begins near the end of a long text, ?before=N gives what stands before N; ?points=N thins a finished curve.
    """
    if stream not in streams.NAMES:
        raise Http404(f"There is no stream {stream}.")
    experiment = get_object_or_404(Experiment.objects.select_related("run__program"), pk=pk)
    if request.GET.get("download") == "1" and stream != streams.SERIES:
        return _download(experiment, stream)
    try:
        part = _part(request, experiment, stream)
    except ValueError as error:
        return HttpResponse(str(error), status=400, content_type="text/plain; charset=utf-8")
    return JsonResponse({"attempt": part.attempt, "offset": part.offset, "next": part.next, "data": part.chunks})


def _part(request: HttpRequest, experiment: Experiment, stream: str) -> Part:
    after, attempt, points, before = (_number(request, name) for name in ("after", "attempt", "points", "before"))
    if "before" in request.GET:
        return stream_reading.before(experiment, stream, offset=before, attempt=attempt)
    if request.GET.get("tail") == "1" and stream != streams.SERIES:
        return stream_reading.tail(experiment, stream, after=after, attempt=attempt)
    part = streams.read(experiment, stream, after=after, attempt=attempt)
    thin = stream == streams.SERIES and points and not experiment.is_live
    return stream_reading.thinned(experiment, part, points) if thin else part


def _number(request: HttpRequest, name: str) -> int:
    text = request.GET.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise ValueError(f"?{name}= must be a whole number that is not negative.")
    return int(text)


def _download(experiment: Experiment, stream: str) -> StreamingHttpResponse:
    name = f"{slugify(experiment.run.program.name)}-{experiment.run.tag}-{experiment.number}-{stream}.txt"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    whole = stream_reading.whole(experiment, stream)
    return StreamingHttpResponse(whole, content_type="text/plain; charset=utf-8", headers=headers)
