"""The form of a new program: what trains, on which data, who proposes, and its first run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django import forms
from django.conf import settings

from experiments import forms_agent
from experiments.forms_agent import AgentFields
from experiments.forms_program import NOT_ALLOWED, SettingsForm, missing_sandbox, unprotected_field
from experiments.models import Program
from experiments.states import Mode
from trainer import launch, presets
from trainer.agent import joined

FOLDER = "folder"
LOADED = ("climbmix", "tinystories")  # data sets that are downloaded
DATA = [
    ("", "The preset's own"),
    ("stdlib", "Python's own sources: on this machine, nothing to download"),
    ("torch", "torch's sources: on this machine, nothing to download, six times as much"),
    ("tinystories", "TinyStories: short stories, downloaded once"),
    ("climbmix", "ClimbMix: web text, downloaded once, some GB"),
    (FOLDER, "A folder of mine: text or parquet files"),
]


class NewProgramForm(AgentFields, SettingsForm):
    """Valid: `program_fields()` and `run_options()` are what it asks for."""

    name = forms.CharField(max_length=80, help_text="How it is called on every page.")
    preset = forms.ChoiceField(
        widget=forms.RadioSelect, help_text="Model size, batch and budget that suit a device. All of it can be edited later."
    )
    texts = forms.ChoiceField(choices=DATA, required=False, label="Data", help_text="What val_bpb is measured on.")
    folder = forms.CharField(
        required=False, max_length=290, help_text="A folder on the machine that trains, with at least a few MB of text."
    )
    start = forms.BooleanField(required=False, initial=True, label="Start a run at once, with the baseline")
    max_experiments = forms.IntegerField(
        label="End after so many experiments", required=False, min_value=1, max_value=100_000, help_text="Empty: no limit.",
        error_messages=dict.fromkeys(
            ["invalid", "min_value", "max_value"], "Enter a whole number from 1 to 100,000, or leave it empty."
        ),
    )
    approve = forms.BooleanField(
        required=False, label="Show me each edit before it trains",
        help_text="Can be switched on the run's page at any time.",
    )

    instead_of = forms.ModelChoiceField(  # its brief comes along, and its runs make room
        Program.objects.all(), required=False, widget=forms.HiddenInput
    )

    class Meta(SettingsForm.Meta):
        fields = ["name", "researcher", "model", "api_base", *forms_agent.FIELDS, "unprotected"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("budget_seconds", "grace_seconds"):
            self.fields.pop(name, None)  # the preset's
        self.missing_sandbox = missing_sandbox()
        self.fields["unprotected"] = unprotected_field(self.missing_sandbox)
        self.found, self.found_by = presets.detect(settings.DEVICES)
        preset = self.fields["preset"]
        assert isinstance(preset, forms.ChoiceField)
        preset.choices = [(name, name) for name in presets.PRESETS]
        preset.initial = self.found
        self.fields["name"].initial = free_name("small-gpt")
        self.fields["name"].error_messages["required"] = "Give the program a name, for example tiny-gpt."

    @property
    def preset_choices(self) -> list[tuple[presets.Preset, bool, bool]]:
        """Each preset, whether it is chosen, and whether it was picked for this machine: that one first."""
        chosen = self["preset"].value()
        names = sorted(presets.PRESETS, key=lambda name: name != self.found)  # the others stay in their order
        return [(presets.PRESETS[name], name == chosen, name == self.found) for name in names]

    def clean_name(self) -> str:
        name = str(self.cleaned_data["name"]).strip()
        if Program.objects.filter(name__iexact=name).exists():
            raise forms.ValidationError(f"There is already a program {name}. Choose another name.")
        return name

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if data.get("texts") == FOLDER and "folder" in data:
            folder = Path(data["folder"].strip()).expanduser() if data["folder"].strip() else None
            if folder is None:
                self.add_error("folder", "Enter the folder's path, for example /data/texts.")
            elif not folder.is_absolute():
                self.add_error("folder", f"Enter the whole path: {folder} does not begin with /.")
            elif not folder.is_dir():
                self.add_error("folder", f"There is no folder {folder} on this machine. Check the path.")
            else:
                data["folder"] = str(folder)
        is_ours = data.get("researcher") == Program.Researcher.SWEEP
        if self.missing_sandbox and data.get("start") and not (is_ours or data.get("unprotected")):
            self.add_error("unprotected", NOT_ALLOWED)
        return data

    def program_fields(self) -> dict[str, Any]:
        data = self.cleaned_data
        fields = {name: data[name] for name in self.Meta.fields} | {"preset": data["preset"]}
        if data["texts"]:
            fields["dataset"] = f"folder:{data['folder']}" if data["texts"] == FOLDER else data["texts"]
        return fields

    def run_options(self) -> dict[str, Any] | None:
        """None: no run is to start yet."""
        if not self.cleaned_data["start"]:
            return None
        mode = Mode.APPROVE_DIFFS if self.cleaned_data["approve"] else Mode.AUTOPILOT
        return {"mode": mode, "max_experiments": self.cleaned_data["max_experiments"]}


class ModelForm(SettingsForm):
    """Only what a call to a model needs."""

    class Meta(SettingsForm.Meta):
        fields = ["model", "api_base", "price_in", "price_out"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("budget_seconds", "grace_seconds"):
            self.fields.pop(name, None)
        self.fields["model"].required = True
        self.fields["model"].error_messages["required"] = "Enter the model first, for example openai/gpt-4.1-mini."

    @property
    def prices(self) -> tuple[float, float] | None:
        price_in, price_out = self.cleaned_data["price_in"], self.cleaned_data["price_out"]
        return (price_in, price_out) if price_in is not None and price_out is not None else None


def free_name(wanted: str) -> str:
    """`wanted`, or wanted-2 and so on where that is taken."""
    taken = set(Program.objects.filter(name__startswith=wanted).values_list("name", flat=True))
    return next(name for n in range(1, len(taken) + 2) if (name := f"{wanted}-{n}" if n > 1 else wanted) not in taken)


@dataclass(frozen=True)
class OtherData:
    """A data set that is prepared on this machine, and on which a program could train with its whole preset."""

    dataset: str
    preset: presets.Preset
    there: Program | None  # which does so already
    form: NewProgramForm  # filled in, to be sent by one button


def other_data(program: Program) -> list[OtherData]:
    """What else a program could train on at once: scores of another text are another program's."""
    preset = presets.PRESETS.get(program.preset)
    if preset is None or not program.has_exam:
        return []
    prepared = [name for name in LOADED if _is_prepared(name, preset)]
    return [_other(program, preset, name) for name in prepared if name != program.dataset]


def _is_prepared(dataset: str, preset: presets.Preset) -> bool:
    """As today's prepare.py would make it. The one to ask for its folder is only asked where there may be one."""
    folder = Path(settings.DATA_DIR)
    if not any(folder.glob(f"{dataset}-vocab{preset.vocab_size}-v*/meta.json")):
        return False
    data = launch.Data(folder, dataset, preset.vocab_size, preset.seq_len)
    return (launch.where(data) / "meta.json").exists()


def _other(program: Program, preset: presets.Preset, dataset: str) -> OtherData:
    last = program.runs.order_by("-pk").first()
    same = {name: getattr(program, name) for name in ("preset", *NewProgramForm.Meta.fields[1:])}
    initial = {
        **same, "agent_command": joined(program.agent_command), "name": free_name(f"{program.name[:60]}-{dataset}"),
        "texts": dataset, "start": True, "instead_of": program.pk,
        "approve": last is not None and Mode(last.mode).reviews_diffs,
    }  # fmt: skip
    there = Program.objects.filter(preset=program.preset, dataset=dataset).order_by("pk").first()
    return OtherData(dataset, preset, there, NewProgramForm(initial=initial, auto_id=False))
