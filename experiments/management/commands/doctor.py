"""What this machine has and lacks for a night of trainings: a line each, with the next step."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from experiments import doctor


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        broken = 0
        for check in doctor.run_all():
            self.stdout.write(f"{check.mark} {check.name:<10} {check.words}")
            if check.next_step:
                self.stdout.write(f"  {'':<10} → {check.next_step}")
            broken += check.mark == doctor.BROKEN
        sys.exit(1 if broken else 0)
