"""Forms of the program page: the brief, the settings, the start of a run."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from django import forms
from django.conf import settings
from django.utils import timezone

from experiments.models import BriefVersion, Program
from experiments.researcher.address import ForbiddenAddress, check_address
from experiments.states import Mode
from trainer import sandbox
from trainer.box import LIMITS

MAX_BRIEF = 200_000  # characters
NOT_ALLOWED = "Nothing trains before you allow this, or there is a sandbox."
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_TAG = re.compile(r"[a-z0-9][a-z0-9_-]*\Z")


class BriefForm(forms.Form):
    """program.md as a person has typed it. A text that is refused stays in the form, whole."""

    text = forms.CharField(label="program.md", strip=False, required=False, widget=forms.Textarea)
    based_on = forms.IntegerField(min_value=1, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["text"].validators = []  # clean_text says what is wrong, and where

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"].replace("\r\n", "\n").replace("\r", "\n")
        if not text.strip():
            raise forms.ValidationError(
                "program.md cannot be empty: the researcher would have no aim. Write at least one sentence."
            )
        if len(text) > MAX_BRIEF:
            raise forms.ValidationError(
                f"program.md has {len(text):,} characters; at most {MAX_BRIEF:,} fit into a prompt. Shorten it."
            )
        odd = _CONTROL.search(text)
        if odd:
            raise forms.ValidationError(
                f"Line {_line(text, odd)} holds a control character (code {ord(odd[0])}): this looks like a binary "
                "file. Only plain text can be saved."
            )
        lost = re.search("\ufffd", text)
        if lost:
            raise forms.ValidationError(
                f"Line {_line(text, lost)} holds a character that is not valid UTF-8 (shown as \ufffd). Replace it."
            )
        return text

    def clean_based_on(self) -> int:
        return min(int(self.cleaned_data["based_on"]), 2**31 - 1)

    def save(self, program: Program, *, by: str) -> BriefVersion:
        """Raises BriefConflict when somebody else was faster."""
        return program.save_brief(self.cleaned_data["text"], by=by, based_on=self.cleaned_data["based_on"])


def _line(text: str, match: re.Match[str]) -> int:
    return text.count("\n", 0, match.start()) + 1


def _whole(label: str, low: int, high: int, unit: str, help_text: str) -> forms.IntegerField:
    wrong = f"Enter a whole number of {unit} from {low:,} to {high:,}."
    messages = dict.fromkeys(["required", "invalid", "min_value", "max_value"], wrong)
    return forms.IntegerField(
        label=label, min_value=low, max_value=high, help_text=help_text, error_messages=messages
    )


def missing_sandbox() -> str:
    """Why trainings here would be unprotected; "" where they are not, or AUTORESEARCH_SANDBOX says what a person wants."""
    level = sandbox.level(tuple(settings.SANDBOX_READ)) if settings.SANDBOX == "auto" else None
    return level.why if level and level.name == LIMITS else ""


def unprotected_field(why: str) -> forms.BooleanField:
    help_text = (
        f"There is no working sandbox here: {why}. Without one the code that an LLM or an agent writes can read and change "
        "what you can, use the network, and forge its score, which is called unprotected. See what manage.py doctor says."
    )
    return forms.BooleanField(
        label="Train what an LLM or an agent writes without a sandbox", required=False, help_text=help_text
    )


class SettingsForm(forms.ModelForm):  # type: ignore[type-arg]
    budget_seconds = _whole(
        "Budget of a training, in seconds",
        5,
        86_400,
        "seconds",
        "Each experiment trains for so long by the clock. Longer: truer scores, fewer ideas a night. "
        "Scores of different budgets do not compare: start a new run after a change.",
    )
    grace_seconds = _whole(
        "Grace, in seconds",
        10,
        86_400,
        "seconds",
        "On top of the budget, for start-up, compiling and the exam. What runs longer than both is ended as a timeout.",
    )

    class Meta:
        model = Program
        fields = ["budget_seconds", "grace_seconds", "researcher", "model", "api_base"]
        labels = {"researcher": "Who proposes the edits", "model": "Model", "api_base": "API address"}
        help_texts = {
            "researcher": "The sweep needs no key and tries constants of train.py one by one. An LLM reads program.md. "
            "An agent is a command that edits the files itself.",
            "model": "As litellm names it: provider/model, such as openai/gpt-5-mini. Its key is read from the environment "
            "or the keys file (OPENAI_API_KEY, ANTHROPIC_API_KEY, …). Not used by the sweep.",
            "api_base": "Only for a server of your own that speaks OpenAI's protocol, such as "
            "http://127.0.0.1:11434/v1. Empty: the provider's own address. Its key, where it needs one, is "
            "AUTORESEARCH_API_BASE_KEY: no provider's key is sent there.",
        }

    def clean_model(self) -> str:
        return str(self.cleaned_data["model"]).strip()

    def clean_api_base(self) -> str:
        address = str(self.cleaned_data["api_base"]).strip()
        if not address:
            return ""
        try:
            check_address(address, settings.LLM_HOSTS)
        except ForbiddenAddress as error:
            raise forms.ValidationError(str(error)) from error
        return address

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if data.get("researcher") == Program.Researcher.LITELLM and "model" in data and not data["model"]:
            self.add_error("model", "An LLM needs a model: enter its name, for example openai/gpt-4.1-mini.")
        return data

    def save(self, commit: bool = True) -> Program:
        program: Program = self.instance
        if commit:
            program.save(update_fields=self.Meta.fields)
        return program


class StartRunForm(forms.Form):
    tag = forms.CharField(
        label="Tag",
        max_length=60,
        help_text="Names the run and its branch, autoresearch/<tag>.",
    )
    mode = forms.ChoiceField(
        label="Mode",
        choices=[
            (Mode.AUTOPILOT, "Autopilot: nobody needed"),
            (Mode.APPROVE_DIFFS, "Approve diffs: you see each edit before it trains"),
            (Mode.APPROVE_KEEPS, "Approve keeps: you confirm each gain"),
            (Mode.APPROVE_BOTH, "Approve both"),
        ],
        initial=Mode.AUTOPILOT,
        help_text="Can be changed at any time on the run's page.",
    )
    max_experiments = forms.IntegerField(
        label="End after so many experiments",
        required=False,
        min_value=1,
        max_value=100_000,
        help_text="Empty: no limit.",
        error_messages=dict.fromkeys(
            ["invalid", "min_value", "max_value"], "Enter a whole number from 1 to 100,000, or leave it empty."
        ),
    )
    hours = forms.FloatField(
        label="End after so many hours",
        required=False,
        min_value=0.05,
        max_value=1000,
        help_text="Empty: no deadline.",
        error_messages=dict.fromkeys(
            ["invalid", "min_value", "max_value"], "Enter hours from 0.05 (3 minutes) to 1000, or leave it empty."
        ),
    )

    def __init__(self, program: Program, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.program = program
        free = free_tag(program, timezone.localdate())
        self.fields["tag"].initial = free
        self.fields["tag"].error_messages["required"] = f"Give the run a tag, for example {free}."
        asks = program.researcher != Program.Researcher.SWEEP and not program.unprotected
        if asks and (why := missing_sandbox()):
            self.fields["unprotected"] = unprotected_field(why)
            self.fields["unprotected"].required = True
            self.fields["unprotected"].error_messages["required"] = NOT_ALLOWED

    def clean_tag(self) -> str:
        tag = str(self.cleaned_data["tag"]).strip().lower()
        if not _TAG.match(tag):
            raise forms.ValidationError(
                "Use letters a to z, digits, - and _ only, beginning with a letter or digit: it names a git branch."
            )
        if self.program.runs.filter(tag=tag).exists():
            free = free_tag(self.program, timezone.localdate())
            raise forms.ValidationError(f"This program already has a run {tag}. {free} is free.")
        return tag


def free_tag(program: Program, day: date) -> str:
    """nov23, or nov23-2 and so on where that is taken."""
    tag = f"{day:%b}{day.day}".lower()
    taken = set(program.runs.filter(tag__startswith=tag).values_list("tag", flat=True))
    if tag not in taken:
        return tag
    return next(f"{tag}-{n}" for n in range(2, len(taken) + 3) if f"{tag}-{n}" not in taken)
