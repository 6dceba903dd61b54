"""Start everything on one machine: Redis, database, web, think worker, gpu worker. Ctrl-C ends it all."""

from __future__ import annotations

import signal
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from experiments import signin, tasks
from experiments.management.compression import compress
from experiments.management.supervisor import Supervisor
from trainer import presets

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
        supervisor = Supervisor(self._say)
        for number in (signal.SIGTERM, signal.SIGHUP):  # HUP: its terminal was closed
            signal.signal(number, lambda *_: setattr(supervisor, "stopping", True))
        with supervisor.lock():
            self._say(f"autoresearch-web, data in {settings.VAR_DIR}")
            try:
                supervisor.choose_port()
                problem = compress(settings.BASE_DIR / "static")
                if problem:
                    self._say(f"static  {problem}")
                supervisor.start_redis()
                call_command("migrate", verbosity=0, interactive=False)
                self._first_start()
                supervisor.start_rest()
                self._say(f"\nSign in (once):  {supervisor.url}{signin.link_path(signin.owner())}\nCtrl-C stops.\n")
                supervisor.watch()
            except KeyboardInterrupt:
                supervisor.stopping = True
            finally:
                supervisor.end()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()

    def _first_start(self) -> None:
        """The owner, and a demo program whose run starts by itself and ends by its own limits."""
        if settings.HOST not in LOOPBACK and not any(user.has_usable_password() for user in User.objects.all()):
            raise CommandError(
                f"HOST={settings.HOST} opens the page to other machines, but nobody has a password. "
                "Run `python manage.py createsuperuser` first, or leave HOST at 127.0.0.1."
            )
        signin.owner()
        made = tasks.create_demo()
        if made:
            self._say(f"demo    made    program {made.program}, run {made.tag}: ends after 30 experiments or 30 minutes")
            real = presets.PRESETS[made.program.preset].dataset
            if real != made.program.dataset:
                self._say(f"demo    data    text of this machine, nothing to load; a new program takes {real}")
