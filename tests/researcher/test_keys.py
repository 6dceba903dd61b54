"""Keys from the environment or from a file that only its owner reads; a broken one is refused in words, never shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.researcher import keys
from experiments.researcher.base import ResearcherError
from experiments.researcher.llm import LLMSettings
from experiments.researcher.redact import redact
from tests.researcher.calling import ask, ask_in_vain, impatient
from tests.standin_llm import StandIn

NAME, OTHER = "PLUGH_API_KEY", "XYZZY_SETTING"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "keys.env"
    write(path, f"# mine\n\nexport {NAME}='sk-from-file-1234'\n{OTHER}= plain-value-77 \n")
    yield path
    keys.load(None)


def write(path: Path, text: str, mode: int = 0o600) -> None:
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)


def refusal(path: Path) -> str:
    with pytest.raises(ResearcherError) as caught:
        keys.load(path)
    return str(caught.value)


def test_the_file_is_read_without_quotes_and_blanks(file: Path) -> None:
    keys.load(file)
    assert (os.environ[NAME], os.environ[OTHER]) == ("sk-from-file-1234", "plain-value-77")


def test_what_changes_in_the_file_holds_from_the_next_call_on(file: Path) -> None:
    keys.load(file)
    write(file, f"{NAME}=sk-changed-5678\n")
    keys.load(file)
    assert os.environ[NAME] == "sk-changed-5678" and OTHER not in os.environ
    file.unlink()
    keys.load(file)
    assert NAME not in os.environ


def test_the_environment_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAME, "sk-from-environment")
    keys.load(file)
    assert os.environ[NAME] == "sk-from-environment"
    file.unlink()
    keys.load(file)
    assert os.environ[NAME] == "sk-from-environment"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_can_read_is_refused_each_time(file: Path, mode: int) -> None:
    file.chmod(mode)
    for _ in range(2):
        assert f"(mode {mode:03o}): run `chmod 600 {file}`" in refusal(file)
    assert NAME not in os.environ
    file.chmod(0o600)
    keys.load(file)
    assert os.environ[NAME] == "sk-from-file-1234"


def test_no_file_is_no_key(tmp_path: Path) -> None:
    keys.load(tmp_path / "keys.env")
    assert keys.values() == frozenset()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sk-a-key-alone-123456\n", "Line 1 of the keys file"),
        (f"{NAME}=sk-good-123\nsk-second-line-777\n", "Line 2 of the keys file"),
        (f"{NAME}=sk-one sk-two-secret\n", f"The key in {NAME} holds a blank"),
        (f"{NAME}=sk-ключ-secret\n", f"The key in {NAME} holds a character that no key has"),
    ],
)
def test_a_line_that_is_no_key_is_named_and_not_shown(file: Path, text: str, words: str) -> None:
    write(file, text)
    found = refusal(file)
    assert words in found and "sk-" not in found.replace("sk-…", "")


def test_a_binary_file_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    assert "no text in UTF-8" in refusal(file)


def test_a_value_of_the_file_is_masked_whatever_its_name(file: Path) -> None:
    keys.load(file)
    assert redact("refused: plain-value-77 and sk-from-file-1234") == "refused: [redacted] and [redacted]"


@pytest.mark.parametrize(
    ("raw", "key"), [("sk-1", "sk-1"), (" sk-1\n", "sk-1"), ("'sk-1'", "sk-1"), ('" sk-1 "', "sk-1"), ("", ""), ("'", "'")]
)
def test_blanks_and_quotes_around_a_key_are_taken_off(raw: str, key: str) -> None:
    assert keys.clean_key(NAME, raw) == key


@pytest.mark.parametrize(
    ("raw", "what"),
    [("sk-1\nsk-2", "a line break"), ("sk-1\r\nx", "a line break"), ("sk 1", "a blank"), ("sk-\x00", "a character that no")],
)
def test_a_key_that_cannot_be_sent_is_refused(raw: str, what: str) -> None:
    with pytest.raises(ResearcherError) as caught:
        keys.clean_key(NAME, raw)
    assert f"The key in {NAME} holds {what}" in str(caught.value)
    assert "sk" not in str(caught.value)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", keys.API_BASE_KEY])
def test_a_key_with_a_line_break_is_refused_before_any_call(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-fine-123456")
    monkeypatch.setenv(name, "sk-one-123456\nsk-two-123456")
    with StandIn() as server:
        _, error = ask_in_vain(impatient("openai/standin", server.api_base))
        assert server.requests == []
    assert str(error) == f"The key in {name} holds a line break. Copy it again, as one line, then restart."


def test_a_key_in_quotes_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.API_BASE_KEY, ' "own-0123456789"\n')
    with StandIn() as server:
        ask(impatient("openai/standin", server.api_base))
        assert server.headers[0]["authorization"] == "Bearer own-0123456789"


def test_the_key_of_an_own_server_may_stand_in_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(keys.API_BASE_KEY, raising=False)
    write(file, f"{keys.API_BASE_KEY}=own-from-file-1\n")
    with StandIn() as server:
        ask(impatient("openai/standin", server.api_base, shared=LLMSettings(keys_file=file)))
        assert server.headers[0]["authorization"] == "Bearer own-from-file-1"


def test_a_missing_key_says_where_it_may_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    path = tmp_path / "keys.env"
    _, error = ask_in_vain(impatient("openai/gpt-4o", shared=LLMSettings(keys_file=path)))
    assert f"set OPENAI_API_KEY in the environment or in {path}" in str(error)


def test_a_mask_covers_a_key_that_is_quoted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "first-part-123\nsecond-part-456")
    assert redact("Illegal header value b'Bearer first-part-123\\nsecond-part-456'").count("part") == 0
