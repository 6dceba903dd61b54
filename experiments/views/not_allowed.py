"""Words where a request has the wrong method: a link to a button's address must not lead to an empty page."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.deprecation import MiddlewareMixin


class WordsForWrongMethods(MiddlewareMixin):
    """Gives every empty 405 the page 405.html; its Allow stays."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.status_code != 405 or not isinstance(response, HttpResponse) or response.content:
            return response
        page = render(request, "405.html", {"takes_forms": "POST" in response["Allow"]}, status=405)
        page["Allow"] = response["Allow"]
        return page
