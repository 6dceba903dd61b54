"""make bench-researcher, the kinds of models: what each of eight brings and costs over 20 experiments.

    python -m tests.bench.models [--experiments 20]

Every kind (tests/model_kinds.py) has a run of its own, all at once, over HTTP. Asked of all: no training of what could not
be applied or was tried before; no key in a prompt, a log, the database.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench.table import Line, at_most, show
from tests.installation import Installation, wait_for
from tests.model_kinds import Kind, kinds
from tests.standin_llm import Answer, Json, StandIn

KEY = "sk-secret-0123456789abcdef"
COLUMNS = ("ideas", "kept", "discarded", "crashed", "not applied", "tried before", "trained", "calls", "wasted", "leaked")
COUNT = """
import json
from experiments.models import Chunk, Run
run = Run.objects.get(pk={run})
rows = list(run.experiments.exclude(number=0).exclude(state__in=["proposing", "ready", "training", "evaluating"]))
refused = [row for row in rows if row.reason in ("bad_patch", "duplicate", "researcher_error", "preflight")]
trained = [row for row in rows if row.training_at]
texts = [str(row.__dict__) for row in rows] + list(Chunk.objects.filter(experiment__run=run).values_list("data", flat=True))
print(json.dumps({{
    "state": run.state, "ideas": len(rows), "kept": sum(row.state in ("kept", "reverted") for row in rows),
    "discarded": sum(row.state == "discarded" for row in rows),
    "crashed": sum(row.state == "failed" and row not in refused for row in rows),
    "not applied": sum(row.reason in ("bad_patch", "researcher_error") for row in rows),
    "tried before": sum(row.reason == "duplicate" for row in rows), "trained": len(trained),
    "wasted": len([row for row in refused if row.training_at]) + len(trained) - len({{row.change_key for row in trained}}),
    "leaked": sum({key!r} in text for text in texts),
}}))
"""


class Played(StandIn):
    """A server that is one kind of model."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind

    def next_behaviour(self, request: Json, headers: dict[str, str] | None = None) -> str | Answer:
        super().next_behaviour(request, headers)
        return self.kind.behave(request["messages"])


def start(here: Installation, server: Played, count: int) -> int:
    return here.start_run("score", budget=3, tag=server.kind.name.replace(" ", "-"), max_experiments=count + 1, program={
        "researcher": "litellm", "model": "openai/standin", "api_base": server.api_base,
    })  # fmt: skip


def counted(here: Installation, run: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(here.python(COUNT.format(run=run, key=KEY)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=20)
    count = parser.parse_args().experiments
    keys = {"OPENAI_API_KEY": KEY, "AUTORESEARCH_API_BASE_KEY": KEY}
    table: list[dict[str, Any]] = []
    with ExitStack() as stack, Installation(**keys, AUTORESEARCH_BREAKER="1000") as here:
        servers = [stack.enter_context(Played(kind)) for kind in kinds()]
        runs = [start(here, server, count) for server in servers]
        wait_for(lambda: all(counted(here, run)["state"] != "active" for run in runs), 60 * count, every=5)
        for server, run in zip(servers, runs, strict=True):
            asked = str([request["messages"] for request in server.requests])
            row = {"name": server.kind.name, "calls": len(server.requests), **counted(here, run)}
            table.append({**row, "leaked": row["leaked"] + asked.count(KEY)})
        logs = "".join(path.read_text(errors="replace") for path in Path(here.var, "log").glob("*"))
    print(f"\n{'':<12}" + "".join(f"{name:>14}" for name in COLUMNS))
    for row in table:
        print(f"{row['name']:<12}" + "".join(f"{row[name]:>14}" for name in COLUMNS))
    lines: list[Line] = [
        at_most("trainings of what was refused or tried before", sum(row["wasted"] for row in table), "", 0),
        at_most("texts with the key: database, prompts", sum(row["leaked"] for row in table), "", 0),
        at_most("texts with the key: logs of ours", logs.count(KEY), "", 0),
    ]
    return show("models", lines)


if __name__ == "__main__":
    sys.exit(main())
