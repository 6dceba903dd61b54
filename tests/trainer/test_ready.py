"""What stands ready before there is a device. Real shims and sandboxes; a small module of Python's is imported ahead."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.trainer.examining import Prepared
from tests.trainer.launching import all_of, log_of, make_job, result_of, run, wait_for
from trainer import launch
from trainer.launch import Job
from trainer.spec import is_locked, read_json, write_json

SCRIPT = """
import inspect, os, pickle, sys
class Point:
    pass
def where():
    return [frame.function for frame in inspect.stack()][:1]
print(__name__, __file__, sys.argv, sys.path[0], __spec__, sorted(set(globals()) - {"__warningregistry__"}))
print(pickle.loads(pickle.dumps(Point())).__class__, inspect.getsource(Point), where())
print(sys.modules["__main__"].Point is Point)
print(repr(sys.stdin.read()), os.getcwd(), os.environ["CUDA_VISIBLE_DEVICES"], type(__builtins__), __loader__.name)
print("annotations" in globals(), (lambda: None).__globals__ is globals())
"""
Standing = list[subprocess.Popen[bytes]]


@pytest.fixture
def standing() -> Iterator[Standing]:
    """Shims that a test has started; at its end they are gone."""
    started: Standing = []
    yield started
    for process in started:
        process.terminate()
        process.wait(20)


def stand_by(job: Job, standing: Standing, modules: str = "json") -> None:
    standing.append(launch.stand_by(job, [modules]))
    wait_for(lambda: (read_json(job.folder / "state.json") or {}) and is_locked(job.folder / "lock"))


def granted(job: Job, standing: Standing, modules: str = "json", **changes: Any) -> str:
    """Stand by for the job, grant it, with these changes, and wait for its end: the log."""
    stand_by(job, standing, modules)
    assert launch.grant(replace(job, **changes))
    standing[-1].wait(30)
    return log_of(job.folder)


@pytest.mark.parametrize(
    ("end", "sandbox"),
    [("", "auto"), ("", "off"), ("sys.exit(3)", "auto"), ("def f(): 1 / 0\nf()", "auto"), ("syntax error", "auto")],
)
def test_it_runs_the_script_as_python_does(tmp_path: Path, standing: Standing, end: str, sandbox: str) -> None:
    job = make_job(tmp_path / "1-1", f"{SCRIPT}\n{end}\n", sandbox=sandbox)
    cold = run(job)
    warm = granted(job, standing)
    assert warm == cold[1]
    times = {"seconds": 0.0, "loading_seconds": 0.0, "processor_seconds": None, "processor_before": None}
    assert replace(result_of(job.folder), **times) == replace(cold[0], **times)


def test_until_then_none_of_the_programs_code_is_there(tmp_path: Path, standing: Standing) -> None:
    job = make_job(tmp_path / "1-1", "print('ran')", fixed=launch.fixed_files(["prepare.py"]))
    stand_by(job, standing)
    assert sorted(os.listdir(job.folder / "src")) == sorted(launch.FIXED)
    assert launch.grant(job)
    standing[0].wait(30)
    assert log_of(job.folder) == "ran\n"


def test_what_it_has_imported_is_there_and_costs_nothing_any_more(tmp_path: Path, standing: Standing) -> None:
    code = "import sys; print('this' in sys.modules)"
    assert run(make_job(tmp_path / "1-1", code))[1] == "False\n"
    assert granted(make_job(tmp_path / "1-2", code), standing, "this").endswith("True\n")  # before it the poem


def test_device_code_seconds_and_what_the_secret_text_is_for_are_those_of_the_grant(
    tmp_path: Path, standing: Standing, prepared: Prepared
) -> None:
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    exam = {"data_dir": prepared.folder, "exam": True, "data": replace(make_job(tmp_path, "").data, seq_len=64)}
    job = make_job(tmp_path / "1-1", "print('old')", device="0", secret_below=1.0, **exam)
    new = make_job(tmp_path / "1-1", code, device="GPU-7", secret_below=0.5, **exam)
    lock = tmp_path / "other.lock"
    changes = {"device": "GPU-7", "export": new.export, "secret_below": 0.5, "device_lock": lock, "deadline_seconds": 9.0}
    assert granted(job, standing, **changes) == "GPU-7\n"
    spec = read_json(job.folder / "spec.json") or {}
    assert (spec["exam"]["secret_below"], spec["device_lock"], spec["deadline_seconds"]) == (0.5, str(lock), 9.0)


OTHERS = [{"seed": 7}, {"budget_seconds": 6}, {"command": ["{python}", "other.py"]}, {"sandbox": "off"}, {"read": ["/opt"]}]


@pytest.mark.parametrize("changes", OTHERS)
def test_what_was_made_for_something_else_is_not_used(tmp_path: Path, standing: Standing, changes: dict[str, Any]) -> None:
    job = make_job(tmp_path / "1-1", "print('ran')")
    stand_by(job, standing)
    assert not launch.grant(replace(job, **changes))
    assert log_of(job.folder) == "" and launch.grant(job)


def test_a_judge_of_an_earlier_exam_examines_nothing_more(tmp_path: Path, standing: Standing, prepared: Prepared) -> None:
    """It stands by since before the update."""
    data = replace(make_job(tmp_path, "").data, seq_len=64)
    job = make_job(tmp_path / "1-1", "print('ran')", data=data, data_dir=prepared.folder, exam=True)
    stand_by(job, standing)
    spec = read_json(job.folder / "spec.json") or {}
    del spec["exam"]["version"]
    write_json(job.folder / "spec.json", spec)
    assert not launch.grant(job)


def test_a_file_of_the_program_with_a_loaded_modules_name_is_the_one_that_counts(tmp_path: Path, standing: Standing) -> None:
    def export(source: Path) -> None:
        (source / "train.py").write_text("import json; print(json.WHOSE)")
        (source / "json.py").write_text("WHOSE = 'the program\\'s'")

    assert granted(replace(make_job(tmp_path / "1-1", ""), export=export), standing) == "the program's\n"


@pytest.mark.parametrize(
    "line",
    ['os.environ["THREADS"] = "1"', "os.environ.setdefault('A', 'b')", "from os import putenv", "os.environ |= {}",
     'os.environ["A"] += ":b"', 'os.environ[f"{a[0]}"] = "1"'],
)
def test_who_sets_the_environment_is_there_before_what_reads_it(tmp_path: Path, standing: Standing, line: str) -> None:
    job = make_job(tmp_path / "1-1", f"import os\n{line}\n")
    stand_by(job, standing)
    assert not launch.grant(job)


def test_a_script_in_a_folder_finds_what_lies_beside_it(tmp_path: Path, standing: Standing) -> None:
    def export(source: Path) -> None:
        (source / "sub").mkdir()
        (source / "sub" / "helper.py").write_text("WHO = 'beside'")
        (source / "sub" / "train.py").write_text("import helper, sys; print(helper.WHO, sys.argv, sys.orig_argv[1:])")

    job = replace(make_job(tmp_path / "1-1", ""), export=export, command=["{python}", "sub/train.py", "-x"])
    cold = run(job)[1]
    assert granted(job, standing) == cold and cold.startswith("beside")


def test_what_it_had_loaded_before_its_turn_is_known(tmp_path: Path, standing: Standing) -> None:
    job = make_job(tmp_path / "1-1", "print('ran')")
    stand_by(job, standing)
    wait_for(lambda: (job.folder / "out" / "loaded").exists())
    time.sleep(1)
    assert launch.grant(job)
    standing[0].wait(30)
    assert 0 < result_of(job.folder).loading_seconds < 1


def test_what_it_spent_before_its_turn_is_not_counted(tmp_path: Path, standing: Standing) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\nwhile time.process_time() < 1: pass")
    job = make_job(tmp_path / "1-1", "print('ran')", fixed={"slow.py": slow})
    stand_by(job, standing, "slow")
    wait_for(lambda: (job.folder / "out" / "loaded").exists())
    assert launch.grant(job)
    standing[0].wait(30)
    spent = result_of(job.folder).processor_seconds
    assert spent is None or spent < 0.8


def test_its_seconds_begin_with_the_grant(tmp_path: Path, standing: Standing) -> None:
    job = make_job(tmp_path / "1-1", "import time; time.sleep(0.2)", deadline_seconds=1.5)
    stand_by(job, standing)
    standing[0].poll()
    wait_for(lambda: all_of(job.folder))
    with pytest.raises(subprocess.TimeoutExpired):
        standing[0].wait(2)  # longer than a training may take
    assert launch.grant(job)
    standing[0].wait(30)
    assert result_of(job.folder).ended == "exit" and result_of(job.folder).seconds < 1.5


def test_it_waits_for_its_device_with_the_grant_in_hand(tmp_path: Path, standing: Standing) -> None:
    first = make_job(tmp_path / "1-1", "print('go', flush=True); import time; time.sleep(60)")
    standing.append(launch.start(first))
    wait_for(lambda: "go" in log_of(first.folder))
    second = make_job(tmp_path / "2-1", "print('ran')")
    stand_by(second, standing)
    assert launch.grant(second)
    with pytest.raises(subprocess.TimeoutExpired):
        standing[1].wait(0.5)
    standing[0].terminate()
    standing[1].wait(30)
    assert log_of(second.folder) == "ran\n"


def test_one_that_died_is_not_used_and_nothing_of_it_is_left(tmp_path: Path, standing: Standing) -> None:
    job = make_job(tmp_path / "1-1", "print('ran')")
    stand_by(job, standing)
    for process in wait_for(lambda: all_of(job.folder)):
        if process.pid != standing[0].pid:
            with contextlib.suppress(psutil.NoSuchProcess):  # the first takes the others along
                process.send_signal(signal.SIGKILL)
    standing[0].wait(20)
    assert not launch.grant(job) and all_of(job.folder) == []
    assert run(job)[1] == "ran\n"


def test_told_to_stop_it_goes(tmp_path: Path, standing: Standing) -> None:
    job = make_job(tmp_path / "1-1", "print('ran')")
    stand_by(job, standing)
    wait_for(lambda: all_of(job.folder))
    standing[0].terminate()
    standing[0].wait(20)
    assert result_of(job.folder).ended == "stopped" and log_of(job.folder) == "" and all_of(job.folder) == []


def test_one_is_granted_once(tmp_path: Path, standing: Standing) -> None:
    job = make_job(tmp_path / "1-1", "import time; time.sleep(60)")
    stand_by(job, standing)
    assert launch.grant(job) and not launch.grant(job)


def test_a_module_that_cannot_be_imported_is_left_to_the_program(tmp_path: Path, standing: Standing) -> None:
    assert granted(make_job(tmp_path / "1-1", "print('ran')"), standing, "no_such_module") == "ran\n"


def test_the_word_says_only_what_the_grant_settles(tmp_path: Path, standing: Standing) -> None:
    job = make_job(tmp_path / "1-1", "import json, os; print(json.dumps(dict(os.environ)))")
    cold = json.loads(run(job)[1])
    assert json.loads(granted(job, standing)) == cold
