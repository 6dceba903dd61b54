"""Which places of this machine are covered, by what meta.json names."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from trainer import held_out, sandbox

STDLIB = Path(sysconfig.get_path("stdlib"))


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Another Python, and another torch beside it."""
    monkeypatch.setattr(sandbox, "other_pythons", lambda: ["/elsewhere/lib/python3.12"])
    monkeypatch.setattr(held_out, "other_torches", lambda: [tmp_path / "torch"])
    return tmp_path / "torch"


def test_modules_are_covered_where_our_python_has_them_with_their_bytecode() -> None:
    hidden = held_out.to_hide({"dataset": "stdlib", "version": 4, "hidden": ["{stdlib}/mailbox.py", "{stdlib}/xml/dom"]})
    compiled = sorted(map(str, STDLIB.glob("__pycache__/mailbox.*.pyc")))
    assert hidden == [str(STDLIB / "mailbox.py"), *compiled, str(STDLIB / "xml/dom"), "/elsewhere/lib/python3.12"]


def test_torchs_are_covered_in_every_torch(elsewhere: Path) -> None:
    hidden = held_out.to_hide({"dataset": "torch", "version": 4, "hidden": ["{torch}/testing/_internal/common_nn.py"]})
    assert hidden[0] == str(held_out.torch_folder() / "testing/_internal/common_nn.py")
    assert hidden[-1] == str(elsewhere / "testing/_internal/common_nn.py")


def test_of_an_earlier_version_the_modules_are_covered_wherever_our_python_is() -> None:
    """It named the files of one Python, which may have been upgraded since."""
    old = "/opt/python/lib/python3.11"
    names = [f"{old}/idlelib/undo.py", f"{old}/idlelib/__pycache__/undo.cpython-311.pyc", f"{old}/cgi.py",
             f"{old}/__pycache__/cgi.cpython-311.pyc"]  # fmt: skip
    hidden = held_out.to_hide({"dataset": "stdlib", "version": 3, "hidden": names})
    assert {str(STDLIB / "idlelib"), str(STDLIB / "cgi.py"), "/elsewhere/lib/python3.12"} <= set(hidden)
    assert not [path for path in hidden if path.startswith(old)]


def test_files_of_a_folder_are_covered_as_they_are() -> None:
    names = ["/data/{stdlib}.txt", "/data/a.txt"]
    assert held_out.to_hide({"dataset": "folder:/data", "version": 3, "hidden": names}) == names


def test_what_names_nothing_covers_nothing() -> None:
    assert held_out.to_hide({}) == []
