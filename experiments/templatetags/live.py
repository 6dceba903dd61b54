"""What a page's <body> tells static/js/live.js."""

from __future__ import annotations

import time

from django import template
from django.conf import settings
from django.utils.html import format_html
from django.utils.safestring import SafeString

from experiments.models import Run

register = template.Library()


@register.simple_tag
def socket(run: Run | None = None) -> SafeString:
    """Where the page hears of changes (of one run, or of all), since when it shows them, and its heartbeat in seconds."""
    place = f"runs/{run.pk}" if run else "home"
    return format_html('data-socket="/ws/{}/?drawn={}" data-beat="{}"', place, int(time.time()), settings.PAGE_BEAT_SECONDS)
