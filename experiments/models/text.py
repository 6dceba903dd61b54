"""Which text a score is about, and which exam gave it, by the judge's report. Only what has both the same is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Case, F, TextField, Value, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact


@dataclass(frozen=True)
class Text:
    """Two are the same where their validation_hash is: the bytes that were scored."""

    dataset: str
    name: str  # "" for what was examined before texts had names
    validation_hash: str
    train_hash: str

    @classmethod
    def of(cls, exam: Mapping[str, Any]) -> Text | None:
        """None for a score that no judge gave."""
        if not exam.get("validation_hash"):
            return None
        return cls(*(str(exam.get(key, "")) for key in ("dataset", "text", "validation_hash", "train_hash")))

    def __str__(self) -> str:
        return f"{self.name or self.dataset} ({self.validation_hash[:12]})"


def differing(exams: Iterable[Mapping[str, Any]]) -> list[str]:
    """The texts by name where they are more than one, else none. A score without a judge's report is not counted."""
    texts = {text.validation_hash: str(text) for exam in exams if (text := Text.of(exam))}
    return list(texts.values()) if len(texts) > 1 else []


def version(exam: Mapping[str, Any]) -> int:
    """Of the exam; 0 for a score that no judge gave."""
    return int(exam.get("exam", 1)) if exam else 0


def versions(exams: Iterable[Mapping[str, Any]]) -> list[int]:
    """Of the exams where they are more than one, else none. A score without a judge's report is not counted."""
    found = sorted({version(exam) for exam in exams} - {0})
    return found if len(found) > 1 else []


def listed(found: list[int]) -> str:
    """1, 2 and 3"""
    return " and ".join(filter(None, [", ".join(map(str, found[:-1])), *map(str, found[-1:])]))


def version_of(row: str = "") -> Coalesce:
    """The version in a query; `row`: "" or a relation, as in "parent__"."""
    return Coalesce(KeyTextTransform("exam", f"{row}exam"), Value("1"), output_field=TextField())


def same_exam(other: str = "parent__") -> Exact:
    """In a query: whether one exam gave both scores."""
    return Exact(version_of(), version_of(other))


def parent_score() -> Case:
    """In a query: the score to compare with; none where another exam gave it."""
    return Case(When(same_exam(), then=F("parent__score")))
