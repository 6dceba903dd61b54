"""Broken edits are caught before they cost device time, and good ones are let through."""

# ruff: noqa: E501 - lines of code as text
from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trainer.examining import T
from tests.trainer.launching import all_of, make_job
from tests.trainer.rehearsing import BROKEN, GOOD, H100, Edit, rehearse, template
from trainer import preflight, presets
from trainer.launch import Job, fixed_files
from trainer.preflight import Card, against, judge, script_of

CARDS = {"cpu": None, "card": H100}


def named(edits: list[Edit]) -> list:
    return [pytest.param(edit, id=edit.name) for edit in edits]


@pytest.mark.parametrize("device", CARDS)
@pytest.mark.parametrize("edit", named(BROKEN))
def test_a_broken_edit_is_caught_or_known_to_be_missed(edit, device, tmp_path, prepared, zygote):
    source = edit.apply(template())
    seconds = 6.0 if "without end" in edit.name else 150.0
    found = rehearse(source, tmp_path / "w", prepared, zygote, CARDS[device], seconds=seconds, memory_bytes=4 * 2**30)
    wanted = getattr(edit, device)
    assert found.ok is wanted, found
    if wanted is not True and edit.words:
        assert edit.words in found.error


@pytest.mark.parametrize("device", CARDS)
@pytest.mark.parametrize("edit", named(GOOD))
def test_a_good_edit_is_no_false_alarm(edit, device, tmp_path, prepared, zygote):
    found = rehearse(edit.apply(template()), tmp_path / "w", prepared, zygote, CARDS[device], memory_bytes=4 * 2**30)
    assert (found.ok, found.error) == (True, ""), found
    assert found.stage == "end" and found.params > 10_000


@pytest.mark.parametrize("name", [name for name in presets.PRESETS if name not in {"cpu", "mps"}])
def test_every_preset_for_a_gpu_trains_at_its_full_size_on_a_card(name, tmp_path, prepared, zygote):
    """Counted there, nothing computed: a size that does not fit together is seen before anybody has the card."""
    preset = presets.PRESETS[name]
    source = presets.apply(template(), preset.constants)
    card = Card(memory_bytes=192 * 2**30)
    found = rehearse(source, tmp_path / "w", prepared, zygote, card, seq_len=preset.seq_len)
    assert (found.ok, found.stage, found.error) == (True, "end", ""), found
    assert found.params > 12 * preset.constants["DEPTH"] * preset.constants["WIDTH"] ** 2


# Programs in the upstream's manner, for a GPU

UPSTREAM = (Path(__file__).parents[1] / "scripts" / "upstream_style_train.py").read_text()
UPSTREAM = UPSTREAM.replace("TOTAL_BATCH_SIZE = 8, 4096", f"TOTAL_BATCH_SIZE = 8, {2 * 8 * T}")  # two passes a step, not eight
FOR_A_GPU = [
    ("model = GPT(config)\n", (
        "device = torch.device('cuda')\ntorch.cuda.manual_seed(42)\nassert torch.cuda.get_device_capability() == (9, 0)\n"
        "autocast = torch.amp.autocast(device_type='cuda', dtype=torch.bfloat16)\n"
        "with torch.device('meta'):\n    model = GPT(config)\nmodel.to_empty(device=device)\n"
        "half = config.n_embd // config.n_head // 2\n"
        "angles = torch.outer(torch.arange(config.sequence_len, device=device), 10000.0 ** (-torch.arange(half, device=device) / half))\n"
        "model.cos, model.sin = angles.cos().bfloat16(), angles.sin().bfloat16()\nmodel.wte.to(dtype=torch.bfloat16)\n"
    )),
    ("grad_accum_steps = max", "model = torch.compile(model, dynamic=False)\ngrad_accum_steps = max"),
    ("        loss = model(x, y)\n", "        with autocast:\n            loss = model(x, y)\n"),
    ("    dt = time.time() - t0\n", "    torch.cuda.synchronize()\n    dt = time.time() - t0\n"),
    ("val_bpb = evaluate_bpb(model, tokenizer, DEVICE_BATCH_SIZE)", "with autocast:\n    val_bpb = evaluate_bpb(model, tokenizer, DEVICE_BATCH_SIZE)"),
    ("{0:.1f}\")\nprint(f\"mfu", "{torch.cuda.max_memory_allocated() / 2**20:.1f}\")\nprint(f\"mfu"),
]  # fmt: skip


def upstream_for_a_gpu() -> str:
    text = UPSTREAM
    for old, new in FOR_A_GPU:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_an_upstream_style_program_passes_on_the_cpu_and_its_gpu_form_on_a_card(tmp_path, prepared, zygote):
    on_cpu = rehearse(UPSTREAM, tmp_path / "cpu", prepared, zygote)
    on_card = rehearse(upstream_for_a_gpu(), tmp_path / "card", prepared, zygote, H100)
    assert (on_cpu.ok, on_card.ok) == (True, True), (on_cpu, on_card)
    assert on_cpu.params == on_card.params
    assert 0 < on_card.resident_mb < on_card.memory_mb


def test_under_autocast_types_that_do_not_fit_are_still_seen(tmp_path, prepared, zygote):
    broken = upstream_for_a_gpu().replace("        with autocast:\n            loss = model(x, y)", "        loss = model(x, y)")
    found = rehearse(broken, tmp_path / "w", prepared, zygote, H100)
    assert found.ok is False and "dtype" in found.error, found


# What a rehearsal is not to be believed in


def test_what_is_too_large_for_the_card_is_refused_by_its_weights_alone():
    found = judge({"stage": "end", "ended": "done", "resident_mb": 90_000, "memory_mb": 200_000}, H100)
    assert found.ok is False and "weights and optimizer state alone are 87.9 GB" in found.error


@pytest.mark.parametrize(("counted", "ok"), [(100_000, True), (180_000, True), (240_000, False)])
def test_memory_is_judged_by_what_the_parent_took(counted, ok):
    found = judge({"stage": "end", "ended": "done", "resident_mb": 500, "memory_mb": counted}, H100)
    assert against(found, H100, 112_000, 45_000).ok is ok
    assert against(found, H100, None, 45_000).ok is True  # nothing is known of the parent


@pytest.mark.parametrize(
    "report",
    [None, {}, {"stage": ["x"], "ended": 3, "error": {"a": 1}}, {"ended": "blind", "error": "\x1b[31m"}, {"batches": True},
     {"ended": "unfinished"}, {"ended": "memory"}, {"stage": "step", "ended": "exit", "updates": 2}],
)  # fmt: skip
def test_a_report_that_says_nothing_or_nonsense_refuses_nothing(report):
    found = judge(report, H100)
    assert found.ok is None and "\x1b" not in found.error and json.dumps(found.as_json())


@pytest.mark.parametrize(
    ("command", "script"),
    [(["{python}", "train.py"], "train.py"), (["/usr/bin/python3", "-u", "a.py", "--x"], "a.py"), (["make"], ""), ([], ""),
     (["{python}", "-m", "torch.run"], "")],
)  # fmt: skip
def test_only_a_python_file_is_rehearsed(command, script):
    assert script_of(command) == script


# In the sandbox, as a worker starts it


def job(folder: Path, prepared, source: str, **fields) -> Job:
    return make_job(
        folder, source, data=prepared.data, data_dir=prepared.folder, fixed=fixed_files(["prepare.py"]), **fields
    )


def test_in_the_sandbox_it_passes_and_leaves_nothing(tmp_path, prepared, monkeypatch):
    monkeypatch.setattr(preflight, "NICE", 0)
    found = preflight.rehearse(job(tmp_path / "w", prepared, template(), deadline_seconds=60.0), None)
    assert found.ok is True and found.seconds > 0, found
    assert not (tmp_path / "w").exists()


def test_it_ends_by_its_own_deadline_and_when_it_is_no_longer_wanted(tmp_path, prepared):
    endless = "import time\nwhile True:\n    time.sleep(0.01)\n"
    found = preflight.rehearse(job(tmp_path / "w", prepared, endless, deadline_seconds=8.0), None)
    assert found.ok is None and not all_of(tmp_path / "w")

    def gone() -> None:
        raise RuntimeError("the row has moved")

    with pytest.raises(RuntimeError, match="the row has moved"):
        preflight.rehearse(job(tmp_path / "v", prepared, endless, deadline_seconds=60.0), None, gone)
    assert not all_of(tmp_path / "v") and not (tmp_path / "v").exists()


def test_steps_that_take_too_long_are_said_not_to_be_seen():
    found = judge({"stage": "step", "ended": "enough"}, None)
    assert found.ok is True and found.not_seen[0] == "its end: the steps took too long on one CPU core"


LAID: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link": lambda path: path.symlink_to(path.with_name("other.json")),
    "gigabytes": lambda path: path.open("wb").truncate(8 * 2**30),
    "what is nested without end": lambda path: path.write_text("[" * 2**20),
    "no object": lambda path: path.write_text("[]"),
}


@pytest.mark.parametrize("laid", LAID)
def test_what_the_rehearsed_program_lays_in_place_of_its_report_is_none(laid: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"ended": "done"}')
    LAID[laid](tmp_path / "rehearsal.json")
    assert preflight.left(tmp_path / "rehearsal.json") is None
    assert preflight.left(tmp_path / "other.json") == {"ended": "done"}
