"""Presets: each fits train.py and itself; the one that is picked is in the first commit and the recipe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trainer import presets

SOURCE = (Path(__file__).resolve().parents[2] / "trainer" / "template" / "train.py").read_text()


def constant(source: str, name: str) -> str:
    found = re.search(rf"(?m)^{name} = (\S+)", source)
    assert found, name
    return found[1]


OFFLINE = {f"{name}-offline": presets.offline(preset) for name, preset in presets.PRESETS.items()}


@pytest.mark.parametrize("preset", [*presets.PRESETS.values(), *OFFLINE.values()], ids=[*presets.PRESETS, *OFFLINE])
def test_a_preset_fits_train_py_and_itself(preset: presets.Preset) -> None:
    source = presets.apply(SOURCE, preset.constants)
    compile(source, preset.name, "exec")
    names = ("WIDTH", "HEAD_DIM", "BATCH_TOKENS", "ROW_BATCH", "SHORT_WINDOW")
    number = {name: int(constant(source, name)) for name in names}
    assert number["WIDTH"] % number["HEAD_DIM"] == 0
    assert number["BATCH_TOKENS"] % (number["ROW_BATCH"] * preset.seq_len) == 0
    assert number["SHORT_WINDOW"] <= preset.seq_len
    for name, value in preset.constants.items():
        assert constant(source, name).strip('"') == str(value)


def test_the_settings_know_every_preset(settings: Any) -> None:
    assert list(settings.PRESETS) == list(presets.PRESETS)


def test_apply_keeps_everything_else() -> None:
    changed = presets.apply(SOURCE, {"DEPTH": 12, "WINDOW_PATTERN": "SSL"})
    lines = [(a, b) for a, b in zip(SOURCE.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert [b.split("  #")[0] for _, b in lines] == ["DEPTH = 12", 'WINDOW_PATTERN = "SSL"']
    assert all(a.split("  #")[1] == b.split("  #")[1] for a, b in lines)


def test_an_unknown_constant_is_refused() -> None:
    with pytest.raises(KeyError, match="NO_SUCH"):
        presets.apply(SOURCE, {"NO_SUCH": 1})


def test_the_cpu_preset_is_train_py_as_it_stands() -> None:
    assert presets.apply(SOURCE, presets.PRESETS["cpu"].constants) == SOURCE


@pytest.mark.django_db
def test_a_new_program_has_the_presets_constants_and_recipe() -> None:
    from experiments.loop import actions
    from experiments.loop.workspace import Workspace

    program = actions.create_program("stories", preset="gpu-8gb")
    source = Workspace(program.repo).read("refs/heads/main", ["train.py"])["train.py"]
    preset = presets.PRESETS["gpu-8gb"]
    assert constant(source, "DEPTH") == str(preset.constants["DEPTH"])
    assert (program.preset, program.dataset, program.vocab_size, program.seq_len) == ("gpu-8gb", "tinystories", 2048, 512)
    assert program.budget_seconds == 300


def _create_demo(monkeypatch: pytest.MonkeyPatch, settings: Any, detected: str) -> Any:
    from experiments import tasks

    settings.DEMO, settings.PRESET = True, ""
    monkeypatch.setattr(presets, "detect", lambda _given=(): (detected, "pretended"))
    monkeypatch.setattr(tasks, "wake", lambda _run: None)
    run = tasks.create_demo()
    assert run is not None
    return run.program


@pytest.mark.django_db
@pytest.mark.parametrize("detected", presets.PRESETS)
def test_the_demo_needs_no_network_on_any_machine(monkeypatch: pytest.MonkeyPatch, settings: Any, detected: str) -> None:
    from experiments.loop.workspace import Workspace

    program = _create_demo(monkeypatch, settings, detected)
    assert program.dataset == "stdlib" and program.budget_seconds <= 60 and program.preset == detected
    source = Workspace(program.repo).read("refs/heads/main", ["train.py"])["train.py"]
    depth = presets.PRESETS[detected].constants.get("DEPTH", constant(SOURCE, "DEPTH"))
    assert constant(source, "DEPTH") == str(depth)


@pytest.mark.django_db
def test_the_page_says_which_data_a_new_program_takes(
    monkeypatch: pytest.MonkeyPatch, settings: Any, admin_client: Any
) -> None:
    _create_demo(monkeypatch, settings, "h100")
    assert "a new program takes climbmix" in admin_client.get("/").content.decode()


@pytest.mark.django_db
def test_where_the_demo_has_the_presets_own_data_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch, settings: Any, admin_client: Any
) -> None:
    _create_demo(monkeypatch, settings, "cpu")
    page = admin_client.get("/").content.decode()
    assert "This is a demo" in page and "a new program takes" not in page
