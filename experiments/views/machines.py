"""The machines: what they have, what they do, and how to add one."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from experiments import machines


@never_cache
@require_GET
def page(request: HttpRequest) -> HttpResponse:
    """The page, or with ?part=now what is asked for every few seconds."""
    part = request.GET.get("part")
    if part not in {None, "now"}:
        raise Http404("no such part")
    now = timezone.now()
    queues, away = machines.queues()
    held = machines.held(now)
    context = {
        "gpus": machines.loads(held),
        "host": machines.host(),
        "queues": queues,
        "redis_away": away,
        "missing": [queue for queue in queues if queue.workers == 0],
        "held": held,
        "stale_seconds": settings.STALE_SECONDS,
    }
    return render(request, "machines.html#now" if part else "machines.html", context)
