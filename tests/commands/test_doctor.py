"""manage.py doctor: a line for each part, the next step where something is wrong, never a traceback."""

from __future__ import annotations

import io

import pytest
from django.core.management import call_command

from experiments import doctor

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(180)]


def run() -> tuple[str, int]:
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", stdout=out)
    return out.getvalue(), int(ended.value.code or 0)


def test_each_part_has_its_line_on_this_machine() -> None:
    text, code = run()
    assert code == 0, text
    for name in ("torch", "device", "attention", "data", "judge", "sandbox", "disk", "git", "redis", "LLM key"):
        assert any(line[2:].startswith(name) for line in text.splitlines()), name
    assert "✓ judge" in text


def test_a_redis_that_is_away_is_broken_and_has_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    (check,) = doctor.redis()
    assert check.mark == doctor.BROKEN and "REDIS_URL" in check.next_step


def test_a_key_is_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    (check,) = doctor.llm_key()
    assert "OPENAI_API_KEY" in check.words and "very-secret" not in check.words


def test_a_check_that_raises_is_a_broken_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def disk():  # type: ignore[no-untyped-def]
        raise OSError("no such device")
        yield

    monkeypatch.setattr(doctor, "CHECKS", (disk, doctor.llm_key))
    text, code = run()
    assert code == 1
    assert "✗ disk       OSError: no such device" in text and "Traceback" not in text and "LLM key" in text


def test_switched_off_sandbox_says_what_that_means(settings) -> None:  # type: ignore[no-untyped-def]
    settings.SANDBOX = "off"
    (check,) = doctor.sandbox_level()
    assert check.mark == doctor.COULD_BE_BETTER and "AUTORESEARCH_SANDBOX" in check.next_step
