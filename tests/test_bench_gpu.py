"""make bench-gpu: it keeps its time, says what it leaves out, and counts what it measures rightly. Its parts run by hand."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.loop.alone import Ended
from experiments.loop.judging import Judged
from tests.bench import gpu, gpu_loop, gpu_speed, table
from tests.bench.gpu import Bench, Part
from trainer import launch, presets
from trainer.output import parse_summary
from trainer.spec import Result

LOG = (
    "Device: NVIDIA H100, bf16, attention: window 256 FlexAttention 1.1 ms (SDPA 2.3), seed 42\n"
    "\rstep 00000 (0.0%) | loss: 9.0 | lrm: 1.00 | dt: 400ms | tok/sec: 1,000,000 | mfu: 30.0% | remaining: 40s    "
    "\rstep 00001 (1.0%) | loss: 8.0 | lrm: 1.00 | dt: 343ms | tok/sec: 1,525,000 | mfu: 33.5% | remaining: 39s    "
    "\rstep 00002 (2.0%) | loss: 7.0 | lrm: 1.00 | dt: 343ms | tok/sec: 1,526,000 | mfu: 33.5% | remaining: 39s    \n"
    "---\nval_bpb: 0.9\ntraining_seconds: 40.0\npeak_vram_mb: 45000\nmfu_percent: 33.5\nnum_steps: 116\n"
)


def make_bench(seconds: float = 1000.0, device: str = "cpu") -> Bench:
    data = launch.Data(Path("nowhere"), "stdlib", 512, 256)
    return Bench(device, presets.PRESETS["cpu"], data, 4.0, time.monotonic() + gpu.SPARE_SECONDS + seconds)


def test_a_part_that_may_not_fit_is_skipped_with_words_and_a_shorter_one_still_runs() -> None:
    bench, ran = make_bench(50.0), []
    parts = [Part(name, needs, lambda _bench, name=name: ran.append(name)) for name, needs in
             (("doctor", 40), ("ours", 60), ("warm start", 20))]  # fmt: skip
    gpu.run_parts(bench, parts)
    assert ran == ["doctor", "warm start"]
    assert bench.notes == ["ours: skipped, it may take 60 s, and 50 are left"] and not bench.failed


def test_a_part_that_fails_is_words_and_the_next_one_runs() -> None:
    def breaks(_bench: Bench) -> None:
        raise RuntimeError("Traceback\n  somewhere\nno score (oom). out of memory")

    bench = make_bench()
    gpu.run_parts(bench, [Part("ours", 1, breaks), Part("warm start", 1, lambda bench: bench.add("warm", 15.4, "s"))])
    assert bench.notes == ["ours: failed: no score (oom). out of memory"] and bench.failed
    assert [line.value for line in bench.lines] == [15.4]


def test_goals_hold_on_a_gpu_alone_and_what_is_not_known_makes_no_line() -> None:
    for device, ok in (("cpu", True), ("0", False)):
        bench = make_bench(device=device)
        bench.add("not training", 12.0, "s", 9.0)
        bench.add("exam", None)
        assert [line.ok for line in bench.lines] == [ok]


def test_a_training_becomes_lines() -> None:
    ended = Ended(Judged(0.914), Result("exit", 0, 82.0, exam_after_seconds=78.8), LOG, parse_summary(LOG), {"seconds": 2.3})
    found = {line.metric.partition(": ")[2]: (line.value, line.unit) for line in gpu_speed.lines_of("ours", ended)}
    assert found == {
        "val_bpb": (0.914, "bpb"), "tokens a second, median of the steps": (1_525_000, "/s"),
        "MFU by its own count": (33.5, "%"), "start-up before the first counted step, cold": (38.8, "s"),
        "training": (40.0, "s"), "exam": (2.3, "s"), "peak memory": (45000.0, "MB"), "steps": (116, ""),
    }  # fmt: skip


def test_a_training_that_says_nothing_of_itself_has_its_score_alone() -> None:
    ended = Ended(Judged(0.9), Result("exit", 0, 82.0), "", None, {})
    assert [line.metric for line in gpu_speed.lines_of("ours", ended)] == ["ours: val_bpb"]


def row(number: int, began: float, ended: float, trained: float | None, before: float | None = None) -> dict[str, Any]:
    return {"number": number, "began": began, "ended": ended, "trained": trained, "before": before, "exam": 2.0}


def test_the_seconds_of_an_experiment_end_where_the_next_one_begins() -> None:
    rows = [row(0, 100, 151, 10.0, 48.5), row(1, 152, 172, 10.0, 17.0), row(2, 173, 180, None), row(3, 181, 199, 10.0, 16.0)]
    found = gpu_loop.shares(rows)
    expected = [(0, 42.0, 38.5), (1, 11.0, 7.0), (3, 8.0, 6.0)]
    assert [(one.number, one.not_training, one.start_up) for one in found] == expected
    assert gpu_loop.shares([]) == []


def test_each_call_replaces_its_own_half_and_says_that_it_saw_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table, "ROOT", tmp_path)
    (tmp_path / "var" / "bench").mkdir(parents=True)
    path = tmp_path / "var" / "bench" / "gpu.json"
    path.write_text("half a file {")
    for call, value in (("speed", 1.0), ("loop", 2.0), ("speed", 3.0)):
        bench = make_bench()
        bench.add("start-up", value, "s")
        bench.note("FILE: skipped")
        assert gpu.show(call, bench, {"device": "an old CPU"}, 12.0, 240.0) == 0
    halves = json.loads(path.read_text())
    assert {call: half["lines"][0]["value"] for call, half in halves.items()} == {"speed": 3.0, "loop": 2.0}
    assert halves["loop"]["rehearsal"] is True and halves["loop"]["notes"] == ["FILE: skipped"]
    printed = capsys.readouterr().out
    assert gpu.REHEARSAL in printed and "12 s of at most 240" in printed and "start-up" in printed


def test_a_file_that_is_not_there_is_said_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        gpu.arguments(["speed", "--file", "nowhere/train.py"])
    assert "nowhere/train.py is not a file" in capsys.readouterr().err


def test_the_parts_have_room_in_their_calls() -> None:
    """On a GPU. Of `speed` each by itself, as it usually takes far less than it may."""
    bench = make_bench(device="0")
    bench.seconds = 40.0
    with bench.closing:
        assert all(part.needs_seconds <= gpu.LIMITS["speed"] / 3 for part in gpu_speed.parts(bench))
        bench.seconds = 10.0
        needs = {part.name: part.needs_seconds for part in gpu_loop.parts(bench)}
    assert needs["up"] + needs["experiments"] <= gpu.LIMITS["loop"] - gpu.SPARE_SECONDS
