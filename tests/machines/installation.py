"""A clean clone and its virtual environment, for one row or for several."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.machines.pythons import Python, cut, link_tree
from tests.machines.rows import Row

NEEDED_GB = 8  # torch's CUDA build with what it unpacks
TORCH = "import torch; print(torch.__version__, torch.version.cuda or 'no')"


class Unfit(Exception):
    """This virtual environment is not what the commit asks for; the words say what to do."""


@dataclass(frozen=True)
class Installation:
    clone: Path
    python: Path  # what make gets as PYTHON

    @property
    def interpreter(self) -> Path:
        return self.clone / ".venv" / "bin" / "python"

    @property
    def is_there(self) -> bool:
        return (self.clone / ".venv" / "installed").exists()

    def torch(self) -> str:
        """The version, and for which CUDA it was built: PyPI gives that build to machines without a driver, too."""
        done = subprocess.run([self.interpreter, "-c", TORCH], capture_output=True, text=True, check=False)
        version, _, cuda = done.stdout.strip().partition(" ")
        if not version:
            return "none"
        driver = "" if Path("/dev/nvidiactl").exists() else ", no driver"
        return f"{version.partition('+')[0]} {'CPU' if cuda == 'no' else f'CUDA {cuda}{driver}'}"


def lacks_disk(folder: Path) -> str:
    free = shutil.disk_usage(folder).free / 1e9
    return f"{free:.0f} GB are free, {NEEDED_GB} are needed" if free < NEEDED_GB else ""


def make(row: Row, place: Path, checkout: Path, commit: str, venv: Path | None) -> Installation:
    """Clone, and link `venv` in where it is given. Raises Unfit; RuntimeError where a Python cannot be copied."""
    clone = place / row.folder
    if not clone.exists():
        place.mkdir(exist_ok=True)
        subprocess.run(["git", "clone", "-q", checkout, clone], check=True)
        subprocess.run(["git", "-C", clone, "checkout", "-q", commit], check=True)
        if venv is not None:
            take_over(venv, clone)
    shutil.rmtree(clone / "var", ignore_errors=True)
    return Installation(clone, _python(row, place).path)


def _python(row: Row, place: Path) -> Python:
    assert row.python is not None, "a row without a Python is not tried"
    return cut(row.python, place / "python") if row.is_cut else row.python


def take_over(venv: Path, clone: Path) -> None:
    """This virtual environment by hard links, as if `make` had made it here."""
    venv, here = venv.resolve(), clone.resolve()
    wanted = (clone / "requirements.txt").read_text()
    made = venv / "made"
    if not made.exists() or (venv / "installed").read_text().strip() != wanted.strip():
        raise Unfit(f"{venv} is not an installation of this commit's requirements.txt. `make setup` makes one.")
    link_tree(venv, clone / ".venv")
    (clone / ".venv" / "made").unlink()  # bin/setup looks there for which Python it is, and where it lies
    (clone / ".venv" / "made").write_text(f"{made.read_text().split()[0]} {here}\n")
