"""Parsers of environment variables: a bad value stops the start and says what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoresearch_web.env import (
    ConfigError,
    env_bool,
    env_choice,
    env_folder,
    env_int,
    env_list,
    env_path,
    env_paths,
    env_text,
    env_zone,
)


@pytest.fixture
def given(monkeypatch):
    return lambda value: monkeypatch.setenv("AR_TEST", value)


@pytest.mark.parametrize(("value", "expected"), [("", 7), ("  ", 7), ("0", 0), (" 12 ", 12), ("100", 100)])
def test_a_whole_number(given, value, expected):
    given(value)
    assert env_int("AR_TEST", 7, low=0, high=100) == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [("soon", "AR_TEST='soon': expected a whole number, as in AR_TEST=7"), ("1.5", "expected a whole number"),
     ("-1", "AR_TEST=-1: expected a number from 0 to 100"), ("101", "AR_TEST=101: expected a number from 0 to 100")],
)
def test_what_is_no_such_number_stops_the_start_with_words(given, value, words):
    given(value)
    with pytest.raises(ConfigError, match=words):
        env_int("AR_TEST", 7, low=0, high=100)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("False", False), ("no", False)],
)
def test_a_switch(given, value, expected):
    given(value)
    assert env_bool("AR_TEST", not expected) is expected


@pytest.mark.parametrize("default", [True, False])
def test_an_empty_switch_is_its_default(given, default):
    given("")
    assert env_bool("AR_TEST", default) is default


def test_what_is_no_switch_stops_the_start_with_words(given):
    given("perhaps")
    with pytest.raises(ConfigError, match="AR_TEST='perhaps': expected 1 or 0"):
        env_bool("AR_TEST", True)


def test_a_choice_is_one_of_its_words_the_first_without_any(given):
    given("")
    assert env_choice("AR_TEST", "sweep", "litellm") == "sweep"
    given("litellm")
    assert env_choice("AR_TEST", "sweep", "litellm") == "litellm"
    given("gpt")
    with pytest.raises(ConfigError, match="AR_TEST='gpt': expected sweep or litellm"):
        env_choice("AR_TEST", "sweep", "litellm")


def test_a_time_zone_is_one_that_exists(given):
    given("Europe/Berlin")
    assert env_zone("AR_TEST", "UTC") == "Europe/Berlin"
    for value in ("Europe/Nowhere", "/etc/passwd", ":x"):
        given(value)
        with pytest.raises(ConfigError, match="expected a time zone, as in AR_TEST=Europe/Berlin"):
            env_zone("AR_TEST", "UTC")


@pytest.mark.parametrize(("value", "expected"), [("", []), (" , ", []), ("a", ["a"]), (" a, b ,,c", ["a", "b", "c"])])
def test_a_list(given, value, expected):
    given(value)
    assert env_list("AR_TEST") == expected


def test_a_text_is_stripped_and_an_empty_one_is_its_default(given):
    given("  word ")
    assert env_text("AR_TEST", "other") == "word"
    given(" ")
    assert env_text("AR_TEST", "other") == "other"


def test_a_path_is_absolute_and_knows_the_home_folder(given, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    given("~/data")
    assert env_path("AR_TEST", Path("/default")) == Path("/home/ada/data")
    given("")
    assert env_path("AR_TEST", Path("/default")) == Path("/default")


def test_paths_are_absolute_and_there(given, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a").touch()
    given(f" ~/a : {tmp_path}:")
    assert env_paths("AR_TEST") == [f"{tmp_path}/a", str(tmp_path)]
    given("")
    assert env_paths("AR_TEST") == []
    for value in ("tests", "/no/such/folder", f"{tmp_path}:b"):
        given(value)
        with pytest.raises(ConfigError, match=r"does not exist\. Expected absolute paths, as in AR_TEST=/data:/opt/tools"):
            env_paths("AR_TEST")


def test_a_bad_value_ends_the_process_without_a_traceback():
    assert issubclass(ConfigError, SystemExit)


def test_a_folder_is_its_whole_path_or_nothing(given, tmp_path):
    given("")
    assert env_folder("AR_TEST") == ""
    given(f" {tmp_path} ")
    assert env_folder("AR_TEST", apart_from=tmp_path.parent) == str(tmp_path)


@pytest.mark.parametrize(
    ("value", "words"),
    [("home/agent", "whole path of a folder"), ("/no/such/folder", "whole path of a folder"), (__file__, "whole path"),
     ("~", "not your home folder"), ("/", "not your home folder")],
)
def test_what_is_no_folder_to_write_to_stops_the_start(given, value, words):
    given(value)
    with pytest.raises(ConfigError, match=words):
        env_folder("AR_TEST")


@pytest.mark.parametrize("parse", [env_folder, env_paths])
def test_a_folder_with_our_data_in_it_is_refused(given, tmp_path, parse):
    data = tmp_path / "autoresearch" / "var"
    data.mkdir(parents=True)
    for path in (tmp_path, data):
        given(str(path))
        with pytest.raises(ConfigError, match="with the database and its keys"):
            parse("AR_TEST", apart_from=data)
