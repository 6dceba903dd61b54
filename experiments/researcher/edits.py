"""Edits: applied to files in memory and kept as JSON. Raises EditError and nothing else; writes no file."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from .base import Edit
from .edit_error import EditError
from .matching import replace_once
from .reply import MAX_EDITS, check_path, name_paths, parse_reply

__all__ = ["EditError", "apply_edits", "edits_from_json", "edits_to_json", "parse_reply"]

MAX_FILE_BYTES = 1_000_000
WHOLE_FILE_MIN_SHARE = 1 / 3  # a shorter "whole file" is taken for a fragment
WHOLE_FILE_MIN_LINES = 30


def apply_edits(files: Mapping[str, str], edits: Sequence[Edit]) -> dict[str, str]:
    """All of `files`, with the edits applied in order; `files` holds the editable files only.

    Raises EditError where an edit does not fit, nothing has changed, or a changed .py file is no Python.
    """
    if not edits:
        raise EditError("There is no edit to apply.")
    after = dict(files)
    for edit in edits:
        path = check_path(edit.path, files)
        _check_size(path, edit.replace)
        after[path] = _apply(after[path], edit, path)
        _check_size(path, after[path])
    if after == dict(files):
        raise EditError(f"The edits change nothing in {name_paths({edit.path for edit in edits})}.")
    _check_changed(files, after)
    return after


def replace_files(files: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, str]:
    """All of `files`, with the whole texts that a person wrote instead. Raises EditError as apply_edits does."""
    after = dict(files)
    for path, text in texts.items():
        path, unix = check_path(path, files), text.replace("\r\n", "\n")
        _check_size(path, text)
        after[path] = unix.replace("\n", "\r\n") if _is_crlf(after[path]) else unix
    if after == dict(files):
        raise EditError("Nothing is changed yet: edit a file first.")
    _check_changed(files, after)
    return after


def _check_changed(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    for path in after:
        if after[path] == before[path]:
            continue
        _check_text(path, after[path])
        if PurePosixPath(path).suffix == ".py":
            _check_python(path, after[path])


def edits_to_json(edits: Sequence[Edit]) -> str:
    return json.dumps([{"path": edit.path, "search": edit.search, "replace": edit.replace} for edit in edits])


def edits_from_json(text: str) -> tuple[Edit, ...]:
    """Raises EditError for text that `edits_to_json` did not write."""
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EditError(f"Stored edits are not JSON: {error}") from error
    if not isinstance(rows, list) or len(rows) > MAX_EDITS:
        raise EditError(f"Stored edits must be a list of at most {MAX_EDITS} objects.")
    return tuple(_edit_from(row) for row in rows)


def _edit_from(row: object) -> Edit:
    if not isinstance(row, dict) or set(row) != {"path", "search", "replace"}:
        raise EditError("A stored edit must have exactly path, search and replace.")
    path, search, replace = row["path"], row["search"], row["replace"]
    if not isinstance(path, str) or not isinstance(replace, str) or not isinstance(search, str | None):
        raise EditError("A stored edit holds text: path, search (or null) and replace.")
    return Edit(path, search, replace)


def _apply(text: str, edit: Edit, path: str) -> str:
    # Replies have Unix line ends; a file keeps its own.
    crlf = _is_crlf(text)
    unix = text.replace("\r\n", "\n") if crlf else text
    if edit.search is None:
        after = _whole(unix, edit.replace, path)
    else:
        after = replace_once(unix, edit.search.replace("\r\n", "\n"), edit.replace.replace("\r\n", "\n"), path)
    return after.replace("\r\n", "\n").replace("\n", "\r\n") if crlf else after


def _is_crlf(text: str) -> bool:
    return "\r\n" in text and text.count("\r\n") == text.count("\n")


def _whole(before: str, after: str, path: str) -> str:
    had, has = before.count("\n"), after.count("\n")
    if had >= WHOLE_FILE_MIN_LINES and has < had * WHOLE_FILE_MIN_SHARE:
        raise EditError(
            f"The text for {path} has {has} lines where the file has {had}: it looks like a part of it. "
            "Send the whole file, or SEARCH/REPLACE blocks."
        )
    return after


def _check_size(path: str, text: str) -> None:
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_FILE_BYTES:
        raise EditError(f"{path} would have {size:,} bytes; at most {MAX_FILE_BYTES:,} are allowed.")


def _check_text(path: str, text: str) -> None:
    if "\0" in text:
        raise EditError(f"{path} would hold a NUL character, so it would be no text file.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise EditError(f"{path} would hold a character that UTF-8 cannot write, at {error.start}.") from error


def _check_python(path: str, text: str) -> None:
    try:
        ast.parse(text)
    except SyntaxError as error:
        line = (error.text or "").strip()[:200]
        raise EditError(f"{path} is no Python after the edit: line {error.lineno}: {error.msg}: {line}") from error
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise EditError(f"{path} cannot be parsed as Python after the edit: {str(error) or type(error).__name__}") from error
