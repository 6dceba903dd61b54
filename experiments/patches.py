"""A diff with the rest of its files around it, and as a mail that git can apply. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from functools import lru_cache
from io import StringIO
from itertools import chain

from unidiff.errors import UnidiffParseError
from unidiff.patch import Hunk, PatchedFile, PatchSet

PERSON = "autoresearch-web <autoresearch-web@localhost>"
_BREAKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029]")


@lru_cache(maxsize=256)
def counts(diff: str) -> tuple[int, int]:
    """(added, removed) lines."""
    patch = _parsed(diff)
    return patch.added, patch.removed


def paths(diff: str) -> list[str]:
    """The files that a diff leaves behind: those a whole-file view needs."""
    return [patched.path for patched in _parsed(diff) if not patched.is_removed_file and len(patched)]


def whole(diff: str, files: Mapping[str, str]) -> str:
    """The same diff with all unchanged lines of its files in it.

    A file whose text is missing in `files`, or is not what the diff leads to, stays as it is.
    """
    return "".join(chain.from_iterable(_whole(patched, files.get(patched.path)) for patched in _parsed(diff)))


def _parsed(diff: str) -> PatchSet:
    try:
        return PatchSet(StringIO(diff, newline="\n"))
    except (UnidiffParseError, ValueError):
        return PatchSet(StringIO(""))


def _whole(patched: PatchedFile, text: str | None) -> list[str]:
    lines = _lines(text or "")
    if not len(patched) or not all(_fits(hunk, lines) for hunk in patched):
        return [str(patched)]
    body: list[str] = []
    at = 0
    for hunk in patched:
        begin = _begin(hunk)
        body += [f" {line}" for line in lines[at:begin]]
        body += [str(line) for line in hunk]
        at = begin + hunk.target_length
    body += [f" {line}" for line in lines[at:]]
    old = len(lines) - patched.added + patched.removed
    heading = f"@@ -{int(old > 0)},{old} +{int(bool(lines))},{len(lines)} @@\n"
    return [f"--- {patched.source_file}\n", f"+++ {patched.target_file}\n", heading, *body]


def _begin(hunk: Hunk) -> int:
    """Index of the hunk's first line in the new file; a hunk without new lines names the one before it."""
    begin: int = hunk.target_start if not hunk.target_length else hunk.target_start - 1
    return begin


def _fits(hunk: Hunk, lines: list[str]) -> bool:
    begin = _begin(hunk)
    wanted = [line.value.rstrip("\r\n") for line in hunk if line.line_type in " +"]
    return [line.rstrip("\r\n") for line in lines[begin : begin + len(wanted)]] == wanted


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return [f"{line}\n" for line in (lines[:-1] if lines[-1] == "" else lines)]


def mail(diff: str, *, subject: str, body: str, commit: str, at: datetime) -> str:
    """The patch as `git format-patch` writes it: for `git am`, `git apply` and `patch -p1`.

    No line of `body` begins at the margin: git takes "diff -", "---" or "From " there for the patch itself.
    """
    words = "".join(f"  {line}\n" if line else "\n" for line in _BREAKS.sub(" ", body).split("\n")) if body else ""
    one_line = " ".join(_BREAKS.sub(" ", subject).split())
    title = Header(f"[PATCH] {one_line}", "us-ascii" if one_line.isascii() else "utf-8")
    return (
        f"From {commit if re.fullmatch('[0-9a-f]{40,64}', commit) else '0' * 40} Mon Sep 17 00:00:00 2001\n"
        f"From: {PERSON}\nDate: {format_datetime(at)}\nSubject: {title.encode()}\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n"
        f"{words}---\n{diff if diff.endswith(chr(10)) else diff + chr(10)}-- \nautoresearch-web\n"
    )
