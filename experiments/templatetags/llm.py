"""What the LLM of an experiment took, in words: unknown is never shown as nothing."""

from __future__ import annotations

from django import template

from experiments.models import Experiment
from experiments.templatetags.research import compact, money

register = template.Library()


@register.filter
def llm_took(experiment: Experiment) -> str:
    """"12k in, 9k of it cached, 1k out, $0.02"; "" where no LLM was called."""
    if not (experiment.tokens_in or experiment.tokens_out or experiment.calls_unpriced):
        return ""
    if not (experiment.tokens_in or experiment.tokens_out):
        return f"not counted: {_calls(experiment.calls_uncounted)} ended before the provider said what it took"
    cached = f", {compact(experiment.tokens_cached)} of it cached" if experiment.tokens_cached else ""
    least = "at least " if experiment.calls_uncounted else ""
    return f"{least}{compact(experiment.tokens_in)} in{cached}, {compact(experiment.tokens_out)} out, {_cost(experiment)}"


@register.filter
def llm_uncounted(experiment: Experiment) -> str:
    """Why a sum is only "at least"."""
    if experiment.calls_uncounted:
        return f"{_calls(experiment.calls_uncounted)} ended before the provider said what it took"
    return f"The price of {_calls(experiment.calls_unpriced)} is not known" if experiment.calls_unpriced else ""


def _cost(experiment: Experiment) -> str:
    if experiment.cost is None:
        return "cost unknown"
    return f"at least {money(experiment.cost)}" if experiment.calls_unpriced else money(experiment.cost)


def _calls(count: int) -> str:
    return "one call" if count == 1 else f"{count} calls"
