"""Forms of a program's recipe and researcher. Each field says what a change of it does, before it is saved."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath
from typing import Any

from django import forms

from experiments.forms_program import SettingsForm
from experiments.forms_stale import stamp
from experiments.models import Program

DATASETS = ("stdlib", "tinystories", "climbmix")
FOLDER = "folder:"
NOT_COMPARABLE = (
    "Scores from before are not comparable with those after it. Start a new run: it trains its own baseline. "
    "A run that goes on would compare new scores with its old best."
)
EFFECTS = {
    "command": "Every training from the next one on is started so, in running runs too. What trains now is left alone.",
    "editable": "The next proposal sees and may change exactly these files. Edits proposed before stay as they are.",
    "dataset": NOT_COMPARABLE + " New data may be downloaded first, before the next training.",
    "budget_seconds": NOT_COMPARABLE,
    "grace_seconds": "Only how long is waited. Scores stay comparable; a shorter grace may end slow starts as timeouts.",
    "researcher": "The next proposal is asked of it, in running runs too. The history, the notes and the best stay.",
    "model": "The next proposal is asked of this model, in running runs too. What is being written now is finished first.",
    "api_base": "The next proposal is sent there. The key in the environment goes along: enter only an address you trust.",
}


class _Effects(SettingsForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields = {name: self.fields[name] for name in self.Meta.fields}
        self.seen = stamp(self.instance, self.Meta.fields)  # before it is cleaned into the instance
        for name, field in self.fields.items():
            field.widget.attrs |= {"data-effect": f"effect-{name}"}

    def rows(self) -> list[tuple[forms.BoundField, str]]:
        """Each field with what a change of it does."""
        return [(field, EFFECTS.get(field.name, "")) for field in self]


class ResearcherForm(_Effects):
    class Meta(SettingsForm.Meta):
        fields = ["researcher", "model", "api_base"]


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
        help_text="stdlib, tinystories, climbmix, or folder:/path/to/texts on the machine that trains.",
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
            raise forms.ValidationError("Enter stdlib, tinystories, climbmix, or a folder's whole path: folder:/data/texts.")
        return data

    def save(self, commit: bool = True) -> Program:
        program: Program = self.instance
        if commit:
            program.save(update_fields=list(self.fields))
        return program


def joined(command: list[str]) -> str:
    """A command as a person types it; {python} needs no quotes."""
    return " ".join(part if part == "{python}" else shlex.quote(part) for part in command)
