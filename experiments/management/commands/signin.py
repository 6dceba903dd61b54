"""Print a fresh one-time sign-in link."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from experiments import signin


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *args: Any, **options: Any) -> None:
        known = Path(settings.VAR_DIR) / "up.json"
        port = json.loads(known.read_text())["port"] if known.exists() else settings.PORT or 8000
        self.stdout.write(f"http://{settings.HOST}:{port}{signin.link_path(signin.owner())}")
