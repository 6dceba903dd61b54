"""The docs say what the code reads."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_every_setting_is_documented():
    read = set(re.findall(r'env_\w+\("([A-Z_]+)"', (ROOT / "autoresearch_web/settings.py").read_text()))
    documented = set(re.findall(r"^\| `([A-Z_]+)`", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    assert read - documented == set(), "read by settings.py, missing in docs/settings.md"
    assert documented - read == set(), "in docs/settings.md, but nothing reads it"


def test_every_command_of_the_readme_exists():
    text = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    commands = {path.stem for path in (ROOT / "experiments/management/commands").glob("*.py")}
    assert set(re.findall(r"manage\.py ([a-z_]+)", text)) <= commands | {"createsuperuser"}


def test_every_picture_of_the_readme_is_there():
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert pictures and all((ROOT / picture).exists() for picture in pictures)
