"""The form of a manual experiment: the editable files as a person has changed them, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from experiments.models import Experiment, Run
from experiments.states import State

LOST = "The page has lost what you edit: copy your text, reload the page and paste it again."


class ManualForm(forms.Form):
    description = forms.CharField(
        label="What you change, in one line",
        max_length=200,
        help_text="The subject of its commit, and its line in every table.",
        error_messages={"required": "Say in one line what you change, for example: warm down later."},
    )
    hypothesis = forms.CharField(
        label="Why it may help",
        required=False,
        max_length=5000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Shown on the experiment's page, for whoever reads it later. May stay empty.",
    )
    based_on = forms.IntegerField(
        min_value=1, widget=forms.HiddenInput, error_messages=dict.fromkeys(["required", "invalid", "min_value"], LOST)
    )

    def __init__(self, run: Run, texts: Mapping[str, str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.run = run
        self.paths = {f"file:{path}": path for path in texts}
        for name, path in self.paths.items():
            self.fields[name] = forms.CharField(
                label=path, initial=texts[path], strip=False, required=False,
                widget=forms.Textarea(attrs={"rows": 30, "spellcheck": "false", "autocomplete": "off"}),
            )

    def clean_description(self) -> str:
        return " ".join(str(self.cleaned_data["description"]).split())

    def clean_based_on(self) -> Experiment:
        """The best that the person saw."""
        pk = min(int(self.cleaned_data["based_on"]), 2**31 - 1)
        best = self.run.experiments.filter(pk=pk, state__in=[State.KEPT, State.REVERTED]).first()
        if best is None:
            raise forms.ValidationError(LOST)
        return best

    def editors(self) -> list[forms.BoundField]:
        return [self[name] for name in self.paths]

    def texts(self) -> dict[str, str]:
        """The files as they were typed, also where something else in the form is wrong."""
        typed = {path: self.data.get(name, "") for name, path in self.paths.items()}
        return {path: text.replace("\r\n", "\n") for path, text in typed.items()}
