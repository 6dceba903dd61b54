"""A process inside an installation's Django that runs lines for a test: starting one for each look costs a second.

`Console(env)("print(1)")` returns what the lines have printed; what they raise is an AssertionError with the traceback.
Started as a program (`python -m tests.console`) it reads a JSON string per line and answers `[is_well, text]`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Console:
    """Starts with the first lines that it is given."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.process: subprocess.Popen[str] | None = None
        self.lock = threading.Lock()

    @property
    def pid(self) -> int:
        """0: not running."""
        return self.process.pid if self.process else 0

    def __call__(self, code: str) -> str:
        with self.lock:
            if self.process is None:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "tests.console"], cwd=ROOT, env=self.env, text=True,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                )  # fmt: skip
            assert self.process.stdin is not None and self.process.stdout is not None
            print(json.dumps(code), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        assert answer, "the console has ended"
        is_well, text = json.loads(answer)
        assert is_well, text
        return str(text)

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()
            self.process = None


def run(code: str) -> tuple[bool, str]:
    """As a script of its own would: in fresh names, with a fresh connection to the database."""
    from django.db import connections

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            exec(code, {"__name__": "__main__"})
        except (Exception, SystemExit):
            return False, printed.getvalue() + traceback.format_exc()
        finally:
            connections.close_all()
    return True, printed.getvalue()


def main() -> None:
    import django

    django.setup()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a child process prints is no answer
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
