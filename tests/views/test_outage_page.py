"""What the run page says and offers while the researcher does not answer."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from experiments import tasks
from experiments.models import Run
from tests.factories import make_run

pytestmark = pytest.mark.django_db
HTMX = {"HTTP_HX_REQUEST": "true"}


@pytest.fixture
def woken(monkeypatch) -> list[int]:
    seen: list[int] = []
    monkeypatch.setattr(tasks, "wake", seen.append)
    return seen


@pytest.fixture
def run() -> Run:
    return make_run()


def get(client, run, query=""):
    return client.get(f"/runs/{run.pk}/{query}").content.decode()


def away(run, **fields):
    now = timezone.now()
    since, ask_at = now - timedelta(minutes=12), now + timedelta(seconds=40)
    Run.objects.filter(pk=run.pk).update(away_since=since, away_why="rate limited", ask_at=ask_at, **fields)


def test_a_researcher_that_is_away_is_said_so_with_what_trains_meanwhile(admin_client, run, woken):
    assert "has not answered since" not in get(admin_client, run)
    away(run)
    page = get(admin_client, run, "?part=head")
    assert "has not answered since" in page and "rate limited" in page and "It is asked again" in page
    admin_client.post(f"/runs/{run.pk}/outage/", {"outage": "repeat"}, **HTMX)
    pressed = re.findall(r'value="(\w*)"[^>]* aria-pressed="true"', get(admin_client, run, "?part=head"))
    assert pressed == ["autopilot", "repeat"] and woken == [run.pk]
    assert admin_client.post(f"/runs/{run.pk}/outage/", {"outage": "gamble"}, **HTMX).status_code == 409


def test_ask_now_ends_the_wait(admin_client, run, woken):
    away(run)
    admin_client.post(f"/runs/{run.pk}/ask-now/", **HTMX)
    run.refresh_from_db()
    assert run.ask_at <= timezone.now() and woken == [run.pk]


def test_what_trains_in_an_outage_is_chosen_beforehand_too(admin_client, run):
    admin_client.post(f"/runs/{run.pk}/limits/", {"outage": "sweep"})
    assert re.search(r'value="sweep" selected', get(admin_client, run, "?part=limits"))
    run.refresh_from_db()
    assert run.outage == "sweep"
