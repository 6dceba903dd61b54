"""Keys of LLM providers: from the environment, or from a file that only its owner can read. Never stored elsewhere.

litellm reads the environment, so the file's lines are put there, for this process only; what the environment already
sets wins. A training never sees any of it: its own environment is an allow-list.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from pathlib import Path

from .base import ResearcherError

API_BASE_KEY = "AUTORESEARCH_API_BASE_KEY"  # for the address on a program page, and for nothing else
NO_KEY = "none"  # many servers of one's own need no key, but the client demands one
LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)\Z")
ENDINGS = ("_API_KEY", "_TOKEN")

_lock = threading.Lock()
_from_file: dict[str, str] = {}  # what we have put into the environment
_seen: tuple[object, ...] = ()


def load(path: Path | None) -> None:
    """Takes over what has changed in the file. Raises ResearcherError for one that others can read, or that is no list."""
    global _seen
    with _lock:
        facts = _facts(path)
        if facts == _seen:
            return
        fresh = _read(path) if path is not None and len(facts) > 1 else {}
        for name in _from_file.keys() - fresh.keys():
            if os.environ.get(name) == _from_file.pop(name):
                del os.environ[name]
        for name, value in fresh.items():
            if name not in os.environ or os.environ[name] == _from_file.get(name):
                os.environ[name] = _from_file[name] = value
        _seen = facts


def values() -> frozenset[str]:
    """Of the file, for redaction."""
    return frozenset(_from_file.values())


def _facts(path: Path | None) -> tuple[object, ...]:
    try:
        found = path.stat() if path is not None else None
    except OSError:
        found = None
    return (str(path),) if found is None else (str(path), found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)


def why_unsafe(path: Path) -> str:
    """What is wrong with the file's mode, with the next step; "" where nothing is, or where there is none."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return ""
    if mode & 0o077:
        return f"The keys file {path} can be read by others (mode {mode:03o}): run `chmod 600 {path}`."
    return ""


def _read(path: Path) -> dict[str, str]:
    unsafe = why_unsafe(path)
    if unsafe:
        raise ResearcherError(f"{unsafe} Then resume the run.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ResearcherError(f"The keys file {path} cannot be read: {reason}.") from None
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = LINE.match(line.strip())
        if match is None:  # the line itself may be a key: it is not shown
            raise ResearcherError(f"Line {number} of the keys file {path} is not NAME=value, such as OPENAI_API_KEY=sk-….")
        found[match[1]] = clean_key(match[1], match[2])
    return found


def clean_key(name: str, raw: str) -> str:
    """The key without blanks and quotes around it. Raises ResearcherError for one that cannot be sent."""
    key = raw.strip()
    if len(key) >= 2 and key[0] == key[-1] and key[0] in "\"'":
        key = key[1:-1].strip()
    for wrong, what in ((r"[\r\n]", "a line break"), (r"\s", "a blank"), (r"[^\x21-\x7e]", "a character that no key has")):
        if re.search(wrong, key):
            raise ResearcherError(f"The key in {name} holds {what}. Copy it again, as one line, then restart.")
    return key


def tidy(provider: str) -> None:
    """Cleans the provider's keys in the environment, whatever litellm calls them. Raises ResearcherError."""
    wanted = provider.upper().split("_")[0]
    for name, raw in list(os.environ.items()):
        if name.endswith(ENDINGS) and name.upper().startswith(wanted):
            cleaned = clean_key(name, raw)
            if cleaned != raw:
                os.environ[name] = cleaned


def api_base_key() -> str:
    return clean_key(API_BASE_KEY, os.environ.get(API_BASE_KEY, "")) or NO_KEY

