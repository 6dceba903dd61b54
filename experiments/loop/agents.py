"""The external agent of a program, as its page and the settings describe it."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from experiments.models import Program
from trainer.agent import Agent


def agent_of(program: Program) -> Agent:
    return Agent(
        command=program.agent_command, folders=Path(settings.AGENT_DIR), seconds=program.agent_seconds,
        network=program.agent_network, env=settings.AGENT_ENV, read=settings.AGENT_READ, home=settings.AGENT_HOME,
        sandbox=settings.SANDBOX,
    )
