"""Why an import is not made: a text for the person who asked for it, and the field it belongs to."""

from __future__ import annotations

from typing import Literal

Field = Literal["source", "branch", "table"]


class ImportRefused(Exception):
    """Nothing was imported. `run` is the id of the run that is there already, where that is the reason."""

    def __init__(self, why: str, field: Field = "source", *, run: int | None = None) -> None:
        super().__init__(why)
        self.field: Field = field
        self.run = run
