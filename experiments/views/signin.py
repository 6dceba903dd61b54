"""Signing in with a password or a one-time link, and out. The only pages that a stranger sees."""

from __future__ import annotations

import re

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from experiments.signin import user_of_link

USED_LINK = "This link has been used, or is too old. Get a fresh one as it says below."
_ACTION = re.compile(r"(/(?:programs|runs|experiments)/\d+/)[a-z-]+/")  # POST only; its page is one step up


def _next(request: HttpRequest) -> str:
    """Where to go afterwards; only pages of this site."""
    target = request.POST.get("next") or request.GET.get("next") or ""
    local = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    action = _ACTION.fullmatch(target)
    return (action[1] if action else target) if local else ""


def _after(request: HttpRequest) -> HttpResponse:
    return redirect(_next(request) or resolve_url(settings.LOGIN_REDIRECT_URL))


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def form(request: HttpRequest) -> HttpResponse:
    if request.method == "GET" and request.user.is_authenticated:
        return _after(request)
    filled = AuthenticationForm(request, data=request.POST if request.method == "POST" else None)
    if request.method == "POST" and filled.is_valid():
        login(request, filled.get_user())
        return _after(request)
    return render(request, "sign_in.html", {"form": filled, "next": _next(request)})


@login_not_required
@never_cache
@require_GET
def link(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    user = user_of_link(uid, token)
    if user is None:
        context = {"form": AuthenticationForm(request), "refused": USED_LINK, "next": _next(request)}
        return render(request, "sign_in.html", context, status=403)
    login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    return _after(request)


@login_not_required
@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    logout(request)
    messages.success(request, "You are signed out.")
    return redirect(settings.LOGOUT_REDIRECT_URL or "sign-in")
