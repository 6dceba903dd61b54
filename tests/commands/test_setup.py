"""bin/setup in a checkout of its own: real Pythons, real pip, an index on loopback with wheels of a few lines."""

from __future__ import annotations

import http.server
import importlib.util
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installation import free_port, wait_for

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(sys.executable).resolve()  # not the one of .venv
TOOLS = ["sh", "awk", "cat", "cp", "date", "df", "dirname", "grep", "head", "id", "ls", "mkdir", "rm", "sed", "tail", "tee",
         "uname", "git"]
# What a stand-in tells of itself: it is this Python, with some of its answers changed.
OLD = 'sys.version_info = (3, 10, 13, "final", 0); platform.python_version = lambda: "3.10.13"'
NEW = 'sys.version_info = (3, 15, 0, "final", 0); platform.python_version = lambda: "3.15.0"'
PYPY = 'platform.python_implementation = lambda: "PyPy"'
FREE = 'import sysconfig; sysconfig.get_config_var = lambda name: 1'
BARE = 'sys.modules["ensurepip"] = None'
NO_SQLITE = 'sys.modules["sqlite3"] = None'


def script(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)  # it may be a link to the system's own
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def wheel(folder: Path, name: str, version: str = "1.0", tag: str = "py3-none-any") -> None:
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}/__init__.py": f'version = "{version}"\n\ndef main() -> None:\n    print("{name} {version}")\n',
        f"{name}/more.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}:main\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as packed:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            packed.writestr(path, text)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, list[str]]]:
    """Its folder, its address, and the paths that were asked for."""
    folder, asked = tmp_path_factory.mktemp("index"), []
    for name in ("first", "second"):
        wheel(folder / name, name)

    class Answers(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            super().__init__(*args, directory=str(folder), **kwargs)

        def do_GET(self) -> None:
            asked.append(self.path)
            while Path(self.translate_path(self.path), "hold").exists():  # the answer waits
                time.sleep(0.02)
            super().do_GET()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


class Checkout:
    """A folder with bin/setup, the two requirements files, and a PATH of its own."""

    def __init__(self, folder: Path, index: str) -> None:
        self.folder, self.path = folder, folder.parent / "path"
        shutil.copytree(ROOT / "bin", folder / "bin")
        self.require("first==1.0")
        (folder / "requirements-dev.txt").write_text("-r requirements.txt\nsecond==1.0\n")
        self.path.mkdir(exist_ok=True)
        for tool in TOOLS:
            (self.path / tool).symlink_to(shutil.which(tool) or tool)
        self.python("python3")
        self.env = {
            "PATH": str(self.path), "HOME": str(folder.parent), "PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index,
            "PIP_RETRIES": "1", "PIP_TIMEOUT": "2", "XDG_CACHE_HOME": str(folder.parent / "cache"),
        }

    def require(self, *lines: str) -> None:
        (self.folder / "requirements.txt").write_text("".join(f"{line}\n" for line in lines))

    def python(self, name: str, changed: str = "") -> None:
        """A Python on the PATH, with some of its answers `changed`."""
        target = self.path / name
        target.unlink(missing_ok=True)
        if changed:
            script(target, f"""exec '{PYTHON}' -c 'import platform, sys\n{changed}\nexec(sys.argv[-1])' "$@" """)
        else:
            script(target, f"""exec '{PYTHON}' "$@" """)

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["sh", str(self.folder / "bin/setup"), *args], env={**self.env, **env}, text=True, cwd=self.folder.parent,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background has it ignored
        )

    def setup(self, *args: str, **env: str) -> tuple[int, str, str]:
        process = self.start(*args, **env)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def refused(self, *args: str, **env: str) -> str:
        """The one line that it ends with; pip's own words may stand before."""
        code, _, err = self.setup(*args, **env)
        assert code == 1, err
        lines = [line for line in err.splitlines() if line.startswith("setup: ")]
        assert len(lines) == 1 and err.splitlines()[-1] == lines[0], err
        return lines[0]

    def says(self, package: str = "first") -> str:
        done = subprocess.run([self.folder / ".venv/bin" / package], capture_output=True, text=True, check=True)
        return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, index: tuple[Path, str, list[str]]) -> Checkout:
    return Checkout(tmp_path / "checkout", index[1])


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment as `python -m venv` makes it, in a tenth of the time: with a copy of this one's pip."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    subprocess.run([str(PYTHON), "-m", "venv", "--without-pip", str(folder)], check=True)
    ours = Path(importlib.util.find_spec("pip").origin).parent  # type: ignore[union-attr, arg-type]
    site = next((folder / "lib").glob("python*/site-packages"))
    for part in (ours, *ours.parent.glob("pip-*.dist-info")):
        shutil.copytree(part, site / part.name)
    return folder


def processor_seconds() -> float:
    """Of the processes that were started here: unlike a clock, no other load counts."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_quick(here: Checkout, venv: Path) -> Checkout:
    """Its `python3 -m venv` copies one that was made before."""
    script(here.path / "python3", f"""[ "$1 $2" != "-m venv" ] || exec cp -a '{venv}/.' "$3"\nexec '{PYTHON}' "$@" """)
    return here


@pytest.fixture
def quick(checkout: Checkout, venv: Path) -> Checkout:
    return make_quick(checkout, venv)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory, index: tuple[Path, str, list[str]], venv: Path) -> Checkout:
    """An installation of both requirements files, which each test harms and sets up again."""
    here = make_quick(Checkout(tmp_path_factory.mktemp("settled") / "checkout", index[1]), venv)
    code, _, err = here.setup("dev")
    assert code == 0, err
    return here


def test_from_nothing_in_an_awkward_place_and_then_nothing_again(tmp_path: Path, index: tuple[Path, str, list[str]]) -> None:
    (tmp_path / "mein Ordner für alles").mkdir()
    here = Checkout(tmp_path / "mein Ordner für alles" / "ein Ürgang", index[1])
    here.env.update(LC_ALL="C", HOME="/dev/null", XDG_CACHE_HOME="/dev/null/cache")
    mask = os.umask(0o077)
    try:
        code, out, err = here.setup()
    finally:
        os.umask(mask)
    assert (code, here.says()) == (0, "first 1.0"), err
    assert out.splitlines()[0].startswith("installing requirements.txt") and len(out.splitlines()) == 2
    seen, spent = len(index[2]), processor_seconds()
    assert here.setup() == (0, "", "")
    spent = processor_seconds() - spent
    assert spent < 0.3, "0.02 s where it was measured"
    assert len(index[2]) == seen, "nothing is asked of the index"
    assert here.setup("dev")[0] == 0 and here.says("second") == "second 1.0"
    assert here.setup() == here.setup("dev") == (0, "", "")


@pytest.mark.parametrize(("changed", "words"), [
    (OLD, "CPython 3.10.13, too old"), (NEW, "CPython 3.15.0, too new"), (PYPY, "for which torch has no wheels"),
    (FREE, "without the GIL"), (BARE, "without its module ensurepip"), (NO_SQLITE, "without its module sqlite3"),
], ids=["old", "new", "pypy", "free-threaded", "bare", "no-sqlite"])
def test_a_python_that_does_not_serve_says_why(checkout: Checkout, changed: str, words: str) -> None:
    checkout.python("python3.14", changed)
    line = checkout.refused(PYTHON="python3.14")
    assert "python3.14 is " in line and words in line and not (checkout.folder / ".venv").exists()


def test_another_python_is_looked_for_behind_those_that_do_not_serve(checkout: Checkout) -> None:
    """Seen by who is asked for the virtual environment, and cannot make it."""
    says_no = f"""[ "$1 $2" != "-m venv" ] || {{ echo no from $0; exit 1; }}\nexec '{PYTHON}' "$@" """
    for name, changed in (("python3", OLD), ("python3.14", NEW), ("python3.13", PYPY), ("python3.12", BARE)):
        checkout.python(name, changed)
    its = checkout.folder.parent / ".local/share/uv/python/cpython-3.13.1-linux/bin"
    its.mkdir(parents=True)
    script(its / "python3", says_no)
    assert checkout.refused().endswith(f"cannot make a virtual environment: no from {its}/python3")
    script(checkout.path / "uv", f"[ $1 $2 = 'python find' ] || echo '{checkout.path}/python3.9'")
    script(checkout.path / "python3.9", says_no)  # whatever its name is
    assert checkout.refused().endswith("no from " + str(checkout.path / "python3.9"))
    script(checkout.path / "python3.11", says_no)
    assert checkout.refused().endswith("no from " + str(checkout.path / "python3.11"))


def test_a_python_of_debian_without_ensurepip_brings_its_package(checkout: Checkout) -> None:
    checkout.python("python3", f'{BARE}; sys.prefix = "/usr"')
    script(checkout.path / "apt-get", "exit 1")
    line = checkout.refused()
    assert f"apt-get install python3.{sys.version_info.minor}-venv" in line and "ensurepip" in line
    assert "/usr" not in line and not (checkout.folder / ".venv").exists()


def test_no_python_that_serves_brings_the_command_of_this_system(checkout: Checkout) -> None:
    checkout.python("python3", OLD)
    script(checkout.path / "python3.13", "exit 127")  # pyenv's, for one that is not chosen
    assert "curl -LsSf https://astral.sh/uv/install.sh" in checkout.refused()
    script(checkout.path / "brew", "exit 1")
    assert "brew install python@3.13" in checkout.refused()
    script(checkout.path / "dnf", "exit 1")
    assert "dnf install python3.12" in checkout.refused()
    script(checkout.path / "apt-get", "exit 1")
    script(checkout.path / "apt-cache", "exit 100")
    assert "apt-get update && apt-get install python3-venv" in checkout.refused()
    script(checkout.path / "apt-cache", 'case "$2" in python3|python3.12-venv) ;; *) exit 100 ;; esac')
    assert "apt-get install python3.12-venv" in checkout.refused()
    script(checkout.path / "uv", "exit 2")
    line = checkout.refused()
    assert line.endswith("(python3 is CPython 3.10.13, too old). This brings one: uv python install 3.13")
    for name in ("python3", "python3.13"):
        (checkout.path / name).unlink()
    assert "no Python from 3.11 to 3.14 is here. " in checkout.refused()


def test_python_that_is_named_and_not_there(checkout: Checkout) -> None:
    assert "PYTHON=python9 is not there" in checkout.refused(PYTHON="python9")


def test_git_is_asked_for(checkout: Checkout) -> None:
    (checkout.path / "git").unlink()
    script(checkout.path / "apt-get", "exit 1")
    assert "git is missing" in checkout.refused() and checkout.refused().endswith("apt-get install git")


def small_disk(here: Checkout, megabytes: int) -> None:
    script(here.path / "df", f"echo head; echo /dev/my disk 999999 1 {megabytes * 1024} 1% /a place")


def test_a_small_disk_is_refused_before_anything_is_loaded(quick: Checkout, index: tuple[Path, str, list[str]]) -> None:
    quick.require("first==1.0", "torch==9.9")
    small_disk(quick, 1000)
    seen = len(index[2])
    line = quick.refused()
    assert "1.0 GB is free" in line and "GB are installed" in line and str(quick.folder) in line
    assert index[2][seen:] == []


@pytest.mark.skipif(sys.platform != "linux", reason="only there torch brings CUDA along")
def test_a_disk_that_is_too_small_for_cuda(quick: Checkout, index: tuple[Path, str, list[str]]) -> None:
    quick.require("torch==9.9")
    small_disk(quick, 4000)
    assert "or take a torch without CUDA: docs/install.md" in quick.refused()
    wheel(index[0] / "torch", "torch", "9.9+cpu")
    assert quick.setup()[0] == 0, "the index has the build for CPUs, which fits"


def test_a_disk_that_fills_up(quick: Checkout, index: tuple[Path, str, list[str]]) -> None:
    disk = quick.folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "none", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        small_disk(quick, 9000)  # there was room when it began
        for part in ("bin", "requirements.txt", "requirements-dev.txt"):
            shutil.move(quick.folder / part, disk / part)
        (disk / "filler").write_bytes(bytes(15_000_000))
        quick.folder = disk
        wheel(index[0] / "large", "large")
        with zipfile.ZipFile(index[0] / "large/large-1.0-py3-none-any.whl", "a") as packed:
            packed.writestr("large/data", bytes(25_000_000), zipfile.ZIP_STORED)
        quick.require("large==1.0")
        assert "the disk is full" in quick.refused()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_no_way_to_the_index(quick: Checkout, index: tuple[Path, str, list[str]]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    line = quick.refused(PIP_INDEX_URL=nobody)
    assert f"cannot reach {nobody}" in line and "HTTPS_PROXY" in line and "PIP_INDEX_URL" in line
    log = Path(line.partition("All that pip said: ")[2])
    assert "No matching distribution found for first" in log.read_text()
    line = quick.refused(PIP_INDEX_URL="http://index.invalid/simple", HTTP_PROXY=nobody, PIP_TRUSTED_HOST="index.invalid")
    assert "proxy" in line


def test_an_index_without_a_package_or_without_its_wheel(quick: Checkout, index: tuple[Path, str, list[str]]) -> None:
    quick.require("first==2.0")
    line = quick.refused()
    assert "has no wheel of first==2.0 for Python 3." in line and index[1] in line
    (index[0] / "built").mkdir(exist_ok=True)
    (index[0] / "built/built-1.0.tar.gz").write_bytes(b"needs a compiler")
    quick.require("built==1.0")
    assert "has no wheel of built==1.0" in quick.refused()


def test_a_package_that_is_not_what_the_index_says(quick: Checkout, index: tuple[Path, str, list[str]]) -> None:
    wheel(index[0], "altered")
    (index[0] / "altered").mkdir()
    link = "../altered-1.0-py3-none-any.whl"
    (index[0] / "altered/index.html").write_text(f'<a href="{link}#sha256={"0" * 64}">altered-1.0-py3-none-any.whl</a>')
    quick.require("altered==1.0")
    assert "damaged or changed on its way" in quick.refused()


def lose_pip(here: Checkout) -> None:
    shutil.rmtree(next((here.folder / ".venv/lib").glob("python*/site-packages/pip")))


def lose_base(here: Checkout) -> None:
    for name in ("python", "python3"):
        (here.folder / ".venv/bin" / name).unlink()
        (here.folder / ".venv/bin" / name).symlink_to("/gone/python3")


def move(here: Checkout) -> None:
    here.folder = here.folder.rename(here.folder.parent / "elsewhere")


def upgrade_base(here: Checkout) -> None:
    (here.folder / ".venv/made").write_text(f"3.1 {here.folder}\n")


@pytest.mark.parametrize("harm", [lose_pip, lose_base, move, upgrade_base])
def test_a_broken_venv_is_made_anew(settled: Checkout, harm) -> None:  # type: ignore[no-untyped-def]
    harm(settled)
    code, out, err = settled.setup()
    assert (code, err, settled.says()) == (0, "", "first 1.0") and "installed in" in out
    shebang = (settled.folder / ".venv/bin/first").read_text()
    assert str(settled.folder / ".venv/bin/python") in shebang
    assert settled.setup() == (0, "", "")


def test_a_link_to_another_venv_is_left_unharmed(settled: Checkout) -> None:
    other = (settled.folder / ".venv").rename(settled.folder.parent / "other")
    (settled.folder / ".venv").symlink_to(other)
    (other / "made").write_text("3.1 /elsewhere\n")
    assert settled.setup()[0] == 0
    assert (other / "bin/python").exists() and not (settled.folder / ".venv").is_symlink()


def test_what_a_killed_pip_left_half_is_installed_again(settled: Checkout) -> None:
    assert settled.setup("dev")[0] == 0
    site = next((settled.folder / ".venv/lib").glob("python*/site-packages"))
    (site / "first/__init__.py").unlink()
    (site / "second-1.0.dist-info/RECORD").unlink()
    (site / "second/__init__.py").unlink()
    (settled.folder / ".venv/installed-dev").unlink()
    assert settled.setup("dev")[0] == 0
    assert (settled.says("first"), settled.says("second")) == ("first 1.0", "second 1.0")
    assert settled.setup() == settled.setup("dev") == (0, "", "")


def test_changed_requirements_are_installed_on_top(settled: Checkout, index: tuple[Path, str, list[str]]) -> None:
    made = (settled.folder / ".venv/made").stat().st_mtime_ns
    wheel(index[0] / "first", "first", "1.1")
    settled.require("first==1.1")
    assert settled.setup()[0] == 0 and settled.says() == "first 1.1"
    assert (settled.folder / ".venv/made").stat().st_mtime_ns == made, "on top, not anew"


def test_a_venv_of_before_is_taken_on_as_it_is(settled: Checkout) -> None:
    """It has no .venv/made; without a network it could not be made again."""
    (settled.folder / ".venv/made").unlink()
    (settled.folder / ".venv/installed").write_text("")  # as make's touch left it
    (settled.folder / ".venv/bin/pip").write_text(f"#!{settled.folder.resolve()}/.venv/bin/python3\n")
    before = (settled.folder / ".venv/pyvenv.cfg").stat().st_ino
    assert settled.setup()[0] == 0
    assert (settled.folder / ".venv/pyvenv.cfg").stat().st_ino == before and (settled.folder / ".venv/made").exists()


def test_ctrl_c_in_pip_and_two_at_once(quick: Checkout, index: tuple[Path, str, list[str]]) -> None:
    quick.require("first==1.0", "slow==1.0")
    wheel(index[0] / "slow", "slow")
    hold = index[0] / "slow/hold"
    hold.touch()
    process = quick.start(PIP_TIMEOUT="30")
    wait_for(lambda: "/slow/" in index[2], 20)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted: the next make goes on" in err
    assert not (quick.folder / ".venv/installed").exists()
    hold.unlink()
    one, two = quick.start(), quick.start()
    outs = [each.communicate(timeout=40) for each in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0), outs
    assert sum("installed in" in out for out, _ in outs) == 1
    assert quick.says("slow") == "slow 1.0"


def test_a_folder_that_cannot_be_written(quick: Checkout) -> None:
    if os.geteuid():
        quick.folder.chmod(0o555)
        assert "cannot write in" in quick.refused()
        quick.folder.chmod(0o755)
    else:
        (quick.path / "rm").unlink()
        script(quick.path / "rm", "exit 0")
        (quick.folder / ".venv").write_text("a file that cannot go")
        assert "cannot write in" in quick.refused()
