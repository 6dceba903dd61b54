"""The template's fixed files as modules, as a training sees them: by their plain names."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from unittest import mock

TEMPLATE = Path(__file__).resolve().parents[2] / "trainer" / "template"


def load_template(name: str, environment: Mapping[str, str] | None = None) -> ModuleType:
    """The template's file NAME.py, run anew under this environment. What it imports of its neighbours is found."""
    if str(TEMPLATE) not in sys.path:
        sys.path.append(str(TEMPLATE))
    if environment is None and name in sys.modules:
        return sys.modules[name]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AUTORESEARCH_")}
    with mock.patch.dict(os.environ, kept | dict(environment or {}), clear=True):
        spec = importlib.util.spec_from_file_location(name, TEMPLATE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        if environment is None:
            sys.modules[name] = module
        spec.loader.exec_module(module)
    return module


def environment(cache: Path, **more: str) -> dict[str, str]:
    """Of a process that trains or prepares by hand."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AUTORESEARCH_")}
    return kept | {"AUTORESEARCH_CACHE_DIR": str(cache), "AUTORESEARCH_THREADS": "1"} | more
