"""What an LLM has cost, by day and model; what has no known price is never taken for free."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from experiments import costs
from experiments.costs import Row, Spent
from experiments.models import Experiment, Run
from experiments.states import State
from experiments.templatetags.research import cost_words
from experiments.tiles import forecast, tiles
from tests.factories import make_experiment, make_run

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def row(hours: float = 0, model: str = "a", cost: float | None = 0.02, tokens: int = 1000) -> Row:
    return Row(model, NOON + timedelta(hours=hours), cost, tokens, 100, 400, int(cost is None))


def test_by_day_and_by_model():
    rows = [row(), row(model="b", cost=None), row(24), row(24, cost=0.5)]
    days, models = costs.by_day(rows), costs.by_model(rows)
    assert [(one.name, one.experiments, one.unpriced) for one in days] == [("2026-11-20", 2, 1), ("2026-11-21", 2, 0)]
    assert [(one.name, round(one.cost, 2), one.tokens, one.tokens_cached) for one in models] == [
        ("a", 0.54, 3300, 1200), ("b", 0.0, 1100, 400),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cost", "unpriced", "words"), [(1.5, 0, "$1.50"), (1.5, 2, "at least $1.50"), (0.0, 2, "unknown"), (0.0, 0, "$0")]
)
def test_the_words_of_a_cost(cost, unpriced, words):
    assert cost_words(Spent("", 3, cost, 10, 1, 0, unpriced)) == words


@pytest.mark.parametrize(
    ("limits", "hours"),
    [({"max_cost": 1.0}, 8), ({"max_tokens": 400}, 2), ({"max_cost": 0.1}, 0), ({"max_cost": 1.0, "max_tokens": 400}, 2)],
)
def test_a_cap_on_cost_is_in_the_forecast(limits, hours):
    """Ten experiments an hour at $0.01 and 10 tokens; $0.20 and 200 tokens are spent. The sweep's own cost nothing."""
    paid = [(0.01, 10)] * 20 + [(0.0, 0)] * 5
    assert forecast(Run(**limits), 25, 1, 10.0, NOON, paid) == (NOON + timedelta(hours=hours), "cost")


def test_nothing_is_forecast_before_anything_is_paid():
    assert forecast(Run(max_cost=1.0), 1, 1, 10.0, NOON, [(0.0, 0)]) == (None, "")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("prices", "shown", "a_keep"),
    [([0.2, 0.4], "$0.60", "$0.60 a keep"), ([0.2, None], "at least $0.20", ""), ([None, None], "unknown", "")],
)
def test_an_unknown_price_is_said_on_every_page(admin_client, prices, shown, a_keep):
    run = make_run(max_cost=5)
    make_experiment(run, State.KEPT, 1.5)
    for price, state in zip(prices, (State.KEPT, State.DISCARDED), strict=True):
        make_experiment(run, state, 1.4, cost=price, tokens_in=1000, tokens_out=50, model="m/one")
    assert tiles(run, timezone.now()).unpriced == prices.count(None)
    page = admin_client.get(f"/runs/{run.pk}/?part=tiles").content.decode()
    assert f">{shown}</p>" in page and a_keep in page and "cap $5.00" in page
    for address in ("/", f"/runs/{run.pk}/report/", f"/runs/{run.pk}/report.md"):
        assert shown in admin_client.get(address).content.decode()
    assert "m/one" in admin_client.get(f"/runs/{run.pk}/report/").content.decode()


@pytest.mark.django_db
def test_what_used_no_tokens_is_not_in_the_table_of_costs():
    run = make_run()
    make_experiment(run, State.KEPT, 1.5)
    assert costs.rows_of(run) == [] and Experiment.objects.count() == 1
