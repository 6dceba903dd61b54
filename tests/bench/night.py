"""make bench-researcher, a night in small: 60 experiments, a model that fails as providers do, an outage of a minute.

    python -m tests.bench.night [--experiments 60]

A stand-in server takes 10 s for a reply, answers some calls with 429, 500 or a cut stream, and for a minute with nothing
but 503. Asked: does the run end by itself, with nothing failed and nothing lost; are tokens and money counted as the server
counts them; how long does the device wait for the model. Predicted before the first run: yes; exactly; 4% of trainings of
3 s, with several ideas under way at once, and 0.2 s of 14, 1.5%.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import sys
import time
from collections import Counter
from typing import Any

from tests.bench.loop import BUDGET_SECONDS, THINK_SECONDS, gaps, think
from tests.bench.table import Line, at_most, show
from tests.installation import Installation, wait_for
from tests.standin_llm import Answer, Json, StandIn, propose

OUTAGE_SECONDS, OUTAGE_AT = 60, 25  # it begins with so many calls
FAULTS = {"429": 0.06, "500": 0.05, "cut": 0.05, "late-cut": 0.02}
CONSTANTS = 6  # of tests/scripts/slow.py that the stand-in turns
_count = itertools.count()
PRICE_IN, PRICE_OUT = 2.5, 10.0  # US dollars a million tokens
SUMS = """
import json
from collections import Counter
from django.utils import timezone
from experiments.models import Run
from experiments.tiles import rows_of, idle_percent, turns_of
run = Run.objects.get(pk={run})
rows = list(run.experiments.all())
timed = sorted((row for row in rows_of(run) if row.training_at), key=lambda row: row.training_at)
gaps = [(now.number, round((now.training_at - last.trained_at).total_seconds(), 1))
        for last, now in zip(timed, timed[1:]) if last.trained_at]
began = timed[0].training_at if timed else None
moves = run.moves.filter(experiment=None).order_by("pk")
print(json.dumps({{
    "state": run.state, "reason": run.reason, "states": Counter(row.state for row in rows),
    "reasons": Counter(row.reason for row in rows if row.reason), "kinds": Counter(row.kind for row in rows),
    "tokens_in": sum(row.tokens_in for row in rows), "tokens_out": sum(row.tokens_out for row in rows),
    "cost": sum(row.cost or 0 for row in rows), "away": run.moves.filter(new="researcher away").count(),
    "numbers": len({{row.number for row in rows}}), "gaps": [gap for gap in gaps if gap[1] > 0.5],
    "turns": [(round((move.at - began).total_seconds()), move.new) for move in moves if began and "created" not in move.new],
    "idle": idle_percent(timed, 1, run.ended_at, turns_of(run)),
    "idle_between": idle_percent(timed[1:-1], 1, timed[-2].trained_at if timed[2:] else None, turns_of(run)),
}}))
"""


class Provider(StandIn):
    """Fails now and then, and for a while altogether."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.dice, self.away_until, self.met = random.Random(1), 0.0, Counter[str]()

    def next_behaviour(self, request: Json, headers: dict[str, str] | None = None) -> str | Answer:
        super().next_behaviour(request, headers)
        behaviour = self._fate()
        self.met[behaviour] += 1
        return behaviour

    def _fate(self) -> str:
        now = time.monotonic()
        if len(self.requests) >= OUTAGE_AT and not self.away_until:
            self.away_until = now + OUTAGE_SECONDS
        if now < self.away_until:
            return "503"
        draw = self.dice.random()
        for name, share in FAULTS.items():
            draw -= share
            if draw < 0:
                return name
        return "ok"


def think_apart(messages: list[dict[str, Any]]) -> str:
    """Values that are not near each other, 10 s each."""
    time.sleep(THINK_SECONDS)
    at = next(_count)
    return propose(messages, at % CONSTANTS + at // CONSTANTS * 3 * CONSTANTS)


def night(here: Installation, provider: Provider, count: int) -> list[Line]:
    began = time.monotonic()
    run = here.start_run("slow", budget=3, tag="night", max_experiments=count, program={
        "researcher": "litellm", "model": "openai/standin", "api_base": provider.api_base,
        "price_in": PRICE_IN, "price_out": PRICE_OUT,
    })  # fmt: skip
    here.python(f"from experiments.models import Run; Run.objects.filter(pk={run}).update(outage='repeat')")
    found: dict[str, Any] = {}

    def is_over() -> bool:
        found.update(json.loads(here.python(SUMS.format(run=run))))
        return bool(found["state"] != "active")

    wait_for(is_over, count * 20 + OUTAGE_SECONDS, every=3)
    tokens_in = sum(usage["prompt_tokens"] for usage in provider.billed)
    tokens_out = sum(usage["completion_tokens"] for usage in provider.billed)
    cost = (tokens_in * PRICE_IN + tokens_out * PRICE_OUT) / 1e6
    print(f"{time.monotonic() - began:.0f} s; the server met {dict(provider.met)}; {found}")
    ended = (found["state"], found["reason"]) == ("ended", "experiments")
    return [
        at_most("night: did not end by its limit", int(not ended), "", 0),
        at_most("night: experiments that failed", found["states"].get("failed", 0), "", 0),
        at_most("night: experiments missing or doubled", abs(count - found["numbers"]), "", 0),
        at_most("night: device idle, model 10 s, training 3 s, first idea to last", found["idle_between"], "%", 5),
        at_most("night: the same with the waits for the first and the last one", found["idle"], "%", None),
        at_most("night: outages noticed", found["away"], "", None),
        at_most("night: repeats trained meanwhile", found["kinds"].get("repeat", 0), "", None),
        at_most("night: tokens in, ours less the server's", abs(found["tokens_in"] - tokens_in), "", 0),
        at_most("night: tokens out, ours less the server's", abs(found["tokens_out"] - tokens_out), "", 0),
        at_most("night: money, ours less the server's", round(abs(found["cost"] - cost), 9), "$", 0),
        at_most("night: money in all", found["cost"], "$", None),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=60)
    given = parser.parse_args()
    settings = {"OPENAI_API_KEY": "stand-in", "AUTORESEARCH_LLM_TRIES": "3"}
    with Provider(answer=think_apart, retry_after="1") as provider, Installation(**settings) as here:
        lines = night(here, provider, given.experiments)
        with StandIn(answer=think) as slow:
            waits = gaps(here, slow)
    share = 100 * sum(waits) / (sum(waits) + BUDGET_SECONDS * len(waits))
    lines.append(at_most(f"idle share of the device, model 10 s, training {BUDGET_SECONDS} s", share, "%", 5))
    return show("night", lines)


if __name__ == "__main__":
    sys.exit(main())
