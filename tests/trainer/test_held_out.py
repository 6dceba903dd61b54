"""Which places of this machine are covered, by what meta.json names."""

from __future__ import annotations

import os
import py_compile
import sysconfig
from pathlib import Path

import pytest

from trainer import held_out, sandbox
from trainer.held_out import Copies, to_hide

STDLIB = Path(sysconfig.get_path("stdlib"))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Another Python, and another torch beside it."""
    found = Copies(("/elsewhere/lib/python3.12",), (str(tmp_path / "torch"),))
    monkeypatch.setattr(held_out, "copies", lambda read=(): found)
    return tmp_path / "torch"


def test_modules_are_covered_where_our_python_has_them_with_their_bytecode(elsewhere: Path) -> None:
    hidden = to_hide({"dataset": "stdlib", "version": 4, "hidden": ["{stdlib}/mailbox.py", "{stdlib}/xml/dom"]})
    compiled = sorted(map(str, STDLIB.glob("__pycache__/mailbox.*.pyc")))
    assert hidden == [str(STDLIB / "mailbox.py"), *compiled, str(STDLIB / "xml/dom"), "/elsewhere/lib/python3.12"]


def test_bytecode_is_covered_in_both_places_where_python_stores_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHONPYCACHEPREFIX names the second; what was compiled before it was set lies in the first."""
    source = tmp_path / "lib" / "module.py"
    source.parent.mkdir()
    source.write_text("NAME = 1\n")
    beside = py_compile.compile(str(source))
    optimised = py_compile.compile(str(source), optimize=2)
    monkeypatch.setattr("sys.pycache_prefix", str(tmp_path / "cache"))
    apart = py_compile.compile(str(source))
    assert {str(path) for path in held_out.with_bytecode(source)} == {str(source), beside, optimised, apart}
    assert str(apart).startswith(str(tmp_path / "cache"))


def test_torchs_are_covered_in_every_torch_with_their_bytecode(elsewhere: Path) -> None:
    cached = elsewhere / "testing/_internal/__pycache__/common_nn.cpython-312.pyc"
    cached.parent.mkdir(parents=True)
    cached.touch()
    hidden = to_hide({"dataset": "torch", "version": 4, "hidden": ["{torch}/testing/_internal/common_nn.py"]})
    assert hidden[0] == f"{held_out.torch_folder()}/testing/_internal/common_nn.py"
    assert hidden[-2:] == [str(elsewhere / "testing/_internal/common_nn.py"), str(cached)]


@pytest.mark.parametrize("prefix", ["/opt/python", "/opt/python3.11", "/home/ada/python3.9/envs/python3.12"])
def test_of_an_earlier_version_the_modules_are_covered_wherever_our_python_is(elsewhere: Path, prefix: str) -> None:
    """It named the files of one Python, which may have been upgraded since."""
    old = f"{prefix}/lib/python3.11"
    names = [f"{old}/idlelib/undo.py", f"{old}/idlelib/__pycache__/undo.cpython-311.pyc", f"{old}/cgi.py",
             f"{old}/__pycache__/cgi.cpython-311.pyc"]  # fmt: skip
    hidden = to_hide({"dataset": "stdlib", "version": 3, "hidden": names})
    assert {str(STDLIB / "idlelib"), str(STDLIB / "cgi.py"), "/elsewhere/lib/python3.12"} <= set(hidden)
    assert not [path for path in hidden if path.startswith(old)]


def test_files_of_a_folder_are_covered_as_they_are() -> None:
    names = ["/data/{stdlib}.txt", "/data/a.txt"]
    assert to_hide({"dataset": "folder:/data", "version": 3, "hidden": names}) == names


def test_what_names_nothing_covers_nothing() -> None:
    assert to_hide({}) == []


# Looking for other copies


def make_python(folder: Path) -> Path:
    (folder / "site-packages" / "torch").mkdir(parents=True)
    for name in ("abc.py", "os.py"):
        (folder / name).touch()
    return folder


def test_other_copies_are_found_in_the_system_and_in_what_a_training_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA_HOME that is conda's folder shows conda's Python, its environments and its packages, too."""
    system = make_python(tmp_path / "system" / "lib" / "python3.99")
    conda = [make_python(tmp_path / "conda" / name / "lib" / "python3.12") for name in (".", "envs/a", "pkgs/python-3.12")]
    zipped = tmp_path / "conda" / "app" / "python312.zip"
    zipped.parent.mkdir()
    zipped.touch()
    monkeypatch.setattr(sandbox, "SYSTEM", [str(tmp_path / "system")])
    found = held_out.copies([str(tmp_path / "conda"), "/nonexistent"])
    assert {str(path) for path in (system, *conda)} | {str(zipped)} <= set(found.libraries)
    assert {f"{path}/site-packages/torch" for path in (system, *conda)} <= set(found.torches)
    assert os.path.realpath(STDLIB) not in found.libraries
    assert not [path for path in held_out.copies().libraries if "conda" in path]
