"""manage.py doctor: a line for each part, the next step where something is wrong, never a traceback."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from django.core.management import call_command

from experiments import doctor
from experiments.loop import devices
from tests.factories import make_program
from tests.standin_nvml import Handle, StandInNvml
from trainer import gpus, launch, presets

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(180)]


def run() -> tuple[str, int]:
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", stdout=out)
    return out.getvalue(), int(ended.value.code or 0)


def of_the_cpu_preset(cache_dir: Path) -> launch.Data:
    cpu = presets.PRESETS["cpu"]
    return launch.Data(cache_dir, cpu.dataset, cpu.vocab_size, cpu.seq_len)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test has data prepared, and the others find them."""
    return tmp_path_factory.mktemp("doctor") / "a folder"


@pytest.fixture
def prepared(settings, tmp_path: Path, cache_dir: Path) -> Path:  # type: ignore[no-untyped-def]
    """A copy of prepared data, for a test to break."""
    made = launch.prepare(of_the_cpu_preset(cache_dir))
    settings.PRESET, settings.DATA_DIR = "cpu", tmp_path
    shutil.copytree(made, tmp_path / made.name)
    return tmp_path / made.name


def test_data_that_this_machine_has_are_prepared(settings, cache_dir: Path) -> None:  # type: ignore[no-untyped-def]
    assert not cache_dir.exists(), "the first test"
    settings.PRESET, settings.DATA_DIR = "cpu", cache_dir
    (data,), (judge,) = doctor.data_sets(), doctor.judge()
    assert (data.mark, judge.mark) == (doctor.OK, doctor.OK), (data, judge)
    assert "text stdlib/1 (85e0e9f2de6b)" in data.words


def test_each_part_has_its_line_and_ticks_mean_that_it_has_trained(prepared: Path) -> None:
    """Two seconds in the sandbox."""
    text, code = run()
    assert code == 0, text
    looks = ("torch", "device", "attention", "database", "data", "judge", "sandbox", "disk", "git", "redis", "LLM key")
    for name in (*looks, "training"):
        assert any(line[2:].startswith(name) for line in text.splitlines()), name
    for name in ("torch", "database", "data", "judge", "git", "redis", "training"):
        assert f"✓ {name}" in text, text
    trained = next(line for line in text.splitlines() if line.startswith("✓ training"))
    assert "2 s on cpu" in trained and "verified" in trained


def test_data_that_would_be_downloaded_bring_the_command_that_does(settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    settings.PRESET, settings.DATA_DIR, settings.DEMO = "h100", tmp_path / "a folder", False
    (data,), (judge,) = doctor.data_sets(), doctor.judge()
    assert (data.mark, judge.mark) == (doctor.COULD_BE_BETTER, doctor.COULD_BE_BETTER)
    assert "climbmix" in data.words and "the first training downloads it" in data.words
    assert data.next_step.endswith("prepare.py") and not (tmp_path / "a folder").exists()


def test_data_that_cannot_be_prepared_are_broken_with_the_reason(settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    settings.DATA_DIR = tmp_path / "data"
    make_program("mine", dataset=f"folder:{tmp_path / 'none'}")
    (data,) = doctor.data_sets()
    assert data.mark == doctor.BROKEN and "is not a folder" in data.words


def test_data_that_cannot_be_stored_are_no_ticks(settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("in the way")
    settings.PRESET, settings.DATA_DIR = "cpu", tmp_path / "file" / "data"
    (data,), (training,) = doctor.data_sets(), doctor.short_training()
    assert (data.mark, training.mark) == (doctor.BROKEN, doctor.BROKEN), (data, training)
    assert str(tmp_path / "file") in data.words and training.next_step


def test_where_every_training_is_killed_there_is_no_tick(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sandbox that kills it the look before the training is all ticks."""
    launch.prepare(of_the_cpu_preset(prepared.parent))  # seen to be there before
    monkeypatch.setenv("PYTHONMALLOC", "no such allocator")
    monkeypatch.setattr(launch, "PASSED", (*launch.PASSED, "PYTHONMALLOC"))
    (broken,) = doctor.short_training()
    assert broken.mark == doctor.BROKEN and "crash" in broken.words and "manage.py train" in broken.next_step, broken


def test_a_folder_of_texts_is_left_to_its_first_training(settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """It may hold gigabytes."""
    settings.DATA_DIR = tmp_path / "data"
    (tmp_path / "texts").mkdir()
    make_program("mine", dataset=f"folder:{tmp_path / 'texts'}")
    (data,) = doctor.data_sets()
    assert data.mark == doctor.COULD_BE_BETTER and "the first training prepares it" in data.words
    assert not (tmp_path / "data").exists()


def test_a_training_that_does_not_end_leaves_nothing(prepared: Path, monkeypatch: pytest.MonkeyPatch, settings) -> None:  # type: ignore[no-untyped-def]
    """Another one has taken the device after the look: the shim waits for it."""
    monkeypatch.setattr(devices, "free", lambda in_use: "cpu")
    monkeypatch.setattr(doctor, "SECONDS", 3 - presets.PRESETS["cpu"].grace_seconds)
    with devices.lock_path("cpu").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (check,) = doctor.short_training()
        commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert check.mark == doctor.BROKEN and "Has another training taken cpu meanwhile?" in check.words
    assert not [command for command in commands if "shim.py" in command and str(settings.VAR_DIR) in command]
    assert not list((Path(settings.VAR_DIR) / "train").iterdir())


def test_a_training_under_way_is_not_disturbed(prepared: Path) -> None:
    held = devices.lock_path("cpu").open("w")
    fcntl.flock(held, fcntl.LOCK_EX)
    (check,) = doctor.short_training()
    held.close()
    assert "another training holds cpu" in check.words


def test_a_tokenizer_that_lacks_a_token_is_broken(prepared: Path) -> None:
    path = prepared / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    path.write_text(json.dumps({**tokenizer, "tokens": tokenizer["tokens"][:-1]}))
    (check,) = doctor.data_sets()
    assert check.mark == doctor.BROKEN and "511 tokens" in check.words and "512" in check.words


def test_a_damaged_training_shard_is_broken(prepared: Path) -> None:
    shard = prepared / "train" / "00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    (check,) = doctor.data_sets()
    assert check.mark == doctor.BROKEN and "Damaged" in check.words


def test_a_judge_that_cannot_start_is_broken_with_its_words(prepared: Path) -> None:
    (prepared / "held_out" / "val.bin").write_bytes(b"")
    (check,) = doctor.judge()
    assert check.mark == doctor.BROKEN and "judge" in check.words


@pytest.mark.parametrize(
    ("flags", "mark", "words"),
    [
        ({"cuda": False}, doctor.OK, "explicit"),
        ({"device": "mps", "cuda": False}, doctor.OK, "SDPA"),
        ({"hopper": False, "flash_3": False}, doctor.OK, "FlexAttention, FlashAttention 2, by"),
        ({"flash_3": False}, doctor.COULD_BE_BETTER, "FlashAttention 4 may be faster"),
        ({}, doctor.COULD_BE_BETTER, "cannot read"),
        ({"flash_4": True}, doctor.OK, "FlashAttention 2, 4, by"),
    ],
)
def test_attention_is_what_train_py_would_choose(monkeypatch, flags, mark, words) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.delenv("HF_HOME", raising=False)
    given = {"version": "2", "device": "cpu", "cuda": True, "hopper": True, "triton": True, "flash_3": True}
    check = doctor._attention(doctor.Torch(**{**given, "flash_4": False, **flags}))
    assert check.mark == mark and words in check.words


def test_fetched_kernels_count_when_a_training_may_read_them(monkeypatch, settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    settings.SANDBOX, settings.SANDBOX_READ = "auto", [str(tmp_path)]
    torch = doctor.Torch("2", "H100", cuda=True, hopper=True, triton=True, flash_3=True, flash_4=False)
    assert doctor._attention(torch).mark == doctor.OK
    settings.SANDBOX_READ = [str(tmp_path / "other")]
    assert doctor._attention(torch).mark == doctor.COULD_BE_BETTER


def test_a_gpu_that_torch_does_not_see_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "detect", lambda _given=(): ("h100", "NVIDIA H100 with 80 GB"))
    torch = doctor.Torch("2.13.0+cpu", "cpu", cuda=False, hopper=False, triton=False, flash_3=False, flash_4=False)
    monkeypatch.setattr(devices, "names", lambda: ("0",))
    check = doctor._device(torch)
    assert check.mark == doctor.BROKEN and check.words.startswith("NVIDIA H100 with 80 GB, but torch ")
    assert " cannot use the GPU 0: " in check.words and check.next_step


def test_a_driver_that_does_not_answer_is_no_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch, settings) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(gpus, "pynvml", StandInNvml(trouble="RM has detected an NVML/RM version mismatch."))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    settings.DEVICES = []
    torch = doctor.Torch("2.13.0", "cpu", cuda=False, hopper=False, triton=False, flash_3=False, flash_4=False)
    check = doctor._device(torch)
    assert check.mark == doctor.BROKEN and "(RM has detected an NVML/RM version mismatch.)" in check.words
    assert "the machine must restart" in check.next_step
    settings.DEVICES = ["cpu"]
    assert doctor._device(torch).mark == doctor.OK


def test_a_training_that_fails_on_its_gpu_says_why_in_one_line(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox, the shim and torch are real; the card is not there."""
    monkeypatch.setattr(devices, "names", lambda: ("0",))
    (check,) = doctor.short_training()
    assert check.mark == doctor.BROKEN and "on 0, " in check.words
    assert "crash: prepare: torch " in check.words and " cannot use the GPU 0: " in check.words
    monkeypatch.setattr(gpus, "pynvml", StandInNvml([Handle("GPU-one", is_gone=True)]))
    (check,) = doctor.short_training()
    assert check.mark == doctor.BROKEN and check.words.startswith("GPU 0 is not there")


def test_servers_that_are_away_are_broken_lines_without_a_password_or_traceback(prepared: Path) -> None:
    """A process of its own: settings are read once. It need not train, so the device is taken."""
    env = {**os.environ, "DATABASE_URL": "postgres://me:pgsecret@127.0.0.1:1/x", "REDIS_URL": "redis://:rdsecret@127.0.0.1:1"}
    env["AUTORESEARCH_CACHE_DIR"] = str(prepared.parent)
    with devices.lock_path("cpu").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), "doctor"], env=env, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "✗ database   postgresql does not answer" in done.stdout and "✗ redis" in done.stdout
    assert "secret" not in done.stdout + done.stderr and "Traceback" not in done.stdout + done.stderr


def test_the_embedded_redis_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL")
    (check,) = doctor.redis()
    assert check.mark == doctor.OK and "make run" in check.words


def test_git_that_is_missing_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (check,) = doctor.git()
    assert check.mark == doctor.BROKEN and check.words == "not installed"
    assert check.next_step == "install git 2.25 or newer"


@pytest.mark.parametrize(
    ("version", "mark"),
    [
        ("2.17.1", doctor.COULD_BE_BETTER), ("2.24.4", doctor.COULD_BE_BETTER), ("2.25.1", doctor.OK),
        ("2.34.1", doctor.OK), ("2.39.5 (Apple Git-154)", doctor.OK), ("3.0.0", doctor.OK),
    ],
)  # fmt: skip
def test_git_is_good_from_the_oldest_on_that_was_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, mark: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "git").write_text(f"#!/bin/sh\necho 'git version {version}'\n")
    (tmp_path / "git").chmod(0o755)
    (check,) = doctor.git()
    assert check.mark == mark and version in check.words
    assert (check.next_step == "install git 2.25 or newer") == (mark == doctor.COULD_BE_BETTER)


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOW_DISK_GB", 1e9)
    (check,) = doctor.disk()
    assert check.mark == doctor.COULD_BE_BETTER and "GB free" in check.words


def test_migrations_that_are_missing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.db.migrations.executor.MigrationExecutor.migration_plan", lambda *_: ["one"])
    (check,) = doctor.database()
    assert check.mark == doctor.COULD_BE_BETTER and "migrate" in check.next_step


def test_a_key_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    (check,) = doctor.llm_key()
    assert "OPENAI_API_KEY" in check.words and "very-secret" not in check.words


def test_a_keys_file_that_others_can_read_is_broken(settings, tmp_path) -> None:  # type: ignore[no-untyped-def]
    settings.KEYS_FILE = tmp_path / "keys.env"
    settings.KEYS_FILE.write_text("OPENAI_API_KEY=sk-very-secret\n")
    settings.KEYS_FILE.chmod(0o644)
    (check,) = doctor.llm_key()
    assert (check.mark, check.next_step) == (doctor.BROKEN, f"chmod 600 {settings.KEYS_FILE}")
    settings.KEYS_FILE.chmod(0o600)
    (check,) = doctor.llm_key()
    assert check.mark == doctor.OK and str(settings.KEYS_FILE) in check.words and "secret" not in check.words


def test_a_check_that_raises_is_a_broken_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def disk():  # type: ignore[no-untyped-def]
        raise OSError("no such device")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (disk, doctor.llm_key))
    text, code = run()
    assert code == 1
    assert "✗ disk       OSError: no such device" in text and "Traceback" not in text and "LLM key" in text


def test_switched_off_sandbox_says_what_that_means(settings) -> None:  # type: ignore[no-untyped-def]
    settings.SANDBOX = "off"
    (check,) = doctor.sandbox_level()
    assert check.mark == doctor.COULD_BE_BETTER and "AUTORESEARCH_SANDBOX" in check.next_step
