"""Steps that several browser tests take: start a run, look into its repository, open an experiment."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.installation import Installation
from tests.standin_llm import StandIn


def start(here: Installation, script: str = "score", llm: StandIn | None = None, **options: Any) -> int:
    program = {"researcher": "litellm", "model": "openai/standin", "api_base": llm.api_base} if llm else {}
    return here.start_run(script, tag=f"t{os.urandom(3).hex()}", program=program, **options)


def stop(here: Installation, run: int) -> None:
    """Where it has not ended by itself."""
    this = f"from experiments.models import Run; run = Run.objects.get(pk={run});"
    here.python(f"{this} run.state == 'ended' or run.stop(by='test')")


def program_of(here: Installation, run: int) -> int:
    return int(here.python(f"from experiments.models import Run; print(Run.objects.get(pk={run}).program_id)"))


def git(here: Installation, run: int, *args: str) -> str:
    return here.python(
        "import subprocess\nfrom experiments.models import Run\n"
        f"run = Run.objects.get(pk={run})\n"
        f"args = [part.replace('BRANCH', run.branch) for part in {list(args)!r}]\n"
        "print(subprocess.run(['git', '-C', str(run.program.repo), *args], capture_output=True, text=True).stdout, end='')"
    ).strip()


def climb() -> Callable[[list[dict[str, Any]]], str]:
    """Replies that change one constant of scripts/ladder.py after the other: each is a gain of its own."""
    values = iter([("MATRIX_LR", 0.04), ("EMBEDDING_LR", 0.3), ("SCALAR_LR", 0.5), ("HEAD_LR", 0.01), ("BIAS_LR", 0.02)])

    def reply(_: list[dict[str, Any]]) -> str:
        name, value = next(values)
        return (
            f"IDEA: double {name}\n\ntrain.py\n<<<<<<< SEARCH\n{name} = {value}\n=======\n{name} = {value * 2}\n"
            ">>>>>>> REPLACE\n"
        )

    return reply


def open_experiment(page: Page, here: Installation, run: int, number: int) -> None:
    code = f"from experiments.models import Experiment as E; print(E.objects.get(run_id={run}, number={number}).pk)"
    page.goto(f"{here.url}/experiments/{here.python(code).strip()}/")
    expect(page.locator("h1")).to_contain_text(f"#{number}")
