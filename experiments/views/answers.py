"""What a POST answers: 204 and a refresh for htmx, a redirect otherwise; a refused change says why."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django_htmx.http import trigger_client_event

from experiments.states import StateError


def by(request: HttpRequest) -> str:
    return request.user.get_username()


def is_htmx(request: HttpRequest) -> bool:
    return bool(getattr(request, "htmx", False))


def act(request: HttpRequest, back: str, change: Callable[[], object], done: str = "") -> HttpResponse:
    """Make one change, then go `back` (a URL). A StateError becomes a text with status 409, or a message there."""
    try:
        change()
    except StateError as error:
        return refuse(request, str(error), back)
    if is_htmx(request):
        return trigger_client_event(HttpResponse(status=204), "refresh")
    if done:
        messages.success(request, done)
    return redirect(back)


def refuse(request: HttpRequest, why: str, back: str) -> HttpResponse:
    if is_htmx(request):
        return HttpResponse(why, status=409, content_type="text/plain; charset=utf-8")
    messages.error(request, why)
    return redirect(back)
