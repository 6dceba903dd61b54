"""What may be different on a machine, and how this one is made to look so: for one row, and undone after it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
LOOPBACK_UP = (  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING: not every machine has `ip`
    "import fcntl, socket, struct; "
    "fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack('16sh', b'lo', 0x41))"
)
OLD_GIT = """#!/bin/sh
# git 2.34 as far as it matters: what came later is refused, the rest is passed on.
case "$*" in --version | version) echo "git version 2.34.1"; exit 0 ;; esac
for word; do
  case "$word" in --write-tree | --object-id | --batch-command | --merge-base=*)
    echo "error: unknown option '$word'" >&2; exit 129 ;;
  esac
done
exec '{git}' "$@"
"""
CUDA = Path("/usr/local/autoresearch-cuda")
CUDA_FOLDER = CUDA.with_name("autoresearch-cuda-13.0")
RESTRICTED = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
Environment = dict[str, str]


def is_root() -> bool:
    return os.geteuid() == 0


def namespaces_of(*kinds: str) -> list[str]:
    """unshare, for root and for a plain user, who becomes root in there."""
    return ["unshare", *(f"--{kind}" for kind in kinds), *([] if is_root() else ["--map-root-user"]), "--"]


def always() -> str:
    return ""


def needs_root() -> str:
    return "" if is_root() else "needs root"


def needs(*kinds: str) -> Callable[[], str]:
    def why_not() -> str:
        try:
            done = subprocess.run([*namespaces_of(*kinds), "true"], capture_output=True, check=False)
        except FileNotFoundError:
            return "no `unshare` here"
        return "" if done.returncode == 0 else f"no namespace for {' and '.join(kinds)} to be had"

    return why_not


def needs_namespaces_without_bwrap() -> str:
    restricted = RESTRICTED.exists() and RESTRICTED.read_text().strip() == "1" and not is_root()
    return "this kernel lets only the system's bwrap make user namespaces" if restricted else ""


def needs_setpriv() -> str:
    return needs_root() or ("" if shutil.which("setpriv") else "no `setpriv` here")


@contextlib.contextmanager
def as_it_is(folder: Path, env: Environment) -> Iterator[None]:
    yield


@contextlib.contextmanager
def cuda_link(folder: Path, env: Environment) -> Iterator[None]:
    """As on CUDA images, by an absolute link (bwrap can mount a relative one). The names are our own."""
    _remove_cuda()  # of a row that was killed
    try:
        CUDA_FOLDER.mkdir()
        CUDA.symlink_to(CUDA_FOLDER)
        env["CUDA_HOME"] = str(CUDA)
        yield
    finally:
        _remove_cuda()


def _remove_cuda() -> None:
    CUDA.unlink(missing_ok=True)
    shutil.rmtree(CUDA_FOLDER, ignore_errors=True)


@contextlib.contextmanager
def path_without_bwrap(folder: Path, env: Environment) -> Iterator[None]:
    programs = folder / "programs"
    programs.mkdir()
    for path in (path for place in env["PATH"].split(os.pathsep) if os.path.isdir(place) for path in Path(place).iterdir()):
        if path.name != "bwrap" and not os.path.lexists(programs / path.name):
            (programs / path.name).symlink_to(path)
    env["PATH"] = str(programs)
    yield


@contextlib.contextmanager
def c_locale(folder: Path, env: Environment) -> Iterator[None]:
    env["LC_ALL"] = "C"
    yield


@contextlib.contextmanager
def old_git(folder: Path, env: Environment) -> Iterator[None]:
    wrapper = folder / "old" / "git"
    wrapper.parent.mkdir()
    wrapper.write_text(OLD_GIT.format(git=shutil.which("git")))
    wrapper.chmod(0o755)
    env["PATH"] = f"{wrapper.parent}{os.pathsep}{env['PATH']}"
    yield


@contextlib.contextmanager
def pip_without_our_cache(folder: Path, env: Environment) -> Iterator[None]:
    env.pop("PIP_CACHE_DIR")  # then it is below HOME, as everywhere
    yield


@contextlib.contextmanager
def nobodys_settings(folder: Path, env: Environment) -> Iterator[None]:
    env.pop("PIP_CACHE_DIR")  # ours to write only
    env |= {"USER": "nobody", "LOGNAME": "nobody"}
    yield


@dataclass(frozen=True)
class Condition:
    name: str
    says: str
    why_not: Callable[[], str] = always  # why this machine cannot, or nothing
    namespaces: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()  # lines of sh: in the namespaces, as their root, before make
    enter: Callable[[Path, Environment], contextlib.AbstractContextManager[None]] = as_it_is
    user: int | None = None
    folder: str = ""  # the clone's name
    installs: bool = False  # it is there while pip works: an installation of its own


CUDA_LINK = Condition("cuda-link", f"CUDA_HOME={CUDA}, a link", needs_root, enter=cuda_link)
NO_BUBBLEWRAP = Condition(
    "no-bubblewrap", "no bwrap on the PATH", needs_namespaces_without_bwrap, enter=path_without_bwrap
)
NO_NETWORK = Condition(
    "no-network", "no network after the installation", needs("net"), ("net",), (f'"{sys.executable}" -c "{LOOPBACK_UP}"',)
)
C_LOCALE = Condition("c-locale", "LC_ALL=C", enter=c_locale)
SMALL_SHM = Condition(
    "small-shm", "/dev/shm of 64 MB", needs("mount"), ("mount",), ("mount -t tmpfs -o size=64m tmpfs /dev/shm",)
)
OLD_GIT_FIRST = Condition("git-2.34", "a git that refuses what came after 2.34", enter=old_git)
PLAIN_USER = Condition(
    "plain-user", "nobody, not root", needs_setpriv, enter=nobodys_settings, user=NOBODY, installs=True
)
READ_ONLY_HOME = Condition(
    "read-only-home", "HOME can only be read", needs("mount"), ("mount",),
    ('mount --bind "$HOME" "$HOME"', 'mount -o remount,bind,ro "$HOME"'), pip_without_our_cache, installs=True,
)
UMASK = Condition("umask-077", "umask 077", inside=("umask 077",), installs=True)
SPACES = Condition("spaces", "a path with spaces and umlauts", folder="ein Ordner für Größeres", installs=True)
SHARING = (CUDA_LINK, NO_BUBBLEWRAP, NO_NETWORK, C_LOCALE, SMALL_SHM, OLD_GIT_FIRST)
INSTALLING = (PLAIN_USER, READ_ONLY_HOME, UMASK, SPACES)
BARE = (NO_BUBBLEWRAP, NO_NETWORK, C_LOCALE, SMALL_SHM)
