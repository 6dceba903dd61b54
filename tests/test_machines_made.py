"""`make machines` makes the machine look so, and leaves nothing: git, PATH, CUDA's link, processes, a Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import wait_for
from tests.machines import conditions, processes, pythons
from tests.machines.installation import Unfit, take_over
from tests.machines.machine import new_users

ROOT = Path(__file__).resolve().parent.parent


def test_a_new_user_has_set_nothing_up():
    ours = {"PATH": "/bin", "REDIS_URL": "x", "DATABASE_URL": "x", "XAI_API_KEY": "x", "AUTORESEARCH_VAR": "x",
            "MAKEFLAGS": " -- ARGS=x", "PYTHON": "x", "PIP_FIND_LINKS": "/wheels"}
    assert new_users(ours) == {"PATH": "/bin", "PIP_FIND_LINKS": "/wheels"}


def test_the_older_git_refuses_what_came_later(tmp_path):
    env = dict(os.environ)
    with conditions.old_git(tmp_path, env):
        def git(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(["git", *words], env=env, cwd=ROOT, capture_output=True, text=True, check=False)

        assert git("--version").stdout == "git version 2.34.1\n"
        assert git("-C", str(ROOT), "merge-tree", "--write-tree", "HEAD", "HEAD").returncode == 129
        assert git("rev-parse", "--is-inside-work-tree").stdout == "true\n"


def test_a_path_without_bubblewrap_has_all_else(tmp_path):
    for name in ("bwrap", "make"):
        (tmp_path / "first").mkdir(exist_ok=True)
        (tmp_path / "first" / name).touch(mode=0o755)
    env = {"PATH": f"{tmp_path / 'first'}:{os.environ['PATH']}:/missing"}
    with conditions.path_without_bwrap(tmp_path, env):
        assert shutil.which("bwrap", path=env["PATH"]) is None
        make = shutil.which("make", path=env["PATH"])
        assert make and Path(make).samefile(tmp_path / "first/make")  # the first on the PATH
        assert shutil.which("git", path=env["PATH"])


def test_the_link_of_cuda_goes_with_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(conditions, "CUDA", tmp_path / "cuda")
    monkeypatch.setattr(conditions, "CUDA_FOLDER", tmp_path / "cuda-13.0")
    (tmp_path / "cuda").symlink_to("cuda-13.0")  # of a row that was killed
    env: dict[str, str] = {}
    with pytest.raises(KeyboardInterrupt), conditions.cuda_link(tmp_path, env):
        assert Path(env["CUDA_HOME"]).is_dir() and os.readlink(env["CUDA_HOME"]) == str(conditions.CUDA_FOLDER)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_processes_of_a_folder_are_seen_and_ended(tmp_path):
    in_it = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    by_name = subprocess.Popen(["sleep", "60"], env={**os.environ, "WORKSPACE": f"{tmp_path}/x"})
    other = subprocess.Popen(["sleep", "60"], env={**os.environ, "WORKSPACE": f"{tmp_path}-other"})
    try:
        wait_for(lambda: set(processes.of_folder(tmp_path)) == {in_it.pid, by_name.pid}, 10)
        for process in (in_it, by_name):
            process.send_signal(signal.SIGTERM)
            process.wait()  # a test's zombies would be seen no more, but are ours to bury
        processes.end_all(tmp_path)
        assert other.poll() is None
    finally:
        for process in (in_it, by_name, other):
            process.kill()
            process.wait()


def test_an_installation_is_taken_over_by_links_where_it_fits(tmp_path):
    venv, clone = tmp_path / "checkout/.venv", tmp_path / "clone"
    (venv / "bin").mkdir(parents=True)
    clone.mkdir()
    (venv / "bin/python").symlink_to(sys.executable)
    (venv / "installed").write_text("django==5\n")
    (venv / "made").write_text(f"3.12 {venv.parent}\n")
    (clone / "requirements.txt").write_text("django==5\n")
    take_over(venv, clone)
    assert (clone / ".venv/installed").samefile(venv / "installed") and (clone / ".venv/bin/python").is_symlink()
    assert (clone / ".venv/made").read_text() == f"3.12 {clone}\n"  # as bin/setup would have made it here
    assert (venv / "made").read_text() == f"3.12 {venv.parent}\n"
    (venv / "installed").write_text("django==4\n")
    with pytest.raises(Unfit, match="`make setup` makes one"):
        take_over(venv, clone)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an archive without .git cannot be cloned")
def test_ctrl_c_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "tests.machines", "--only", "small-shm,umask-077", "--python", pythons_name()]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    script = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: list(tmp_path.glob("machines.*/*/*/.venv/bin")), 60)
    assert processes.of_folder(tmp_path)
    script.send_signal(signal.SIGINT)
    said, _ = script.communicate(timeout=60)
    assert script.returncode == 130 and "ending: processes" in said, said
    assert list(tmp_path.iterdir()) == []
    assert set(processes.of_folder(tmp_path)) == set()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def pythons_name() -> str:
    """Of one that this machine has for certain: ours."""
    ours = pythons.look(Path(sys.executable))
    assert ours is not None
    return next(python.name for python in pythons.find(os.environ) if python.version == ours.version)
