"""An installation that is killed in parts, and what its database says, read from outside. A bench uses it too: no pytest."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.installation import Installation, wait_for
from trainer.spec import read_json


class Machine(Installation):
    """An installation and what its database says."""

    def ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.var / "db.sqlite3", timeout=20)) as database:
            return database.execute(query, values).fetchall()

    def experiment(self, run: int, number: int = 0) -> dict[str, Any]:
        names = ("id", "state", "reason", "attempt", "losses", "workspace")
        rows = self.ask(
            f"SELECT {', '.join(names)} FROM experiments_experiment WHERE run_id = ? AND number = ?", run, number
        )
        return dict(zip(names, rows[0], strict=True)) if rows else dict.fromkeys(names, "")

    def wait_state(self, run: int, state: str, number: int = 0) -> dict[str, Any]:
        return wait_for(lambda: (row := self.experiment(run, number))["state"] == state and row)

    def wait_training(
        self, run: int, number: int = 0, *, after_attempt: int = 0, seconds: float = 60
    ) -> dict[str, int]:
        """Until it trains and its curve grows. Returns the pids of shim and training."""

        def trains() -> Any:
            row = self.experiment(run, number)
            if row["state"] != "training" or row["attempt"] <= after_attempt or not self.steps(row):
                return None
            state = read_json(Path(self.var) / "work" / row["workspace"] / "state.json")
            return state if state and state["child"] else None

        return wait_for(trains, seconds)

    def steps(self, row: dict[str, Any]) -> list[int]:
        """Steps of the curve as readers get it: the last attempt's."""
        chunks = self.ask(
            "SELECT data FROM experiments_chunk WHERE experiment_id = ? AND attempt = ? AND stream = 'series' "
            "ORDER BY offset", row["id"], row["attempt"],
        )
        return [point["step"] for (data,) in chunks for point in json.loads(data)]

    def trained(self, run: int, number: int = 0) -> int:
        """How often it has begun to train."""
        row = self.experiment(run, number)
        return self.ask(
            "SELECT count(*) FROM experiments_move WHERE experiment_id = ? AND new = 'training'", row["id"]
        )[0][0]

    def kill(self, *pids: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_whole(steps: list[int]) -> bool:
    """Each step once, in order, none missing."""
    return len(steps) > 10 and all(after == before + 1 for before, after in pairwise([-1, *steps]))


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
