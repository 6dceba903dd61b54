"""An expected failure of a stage. It is handled in one place, in engine.py; everything else is a bug and propagates."""

from __future__ import annotations

from experiments.states import Failure


class StageError(Exception):
    def __init__(self, reason: Failure, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


class NotReady(Exception):
    """The machine cannot train yet, and no idea is to blame: the run pauses for `cause`, and the row waits in its place."""

    def __init__(self, cause: str, words: str) -> None:
        self.cause = cause  # "data", "sandbox" or "device"
        super().__init__(words)


class LimitReached(Exception):
    """A limit of the run, in words: nothing more may be spent."""


class MergeConflict(Exception):
    """Two changes touch the same lines; `files` names where."""

    def __init__(self, files: list[str]) -> None:
        self.files = files
        super().__init__(f"the changes touch the same lines in {', '.join(files)}")


class BranchMoved(Exception):
    """The branch is not where we last set it: somebody else moved it."""

    def __init__(self, found: str) -> None:
        self.found = found
        super().__init__(f"the branch stands at {found or 'nothing'}")
