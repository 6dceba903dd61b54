"""Part of make bench-loop: what of a real night in small is not training. The cpu preset, its sweep, its budget."""

from __future__ import annotations

import json
import statistics
import sys

from tests.bench.table import Line, at_most, show
from tests.installation import Installation, wait_for

TRAININGS = 6
START = """
from experiments import tasks
program = tasks.create_program("share", preset="cpu", offline=True)
print(tasks.start_run(program, "share", by="bench").pk)
"""
ROWS = """
import json
from experiments.models import Experiment
rows = list(Experiment.objects.filter(run_id={run}, training_at__isnull=False).order_by("training_at"))
print(json.dumps([
    [(after.training_at - row.training_at).total_seconds(), row.summary["training_seconds"], row.exam["after_seconds"],
     row.exam["seconds"]]
    for row, after in zip(rows, rows[1:]) if row.exam and row.summary
]))
"""


def lines(here: Installation) -> list[Line]:
    """Medians over the trainings after the baseline."""
    run = int(here.python(START))
    wait_for(lambda: len(here.finished(run)) > TRAININGS, 60 * TRAININGS, every=1)
    found = json.loads(here.python(ROWS.format(run=run)))[1:]
    here.python(f"from experiments.models import Run; Run.objects.get(pk={run}).stop(by='bench')")
    startup = statistics.median(after - trained for _, trained, after, _ in found)
    exam = statistics.median(seconds for *_, seconds in found)
    rest = statistics.median(wall - after - seconds for wall, _, after, seconds in found)
    share = statistics.median(1 - trained / wall for wall, trained, *_ in found)
    name = f"cpu preset, 20 s, median of {len(found)}"
    return [
        at_most(f"{name}: start-up", startup, "s", None),
        at_most(f"{name}: exam", exam, "s", None),
        at_most(f"{name}: the rest, to the next start", rest, "s", None),
        at_most(f"{name}: share not training", 100 * share, "%", 8),
    ]


if __name__ == "__main__":
    with Installation() as installation:
        sys.exit(show("share", lines(installation)))
