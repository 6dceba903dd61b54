"""Forms of the run page: its limits, notes to the researcher, and ideas for its queue."""

from __future__ import annotations

from django import forms

from experiments.models import Run
from experiments.states import Outage

OUTAGES = [(Outage.WAIT, "Wait"), (Outage.SWEEP, "Sweep the constants"), (Outage.REPEAT, "Repeat the best")]


class LimitsForm(forms.Form):
    """All limits may stay empty: then the run goes on until a person stops it."""

    max_experiments = forms.IntegerField(
        label="End after so many experiments",
        required=False,
        min_value=1,
        max_value=100_000,
        error_messages={
            "invalid": "Enter a whole number, or leave it empty for no limit.",
            "min_value": "At least 1 experiment. Leave it empty for no limit.",
            "max_value": "At most 100000 experiments. Leave it empty for no limit.",
        },
    )
    hours = forms.FloatField(
        label="End in so many hours from now",
        required=False,
        min_value=0,
        max_value=1000,
        error_messages={
            "invalid": "Enter hours as a number such as 8 or 1.5, or leave it empty for no deadline.",
            "min_value": "Hours cannot be negative. Leave it empty for no deadline.",
            "max_value": "At most 1000 hours. Leave it empty for no deadline.",
        },
    )
    max_without_gain = forms.IntegerField(
        label="End after so many experiments without a gain",
        required=False,
        min_value=1,
        max_value=100_000,
        error_messages=dict.fromkeys(
            ["invalid", "min_value", "max_value"], "Enter a whole number from 1 to 100,000, or leave it empty."
        ),
    )
    max_cost = forms.FloatField(
        label="Spend at most so many US dollars on the LLM",
        required=False,
        min_value=0.01,
        max_value=100_000,
        error_messages=dict.fromkeys(
            ["invalid", "min_value", "max_value"], "Enter dollars such as 5 or 0.50, or leave it empty."
        ),
    )
    max_tokens = forms.IntegerField(
        label="Use at most so many tokens, where the price is not known",
        required=False,
        min_value=1_000,
        max_value=10**12,
        error_messages=dict.fromkeys(
            ["invalid", "min_value", "max_value"], "Enter a whole number of at least 1000, or leave it empty."
        ),
    )

    outage = forms.ChoiceField(
        label="While the LLM does not answer", required=False, choices=[(value.value, word) for value, word in OUTAGES],
        help_text="The sweep is the built-in search, without an LLM. Repeats with other seeds measure the noise.",
    )  # fmt: skip

    def save(self, run: Run, *, by: str) -> None:
        limits = {**self.cleaned_data}
        run.set_outage(Outage(limits.pop("outage")), by=by)
        run.set_limits(**limits, by=by)


class NoteForm(forms.Form):
    text = forms.CharField(
        max_length=4000,
        error_messages={
            "required": "Write a note first.",
            "max_length": "A note has at most %(limit_value)d characters; this one has %(show_value)d. Shorten it.",
        },
    )


class IdeaForm(forms.Form):
    text = forms.CharField(
        max_length=2000,
        error_messages={
            "required": "Write the idea first.",
            "max_length": "An idea has at most %(limit_value)d characters; this one has %(show_value)d. Shorten it.",
        },
    )
