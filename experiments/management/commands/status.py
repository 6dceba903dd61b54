"""What the runs are doing: as lines, or with --json for scripts."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from experiments.models import Experiment, Run


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true")

    def handle(self, *args: Any, **options: Any) -> None:
        runs = Run.objects.select_related("program").order_by("pk")
        if options["json"]:
            self.stdout.write(json.dumps({"runs": [_as_dict(run) for run in runs]}))
            return
        for run in runs:
            score = run.best.score if run.best else None
            best = "no score yet" if score is None else f"best {score:.6f}"
            name, count = f"{run.program}/{run.branch}", run.experiments.count()
            self.stdout.write(f"{run.pk:>4}  {name}  {run.state}  {count} experiments, {best}")
        if not runs:
            self.stdout.write("No run yet. Start one on a program's page.")


def _as_dict(run: Run) -> dict[str, Any]:
    rows = run.experiments.order_by("number").only("number", "kind", "state", "score", "commit", "description", "run")
    return {
        "id": run.pk,
        "program": run.program.name,
        "branch": run.branch,
        "state": run.state,
        "experiments": [_row(experiment) for experiment in rows],
    }


def _row(experiment: Experiment) -> dict[str, Any]:
    return {
        "number": experiment.number,
        "kind": experiment.kind,
        "state": experiment.state,
        "val_bpb": experiment.score,
        "commit": experiment.commit,
        "description": experiment.description,
    }
