"""/healthz: for load balancers and the start-up script."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from redis.exceptions import RedisError

from experiments import presence


@login_not_required
@never_cache
def healthz(_request: HttpRequest) -> JsonResponse:
    """200 also while workers start or Redis is away: pages still answer, and catch up. 503 without a database."""
    database = _database()
    redis, workers = _workers()
    answer = {"ok": database == "ok", "database": database, "redis": redis, "workers": workers}
    return JsonResponse(answer, status=200 if answer["ok"] else 503)


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return type(error).__name__
    return "ok"


def _workers() -> tuple[str, dict[str, int]]:
    try:
        return "ok", {"think": 0, "gpu": 0} | presence.workers()
    except (RedisError, OSError) as error:
        return type(error).__name__, {"think": 0, "gpu": 0}
