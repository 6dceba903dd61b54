"""Make a large, believable data set: an ended run with its staircase, diffs, curves and logs. No training."""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse
from django.utils import timezone

from experiments.demo.store import seed

MOST = 100_000


class Command(BaseCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--experiments", type=int, default=1000, help="of each run; 1000 unless told")
        parser.add_argument("--runs", type=int, default=1)
        parser.add_argument("--seed", type=int, default=42, help="the same seed makes the same night")

    def handle(self, *args: Any, **options: Any) -> None:
        count, runs = options["experiments"], options["runs"]
        if not 0 <= count <= MOST or not 1 <= runs <= 100:
            raise CommandError(f"From 0 to {MOST:,} experiments, in 1 to 100 runs.")
        started = time.monotonic()
        for run in seed(count, runs=runs, random_seed=options["seed"], now=timezone.now()):
            self.stdout.write(f"{run}: {count} experiments, {reverse('run', args=[run.pk])}")
        self.stdout.write(f"Made in {time.monotonic() - started:.1f} s.")
