"""Held-out text that every Python has: the same bytes wherever it comes from, and what happens where it does not."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.trainer.template_modules import TEMPLATE, environment, load_template
from trainer import held_out

sources, corpus = load_template("sources"), load_template("corpus")
EVAL_BYTES = 128 * 2**10
VALIDATION, SECRET = "85e0e9f2de6b15bf", "b52f925fd4790d17"  # how the hashes of stdlib/1 begin, on every machine
LIBRARY = Path(sysconfig.get_path("stdlib"))


def found_libraries() -> list[Path]:
    """Of every Python from 3.11 on that is on this machine, ours first."""
    patterns = ("/usr/lib/python3.*", "/usr/local/lib/python3.*", f"{Path.home()}/.pyenv/versions/3.*/lib/python3.*")
    found = [path for pattern in patterns for path in Path("/").glob(pattern[1:]) if (path / "xmlrpc/client.py").exists()]
    return list(dict.fromkeys([LIBRARY, *(path for path in found if int(path.name.split(".")[1]) >= 11)]))


def hash_of(pieces: list[str]) -> str:
    """As prepare.py stores it."""
    return hashlib.sha256(b"".join(len(p.encode()).to_bytes(8, "little") + p.encode() for p in pieces)).hexdigest()


def hashes(texts: Any) -> tuple[str, str]:
    return hash_of(texts.validation)[:16], hash_of(texts.secret)[:16]


def texts_of(root: Path) -> Any:
    return corpus.of_sources(sources.standard_library(root), EVAL_BYTES)


@pytest.fixture(scope="module")
def stdlib() -> Any:
    return texts_of(LIBRARY)


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A copy of ours, to take something away from."""
    skip = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.so", "config-*")
    return Path(shutil.copytree(LIBRARY, tmp_path / "python3", ignore=skip, ignore_dangling_symlinks=True))


@pytest.mark.parametrize("root", found_libraries(), ids=str)
def test_every_python_holds_the_same_text(root: Path) -> None:
    texts = texts_of(root)
    assert (texts.name, *hashes(texts)) == ("stdlib/1", VALIDATION, SECRET)
    assert corpus.bytes_of(texts.validation) == EVAL_BYTES
    assert corpus.bytes_of(texts.secret) > 3 * EVAL_BYTES


def test_what_systems_package_apart_changes_nothing(library: Path) -> None:
    """Debian's python3 has no idlelib and tkinter, 3.13 no lib2to3 and a dozen others."""
    gone = ("idlelib", "tkinter", "lib2to3", "turtledemo", "ensurepip", "venv", "curses", "dbm", "sqlite3", "distutils")
    for name in gone:
        shutil.rmtree(library / name, ignore_errors=True)
    for name in ("turtle", "aifc", "cgi", "chunk", "imghdr", "nntplib", "sndhdr", "sunau", "telnetlib", "uu", "pipes"):
        (library / f"{name}.py").unlink(missing_ok=True)
    assert hashes(texts_of(library)) == (VALIDATION, SECRET)


def test_a_library_without_xml_has_the_same_validation_text_and_says_what_its_secret_lacks(library: Path) -> None:
    shutil.rmtree(library / "xml")
    texts = texts_of(library)
    assert hash_of(texts.validation)[:16] == VALIDATION
    assert texts.name.startswith("stdlib/1 without ") and texts.name.endswith(" pieces of secret")
    assert EVAL_BYTES < corpus.bytes_of(texts.secret) < 3 * EVAL_BYTES


def test_a_function_that_a_later_version_changes_costs_that_function_and_the_name(library: Path) -> None:
    path = library / "xmlrpc" / "client.py"
    path.write_text(path.read_text().replace("def dispatch(", "def dispatch(\n        "))
    path.write_text(path.read_text().replace("class Fault(Error):", "class Fault(Error):  # as of today"))
    texts = texts_of(library)
    assert "pieces of validation" in texts.name
    assert hash_of(texts.validation)[:16] != VALIDATION
    assert corpus.bytes_of(texts.validation) == EVAL_BYTES  # the list holds more than is scored


def test_windows_line_ends_are_the_same_text(library: Path) -> None:
    for path in library.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert hashes(texts_of(library)) == (VALIDATION, SECRET)


@pytest.mark.parametrize("without", [["xmlrpc"], ["xmlrpc", "wsgiref", "modulefinder.py", "pyclbr.py"]])
def test_too_little_validation_text_is_said_with_its_numbers(library: Path, without: list[str]) -> None:
    for name in without:
        path = library / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(sources.TooLittle, match=r"bytes of validation text, 131,072 are needed"):
        texts_of(library)


def test_a_link_to_nowhere_among_the_sources_is_passed_over(library: Path) -> None:
    (library / "sitecustomize.py").unlink(missing_ok=True)
    (library / "sitecustomize.py").symlink_to("/etc/python0.0/sitecustomize.py")
    assert hashes(texts_of(library)) == (VALIDATION, SECRET)


# torch


@pytest.fixture(scope="module")
def torch() -> Any:
    pytest.importorskip("torch")
    return corpus.load("torch", Path("unused"), EVAL_BYTES)


def test_without_the_librarys_sources_torchs_are_taken_and_named(
    torch: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources.sysconfig, "get_path", lambda name: str(tmp_path))
    texts = corpus.load("stdlib", Path("unused"), EVAL_BYTES)
    assert texts.name == torch.name == f"torch {sources.torch_version()}"
    assert hash_of(texts.validation) == hash_of(torch.validation)
    assert capsys.readouterr().out == (
        f"Data: the standard library's sources are not installed under {tmp_path}; torch's own sources are taken instead\n"
    )


def test_without_either_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sources, "torch_folder", lambda: None)
    with pytest.raises(SystemExit, match=r"torch is not installed\. Install .* or take AUTORESEARCH_DATASET=folder"):
        corpus.load("stdlib", Path("unused"), EVAL_BYTES)


def test_the_folder_of_torchs_text_bears_its_version(tmp_path: Path) -> None:
    module: ModuleType = load_template("prepare", {"AUTORESEARCH_CACHE_DIR": str(tmp_path), "AUTORESEARCH_DATASET": "torch"})
    assert module.DATA_DIR.name == f"torch-{sources.torch_version()}-vocab512-v4"


# Of both


@pytest.fixture(params=["stdlib", "torch"])
def texts(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_no_held_out_text_is_trained_on(texts: Any) -> None:
    trained = set(texts.train())
    held = [*texts.validation, *texts.secret]
    assert set(texts.validation).isdisjoint(texts.secret)
    assert not [piece for piece in held if piece in trained]
    joined = "\n".join(trained)
    lines = set(joined.split("\n"))  # who has a piece has its lines: few are left to be searched for in 45 MB
    suspects = [piece for piece in held if len(piece) > 300 and lines.issuperset(piece.split("\n")[1:-1])]
    assert not [piece for piece in suspects if piece in joined]


def test_what_is_held_out_is_hidden_with_its_bytecode(texts: Any) -> None:
    meta = {"dataset": "stdlib", "version": 4, "hidden": texts.hidden}
    hidden = [Path(path) for path in held_out.to_hide(meta)]
    files = [file for path in hidden for file in ([path] if path.is_file() else path.rglob("*.py"))]
    everything = "\n".join(sources.read(path) for path in files if path.suffix == ".py")
    assert all(piece.strip("\n") in everything for piece in (*texts.validation[:-1], *texts.secret))
    named = [path for path in hidden if path.suffix == ".py"]
    assert {cached for path in named for cached in path.parent.glob(f"__pycache__/{path.stem}.*.pyc")} <= set(hidden)


@pytest.fixture(scope="module")
def imported() -> list[str]:
    """Every file that a training could import with what is usual."""
    code = (
        "import sys, torch, numpy, tiktoken, pyarrow.parquet, torch.utils.data, torch._dynamo, torch._inductor.compile_fx\n"
        "import torch.distributed, torch.nn.attention.flex_attention, torch.profiler, torch.utils.checkpoint\n"
        "import logging.handlers, urllib.request, multiprocessing.pool, concurrent.futures, http.client, decimal\n"
        "print('\\n'.join(str(getattr(module, '__file__', '')) for module in list(sys.modules.values())))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split("\n")


def test_no_training_imports_what_is_hidden(texts: Any, imported: list[str]) -> None:
    hidden = held_out.to_hide({"dataset": "stdlib", "version": 4, "hidden": texts.hidden})
    assert len(imported) > 1000
    assert not [path for path in imported for place in hidden if path == place or path.startswith(f"{place}/")]


def test_prepare_says_which_text_it_is(tmp_path: Path) -> None:
    command, env = [sys.executable, str(TEMPLATE / "prepare.py")], environment(tmp_path)
    done = [subprocess.run([*command, *more], env=env, capture_output=True, text=True) for more in ([], ["--check"])]
    assert "Text: stdlib/1\n" in done[1].stdout, done[0].stdout + done[0].stderr
    assert f"validation: 62,003 tokens, 131,072 bytes, {VALIDATION[:12]}" in done[1].stdout
