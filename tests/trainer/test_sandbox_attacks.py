"""What edited code may try from inside the sandbox, each through the real launch and shim. Nothing of it works."""

from __future__ import annotations

import inspect
import json
import mailbox
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.trainer.launching import all_of, log_of, make_job, result_of, run, wait_for
from tests.trainer.template_modules import load_template
from trainer import launch
from trainer.sandbox import BUBBLEWRAP, level

ROOT = Path(__file__).resolve().parents[2]
SECRET = "secret-4711-of-the-owner"
sources = load_template("sources")
HIDDEN = [f"{{stdlib}}/{module}" for module in sources.read_list()]
pytestmark = pytest.mark.skipif(level().name != BUBBLEWRAP, reason=level().why or "never")

# Every attack may use these: what it could do stands in the log.
TOOLS = '''
import contextlib, ctypes, json, os, pathlib, signal, socket, subprocess, sys, time
def attempt(name, what):
    try:
        print(name, "DONE", what(), flush=True)
    except Exception as error:
        print(name, type(error).__name__, flush=True)
'''


@pytest.fixture
def place() -> Iterator[Path]:
    """Not below /tmp, which is empty inside anyway."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="autoresearch-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data(place) -> Path:
    """Prepared data, as on disk."""
    folder = place / "cache" / "stdlib-vocab512-v4"
    (folder / "train").mkdir(parents=True)
    (folder / "held_out").mkdir()
    (folder / "train" / "00000.bin").write_bytes(b"tokens")
    for name in ("val.bin", "secret.bin"):
        (folder / "held_out" / name).write_bytes(SECRET.encode())
    (folder / "tokenizer.json").write_text("{}")
    (folder / "meta.json").write_text(json.dumps({"dataset": "stdlib", "version": 4, "hidden": HIDDEN}))
    return folder


def attack(place: Path, code: str, **fields) -> str:
    """The log of a training that tries this."""
    result, log = run(make_job(place / "work" / "7-1", TOOLS + code, **fields))
    assert (result.sandbox, result.ended, result.exit_code) == (BUBBLEWRAP, "exit", 0), (result, log)
    return log


def test_it_reads_no_file_of_ours(place, data):
    (place / "db.sqlite3").write_text(SECRET)
    (place / "work" / "6-1" / "src").mkdir(parents=True)
    (place / "work" / "6-1" / "src" / "train.py").write_text(SECRET)
    home = [path for path in Path.home().iterdir() if path.is_file()]
    files = [
        *home, ROOT / "manage.py", ROOT / "trainer" / "exam.py", ROOT / ".git" / "HEAD", Path("/etc/passwd"),
        Path("/etc/shadow"), place / "db.sqlite3", place / "work" / "6-1" / "src" / "train.py",
        place / "work" / "7-1" / "spec.json",
        data / "held_out" / "val.bin", data / "held_out" / "secret.bin", Path("/proc/kcore"), Path("/proc/kmsg"),
    ]
    names = [name for path in files for name in (str(path), f"/proc/1/root{path}", f"/proc/self/cwd/../../../..{path}")]
    log = attack(
        place, f"for path in {names!r}: attempt(path, lambda: open(path, 'rb').read(1))\n"
        f"attempt('around', lambda: sorted(os.listdir({str(place)!r}) + os.listdir({str(data)!r})))", data_dir=data,
    )
    assert [line for line in log.splitlines() if "DONE" in line] == [
        "around DONE ['cache', 'meta.json', 'tokenizer.json', 'train', 'work']"
    ]


def test_it_finds_the_held_out_text_nowhere(place, data):
    """Other interpreters of this machine hold the same modules. A search of all text but the installed packages'."""
    source = inspect.getsource(mailbox)
    pieces = [source[start : start + 160].encode().hex() for start in range(2000, len(source) - 160, 8000)]
    text = sources.standard_library()
    pieces += [piece[20:180].encode().hex() for piece in (text.validation + text.secret)[::60] if len(piece) > 300]
    pieces.append(inspect.cleandoc(mailbox.MH.__doc__ or "").encode()[:64].hex())  # stands in the .pyc too
    log = attack(place, SEARCH.format(pieces=pieces), data_dir=data, deadline_seconds=50)
    found, looked_at = log.splitlines()
    assert int(looked_at) > 3000
    assert found == "[]"


def test_what_a_training_may_read_besides_shows_it_no_held_out_text_either(place, data):
    """A CUDA_HOME that is conda's folder, a folder of data that holds ours: with another copy of the same text each."""
    conda = place / "conda" / "lib" / "python3.12"
    conda.mkdir(parents=True)
    for name in ("abc.py", "os.py", "mailbox.py"):
        shutil.copy(Path(mailbox.__file__).with_name(name), conda)
    others = [data.parent / "stdlib-vocab2048-v4/held_out/val.bin", data.parent / "downloads/climbmix/shard_06542.parquet"]
    for path in others:
        path.parent.mkdir(parents=True)
        path.write_text(SECRET)
    (data.parent / "mine.txt").write_text("mine")
    names = [*map(str, others), str(data / "held_out" / "val.bin"), str(conda / "mailbox.py"), str(data.parent / "mine.txt")]
    log = attack(
        place, f"for path in {names!r}: attempt(path, lambda: open(path).read())", data_dir=data,
        read=[str(place / "conda"), str(data.parent)],
    )
    assert [line for line in log.splitlines() if "DONE" in line] == [f"{data.parent}/mine.txt DONE mine"]


SEARCH = """
pieces = [bytes.fromhex(piece) for piece in {pieces}]
found, looked_at = [], 0
KINDS = (".py", ".pyc", ".pyi", ".txt", ".rst", ".html", ".orig", ".bak")
for folder, names, files in os.walk("/"):
    names[:] = [name for name in names if name not in ("proc", "sys", "dev", "site-packages")]
    for name in files:
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            if name.endswith(KINDS) and path != __file__ and os.path.getsize(path) < 1_000_000:
                text = open(path, "rb").read()
                looked_at += 1
                if any(piece in text for piece in pieces):
                    found.append(path)
print(found)
print(looked_at)
"""


def test_it_sees_no_other_process_and_no_other_environment(place, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    log = attack(
        place,
        "pids = [int(name) for name in os.listdir('/proc') if name.isdigit()]\n"
        "commands, environments = [[pathlib.Path(f'/proc/{pid}/{name}').read_bytes() for pid in pids]"
        " for name in ('cmdline', 'environ')]\n"
        "print([command.split(b'\\0')[0].rpartition(b'/')[2] for command in commands])\n"
        "print(any(b'4711' in environment for environment in environments), sorted(os.environ))\n"
        "print(os.listdir('/proc/1/fd'), [os.readlink(f'/proc/1/fd/{fd}') for fd in os.listdir('/proc/1/fd')])",
    )
    assert log.startswith("[b'bwrap', b'python']\nFalse ")
    assert SECRET not in log and "KEY" not in log and str(ROOT) not in log.splitlines()[2]


@contextmanager
def listening(family: int, address: object) -> Iterator[socket.socket]:
    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        server.settimeout(0.1)
        yield server


def test_it_reaches_no_network_and_no_socket_of_ours(place):
    with (
        listening(socket.AF_INET, ("127.0.0.1", 0)) as tcp, listening(socket.AF_UNIX, "\0ar-test-attack") as abstract,
        listening(socket.AF_UNIX, str(place / "redis.sock")) as unix,
    ):
        addresses = [(int(server.family), server.getsockname()) for server in (tcp, abstract, unix)]
        addresses[1] = (int(socket.AF_UNIX), "\0ar-test-attack")
        log = attack(
            place,
            f"for family, address in {[*addresses, (2, ('1.1.1.1', 53))]!r}:\n"
            "    attempt(repr(address), lambda: socket.socket(family).connect(address))\n"
            "attempt('name', lambda: socket.getaddrinfo('example.org', 80))\n",
        )
        for server in (tcp, abstract, unix):
            with pytest.raises(TimeoutError):
                server.accept()
    assert "DONE" not in log and len(log.splitlines()) == 5


def test_it_changes_neither_code_nor_data_nor_the_machine(place, data):
    work = place / "work" / "7-1"
    fixed = place / "prepare.py"
    fixed.write_text("fixed")
    places = [
        *(work / name for name in ("src/train.py", "src/new", "spec.json", "result.json", "exam.json")),
        *(data / name for name in ("new", "train/00000.bin", "train/00001.bin", "tokenizer.json", "meta.json")),
        *(Path(prefix) / "new" for prefix in (sys.prefix, sys.base_prefix, "/", "/usr", "/etc", "/dev", "/sys")),
        Path(mailbox.__file__).with_name("new.py"),
    ]
    settings = ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/irq/0/smp_affinity", "/sys/module"]
    log = attack(
        place,
        f"for path in {list(map(str, places))!r}: attempt(path, lambda: open(path, 'a').write('x'))\n"
        f"for path in {settings!r}: attempt(path, lambda: open(path, 'r+'))\n"
        f"attempt('unlink', lambda: os.unlink({str(work / 'src' / 'prepare.py')!r}))\n"
        f"attempt('chmod', lambda: os.chmod({str(work / 'src' / 'prepare.py')!r}, 0o777))\n"
        f"attempt('rename', lambda: os.rename({str(work / 'src')!r}, {str(work / 'other')!r}))\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"for path in ({mailbox.__file__!r}, '/proc/sys', {str(work / 'src')!r}):\n"
        "    print('umount', libc.umount2(path.encode(), 2))\n"
        f"print('remount', libc.mount(None, {str(work / 'src').encode()!r}, None, 0x20 | 0x1000, None))\n",
        data_dir=data, fixed={"prepare.py": fixed},
    )
    assert "DONE" not in log, log
    assert log.splitlines()[-4:] == ["umount -1"] * 3 + ["remount -1"]
    assert (data / "train" / "00000.bin").read_bytes() == b"tokens" and result_of(work).tampered == []


def test_a_checkout_below_tmp_is_as_safe_as_elsewhere(place):
    """There the sandbox has a folder of its own at the same path: a write may succeed, and touches nothing."""
    new = ROOT / f"new-{os.getpid()}"
    write = f"os.makedirs({str(ROOT)!r}, exist_ok=True), open({str(new)!r}, 'a').close()"
    attack(place, f"attempt('write', lambda: ({write}))\n")
    try:
        assert not new.exists()
    finally:
        new.unlink(missing_ok=True)


def test_a_user_namespace_of_its_own_uncovers_nothing(place, data):
    """In a namespace of its own it is root again: what was mounted for it stays locked."""
    hidden = mailbox.__file__
    script = f"umount {hidden}; umount -l {hidden}; mount -o remount,rw,bind /usr; touch /usr/new; cat {hidden}; ls {place}"
    code = f"print(subprocess.run(['unshare', '-Urm', 'sh', '-c', {script!r}], capture_output=True))"
    log = attack(place, code, data_dir=data)
    assert "class Mailbox" not in log and "held_out" not in log and not Path("/usr/new").exists()


def test_nothing_it_leaves_behind_is_there_for_the_next(place, data):
    places = ["/tmp", "/dev/shm", "/var/tmp", str(place), str(data), "."]
    leave = f"for folder in {places} + [os.environ['HOME'], os.environ['TMPDIR']]: attempt(folder, lambda: " + (
        "pathlib.Path(folder, 'old-checkpoint').write_text('x'))\n"
    )
    log = attack(place, leave, data_dir=data)
    assert log.count("DONE") == 4  # /tmp and /dev/shm of its own, and its out/
    seek = (
        "walks = (walk for top in ('/tmp', '/dev/shm', '/var', '/root', '/home', '/work') for walk in os.walk(top))\n"
        "print([folder for folder, _, names in walks if 'old-checkpoint' in names], os.listdir(os.environ['HOME']))"
    )
    log = run(make_job(place / "work" / "7-2", TOOLS + seek, data_dir=data))[1]
    assert log == "[] []\n"
    assert not Path("/tmp/old-checkpoint").exists() and not Path("/dev/shm/old-checkpoint").exists()


def test_it_ends_neither_the_shim_nor_anybody_else(place):
    with running(place) as bystander:
        log = attack(
            place,
            f"attempt('bystander', lambda: os.kill({bystander}, 9))\n"
            "for pid in range(1, 100_000):\n"
            "    if pid != os.getpid():\n"
            "        with contextlib.suppress(OSError): os.kill(pid, signal.SIGKILL)\n"
            "libc = ctypes.CDLL(None)\n"
            f"print('attached', libc.ptrace(16, {bystander}, 0, 0))\n"
            "print('parent', os.getppid())",
        )
        os.kill(bystander, 0)
    assert log == "bystander ProcessLookupError\nattached -1\nparent 1\n"


@contextmanager
def running(place: Path) -> Iterator[int]:
    """A training beside it, of another workspace."""
    other = make_job(place / "work" / "8-1", "import time; time.sleep(60)", device_lock=place / "other.lock")
    process = launch.start(other)
    yield process.pid
    process.terminate()
    process.wait(20)


GRANDCHILD = """
subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"],
                 start_new_session=True)
"""
BOMB = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(7):
    os.fork()
os.setsid() if os.getpid() != os.getpgid(0) else None
print("waiting", flush=True)
time.sleep(600)
"""


def test_a_grandchild_in_its_own_session_ends_with_it(place):
    began = time.monotonic()
    attack(place, GRANDCHILD)
    assert time.monotonic() - began < 5 and all_of(place / "work" / "7-1") == []


def test_a_crowd_that_ignores_sigterm_ends_at_the_deadline(place):
    result, log = run(make_job(place / "work" / "7-1", TOOLS + BOMB, deadline_seconds=2.0, kill_grace_seconds=0.3))
    assert log.count("waiting") == 128
    assert result.ended == "timeout" and result.seconds < 5
    wait_for(lambda: all_of(place / "work" / "7-1") == [], 2)


def test_the_shim_killed_it_and_its_grandchildren_end(place):
    code = TOOLS + GRANDCHILD + "print('waiting', flush=True); time.sleep(600)"
    process = launch.start(make_job(place / "work" / "7-1", code))
    wait_for(lambda: "waiting" in log_of(place / "work" / "7-1"))
    assert len(all_of(place / "work" / "7-1")) == 4  # bwrap twice, the training, its child
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: all_of(place / "work" / "7-1") == [], 3)


def test_told_to_stop_it_has_the_grace_to_tidy_up(place):
    tidy = "signal.signal(15, lambda *_: (pathlib.Path(os.environ['HOME'], 'tidied').touch(), sys.exit(7)))\n"
    code = tidy + "print('waiting', flush=True)\ntime.sleep(600)"
    process = launch.start(make_job(place / "work" / "7-1", TOOLS + code, kill_grace_seconds=5.0))
    wait_for(lambda: "waiting" in log_of(place / "work" / "7-1"))
    process.terminate()
    process.wait(20)
    result = result_of(place / "work" / "7-1")
    assert (result.ended, result.exit_code) == ("stopped", 7) and (place / "work" / "7-1" / "out" / "tidied").exists()
