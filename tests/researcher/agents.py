"""Run a scripted agent of tests/scripts/agents as the engine does, and what it left behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from experiments.researcher.base import Context, Message, Past, Proposal, Shown, Text, Usage
from experiments.researcher.command import CommandResearcher
from experiments.researcher.edits import apply_edits
from experiments.researcher.prompt import build_prompt
from trainer.agent import Agent

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts/agents"
TRAIN = "import math\n\nMATRIX_LR = 0.04\nWARMDOWN_RATIO = 0.5\nDEPTH = 8\n\n\ndef main():\n    print(MATRIX_LR)\n"
PAST = Past(0, "baseline", "kept", "", "the start", score=1.5), Past(1, "idea", "discarded", "", "MATRIX_LR 0.06", score=1.6)


def context(**fields: Any) -> Context:
    defaults: dict[str, Any] = {
        "brief": "# Aim\n\nLower val_bpb.\n", "brief_version": 1, "metric": "val_bpb", "lower_is_better": True,
        "budget_seconds": 60, "device": "cpu", "files": {"train.py": TRAIN}, "fixed_files": {"prepare.py": "F = 0.1\n"},
        "best_number": 0, "best_score": 1.5, "history": PAST,
    }
    return Context(**{**defaults, **fields})


def agent(folders: Path, script: str, *arguments: str, **fields: Any) -> Agent:
    path = str(SCRIPTS / script)
    command = ["{python}", path, *arguments] if script.endswith(".py") else [path, *arguments]
    defaults: dict[str, Any] = {"command": command, "folders": folders, "seconds": 60.0, "read": [str(SCRIPTS)]}
    return Agent(**{**defaults, **fields})


@dataclass
class Outcome:
    """What came of one reply; `failure` instead of raising."""

    shown: str = ""
    text: str = ""
    usage: Usage | None = None
    proposal: Proposal | None = None
    failure: Exception | None = None
    pieces: list[tuple[float, str]] = field(default_factory=list)  # when it came

    def files(self, given: Context) -> dict[str, str]:
        assert self.proposal is not None, (self.failure, self.shown)
        return apply_edits(given.files, self.proposal.edits)


def ask(agent: Agent, given: Context | None = None, messages: tuple[Message, ...] = ()) -> Outcome:
    given, researcher, outcome = given or context(), CommandResearcher(agent), Outcome()
    messages = messages or researcher.phrase(build_prompt(given).messages, given)
    try:
        for piece in researcher.reply(messages, given):
            match piece:
                case Shown():
                    outcome.shown += piece.text
                    outcome.pieces.append((time.monotonic(), piece.text))
                case Text():
                    outcome.text += piece.text
                case Usage():
                    outcome.usage = piece
                case Proposal():
                    outcome.proposal = piece
    except Exception as error:  # the tests look at it
        outcome.failure = error
    return outcome


def alive(folders: Path) -> list[psutil.Process]:
    """Every living process of an agent below these folders."""
    return list(_alive(folders))


def _alive(folders: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            named = process.environ().get("AUTORESEARCH_AGENT", "").startswith(str(folders))
            if named or any(str(folders) in part for part in process.cmdline()):
                yield process
