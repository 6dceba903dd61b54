"""Wiring: settings, URLs, ASGI, Celery. No logic lives here."""

from autoresearch_web.celery import app as celery_app

__all__ = ["celery_app"]
