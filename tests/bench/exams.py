"""How often the exam accuses an honest model: small ones of many kinds, each examined many times by the real judge.

    python -m tests.bench.exams [--seeds 3] [--exams 25] [--kind bf16 --kind cache]    # 24 models, 600 exams: half an hour

Each is trained once, and sits in a process of its own each time. No alarm is the goal; how near the checks came is printed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.bench.table import Line, at_most, show
from tests.trainer.examining import ROOT, Examined, Prepared, Zygote, examine, make_data

SCRIPTS = ROOT / "tests" / "scripts"
UPSTREAM = "upstream"  # its train.py is run as it is: it trains anew each time
KINDS = ("float32", "bf16", "float16", "4-grams", "cache", "slow", "ten", UPSTREAM)


def sit(kind: str, seed: int, scratch: Path, prepared: Prepared, zygote: Zygote) -> Examined:
    script = SCRIPTS / ("upstream_style_train.py" if kind == UPSTREAM else "honest_models.py")
    env = {
        "HONEST": kind, "WEIGHTS": str(scratch / f"{kind}-{seed}.pt"), "AUTORESEARCH_SEED": str(seed),
        "AUTORESEARCH_BUDGET": "2",
    }  # fmt: skip
    with tempfile.TemporaryDirectory(dir=scratch) as workspace:
        return examine(script, Path(workspace), Prepared(prepared.data, prepared.folder, env), zygote, twice=True)


def measure(kind: str, seeds: int, exams: int, scratch: Path, prepared: Prepared, zygote: Zygote) -> list[Line]:
    problems: Counter[str] = Counter()
    most: dict[str, float] = defaultdict(float)
    began = time.monotonic()
    for seed in range(1, seeds + 1):
        scores = set()
        for _ in range(exams):
            examined = sit(kind, seed, scratch, prepared, zygote)
            report = examined.report
            if report is None:
                sys.exit(f"bench: {kind} did not sit its exam.\n{examined.output[-2000:]}")
            if report["problem"] or report["twice"] != "passed":
                problems[report["problem"] or report["twice"]] += 1
                print(f"ALARM {kind} seed {seed}: {report['detail']} {report['why_not']} {report['checks']}", flush=True)
            scores.add(report["val_bpb"])
            for name, value in report["checks"].items():
                most[name] = max(most[name], value)
        if kind != UPSTREAM and len(scores) > 1:
            print(f"{kind} seed {seed}: {len(scores)} different scores, {scores}", flush=True)
        print(f"{kind} seed {seed}: val_bpb {sorted(score for score in scores if score)[:1]}", flush=True)
    count = seeds * exams
    lines = [at_most(f"{kind}: alarms in {count} exams", problems.total(), "", 0)]
    lines += [at_most(f"{kind}: {name}, the most", value, "", None) for name, value in sorted(most.items())]
    return [*lines, at_most(f"{kind}: an exam, with its process", (time.monotonic() - began) / count, "s", None)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="models of each kind")
    parser.add_argument("--exams", type=int, default=25, help="of each model")
    parser.add_argument("--kind", action="append", choices=KINDS)
    options = parser.parse_args()
    zygote, lines = Zygote(), []
    try:
        with tempfile.TemporaryDirectory(prefix="bench-exams-") as folder:
            prepared = make_data(Path(folder))
            for kind in options.kind or KINDS:
                lines += measure(kind, options.seeds, options.exams, Path(folder), prepared, zygote)
    finally:
        zygote.process.kill()
        zygote.process.wait()
    return show("exams", lines)


if __name__ == "__main__":
    sys.exit(main())
