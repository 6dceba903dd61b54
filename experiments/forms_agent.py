"""The fields of an external agent, as the program page and the page of a new program ask for them."""

from __future__ import annotations

import shlex
from typing import Any

from django import forms

from experiments.models import Program
from trainer.agent import joined

FIELDS = ["agent_command", "agent_network", "agent_seconds"]
LEAST_SECONDS, MOST_SECONDS = 10, 7200
WRONG_SECONDS = f"Enter a whole number of seconds from {LEAST_SECONDS} to {MOST_SECONDS:,}."


class AgentFields(forms.Form):
    """Beside a form of a program. What is not asked, because another researcher was chosen, is left as it was."""

    agent_command = forms.CharField(
        label="Command of the agent",
        required=False,
        max_length=2000,
        widget=forms.TextInput(attrs={"spellcheck": "false", "class": "mono", "autocomplete": "off"}),
        help_text="It edits the files in a folder of its own; its task is on its input and in {prompt_file}. For example: "
        "claude -p --permission-mode acceptEdits, or a script of yours: {python} /home/me/agent.py.",
    )
    agent_network = forms.TypedChoiceField(
        label="May the agent use the network",
        required=False,
        choices=[(False, "No: it is cut off from everything outside"), (True, "Yes: it calls its model by itself")],
        coerce=lambda value: str(value) == "True",
        help_text="With network it can send out what it sees, and reach this machine's own services. An agent that asks a "
        "model needs it, and its key: AUTORESEARCH_AGENT_ENV names the variables that it gets.",
    )
    agent_seconds = forms.IntegerField(
        label="Longest time of the agent, in seconds",
        required=False,
        min_value=LEAST_SECONDS,
        max_value=MOST_SECONDS,
        initial=900,
        help_text="Then it is ended with all that it started, and its edit is not used.",
        error_messages=dict.fromkeys(["invalid", "min_value", "max_value"], WRONG_SECONDS),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.program: Program = getattr(self, "instance")  # noqa: B009  the form of a program that this stands beside
        given = (kwargs.get("initial") or {}).get("agent_command")
        self.initial["agent_command"] = given or joined(self.program.agent_command)

    def clean_agent_network(self) -> bool:
        return self.cleaned_data["agent_network"] is True

    def clean_agent_seconds(self) -> int:
        return int(self.cleaned_data["agent_seconds"] or self.program.agent_seconds)

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        is_asked, line = data.get("researcher") == Program.Researcher.COMMAND, data.get("agent_command", "")
        try:
            data["agent_command"] = shlex.split(line)
        except ValueError as error:
            data["agent_command"] = self.program.agent_command
            if is_asked:
                self.add_error("agent_command", f"The command cannot be read: {error}. Close every quote.")
        else:
            if is_asked and not data["agent_command"] and "agent_command" not in self.errors:
                self.add_error("agent_command", "An agent needs a command: enter it, for example claude -p.")
        return data
