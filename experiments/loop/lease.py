"""A heartbeat beside a stage that cannot beat by itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connection

from experiments.models import Experiment
from experiments.states import StaleState

log = logging.getLogger(__name__)
BEAT_SECONDS = 2.0


class Lease:
    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.lost, self.done = threading.Event(), threading.Event()

    def check(self) -> None:
        """Raises StaleState once the row has moved or somebody else has taken it."""
        if self.lost.is_set():
            raise StaleState(f"#{self.experiment.number} has moved in the meantime")

    def keep(self) -> None:
        try:
            while not self.done.wait(BEAT_SECONDS):
                try:
                    if not self.experiment.beat():
                        self.lost.set()
                        return
                except DatabaseError as error:  # one missed beat is no loss; the next may succeed
                    log.warning("heartbeat of #%s: %s", self.experiment.number, error)
        finally:
            connection.close()


@contextmanager
def heartbeat(experiment: Experiment) -> Iterator[Lease]:
    """Renews the lease until the block ends; do not move the row inside."""
    lease = Lease(experiment)
    thread = threading.Thread(target=lease.keep, name=f"heartbeat-{experiment.pk}", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        lease.done.set()
        thread.join()
