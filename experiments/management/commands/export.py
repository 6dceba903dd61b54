"""Print a run's results.tsv in the upstream's form."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from experiments.models import Run
from experiments.results import results_tsv


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("run", help="the run's id, or its tag")

    def handle(self, *args: Any, **options: Any) -> None:
        name = str(options["run"])
        runs = Run.objects.filter(pk=int(name)) if name.isdigit() else Run.objects.filter(tag=name)
        run = runs.order_by("-pk").first()
        if run is None:
            raise CommandError(f"There is no run {name!r}. `python manage.py status` lists them.")
        self.stdout.write(results_tsv(run), ending="")
