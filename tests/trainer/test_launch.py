"""From a job to a training: workspace, environment, level, and the words when it cannot start."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from tests.trainer.launching import make_job, run
from trainer import launch, sandbox
from trainer.launch import Data, LaunchError, fixed_files, prepare
from trainer.sandbox import BUBBLEWRAP, LIMITS, Level, level

needs_bubblewrap = pytest.mark.skipif(level().name != BUBBLEWRAP, reason=level().why or "never")
LEVELS = [pytest.param("auto", marks=needs_bubblewrap), "off"]


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "cache" / "stdlib-vocab512-v3"
    (folder / "train").mkdir(parents=True)
    (folder / "held_out").mkdir()
    for name in ("train/00000.bin", "held_out/val.bin", "tokenizer.json"):
        (folder / name).write_text("text")
    (folder / "meta.json").write_text(json.dumps({"dataset": "stdlib"}))
    return folder


@pytest.mark.parametrize("mode", LEVELS)
def test_the_training_gets_its_environment_and_nothing_of_ours(tmp_path, monkeypatch, mode):
    monkeypatch.setenv("OPENAI_API_KEY", "hidden-4711")
    monkeypatch.setenv("DATABASE_URL", "hidden-4711")
    folder = tmp_path / "w"
    job = make_job(
        folder, "import json, os; print(json.dumps(dict(os.environ)))", sandbox=mode, seed=7, budget_seconds=5.0, device="1",
        data=Data(tmp_path / "cache", "tinystories", 2048, 512), env={"AUTORESEARCH_TOKENS": "1000"},
    )
    seen = json.loads(run(job)[1])
    for name in (*launch.PASSED, "LC_CTYPE", "PWD"):  # Python and bwrap set these themselves
        seen.pop(name, None)
    assert seen == {
        "CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "HOME": f"{folder}/out",
        "TMPDIR": f"{folder}/out", "USER": "training",
        "PYTHONUNBUFFERED": "1", "AUTORESEARCH_BUDGET": "5", "AUTORESEARCH_SEED": "7", "AUTORESEARCH_WORKSPACE": str(folder),
        "AUTORESEARCH_CACHE_DIR": f"{tmp_path}/cache", "AUTORESEARCH_DATASET": "tinystories", "AUTORESEARCH_VOCAB": "2048",
        "AUTORESEARCH_SEQ_LEN": "512", "AUTORESEARCH_TOKENS": "1000", "TRITON_CACHE_DIR": f"{folder}/out/compiled/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/out/compiled/inductor", "CUDA_CACHE_PATH": f"{folder}/out/compiled/cuda",
    }


@pytest.mark.parametrize("mode", LEVELS)
def test_it_runs_in_its_code_with_our_fixed_files_and_only_the_training_data(tmp_path, data, mode):
    (tmp_path / "ours.py").write_text("ours")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")

    def export(source: Path) -> None:
        look = f"print(os.getcwd(), sorted(os.listdir()), open('prepare.py').read(), sorted(os.listdir({str(data)!r})))"
        (source / "train.py").write_text(f"import os\n{look}")
        (source / "prepare.py").symlink_to(elsewhere)

    fixed = {"prepare.py": tmp_path / "ours.py"}
    result, log = run(make_job(tmp_path / "w", "", export=export, fixed=fixed, data_dir=data, sandbox=mode))
    visible = ["meta.json", "tokenizer.json", "train"] if mode == "auto" else sorted(os.listdir(data))
    assert log == f"{tmp_path}/w/src ['prepare.py', 'train.py'] ours {visible}\n"
    assert (result.sandbox, result.tampered) == (BUBBLEWRAP if mode == "auto" else LIMITS, [])
    assert elsewhere.read_text() == "mine"


@pytest.mark.parametrize("mode", LEVELS)
@pytest.mark.parametrize(
    ("code", "expected"),
    [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9), ("import os; os.abort()", -signal.SIGABRT)],
)
def test_the_exit_code_is_the_trainings_own(tmp_path, mode, code, expected):
    assert run(make_job(tmp_path / "w", code, sandbox=mode))[0].exit_code == expected


def test_a_workspace_is_made_afresh(tmp_path):
    (tmp_path / "w" / "out").mkdir(parents=True)
    (tmp_path / "w" / "out" / "old-checkpoint").touch()
    (tmp_path / "w" / "result.json").write_text("{}")
    assert run(make_job(tmp_path / "w", "import os; print(os.listdir(os.environ['HOME']))"))[1] == "[]\n"


def test_required_and_not_there_it_is_refused_before_anything_is_written(tmp_path, without_a_sandbox):
    with pytest.raises(LaunchError, match="require, and there is no sandbox: bubblewrap is not installed: get it"):
        launch.start(make_job(tmp_path / "w", "", sandbox="require"))
    assert not (tmp_path / "w").exists()


@needs_bubblewrap
def test_required_and_installed_since_it_is_found_without_a_restart(tmp_path, without_a_sandbox):
    assert sandbox.level(()).name == LIMITS
    without_a_sandbox.undo()
    assert sandbox.level(()).name == LIMITS, "remembered"
    assert run(make_job(tmp_path / "w", "print('trained')", sandbox="require"))[0].sandbox == BUBBLEWRAP


def test_not_there_and_not_required_it_trains_within_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "level", lambda read=(): Level(LIMITS, "no"))
    assert run(make_job(tmp_path / "w", "print('trained')"))[0].sandbox == LIMITS


@needs_bubblewrap
def test_more_paths_may_be_read_where_the_settings_name_them(tmp_path):
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "text").write_text("more")
    code = f"print(open({str(extra / 'text')!r}).read())"
    assert run(make_job(tmp_path / "w", code, read=[str(extra)]))[1] == "more\n"
    assert run(make_job(tmp_path / "w", code))[0].exit_code == 1


@needs_bubblewrap
def test_a_program_outside_the_sandbox_is_an_error_that_says_what_to_do(tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    result, _ = run(make_job(tmp_path / "w", "", command=[str(program)]))
    assert result.ended == "error" and f"bwrap: execvp {program}: No such file or directory." in result.detail
    assert "Name the folder it needs in AUTORESEARCH_SANDBOX_READ" in result.detail


def test_gpus_are_named_by_their_number_and_bound_for_them_only(tmp_path, data, monkeypatch):
    monkeypatch.setattr(sandbox, "gpu_nodes", lambda: ["/dev/nvidia0", "/dev/nvidiactl"])
    for device, nodes in (("cpu", []), ("0", ["/dev/nvidia0", "/dev/nvidiactl"])):
        box = launch._box(make_job(tmp_path / "w", "", device=device, data_dir=data), None)
        assert box.devices == nodes and str(data / "held_out") not in box.read


def test_what_a_gpu_needs_of_dev_is_known_of_both_makers(tmp_path, monkeypatch):
    nodes = ["dri", "kfd", "nvidia-uvm", "nvidia-uvm-tools", "nvidia0", "nvidia12", "nvidiactl"]
    for name in (*nodes, "sda", "nvme0", "mem"):
        (tmp_path / name).touch()
    monkeypatch.setattr(sandbox, "Path", lambda _dev: tmp_path)
    assert sandbox.gpu_nodes() == [str(tmp_path / name) for name in nodes]


def test_who_names_prepare_gets_all_that_belongs_to_it():
    assert list(fixed_files(["mine.py", "prepare.py"])) == ["mine.py", *launch.FIXED]
    assert list(fixed_files(["mine.py"])) == ["mine.py"]


def test_data_are_prepared_once_for_each_data_set(tmp_path, monkeypatch):
    template = tmp_path / "template"
    template.mkdir()
    (template / "prepare.py").write_text(
        "import os, pathlib, sys\n"
        "name = os.environ['AUTORESEARCH_DATASET'] + os.environ['AUTORESEARCH_VOCAB']\n"
        "folder = pathlib.Path(os.environ['AUTORESEARCH_CACHE_DIR'], name)\n"
        "if sys.argv[1:] == ['--where']: print(folder); sys.exit()\n"
        "folder.mkdir(exist_ok=True)\n"
        "with open(folder / 'calls', 'a') as file: file.write('x')\n"
        "if name.startswith('bad'): raise SystemExit('no network')\n"
    )
    monkeypatch.setattr(launch, "TEMPLATE", template)
    cache = tmp_path / "cache"
    found = [prepare(Data(cache, "stdlib", vocab)).name for vocab in (512, 2048, 512)]
    assert found == ["stdlib512", "stdlib2048", "stdlib512"]
    assert (cache / "stdlib512" / "calls").read_text() == "x"
    for _ in range(2):
        with pytest.raises(LaunchError, match=r"could not be prepared. `python prepare.py` said:\nno network"):
            prepare(Data(cache, "bad"))


def test_our_interpreter_is_the_trainings(tmp_path):
    assert run(make_job(tmp_path / "w", "import sys; print(sys.executable)"))[1] == f"{sys.executable}\n"


# A run goes on with its text


def prepared(cache: Path, name: str, **meta) -> Path:
    (cache / name / "held_out").mkdir(parents=True)
    known = {"dataset": "stdlib", "vocab_size": 512, "validation_hash": "old", "train_hash": "t1", **meta}
    (cache / name / "meta.json").write_text(json.dumps(known))
    return cache / name


@pytest.fixture
def today(tmp_path, monkeypatch) -> Path:
    """What prepare.py would make today, which is another text."""
    folder = tmp_path / "cache" / "stdlib-3.13.0-vocab512-v4"
    monkeypatch.setattr(launch, "where", lambda data: folder)
    make = lambda data, check: prepared(tmp_path / "cache", folder.name, validation_hash="new")  # noqa: E731
    monkeypatch.setattr(launch, "prepare", make)
    return folder


def test_the_folder_of_the_text_that_a_run_began_on_is_found(tmp_path, today):
    data = Data(tmp_path / "cache")
    prepared(tmp_path / "cache", "stdlib-3.11.7-vocab2048-v3", vocab_size=2048)
    prepared(tmp_path / "cache", "tinystories-vocab512-v3", dataset="tinystories")
    prepared(tmp_path / "cache", "stdlib-3.11.7-vocab512-v3")
    found = launch.on_text(data, "old")
    assert found.folder == "stdlib-3.11.7-vocab512-v3"
    assert found.environment()["AUTORESEARCH_DATA"] == "stdlib-3.11.7-vocab512-v3"


def test_an_upgraded_python_keeps_the_training_text_too(tmp_path, today):
    prepared(tmp_path / "cache", "stdlib-3.11.7-vocab512-v4", train_hash="t1")
    prepared(tmp_path / "cache", "stdlib-3.11.8-vocab512-v4", train_hash="t2")
    found = [launch.on_text(Data(tmp_path / "cache"), "old", train).folder for train in ("t2", "t1")]
    assert found == ["stdlib-3.11.8-vocab512-v4", "stdlib-3.11.7-vocab512-v4"]


def test_where_only_the_training_text_differs_the_score_is_the_same_and_the_run_goes_on(tmp_path, today):
    """Another Python, whose library is another but for what is held out."""
    prepared(tmp_path / "cache", today.name, validation_hash="new", train_hash="t2")
    assert launch.on_text(Data(tmp_path / "cache"), "new", "t1").folder == ""


def test_a_short_text_has_fewer_tokens_than_were_asked_for_and_is_found_all_the_same(tmp_path, today):
    data = Data(tmp_path / "cache", "folder:/texts", 2048)
    prepared(tmp_path / "cache", today.name, dataset="folder:/texts", vocab_size=376, validation_hash="new")
    prepared(tmp_path / "cache", "folder-1234-vocab2048-v3", dataset="folder:/texts", vocab_size=376)
    assert [launch.on_text(data, text).folder for text in ("new", "old")] == ["", "folder-1234-vocab2048-v3"]


@pytest.mark.parametrize(
    ("folder", "is_earlier"),
    [("stdlib-3.11.7-vocab512-v3", True), ("stdlib-3.12.1-vocab512-v4", False), ("stdlib-3.13.0-vocab512-v4", False)],
)
def test_earlier_is_what_another_version_made_and_not_another_python(tmp_path, today, folder, is_earlier):
    assert launch.is_earlier(Data(tmp_path / "cache"), folder) is is_earlier


def test_what_python_says_beside_is_no_part_of_the_folders_path(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONVERBOSE", "1")
    monkeypatch.setenv("AUTORESEARCH_DATA", "of-somebody-else")
    launch._where.cache_clear()
    assert launch.where(Data(tmp_path)).parent == tmp_path and "vocab512-v" in launch.where(Data(tmp_path)).name
    launch._where.cache_clear()


def test_who_has_its_data_does_not_wait_for_anothers_download(tmp_path, monkeypatch):
    data, folder = Data(tmp_path), prepared(tmp_path, "here")
    monkeypatch.setattr(launch, "_prepared", {(str(tmp_path), "stdlib", "512", ""): folder})
    for lock in [*launch._preparing.values(), launch._preparing.setdefault(("x",), threading.Lock())]:
        lock.acquire()
    try:
        assert prepare(data, lambda: pytest.fail("it waits")) == folder
    finally:
        for lock in launch._preparing.values():
            lock.release()


def test_todays_text_is_named_by_no_folder(tmp_path, today):
    prepared(tmp_path / "cache", today.name, validation_hash="new")
    prepared(tmp_path / "cache", "stdlib-3.12.1-vocab512-v4", validation_hash="new")
    found = launch.on_text(Data(tmp_path / "cache"), "new")
    assert found.folder == "" and "AUTORESEARCH_DATA" not in found.environment()


def test_it_is_prepared_where_it_is_missing_and_the_same(tmp_path, today):
    assert launch.on_text(Data(tmp_path / "cache"), "new").folder == ""


def test_a_text_that_is_gone_is_said_and_nothing_is_scored_on_another(tmp_path, today):
    half = prepared(tmp_path / "cache", "stdlib-3.11.7-vocab512-v3")
    (half / "held_out").rmdir()
    with pytest.raises(LaunchError, match=r"began on a text \(old\) that is no longer in .*/cache.*Put that folder"):
        launch.on_text(Data(tmp_path / "cache"), "old")


@pytest.mark.parametrize(("device", "visible"), [("cpu", ""), ("mps", ""), ("1", "1"), ("MIG-3", "MIG-3")])
def test_a_training_sees_the_gpu_that_it_was_given_and_no_other(tmp_path, monkeypatch, device, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert launch.environment(make_job(tmp_path / "w", "", device=device), None)["CUDA_VISIBLE_DEVICES"] == visible
