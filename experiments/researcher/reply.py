"""Reads a researcher's reply: idea, hypothesis, memo and edit blocks. Text in, Proposal out; touches no files."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from experiments.themes import theme

from .base import Edit, Proposal
from .edit_error import EditError
from .reply_header import Header, read_header
from .reply_lines import without_numbers
from .sweep_order import read_order

MAX_REPLY_CHARS = 4_000_000
MAX_EDITS = 200

SEARCH_MARK = re.compile(r"<{5,9} ?SEARCH\b[ :]*(?P<path>\S*)>?")
DIVIDER = re.compile(r"={5,9}")
REPLACE_MARK = re.compile(r">{5,9} ?(REPLACE)?\b.*|>{5,9}")
FENCE = re.compile(r"(?P<ticks>`{3,}|~{3,})(?P<info>[^`]*)")
PATH_LABEL = re.compile(r"(file ?name|file|path)\s*:\s*", re.IGNORECASE)
PATH_SHAPE = re.compile(r"([A-Za-z]:)?[^\s:;,|<>()=\[\]{}]*(/|\\|\.[A-Za-z]\w{0,7}$)[^\s:;,|<>()=\[\]{}]*")
# Matched against one stripped line of at most ELISION_CHARS: over a whole text it would take quadratic time.
ELISION = re.compile(
    r"((#|//|<!--) ?)?(\.{3}|…) ?(\(?(rest|existing|remaining|same|unchanged|keep|other|previous)\b.*)?"
    r"|(#|//).*\b(rest of (the )?(file|code)|existing code|unchanged code|remains? unchanged)\b.*",
    re.IGNORECASE,
)
ELISION_CHARS = 200

HUNK = re.compile(r"@@+ .{0,200}?@@|@@\s*$")
DIFF_NOISE = re.compile(r"(diff --git |index [0-9a-f]{4,}|(new|old|deleted) (file )?mode )")

FORMAT_REMINDER = (
    "Expected for each change: the file's path on a line of its own, then <<<<<<< SEARCH, the old lines, =======, "
    "the new lines, >>>>>>> REPLACE."
)


@dataclass
class Reading:
    """Lines of a reply sorted into edits and prose; `prose` keeps a None where an edit stood."""

    edits: list[Edit] = field(default_factory=list)
    prose: list[str | None] = field(default_factory=list)


def parse_reply(text: str, editable: Collection[str]) -> Proposal:
    """The proposal in a reply. Raises EditError, and nothing else, for text that holds none."""
    if len(text) > MAX_REPLY_CHARS:
        raise EditError(f"The reply has {len(text):,} characters; at most {MAX_REPLY_CHARS:,} are read.")
    lines = _lines_of(text)
    reading = _read_blocks(lines, editable)
    if not reading.edits:
        reading = _read_diffs(lines, editable)
    if not reading.edits:
        reading = _read_whole_files(lines, editable)
    if len(reading.edits) > MAX_EDITS:
        raise EditError(f"The reply holds {len(reading.edits)} edits; at most {MAX_EDITS} are applied.")
    return _proposal(reading, read_header(reading.prose), editable)


def _proposal(reading: Reading, header: Header, editable: Collection[str]) -> Proposal:
    sweep = read_order(header.sweep)
    if sweep is None and not reading.edits:
        unread = f" The SWEEP line could not be read: {header.sweep[:100]!r}." if header.sweep else ""
        raise EditError(f"No edit found in the reply.{unread} {FORMAT_REMINDER} Editable: {name_paths(editable)}.")
    if sweep is not None and reading.edits:
        raise EditError("The reply holds edits and a SWEEP line. Send one of them: blocks, or SWEEP without blocks.")
    changed = {edit.path for edit in reading.edits} | set(sweep.constants if sweep else ())
    idea = header.idea or "Change " + ", ".join(sorted(changed))
    memo = {**header.memo, "expect": header.expect} if header.expect is not None else header.memo
    return Proposal(
        idea, header.hypothesis, tuple(reading.edits), memo, theme=header.theme or theme(idea),
        next_ideas=header.next_ideas, sweep=sweep,
    )


def check_path(path: str, editable: Collection[str]) -> str:
    """`path` in the spelling of `editable`; EditError naming the editable files when it is not one of them."""
    plain = path.removeprefix("./")
    if plain in editable:
        return plain
    raise EditError(f"{path[:200]!r} may not be edited. Editable: {name_paths(editable)}.")


def name_paths(paths: Collection[str]) -> str:
    return ", ".join(sorted(paths)) or "no file at all"


def _lines_of(text: str) -> list[str]:
    # Lone surrogates can be neither stored nor committed.
    clean = text.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    if clean.lstrip().startswith("<think>"):  # local reasoning models send their draft, blocks included
        clean = clean.partition("</think>")[2] or clean
    return clean.split("\n")


def _read_blocks(lines: list[str], editable: Collection[str]) -> Reading:
    reading = Reading()
    at = 0
    while at < len(lines):
        mark = SEARCH_MARK.fullmatch(lines[at].strip())
        if mark is None:
            reading.prose.append(lines[at])
            at += 1
            continue
        path = _path_of_block(reading, mark["path"].rstrip(">"), editable)
        search, divider = _section(lines, at + 1, DIVIDER, "=======")
        replace, end = _section(lines, divider + 1, REPLACE_MARK, ">>>>>>> REPLACE")
        search, replace = without_numbers(search, replace)
        reading.edits.append(Edit(path, "\n".join(search), "\n".join(replace)))
        reading.prose.append(None)
        at = end + 1
    return reading


def _section(lines: list[str], start: int, end_mark: re.Pattern[str], wanted: str) -> tuple[list[str], int]:
    """The lines up to the one that is `end_mark`, without a fence drawn around them, and where that one stands."""
    for at in range(start, len(lines)):
        line = lines[at].strip()
        if end_mark.fullmatch(line):
            return _without_fence(lines[start:at]), at
        if SEARCH_MARK.fullmatch(line) or DIVIDER.fullmatch(line) or REPLACE_MARK.fullmatch(line):
            raise EditError(f"Line {at + 1} of the reply is {line[:40]!r}, where {wanted} was expected. {FORMAT_REMINDER}")
    raise EditError(f"The block that starts above line {start + 1} of the reply has no {wanted}: was the reply cut?")


def _without_fence(lines: list[str]) -> list[str]:
    if len(lines) >= 2 and FENCE.fullmatch(lines[0].strip()) and lines[-1].strip() in ("```", "~~~"):
        return lines[1:-1]
    return lines


def _path_of_block(reading: Reading, given: str, editable: Collection[str]) -> str:
    """The path on the marker or on the nearest line above it; that line is then no longer prose."""
    if given:
        return check_path(clean_path(given), editable)
    prose = reading.prose
    fence = ""
    for at in range(len(prose) - 1, -1, -1):
        line = prose[at]
        if line is None:
            break
        opening = FENCE.fullmatch(line.strip())
        if opening is None and line.strip():
            path = clean_path(line)
            if path in editable or PATH_SHAPE.fullmatch(path):
                prose[at] = ""
                return check_path(path, editable)
            break
        fence = fence or (opening["info"].strip() if opening else "")
        prose[at] = ""
    if (named := clean_path(fence.rpartition(" ")[2])) in editable:
        return named
    if reading.edits:
        return reading.edits[-1].path
    if len(editable) == 1:
        return next(iter(editable))
    raise EditError(f"A block names no file. {FORMAT_REMINDER} Editable: {name_paths(editable)}.")


def clean_path(line: str) -> str:
    """A path line without the bold, backticks, heading marks and labels that models write around it."""
    bare = line.strip().strip("*`#\"' \t").rstrip(":").strip("*`\"' \t")
    bare = PATH_LABEL.sub("", bare, count=1) if PATH_LABEL.match(bare) else bare
    return bare.strip("*`\"' \t").removeprefix("./")


def _read_diffs(lines: list[str], editable: Collection[str]) -> Reading:
    """Unified diffs: each hunk is an edit, found by its lines; its line numbers are seldom right, and not looked at."""
    reading = Reading()
    at, path = 0, ""
    while at < len(lines):
        if _is_diff_head(lines, at):
            path = check_path(diff_path(lines[at + 1]), editable)
            reading.prose.append(None)
            at += 2
        elif path and HUNK.match(lines[at]):
            search, replace, at = _hunk(lines, at + 1)
            reading.edits.append(Edit(path, "\n".join(search), "\n".join(replace)))
            reading.prose.append(None)
        else:
            reading.prose.append("" if DIFF_NOISE.match(lines[at]) else lines[at])
            path = "" if FENCE.fullmatch(lines[at].strip()) else path
            at += 1
    return reading


def _is_diff_head(lines: list[str], at: int) -> bool:
    return lines[at].startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ ")


def diff_path(line: str) -> str:
    """The path of a `+++ b/path` line."""
    path = line[4:].partition("\t")[0].strip().strip("\"`")
    return path.removeprefix("b/").removeprefix("./")


def _hunk(lines: list[str], start: int) -> tuple[list[str], list[str], int]:
    """Old lines, new lines, and where the hunk ends. A blank line counts as a blank line of the file."""
    at, end = start, start
    while at < len(lines) and not _is_diff_head(lines, at) and (not lines[at] or lines[at][0] in " +-\\\t"):
        at += 1
        end = at if lines[at - 1].strip() else end
    old, new = [], []
    for line in lines[start:end]:
        mark, text = line[:1], line[1:]
        if mark in {"", " ", "-", "\t"}:
            old.append(line if mark == "\t" else text)
        if mark in {"", " ", "+", "\t"}:
            new.append(line if mark == "\t" else text)
    return old, new, max(end, start)


def _read_whole_files(lines: list[str], editable: Collection[str]) -> Reading:
    """Path line, fence, the file, fence. A fence with no path line above it is prose: it may be a fragment."""
    reading = Reading()
    at = 0
    while at < len(lines):
        fence = FENCE.fullmatch(lines[at].strip())
        if fence is None:
            reading.prose.append(lines[at])
            at += 1
            continue
        end = next((i for i in range(at + 1, len(lines)) if lines[i].strip() == fence["ticks"]), None)
        path = _path_above(reading.prose)
        if path:
            if end is None:
                raise EditError(f"The fenced text for {path} is not closed: was the reply cut?")
            reading.edits.append(_whole_file(check_path(path, editable), lines[at + 1 : end], reading.edits))
        reading.prose.append(None)
        at = len(lines) if end is None else end + 1
    return reading


def _path_above(prose: list[str | None]) -> str:
    for at in range(len(prose) - 1, max(-1, len(prose) - 3), -1):
        line = prose[at]
        if line is None:
            return ""
        if line.strip():
            path = clean_path(line)
            if not PATH_SHAPE.fullmatch(path):
                return ""
            prose[at] = ""
            return path
    return ""


def _whole_file(path: str, lines: list[str], earlier: list[Edit]) -> Edit:
    lines, _ = without_numbers(lines, [])
    content = "\n".join(lines) + "\n"
    if any(edit.path == path for edit in earlier):
        raise EditError(f"The reply gives the whole of {path} twice. Send it once, or use SEARCH/REPLACE blocks.")
    for line in lines:
        if _is_elision(line):
            raise EditError(
                f"The text for {path} leaves lines out ({line.strip()[:60]!r}), so it is not the whole file. "
                f"{FORMAT_REMINDER}"
            )
    return Edit(path, None, content)


def _is_elision(line: str) -> bool:
    bare = line.strip()
    if bare == "..." and line[0].isspace():
        return False  # an empty Python body
    return len(bare) <= ELISION_CHARS and ELISION.fullmatch(bare) is not None
