"""The profile for macOS's sandbox-exec, as text: no Mac has run it yet, and the words say so."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from experiments import doctor, words
from tests.trainer.launching import make_job
from trainer import held_out, launch, sandbox, seatbelt
from trainer.box import LIMITS, SEATBELT, Box, Level
from trainer.seatbelt import profile, wrap
from trainer.spec import Spec

RULE = re.compile(r"^\((allow|deny) (file-read\* file-write\*|file-read\*|file-write\*)\n(.*?)\)\)$", re.M | re.S)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("src", "out", "data/held_out"):
        (tmp_path / name).mkdir(parents=True)
    return Path(os.path.realpath(tmp_path))


def rules(text: str) -> list[tuple[str, str, list[str]]]:
    return [(verb, what, re.findall(r'subpath "(.*?)(?<!\\)"', paths)) for verb, what, paths in RULE.findall(text)]


def allowed(text: str, what: str, path: str) -> bool:
    """As sandbox-exec decides: the last rule that fits."""
    answer = False
    for verb, operations, paths in rules(text):
        if what in operations.split() and any(path == root or path.startswith(f"{root}/") for root in paths):
            answer = verb == "allow"
    return answer


def test_only_what_the_box_names_is_read_and_only_its_own_folders_written(place: Path) -> None:
    text = profile(Box(read=[f"{place}/src"], write=[f"{place}/out"]), [])
    assert text.startswith("(version 1)\n(deny default)\n")
    read = [name for name in ("src", "src/train.py", "out/x", "data", "") if allowed(text, "file-read*", f"{place}/{name}")]
    assert read == ["src", "src/train.py", "out/x"]
    assert [name for name in ("src", "src/x", "out/x", "") if allowed(text, "file-write*", f"{place}/{name}")] == ["out/x"]
    assert not allowed(text, "file-read*", str(Path.home()))


def test_what_is_hidden_comes_last_and_by_its_real_place(place: Path) -> None:
    (place / "link").symlink_to("data")
    text = profile(Box(read=[f"{place}/link"], write=[f"{place}/out"], hide=[f"{place}/link/held_out"]), [])
    assert [allowed(text, "file-read*", f"{place}/data/{name}") for name in ("train", "held_out/val")] == [True, False]
    assert [verb for verb, _, _ in rules(text)] == ["allow", "allow", "deny"]


def test_no_network_unless_the_box_has_it(place: Path) -> None:
    assert "network" not in profile(Box(), [])
    assert "(allow network*)\n" in profile(Box(network=True), [])


def test_other_pythons_are_looked_for_where_the_profile_lets_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "data" / "abc.py").touch()
    (place / "data" / "os.py").touch()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(seatbelt, "SYSTEM", [str(place)])
    assert f"{place}/data" in held_out.copies().libraries


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash", "(paren", "a ; comment", "umläut"])
def test_a_path_cannot_end_its_rule(place: Path, name: str) -> None:
    (place / name).mkdir()
    text = profile(Box(read=[f"{place}/{name}"]), [])
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    assert f'\n  (subpath "{place}/{quoted}")' in text
    bare = re.sub(r'"(\\.|[^"\\])*"', "", text)
    assert bare.count("(") == bare.count(")")


def test_the_command_stands_behind_the_profile() -> None:
    command = wrap(seatbelt.LEVEL.by, ["python", "train.py"], Box(), [])
    assert (command[:2], command[3:]) == (["/usr/bin/sandbox-exec", "-p"], ["python", "train.py"])


def test_on_a_mac_it_is_used_only_if_its_canary_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    found = {}
    for said in ("", "seatbelt does not hold: code can be written"):
        monkeypatch.setattr(sandbox, "_failure", lambda tried, read, said=said: said)
        found[said] = sandbox.level.__wrapped__()
    assert list(found.values()) == [seatbelt.LEVEL, Level(LIMITS, "seatbelt does not hold: code can be written")]


@pytest.mark.skipif(os.path.exists("/usr/bin/sandbox-exec"), reason="a Mac")
def test_where_there_is_no_such_program_the_words_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    found = sandbox.level.__wrapped__()
    assert found.name == LIMITS and "seatbelt could not be tried" in found.why and "sandbox-exec" in found.why


def test_a_training_is_told_to_the_shim_with_its_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "level", lambda read=(): seatbelt.LEVEL)
    launch.start(make_job(tmp_path / "w", "print()")).wait(30)
    spec = Spec.load(tmp_path / "w")
    assert spec.level == seatbelt.LEVEL and spec.sandbox is not None


def test_wherever_it_is_explained_it_is_called_unseen(settings, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    settings.SANDBOX = "auto"
    monkeypatch.setattr(sandbox, "level", lambda read=(): seatbelt.LEVEL)
    (check,) = doctor.sandbox_level()
    assert check.mark == doctor.COULD_BE_BETTER
    docs = (Path(__file__).parents[2] / "docs" / "trainer.md").read_text().partition("## Sandbox")[2].partition("\n## ")[0]
    for text in (check.words, words.SANDBOX[SEATBELT], seatbelt.LEVEL.why, seatbelt.__doc__, sandbox.__doc__, docs):
        assert text and "unseen" in text.lower()
