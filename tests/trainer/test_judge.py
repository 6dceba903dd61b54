"""The judge as a process, and the training's side of it: an exam from end to end, and answers of every wrong kind."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.examining import CHEATS, ROOT, VOCAB, Judge, Prepared, T, Zygote, examine, judging
from trainer.output import LineSplitter, parse_step, parse_summary
from trainer.paper import Shard

HONEST = CHEATS / "honest.py"


@pytest.fixture
def sit(tmp_path: Path, prepared: Prepared, zygote: Zygote) -> Any:
    """Examine a training of these lines of code, which has `Bigram`, `sit` and torch."""

    def run(code: str, **spec: Any) -> Any:
        script = tmp_path / "train.py"
        script.write_text(f"import sys; sys.path.insert(0, {str(CHEATS)!r})\nimport torch\nfrom bigram import *\n{code}")
        return examine(script, tmp_path, prepared, zygote, **spec)

    return run


def model(line: str) -> str:
    """A training whose model gives what this line says."""
    return f"class M(Bigram):\n    def forward(self, x):\n        out = super().forward(x)\n        {line}\nsit(M())\n"


# An exam from end to end


def test_an_honest_training_gets_a_verified_number(tmp_path: Path, prepared: Prepared, zygote: Zygote) -> None:
    examined = examine(HONEST, tmp_path, prepared, zygote)
    meta = json.loads((prepared.folder / "meta.json").read_text())
    report = examined.report
    assert examined.exit_code == 0, examined.output
    assert report is not None
    assert (report["version"], report["problem"], report["detail"]) == ("bpb/1", "", "")
    assert (report["bytes"], report["validation_hash"]) == (meta["validation_bytes"], meta["validation_hash"])
    assert report["dataset"] == meta["dataset"]
    assert report["val_bpb"] != report["secret_bpb"]
    assert abs(report["began_at"] - time.time()) < 60
    assert 0 < report["seconds"] < 20
    assert report["checks"]["causal"] == report["checks"]["repeat"] == 0.0
    assert f"val_bpb:          {report['val_bpb']:.6f}" in examined.output


def test_the_number_is_a_plain_evaluations_in_float64(
    sit: Any, prepared: Prepared, tmp_path: Path,
) -> None:
    examined = sit("m = Bigram()\ntorch.save(m.scores, 'SCORES')\nsit(m)".replace("SCORES", str(tmp_path / "scores.pt")))
    import torch

    scores = torch.load(tmp_path / "scores.pt").double().log_softmax(-1).numpy()
    stored = json.loads((prepared.folder / "tokenizer.json").read_text())
    sizes = np.array([len(token) // 2 for token in stored["tokens"]] + [0] * len(stored["special"]))
    for file, name in (("val", "val_bpb"), ("secret", "secret_bpb")):
        tokens = np.fromfile(prepared.folder / "held_out" / f"{file}.bin", np.uint16).astype(int)
        shard = Shard.cut(tokens, T, sizes, len(stored["tokens"]))
        nats = -scores[shard.x, shard.y][shard.weight > 0].sum()
        assert examined.report[name] == pytest.approx(nats / math.log(2) / shard.bytes, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_logits_of_every_precision_are_read_as_they_are(sit: Any, dtype: str) -> None:
    exact = sit("sit(Bigram())").report["val_bpb"]
    report = sit(model(f"return out.to(torch.{dtype})")).report
    assert report["problem"] == ""
    assert report["val_bpb"] == pytest.approx(exact, rel=0 if dtype == "float32" else 0.01)


def test_a_model_that_wants_targets_is_given_none(sit: Any) -> None:
    code = "class M(Bigram):\n    def forward(self, x, y):\n        assert y is None\n        return self.scores[x]\n"
    assert sit(f"{code}sit(M())").report["problem"] == ""


def test_autocast_holds_in_the_exam_and_gradients_do_not(sit: Any) -> None:
    code = model("assert torch.is_autocast_enabled('cpu') and not torch.is_grad_enabled(); return out")
    examined = sit(code.replace("sit(M())", "with torch.autocast('cpu', torch.bfloat16):\n    sit(M())"))
    assert examined.report["problem"] == "", examined.output


def test_the_secret_text_is_left_out_for_a_bad_score(sit: Any) -> None:
    assert sit("sit(Bigram())", secret_below=0.1).report["secret_bpb"] is None


def test_an_upstream_style_training_is_verified_unchanged(tmp_path: Path, prepared: Prepared, zygote: Zygote) -> None:
    script = ROOT / "tests" / "scripts" / "upstream_style_train.py"
    with judging(tmp_path, prepared) as judge:
        env = {**prepared.environment, "AUTORESEARCH_EXAM": str(judge.channel), "AUTORESEARCH_BUDGET": "2"}
        code = zygote.train(script, env, tmp_path / "log")
        judge.process.wait(20)
    log = (tmp_path / "log").read_text()
    assert code == 0, log[-2000:]
    assert judge.report is not None
    assert judge.report["problem"] == ""
    summary = parse_summary(log)
    assert summary is not None
    assert summary.val_bpb == pytest.approx(judge.report["val_bpb"], abs=1e-6)
    assert 0.5 < judge.report["val_bpb"] < 5
    steps = [point for line in LineSplitter().feed(log) if (point := parse_step(line))]
    assert len(steps) > 11


def test_an_exam_can_be_sat_once(sit: Any) -> None:
    examined = sit("sit(Bigram())\nimport time; time.sleep(0.3)\nsit(Bigram())")
    assert examined.report["problem"] == ""
    assert examined.exit_code == 1
    assert "evaluate_bpb can be called once" in examined.output


# Models that answer wrongly


@pytest.mark.parametrize(
    ("line", "problem", "words"),
    [
        ("return out, None", "shape", "gave a tuple: return the logits alone"),
        ("return {'logits': out}", "shape", "gave a dict: return the logits alone"),
        ("return None", "shape", "gave a NoneType"),
        ("return out.mean()", "shape", "a loss?"),
        ("return out[: len(x) // 2]", "shape", "every row and every position"),
        ("return out[:, :-1]", "shape", "every row and every position"),
        ("return out.flatten(0, 1)", "shape", "logits.view(8, 64, 300)"),
        ("return torch.nn.functional.pad(out, (0, 4))", "shape", "logits[..., :300]"),
        ("return out[..., :100]", "shape", "the tokenizer has 300 tokens"),
        ("return out.long()", "shape", "in float32, float16 or bfloat16, and gave torch.int64"),
        ("return out.double()", "shape", "gave torch.float64"),
        ("return out.to('meta')", "shape", "meta device"),
        ("raise torch.OutOfMemoryError('CUDA out of memory. Tried')", "oom", "smaller batch size"),
        ("return out * float('nan')", "nan", "NaN or infinity"),
        ("return out + torch.where(x % 7 == 5, float('inf'), 0.0)[..., None]", "nan", "NaN or infinity"),
    ],
)
def test_a_wrong_answer_has_its_own_words(sit: Any, line: str, problem: str, words: str) -> None:
    examined = sit(model(line))
    assert (examined.report["problem"], examined.report["val_bpb"]) == (problem, None)
    assert words in examined.report["detail"]
    assert examined.exit_code == 1
    assert examined.report["detail"][:80] in examined.output
    assert "val_bpb:" not in examined.output


def test_a_model_that_fails_leaves_its_traceback_and_no_number(sit: Any) -> None:
    examined = sit(model("raise ValueError('of its own')"))
    assert examined.report["problem"] == "unfinished"
    assert "of its own" in examined.output


def test_a_training_that_dies_in_the_exam_is_unfinished(sit: Any) -> None:
    examined = sit(model("import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert (examined.report["problem"], examined.exit_code) == ("unfinished", -9)
    assert "at batch 1" in examined.report["detail"]


def test_a_model_that_never_answers_is_late(sit: Any) -> None:
    examined = sit(model("import time; time.sleep(2)"), deadline_seconds=0.5)
    assert examined.report["problem"] == "timeout"
    assert "0 batches of 8 rows of 64 tokens were answered, the next was out for 0." in examined.report["detail"]
    assert "more than its 0.5 s" in examined.output


@pytest.mark.parametrize("size", ["0", "-3", "True", "2.5", "'8'", "10**30"])
def test_a_batch_size_that_is_none_is_refused(sit: Any, size: str) -> None:
    call = f"sit_exam(Bigram(), os.environ['AUTORESEARCH_EXAM'], {size}, 'cpu')"
    examined = sit(f"from sitting import sit_exam\nimport os\n{call}")
    if size == "10**30":
        assert examined.report["problem"] == ""  # more than there are rows
    else:
        assert examined.report["problem"] == "answer"
        assert "a whole number from 1" in examined.output


def test_a_judge_that_is_killed_ends_the_training_with_words(
    tmp_path: Path, prepared: Prepared, zygote: Zygote,
) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(CHEATS)!r})\nfrom bigram import *\nimport os\n"
        + model("os.kill(int(os.environ['JUDGE']), 9); return out")
    )
    with judging(tmp_path, prepared) as judge:
        env = {**prepared.environment, "AUTORESEARCH_EXAM": str(judge.channel), "JUDGE": str(judge.process.pid)}
        assert zygote.train(script, env, tmp_path / "log") == 1
    assert "judge is gone" in (tmp_path / "log").read_text()
    assert judge.report is not None
    assert judge.report["problem"] == "unfinished"


# Trainings that do not keep to the rules: raw messages, without the training's side


class Raw:
    """The training's end of the channel, by hand."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.answers = os.open(judge.channel / "answers", os.O_WRONLY | os.O_NONBLOCK)
        self.questions = (judge.channel / "questions").open()

    def send(self, *lines: str) -> None:
        os.write(self.answers, "".join(f"{line}\n" for line in lines).encode())

    def begin(self) -> dict[str, Any]:
        self.send('{"begin": {"batch_size": 8}}')
        return dict(json.loads(self.questions.readline()))

    def answer(self, number: int, **other: Any) -> str:
        return json.dumps({"answer": number, "slot": number % 2, "dtype": "float32", "shape": [8, T, VOCAB], **other})

    def end(self) -> dict[str, Any]:
        """Wait for the judge to end by itself; its report."""
        assert self.judge.process.wait(20) == 0, self.judge.words()
        assert self.judge.report is not None
        return self.judge.report


@pytest.fixture
def raw(tmp_path: Path, prepared: Prepared) -> Iterator[Raw]:
    with judging(tmp_path, prepared, deadline_seconds=3.0) as judge:
        yield Raw(judge)


@pytest.mark.parametrize(
    "line",
    [
        "no json", "[1, 2]", "null", "[" * 3000, "{}", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1"),
        "x" * 5000, '{"answer": 0}', '{"answer": ' + "9" * 4000 + "}",
    ],
)  # fmt: skip
def test_a_line_that_is_no_answer_ends_the_exam(raw: Raw, line: str) -> None:
    raw.begin()
    raw.send(line)
    report = raw.end()
    assert report["problem"] == "answer"
    assert report["val_bpb"] is None
    assert len(report["detail"]) < 800


@pytest.mark.parametrize(
    "other",
    [
        {"answer": 1}, {"answer": -1}, {"answer": None}, {"slot": 1}, {"slot": -2}, {"slot": 7},
        {"dtype": "float64"}, {"dtype": "int8"}, {"dtype": ["float32"]}, {"dtype": None}, {"dtype": {}},
        {"shape": [8, T, VOCAB + 1]}, {"shape": [4, T, VOCAB]}, {"shape": [8, T, -VOCAB]}, {"shape": 3},
    ],
)  # fmt: skip
def test_an_answer_to_something_else_is_refused(raw: Raw, other: dict[str, Any]) -> None:
    raw.begin()
    raw.send(raw.answer(0, **other))
    assert raw.end()["problem"] == "answer"


def test_the_type_of_the_logits_may_not_change(raw: Raw) -> None:
    raw.begin()
    raw.send(raw.answer(0), raw.answer(1, dtype="bfloat16"))
    assert raw.end()["problem"] == "answer"


def test_answers_before_the_questions_gain_nothing(raw: Raw) -> None:
    """Logits that nobody wrote are zeros: a uniform guess."""
    raw.begin()
    for first in range(0, 60, 10):
        try:
            raw.send(*(raw.answer(number) for number in range(first, first + 10)))
        except BrokenPipeError:
            break
        time.sleep(0.05)
    report = raw.end()
    assert report["problem"] == ""
    assert report["val_bpb"] > 3


def test_a_file_cut_short_ends_the_exam_and_not_the_judge(raw: Raw) -> None:
    raw.begin()
    os.truncate(raw.judge.channel / "logits", 100)
    raw.send(raw.answer(0))
    report = raw.end()
    assert (report["problem"], report["detail"]) == ("answer", "The file of the logits was made shorter while it was read.")


def test_other_files_in_the_place_of_the_channels_are_not_looked_at(raw: Raw, tmp_path: Path) -> None:
    raw.begin()
    for name in ("logits", "tokens", "questions", "answers"):
        (raw.judge.channel / name).unlink()
        (raw.judge.channel / name).symlink_to(tmp_path / "spec.json")
    raw.send(raw.answer(0), raw.answer(1))
    os.close(raw.answers)
    assert raw.end()["problem"] == "unfinished"


def test_the_trainings_own_words_are_kept_short_and_tame(raw: Raw) -> None:
    raw.begin()
    raw.send(json.dumps({"problem": "verified", "detail": "\x1b[31m\u202e" + "x" * 3000}))
    report = raw.end()
    assert report["problem"] == "answer"
    assert report["detail"].isprintable()
    assert len(report["detail"]) <= 600


def test_silence_after_begin_is_late(raw: Raw) -> None:
    raw.begin()
    assert raw.end()["problem"] == "timeout"


def test_a_stop_says_that_no_more_comes(raw: Raw) -> None:
    raw.begin()
    raw.judge.process.send_signal(signal.SIGTERM)
    assert raw.end()["problem"] == "unfinished"


def test_a_judge_whom_nobody_asks_leaves_no_report(tmp_path: Path, prepared: Prepared) -> None:
    with judging(tmp_path, prepared) as judge:
        raw = Raw(judge)
        os.close(raw.answers)  # a training that only looked
        time.sleep(0.1)
        assert judge.process.poll() is None
        judge.process.send_signal(signal.SIGTERM)
        assert judge.process.wait(5) == 0
        assert judge.report is None


def test_the_report_is_there_from_the_beginning(raw: Raw) -> None:
    raw.begin()
    report = raw.judge.report
    assert report is not None
    assert (report["problem"], report["val_bpb"]) == ("unfinished", None)


# The judge itself


@pytest.mark.parametrize("name", ["meta.json", "tokenizer.json", "held_out/val.bin", "held_out/secret.bin"])
def test_damaged_data_end_the_judge_with_words(tmp_path: Path, prepared: Prepared, name: str) -> None:
    subprocess.run(["cp", "-r", str(prepared.folder), str(tmp_path / "data")], check=True)
    os.truncate(tmp_path / "data" / name, 20)
    (tmp_path / "w").mkdir()
    judge = Judge(tmp_path / "w", tmp_path / "w", prepared, data_dir=str(tmp_path / "data"))
    words = judge.words()
    assert judge.process.returncode == 1
    assert "are damaged" in words
    assert "prepare the data again" in words


def test_the_judge_starts_without_torch() -> None:
    code = "import sys, trainer.judge; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
