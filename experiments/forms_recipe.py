"""Forms of a program's recipe and researcher. Each field says what a change of it does, before it is saved."""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath
from typing import Any

from django import forms

from experiments import forms_agent
from experiments.forms_agent import AgentFields
from experiments.forms_program import SettingsForm, missing_sandbox, unprotected_field
from experiments.forms_stale import stamp
from experiments.models import Program
from experiments.states import RunState
from trainer.agent import joined

DATASETS = ("stdlib", "torch", "tinystories", "climbmix")
FOLDER = "folder:"
MAX_FALLBACKS = 8
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,119}\Z")
NOT_COMPARABLE = (
    "Scores from before are not comparable with those after it. Start a new run: it trains its own baseline. "
    "A run that goes on would compare new scores with its old best."
)
EFFECTS = {
    "command": "Every training from the next one on is started so, in running runs too. What trains now is left alone.",
    "editable": "The next proposal sees and may change exactly these files. Edits proposed before stay as they are.",
    "dataset": "It holds for the next run: scores on two texts cannot be compared, so a run goes on with the text that it "
    "began on. New data may be downloaded first, before that run's baseline.",
    "budget_seconds": NOT_COMPARABLE,
    "grace_seconds": "Only how long is waited. Scores stay comparable; a shorter grace may end slow starts as timeouts.",
    "researcher": "The next proposal is asked of it, in running runs too. The history, the notes and the best stay.",
    "model": "The next proposal is asked of this model, in running runs too. What is being written now is finished first.",
    "api_base": "The next proposal is sent there, with your files, the notes and the history, and with "
    "AUTORESEARCH_API_BASE_KEY if that is set. Enter only an address you trust.",
    "fallbacks": "From the next proposal on, each of these is asked when all before it have failed. The run pauses only "
    "when none of them answers.",
    "price_in": "The calls from now on are counted at this price. What is counted already stays.",
    "price_out": "The calls from now on are counted at this price. What is counted already stays.",
    "agent_command": "The next proposal starts this command, in running runs too. An agent at work is finished first.",
    "agent_network": "The next agent is started so. With network it can send program.md, the files and the history out.",
    "agent_seconds": "The next agent may take so long. While it works and nothing else is ready, the device waits.",
}
FOR = {  # fields of one researcher: shown where it is chosen
    **dict.fromkeys(("model", "api_base", "fallbacks", "price_in", "price_out"), Program.Researcher.LITELLM),
    **dict.fromkeys(forms_agent.FIELDS, Program.Researcher.COMMAND),
    "unprotected": f"{Program.Researcher.LITELLM} {Program.Researcher.COMMAND}",
}


def _price(label: str) -> forms.FloatField:
    wrong = "Enter US dollars from 0 to 10,000, such as 0.25, or leave it empty."
    return forms.FloatField(
        label=label, required=False, min_value=0, max_value=10_000,
        help_text="Only where litellm does not know the model. Empty: its cost is shown as unknown.",
        error_messages=dict.fromkeys(["invalid", "min_value", "max_value"], wrong),
    )


class _Effects(SettingsForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields = {name: self.fields[name] for name in self.Meta.fields}
        self.seen = stamp(self.instance, self.Meta.fields)  # before it is cleaned into the instance
        for name, field in self.fields.items():
            field.widget.attrs |= {"data-effect": f"effect-{name}"}

    def rows(self) -> list[tuple[forms.BoundField, str, str]]:
        """Each field with what a change of it does, and the researcher it is for ("": any)."""
        return [(field, EFFECTS.get(field.name, ""), FOR.get(field.name, "")) for field in self]


class ResearcherForm(AgentFields, _Effects):
    fallbacks = forms.CharField(
        label="Fallback models",
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="Asked in this order when the model above does not answer, one a line. A model of the same provider is "
        "asked at the API address above, another one at its provider's own.",
    )
    price_in = _price("Price of a million tokens in, in US dollars")
    price_out = _price("Price of a million tokens out, in US dollars")

    class Meta(SettingsForm.Meta):
        fields = [
            "researcher", "model", "api_base", "fallbacks", "price_in", "price_out", *forms_agent.FIELDS, "unprotected",
        ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        why = missing_sandbox() or ("a worker has found none" if self._has_waited else "")
        if why or self.instance.unprotected:  # what was allowed can be taken back
            self.fields["unprotected"] = unprotected_field(why or "that was so when it was allowed")
        else:
            del self.fields["unprotected"]
        self.initial["fallbacks"] = "\r\n".join(self.instance.fallbacks)

    @property
    def _has_waited(self) -> bool:
        """A worker, unlike this process, may have no sandbox."""
        return bool(self.instance.runs.filter(state=RunState.PAUSED, reason="sandbox").exists())

    def clean_fallbacks(self) -> list[str]:
        names = list(dict.fromkeys(line.strip() for line in self.cleaned_data["fallbacks"].splitlines() if line.strip()))
        for name in names:
            if not _MODEL.match(name):
                raise forms.ValidationError(f"{name[:80]} is no name of a model. Enter one a line, as openai/gpt-4.1-mini.")
        if len(names) > MAX_FALLBACKS:
            raise forms.ValidationError(f"{len(names)} models are too many: at most {MAX_FALLBACKS} are asked in turn.")
        return [name for name in names if name != self.cleaned_data.get("model")]

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        prices = [data.get("price_in"), data.get("price_out")]
        if not {"price_in", "price_out"} & self.errors.keys() and prices.count(None) == 1:
            missing = "price_in" if prices[0] is None else "price_out"
            self.add_error(missing, "Enter both prices, or neither: a cost from one of them would be wrong.")
        return data


class RecipeForm(_Effects):
    command = forms.CharField(
        max_length=2000, help_text="What is started in the experiment's folder. {python} is this server's Python."
    )
    editable = forms.CharField(
        label="Files that may be edited",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
        help_text="One path a line, as it stands in the repository. All other files stay as they are.",
    )
    dataset = forms.CharField(
        label="Data",
        max_length=300,
        help_text="stdlib, torch, tinystories, climbmix, or folder:/path/to/texts on the machine that trains.",
    )

    class Meta(SettingsForm.Meta):
        fields = ["command", "editable", "dataset", "budget_seconds", "grace_seconds"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        program: Program = self.instance
        self.initial.update(command=joined(program.command), editable="\r\n".join(program.editable))
        self.fields["command"].error_messages["required"] = "Enter the command, for example {python} train.py."
        self.fields["editable"].error_messages["required"] = "Name at least one file, for example train.py."
        if not program.has_exam:
            del self.fields["dataset"]  # its data is its own

    def clean_command(self) -> list[str]:
        try:
            return shlex.split(self.cleaned_data["command"])
        except ValueError as error:
            raise forms.ValidationError(f"The command cannot be read: {error}. Close every quote.") from error

    def clean_editable(self) -> list[str]:
        paths = list(dict.fromkeys(line.strip() for line in self.cleaned_data["editable"].splitlines() if line.strip()))
        for path in paths:
            if path.startswith("/") or ".." in PurePosixPath(path).parts or ".git" in PurePosixPath(path).parts:
                raise forms.ValidationError(f"{path} leads out of the repository. Enter a path as train.py or src/model.py.")
            if path in self.instance.fixed:
                raise forms.ValidationError(f"{path} is fixed: it computes the score. It cannot be edited.")
        return paths

    def clean_dataset(self) -> str:
        data = str(self.cleaned_data["dataset"]).strip()
        if data not in DATASETS and not data.startswith(f"{FOLDER}/"):
            raise forms.ValidationError(f"Enter {', '.join(DATASETS)}, or a folder's whole path: folder:/data/texts.")
        return data

    def save(self, commit: bool = True) -> Program:
        program: Program = self.instance
        if commit:
            program.save(update_fields=list(self.fields))
        return program
