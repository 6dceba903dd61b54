"""Whether a model answers: one short call in a process of its own, as the client is slow to import and large."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from django.conf import settings

WAIT_SECONDS = 45


@dataclass(frozen=True)
class Answer:
    ok: bool
    words: str


def check(model: str, api_base: str, prices: tuple[float, float] | None = None) -> Answer:
    """What became of the call, in words for a person; an error names the next step and never holds a key."""
    priced = [f"--price-in={prices[0]}", f"--price-out={prices[1]}"] if prices else []
    command = [sys.executable, "manage.py", "try_model", "--json", f"--api-base={api_base}", *priced, "--", model]
    where = settings.BASE_DIR
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS, check=False, cwd=where)
    except subprocess.TimeoutExpired:
        return Answer(False, f"No answer in {WAIT_SECONDS} s. Check the address and the network, then try again.")
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return Answer(False, f"The check failed: {last[:200]}. Run `python manage.py try_model {model}` in a terminal.")
    return Answer(bool(answer["ok"]), str(answer["words"]))
