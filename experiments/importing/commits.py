"""Which commit each row of a table means, whom it builds on, and the diff between the two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from experiments.importing.repository import Commit, Copy
from experiments.importing.tsv import KEEP, Row

MAX_BRIEF = 200_000  # characters of program.md
NO_COMMIT = "The table names no commit, so there is no diff."


@dataclass(frozen=True)
class Found:
    """What git knows of one row; `detail` says what is missing."""

    commit: str = ""  # in full; "" where it is not there
    diff: str = ""
    detail: str = ""
    at: datetime | None = None


@dataclass(frozen=True)
class Known:
    """What git knows of a table. `parents` are indexes of rows; `copy` is None where there is no repository."""

    found: tuple[Found, ...]
    parents: tuple[int | None, ...]
    copy: Copy | None = None
    branch: str = ""
    tip: str = ""
    base: str = ""  # the commit that everything started from
    brief: str = ""

    @classmethod
    def nothing(cls, rows: Sequence[Row]) -> Known:
        return cls(tuple(Found() for _ in rows), parents_of(rows))


def parents_of(rows: Sequence[Row]) -> tuple[int | None, ...]:
    """Each row builds on the last one kept before it."""
    best: int | None = None
    parents: list[int | None] = []
    for index, row in enumerate(rows):
        parents.append(best)
        if row.status == KEEP and row.score is not None:
            best = index
    return tuple(parents)


def know(copy: Copy, rows: Sequence[Row], branch: str, tip: str) -> Known:
    there = copy.resolve(row.commit.lower() for row in rows if row.has_hash)
    history = copy.commits(tip, there.values())
    titles = _titles(history)
    meant = [_meant(row, there, titles) for row in rows]
    base = _base(copy, rows, meant) or tip
    if rows[0].is_baseline and not meant[0][0]:
        meant[0] = (base, "")
    parents = parents_of(rows)
    found = tuple(_found(copy, index, meant, parents[index], history) for index in range(len(rows)))
    brief = copy.file(tip, "program.md", MAX_BRIEF) or b""
    return Known(found, parents, copy, branch, tip, base, brief.decode(errors="replace").replace("\0", ""))


def _titles(history: dict[str, Commit]) -> dict[str, str]:
    """Commits by their title, where only one has it."""
    counts = Counter(commit.subject for commit in history.values())
    return {commit.subject: sha for sha, commit in history.items() if counts[commit.subject] == 1}


def _meant(row: Row, there: dict[str, str], titles: dict[str, str]) -> tuple[str, str]:
    """(commit, what to say of it). A hash that was amended away is found again by its title."""
    if not row.has_hash:
        return "", NO_COMMIT
    if commit := there.get(row.commit.lower(), ""):
        return commit, ""
    missing = f"The commit {row.commit[:12]} is not in the repository"
    if same := titles.get(row.description, ""):
        return same, f"{missing}; by its title it is {same[:7]}."
    return "", f"{missing}, so there is no diff."


def _base(copy: Copy, rows: Sequence[Row], meant: Sequence[tuple[str, str]]) -> str:
    """The baseline's commit: its own, or the one below the first that is there."""
    commits = [commit for commit, _ in meant if commit]
    if not commits:
        return ""
    return commits[0] if rows[0].is_baseline and meant[0][0] else copy.parent(commits[0]) or commits[0]


def _found(
    copy: Copy, index: int, meant: Sequence[tuple[str, str]], parent: int | None, history: dict[str, Commit]
) -> Found:
    commit, detail = meant[index]
    if not commit:
        return Found(detail=detail)
    at = history[commit].at if commit in history else None
    if parent is None:
        return Found(commit, "", detail, at)
    below = meant[parent][0]
    if not below:
        below = copy.parent(commit)
        detail = _joined(detail, f"The commit of #{parent}, its parent, is not there: the diff is against {below[:7]}, "
                         "the commit before it." if below else "It has no parent, so there is no diff.")  # fmt: skip
    diff = copy.diff(below, commit) if below else ""
    if diff is None:
        return Found(commit, "", _joined(detail, "Its diff is over 1 MB and was left out; the commit is there."), at)
    return Found(commit, diff, detail if diff or not below else _joined(detail, "Its commit changes nothing."), at)


def _joined(*texts: str) -> str:
    return " ".join(text for text in texts if text)
