"""What a POST answers: 204 and a refresh for htmx, a redirect otherwise; a refused change says why.

A GET of such an address (a reload, a copied link) leads to the page it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django_htmx.http import trigger_client_event

from experiments.states import StateError

View = Callable[[HttpRequest, int], HttpResponse]


def by(request: HttpRequest) -> str:
    return request.user.get_username()


def is_htmx(request: HttpRequest) -> bool:
    return bool(getattr(request, "htmx", False))


def post_only(page: str) -> Callable[[View], View]:
    """Decorates a view that changes something: a GET goes to `page` (the name of a URL with the same pk) and says so."""

    def decorate(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, pk: int) -> HttpResponse:
            if request.method == "POST":
                return view(request, pk)
            if request.method not in {"GET", "HEAD"}:
                return HttpResponseNotAllowed(["POST"])
            messages.info(request, "That address only takes a button or a form. Nothing was changed: this is its page.")
            return redirect(page, pk)

        return guarded

    return decorate


def tell_page(answer: HttpResponse, event: str, **detail: str) -> HttpResponse:
    """Have htmx raise an event on the body: the form that asked may be swapped away by then, and unheard."""
    return trigger_client_event(answer, event, {"target": "body", **detail})


def act(request: HttpRequest, back: str, change: Callable[[], object], done: str = "") -> HttpResponse:
    """Make one change, then go `back` (a URL), saying what was `done`. A StateError becomes a text with status 409."""
    try:
        change()
    except StateError as error:
        return refuse(request, str(error), back)
    if is_htmx(request):
        answer = tell_page(HttpResponse(status=204), "refresh")
        return tell_page(answer, "said", text=done) if done else answer
    if done:
        messages.success(request, done)
    return redirect(back)


def refuse(request: HttpRequest, why: str, back: str) -> HttpResponse:
    if is_htmx(request):
        return HttpResponse(why, status=409, content_type="text/plain; charset=utf-8")
    messages.error(request, why)
    return redirect(back)
