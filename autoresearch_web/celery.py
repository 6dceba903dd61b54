"""The Celery application: two queues, `think` (threads) and `gpu` (one slot per device), and the tick."""

from __future__ import annotations

import os
import threading
from typing import Any

from celery import Celery, signals
from celery.beat import EmbeddedService

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "autoresearch_web.settings")

app = Celery("autoresearch")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_ignore_result=True,
    task_default_queue="think",
    task_routes={"experiments.tasks.train": {"queue": "gpu"}},
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # A publish to a dead Redis fails fast: messages are hints, the next tick sends them again.
    broker_transport_options={"socket_timeout": 30, "socket_connect_timeout": 2, "visibility_timeout": 24 * 3600},
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
)
app.autodiscover_tasks()


@app.on_after_finalize.connect
def _schedule_tick(sender: Celery, **_: object) -> None:
    from django.conf import settings

    sender.conf.beat_schedule = {
        "tick": {"task": "experiments.tasks.tick", "schedule": settings.TICK_SECONDS, "options": {"expires": 10}}
    }


_ended = threading.Event()


@signals.worker_ready.connect
def _announce(sender: Any, **_: object) -> None:
    from experiments import presence

    queues = sender.app.amqp.queues.consume_from
    for queue in queues:
        threading.Thread(target=presence.announce, args=(queue, _ended), daemon=True).start()
    if "think" in queues:  # beat as a thread: `worker --beat` would fork 70 MB that outlive a killed worker
        beat: Any = EmbeddedService(sender.app, thread=True, scheduler_cls="celery.beat:Scheduler")
        beat.start()


@signals.worker_shutting_down.connect
def _let_go(**_: object) -> None:
    from experiments.loop import engine

    _ended.set()
    engine.stopping.set()  # a training goes on under its shim; the next worker adopts it
