"""What trainings print is read the same whichever fork printed it."""

import math
import time
from dataclasses import replace

import pytest

from trainer.output import (
    LINE_LIMIT,
    LineSplitter,
    Point,
    Summary,
    classify_failure,
    is_whole_step,
    last_words,
    parse_step,
    parse_summary,
    strip_controls,
)

UPSTREAM_STEP = (
    "\rstep 00320 (22.2%) | loss: 3.113473 | lrm: 1.00 | dt: 194ms | tok/sec: 169,242 | mfu: 39.8% | epoch: 1"
    " | remaining: 233s    "
)
UPSTREAM_POINT = Point(320, 22.2, 3.113473, 1.0, 194.0, 169242.0, 39.8, 233.0, None)

UPSTREAM_SUMMARY = """\
---
val_bpb:          0.997900
training_seconds: 300.1
total_seconds:    325.9
peak_vram_mb:     45060.2
mfu_percent:      39.80
total_tokens_M:   499.6
num_steps:        953
num_params_M:     50.3
depth:            8
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(UPSTREAM_STEP, UPSTREAM_POINT, id="upstream"),
        pytest.param(
            "step 00011 (0.4%) | loss: 7.554123 | lrm: 1.00 | dt: 1034ms | tok/sec: 63,382 | epoch: 1"
            " | remaining: 299s    ",
            Point(11, 0.4, 7.554123, 1.0, 1034.0, 63382.0, None, 299.0, None),
            id="mlx has no mfu",
        ),
        pytest.param(
            "step 00004 (1.3%) | loss: 8.100000 | lrm: 0.50 | dt: 900ms | tok/sec: 18,204 | mfu: n/a | epoch: 1"
            " | remaining: 296s",
            Point(4, 1.3, 8.1, 0.5, 900.0, 18204.0, None, 296.0, None),
            id="windows on an unknown card",
        ),
        pytest.param(
            "step 00500 (50.0%) | loss: 2.5 | lr: 0.02 | dt: 0.25s | tok/s: 1,024.5 | remain: 150s",
            Point(500, 50.0, 2.5, 0.02, 250.0, 1024.5, None, 150.0, None),
            id="short names and seconds",
        ),
        pytest.param(
            "Step 0012 | Loss: 4.25 | LR: 3e-4 | Tok/s: 9000",
            Point(12, None, 4.25, 3e-4, None, 9000.0, None, None, None),
            id="capitals, no percentage",
        ),
        pytest.param(
            "step 7 | loss: 5.1 | grad_norm: 1.25",
            Point(7, None, 5.1, None, None, None, None, None, 1.25),
            id="gradient norm",
        ),
        pytest.param(
            "step 12/1,000 (1.2%) | loss: 5.1",
            Point(12, 1.2, 5.1, None, None, None, None, None, None),
            id="step of a total",
        ),
        pytest.param("\x1b[2K\x1b[32m" + UPSTREAM_STEP + "\x1b[0m", UPSTREAM_POINT, id="coloured"),
        pytest.param(UPSTREAM_STEP + "FAIL", UPSTREAM_POINT, id="fail at the end"),
        pytest.param(UPSTREAM_STEP + "FAIL: loss is nan", UPSTREAM_POINT, id="fail with a reason at the end"),
    ],
)
def test_step_lines_of_every_fork(line: str, expected: Point) -> None:
    assert parse_step(line) == expected


@pytest.mark.parametrize(("text", "check"), [("nan", math.isnan), ("NaN", math.isnan), ("inf", math.isinf)])
def test_a_loss_that_is_no_number_is_a_point(text: str, check) -> None:
    point = parse_step(f"step 00009 (0.1%) | loss: {text} | lrm: 1.00 | dt: 90ms")
    assert point is not None
    assert check(point.loss)


def test_only_the_loss_may_be_no_number() -> None:
    line = "step 3 (0.1%) | loss: nan | lrm: nan | dt: infms | tok/sec: inf | mfu: nan% | remaining: infs"
    point = parse_step(line)
    assert point is not None
    assert replace(point, loss=0.0) == Point(3, 0.1, 0.0, None, None, None, None, None, None)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "---",
        "step 1234567890123456789 | loss: 3.0",
        "val_bpb:          0.997900",
        "step",
        "step by step | loss: 3",
        "steps 12 | loss: 3.0",
        "step 12 of the plan | loss: 3.0",
        "step 00012 (0.3%) | lrm: 1.00",
        "step 00012 (0.3%) | loss: n/a",
        "Trying train candidate: batch 16",
        "epoch 3 | loss: 2.0",
        "step 1 | loss: 3.0 | " + "x" * 5000,
    ],
)
def test_other_lines_are_no_points(line: str) -> None:
    assert parse_step(line) is None


def test_the_summary_of_the_upstream() -> None:
    assert parse_summary("noise\n" + UPSTREAM_SUMMARY) == Summary(
        val_bpb=0.9979,
        training_seconds=300.1,
        total_seconds=325.9,
        peak_vram_mb=45060.2,
        mfu_percent=39.8,
        total_tokens_m=499.6,
        num_steps=953,
        num_params_m=50.3,
        depth=8,
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(("39.80", "n/a"), {"mfu_percent": None}, id="mfu unknown"),
        pytest.param(("peak_vram_mb:  ", "peak_memory_mb:"), {}, id="peak_memory_mb"),
        pytest.param(("peak_vram_mb:", "peak_mem_mb: "), {}, id="peak_mem_mb"),
        pytest.param(("0.997900", "skipped"), {"val_bpb": None}, id="skipped"),
        pytest.param(("0.997900", "nan"), {"val_bpb": None}, id="nan"),
        pytest.param(("0.997900", "inf"), {"val_bpb": None}, id="infinite"),
        pytest.param(("0.997900", "0.000000"), {"val_bpb": None}, id="the zero of a crash"),
        pytest.param(("0.997900", "-1.2"), {"val_bpb": None}, id="negative"),
        pytest.param(("\n", "\r\n"), {}, id="windows line ends"),
        pytest.param(("depth: ", "val_rmse: 0.5\ndepth: "), {"extra": {"val_rmse": "0.5"}}, id="another metric"),
        pytest.param(("depth: ", "val_bpb: 0.1\ndepth: "), {}, id="a second score does not replace the first"),
        pytest.param(("val_bpb:  ", "  val_bpb:"), {"val_bpb": None}, id="indented is not at the start"),
        pytest.param(("953", "1e300"), {"num_steps": None}, id="more steps than there can be"),
        pytest.param(("499.6", "1,499.6"), {"total_tokens_m": 1499.6}, id="thousands comma"),
        pytest.param(("---", "smoke_test: true\n---"), {}, id="smoke test in an earlier part"),
    ],
)
def test_variants_of_the_summary(change: tuple[str, str], expected: dict) -> None:
    upstream = parse_summary(UPSTREAM_SUMMARY)
    assert upstream is not None
    assert parse_summary(UPSTREAM_SUMMARY.replace(*change)) == replace(upstream, **expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "val_bpb: 0.5\n",
        "--- val_bpb: 0.5\n",
        "----\nval_bpb: 0.5\n",
        " ---\nval_bpb: 0.5\n",
        UPSTREAM_SUMMARY + "smoke_test:       true\n",
    ],
)
def test_no_summary(text: str) -> None:
    assert parse_summary(text) is None


def test_only_the_last_rule_counts() -> None:
    text = "---\nval_bpb: 0.100000\nprint of a table\n---\ndebug: 1\n" + UPSTREAM_SUMMARY
    summary = parse_summary(text)
    assert summary is not None
    assert summary.val_bpb == 0.9979


def test_a_score_before_the_last_rule_does_not_count() -> None:
    summary = parse_summary(UPSTREAM_SUMMARY + "---\ndepth: 4\n")
    assert summary == Summary(val_bpb=None, depth=4)


def test_a_step_line_with_the_summary_right_behind() -> None:
    splitter = LineSplitter()
    lines = splitter.feed(UPSTREAM_STEP + "\n" + UPSTREAM_SUMMARY)
    assert lines[:3] == ["", UPSTREAM_STEP.lstrip("\r"), "---"]
    assert splitter.pending == ""


TEXT = "first\rsecond\r\nthird\n\n\r\rfourth"
LINES = ["first", "second", "third", "", "", ""]


@pytest.mark.parametrize("size", range(1, len(TEXT) + 1))
def test_lines_are_the_same_however_the_text_is_cut(size: int) -> None:
    splitter = LineSplitter()
    lines = [line for start in range(0, len(TEXT), size) for line in splitter.feed(TEXT[start : start + size])]
    assert lines == LINES
    assert splitter.pending == "fourth"


def test_a_line_end_of_two_characters_may_be_cut_between_them() -> None:
    splitter = LineSplitter()
    assert splitter.feed("a\r") == ["a"]
    assert splitter.feed("") == []
    assert splitter.feed("\n") == []
    assert splitter.feed("\nb") == [""]
    assert splitter.pending == "b"


def test_a_line_without_end_does_not_grow_for_ever() -> None:
    splitter = LineSplitter()
    lines = [line for _ in range(30) for line in splitter.feed("x" * 10_000)]
    assert all(len(line) == LINE_LIMIT for line in lines)
    assert len(splitter.pending) <= LINE_LIMIT
    assert sum(map(len, lines)) + len(splitter.pending) == 300_000


@pytest.mark.parametrize(
    ("pending", "expected"),
    [
        (UPSTREAM_STEP.strip(), True),
        (UPSTREAM_STEP.lstrip("\r"), True),
        (UPSTREAM_STEP.strip().removesuffix("s"), False),
        (UPSTREAM_STEP.strip().removesuffix("33s"), False),
        ("step 00500 (50.0%) | loss: 2.5 | remain: 150s", True),
        ("waiting | remaining: 5s", False),
        ("", False),
    ],
)
def test_a_full_step_line_needs_no_line_end(pending: str, expected: bool) -> None:
    assert is_whole_step(pending) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\r\nc\n", "a\tb\r\nc\n"),
        ("\x1b[1;31mred\x1b[0m \x1b[2Kline\x1b[10;20H", "red line"),
        ("\x1b]0;a title\x07text \x1b]8;;link\x1b\\name", "text name"),
        ("cut off \x1b", "cut off "),
        ("a\x00b\x08c\x7fd\x9be", "abcde"),
        ("user\u202etxt.exe\u2066x\u2069\u200f", "usertxt.exex"),
        ("Grüße, 你好, 🙂, ñ", "Grüße, 你好, 🙂, ñ"),
    ],
)
def test_controls_are_removed(text: str, expected: str) -> None:
    assert strip_controls(text) == expected


def test_colours_may_stay_and_nothing_else_does():
    text = "\x1b[1;31mred\x1b[0m \x1b[2K\x1b]0;title\x07\x00\x1b[10Aplain\x1b["
    assert strip_controls(text, colours=True) == "\x1b[1;31mred\x1b[0m plain"
    assert strip_controls(text) == "red plain"


@pytest.mark.parametrize(
    ("exit_code", "tail", "expected"),
    [
        (1, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "oom"),
        (1, "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes", "oom"),
        (1, "Traceback (most recent call last):\n  File\nMemoryError\n", "oom"),
        (137, "step 00003 (1.0%) | loss: 4.0", "oom"),
        (-9, "", "oom"),
        (1, UPSTREAM_STEP + "FAIL", "nan"),
        (1, UPSTREAM_STEP + "FAIL: loss is nan\n", "nan"),
        (1, "\nFAIL\n", "nan"),
        (1, "step 00012 (0.3%) | loss: nan | lrm: 1.00", "nan"),
        (1, "step 00012 (0.3%) | loss: -inf | lrm: 1.00", "nan"),
        (1, "ValueError: FAILED to open nanogpt.bin, loss: none", "crash"),
        (1, "NameError: name 'x' is not defined", "crash"),
        (0, "", "crash"),
        (None, "", "crash"),
        (-11, "Segmentation fault", "crash"),
    ],
)
def test_failures_are_told_apart(exit_code: int | None, tail: str, expected: str) -> None:
    assert classify_failure(exit_code, tail) == expected


@pytest.mark.parametrize("text", [UPSTREAM_STEP * 8000, "x" * 1_000_000, "---\n" * 250_000, "\x1b[" * 500_000])
def test_a_megabyte_is_read_at_once(text: str) -> None:
    started = time.process_time()
    splitter = LineSplitter()
    for start in range(0, len(text), 65_536):
        for line in splitter.feed(text[start : start + 65_536]):
            parse_step(line)
        is_whole_step(splitter.pending)
    parse_summary(text)
    strip_controls(text)
    classify_failure(1, text)
    assert time.process_time() - started < 10


DYNAMO = """Traceback (most recent call last):
  File "train.py", line 7, in <module>
torch._inductor.exc.InductorError: RuntimeError: {}

Set TORCHDYNAMO_VERBOSE=1 for the internal stack trace (please do this especially if you're reporting a bug to PyTorch).
"""


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (DYNAMO.format("Failed to find C compiler. Please specify via CC"), "There is no C compiler, and"),
        ("main.c:5:10: fatal error: Python.h: No such file or directory\n" + DYNAMO.format("exit 1"), "Python's headers"),
        (DYNAMO.format("no kernel image"), "torch._inductor.exc.InductorError: RuntimeError: no kernel image"),
        ("ValueError: first\n\nKeyError: 'second'\n", "KeyError: 'second'"),
        ("step 1\rstep 2\rFAIL: loss is nan at step 2\n", "FAIL: loss is nan"),
        ("\x1b[31mprepare: torch 2.13.0 cannot use the GPU 0: it\x1b[0m\n", "prepare: torch 2.13.0 cannot use the GPU"),
        ("one\ntwo\n", "two"), ("", "it ended without a word"),
    ],
)  # fmt: skip
def test_the_last_words_say_what_is_missing_in_one_line(log: str, words: str) -> None:
    said = last_words(log)
    assert said.startswith(words) and "\n" not in said
