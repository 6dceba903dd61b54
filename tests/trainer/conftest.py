"""Prepared data for the tests of the trainer's template, made once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.trainer.template_modules import TEMPLATE, environment, load_template


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data, asked for by two processes at once."""
    cache = tmp_path_factory.mktemp("cache")
    command = [sys.executable, str(TEMPLATE / "prepare.py")]
    both = [subprocess.Popen(command, env=environment(cache), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=170)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert sorted("already prepared" in output for output in outputs) == [False, True], outputs
    return cache


@pytest.fixture(scope="session")
def prepare(cache_dir: Path) -> ModuleType:
    """The template's prepare.py as a module, with the prepared cache as its own."""
    return load_template("prepare", {"AUTORESEARCH_CACHE_DIR": str(cache_dir)})


@pytest.fixture(scope="session")
def tokenizer(prepare: ModuleType) -> Any:
    return prepare.Tokenizer.from_directory()
