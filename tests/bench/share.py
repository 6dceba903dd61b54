"""Part of make bench-loop: what of a night in small is not training. The cpu preset, its sweep, its budget."""

from __future__ import annotations

import json
import statistics
import sys

from tests.bench.gpu_loop import ROWS, STOP, shares
from tests.bench.table import Line, at_most, show
from tests.installation import Installation, wait_for

TRAININGS = 6
START = """
from experiments import tasks
program = tasks.create_program("share", preset="cpu", offline=True)
print(tasks.start_run(program, "share", by="bench").pk)
"""


def lines(here: Installation) -> list[Line]:
    """Medians over the trainings after the baseline."""
    run = int(here.python(START))
    wait_for(lambda: len(here.finished(run)) > TRAININGS, 60 * TRAININGS, every=1)
    found = shares(json.loads(here.python(ROWS.format(run=run))))[1 : TRAININGS + 1]
    here.python(STOP.format(run=run))
    name = f"cpu preset, 20 s, median of {len(found)}"
    values = {
        "start-up": [one.start_up or 0.0 for one in found], "exam": [one.exam or 0.0 for one in found],
        "not training, to the next start": [one.not_training for one in found],
    }  # fmt: skip
    shown = [at_most(f"{name}: {what}", statistics.median(seconds), "s", None) for what, seconds in values.items()]
    share = statistics.median(100 * one.not_training / one.seconds for one in found)
    return [*shown, at_most(f"{name}: share not training", share, "%", 8)]


if __name__ == "__main__":
    with Installation() as installation:
        sys.exit(show("share", lines(installation)))
