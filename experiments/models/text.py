"""Which text a score is about, by the judge's report. Numbers of different texts are never compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


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
