"""Cells of the table of experiments, each as one piece of HTML: a page has more than a thousand of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from experiments import words
from experiments.measures import written
from experiments.models import Experiment
from experiments.table import Column, cell_class
from experiments.templatetags.research import ago, better, compact, delta, duration, money, score, state_badge
from experiments.templatetags.texts import line

register = template.Library()
NONE = "—"


@register.simple_tag
def cell(experiment: Experiment, column: Column, lower_is_better: bool) -> SafeString:
    """The <td> of a row of experiments.table."""
    match column.key:
        case "number":
            return format_html('<td class="muted">{}</td>', experiment.number)
        case "state":
            return format_html("<td>{}{}</td>", _badge(experiment.state, experiment.reason), _badges(experiment))
        case "idea":
            url = reverse("experiment", args=[experiment.pk])
            return format_html('<td class="wide"><a class="plain" href="{}"><bdi>{}</bdi></a></td>', url, _idea(experiment))
        case "score" | "delta":
            return _number(experiment, column, lower_is_better)
    return format_html('<td class="{}">{}</td>', _class(column), _text(experiment, column.key))


def _number(experiment: Any, column: Column, lower_is_better: bool) -> SafeString:
    difference = experiment.difference
    tone = better(difference, lower_is_better)
    if column.key == "delta":
        return format_html('<td class="{} {}">{}</td>', cell_class(column), tone, delta(difference))
    beside = format_html('<small class="only-s {}">{}</small>', tone, delta(difference)) if difference is not None else ""
    return format_html('<td class="num">{}{}</td>', score(experiment.score), beside)


def _text(row: Any, key: str) -> Any:
    summary = row.summary if isinstance(row.summary, dict) else {}
    match key:
        case "lines":
            return f"+{row.added} −{row.removed}" if row.lines else NONE
        case "memory":
            return written(row.memory_gb, "{:.1f}".format) if row.memory_gb else NONE
        case "kind":
            return row.kind
        case "commit":
            return row.commit[:7] or NONE
        case "seconds":
            return duration(summary.get("training_seconds"))
        case "steps":
            return written(summary["num_steps"], "{:,.0f}".format) if summary.get("num_steps") else NONE
        case "tokens":
            return compact(row.tokens) if row.tokens else NONE
        case "cost":
            return NONE if row.cost is None else money(row.cost)
        case _:
            return ago(row.finished_at)


def _class(column: Column) -> str:
    extra = {"kind": " muted", "commit": " mono muted"}.get(column.key, "")
    return f"{cell_class(column)}{extra}".strip()


def _idea(experiment: Experiment) -> str:
    return line(experiment.description) or ("no idea came" if experiment.finished_at else "the idea is being worked out")


@lru_cache(maxsize=256)
def _badge(state: str, reason: str) -> SafeString:
    return render_to_string("partials/state.html", state_badge(state, reason))


def _badges(experiment: Experiment) -> SafeString:
    shown = [b for b in experiment.badges if words.badge_tone(b) != "kept" and b != experiment.reason]
    html = ' <span class="badge" data-state="{}" title="{}">{}</span>'
    return format_html_join("", html, ((words.badge_tone(b), words.BADGES.get(b, ""), b) for b in shown))
