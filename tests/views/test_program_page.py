from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from experiments import tasks
from experiments.forms_program import MAX_BRIEF, SettingsForm, free_tag
from experiments.models import Program, Run
from experiments.states import Mode, State, StateError
from tests.factories import make_experiment, make_program, make_run

HTMX = {"HX-Request": "true"}
SETTINGS = {"budget_seconds": 300, "grace_seconds": 120, "researcher": "sweep", "model": "", "api_base": ""}


@pytest.fixture
def program(db: None) -> Program:
    return make_program()


def save(client: Client, program: Program, text: str, based_on: object = 1, **headers: str) -> Any:
    url = reverse("program-brief", args=[program.pk])
    return client.post(url, {"text": text, "based_on": based_on}, headers=headers or None)


# The brief


def test_the_page_shows_the_brief_and_its_version(signed_in: Client, program: Program):
    page = signed_in.get(reverse("program", args=[program.pk])).text
    assert "# Aim\n\nLower val_bpb.\n</textarea>" in page
    assert "Version 1 by template" in page


def test_saving_makes_a_version_and_says_so(signed_in: Client, program: Program):
    answer = signed_in.post(
        reverse("program-brief", args=[program.pk]), {"text": "New aim\r\nof two lines", "based_on": 1}, follow=True
    )
    assert program.brief.number == 2
    assert program.brief.text == "New aim\nof two lines"
    assert program.brief.author == "owner"
    assert "Saved as version 2" in answer.text


def test_saving_by_htmx_leaves_the_editor_alone(signed_in: Client, program: Program):
    answer = save(signed_in, program, "New aim", **HTMX)
    assert "Saved as version 2" in answer.text
    assert 'name="based_on" value="2"' in answer.text
    assert "<textarea" not in answer.text


def test_saving_the_same_text_makes_no_version(signed_in: Client, program: Program):
    answer = save(signed_in, program, program.brief.text.replace("\n", "\r\n"), **HTMX)
    assert "Nothing to save" in answer.text
    assert program.briefs.count() == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be empty"),
        (" \n\t\r\n ", "cannot be empty"),
        ("ok\nthen\x00binary", "Line 2 holds a control character (code 0)"),
        ("\x1b[31mred", "code 27"),
        ("caf\ufffd", "not valid UTF-8"),
        ("x" * (MAX_BRIEF + 1), "200,001 characters; at most 200,000"),
        ("x" * 5_000_000, "5,000,000 characters"),
    ],
)
def test_a_refused_text_stays_in_the_editor(signed_in: Client, program: Program, text: str, why: str):
    answer = save(signed_in, program, text)
    assert answer.status_code == 422
    assert why in answer.text
    assert f"\n{text.replace(chr(13), '')}</textarea>" in answer.text.replace("\r", "")
    assert program.briefs.count() == 1


def test_a_long_text_within_the_limit_is_saved(signed_in: Client, program: Program):
    assert save(signed_in, program, "ä" * MAX_BRIEF).status_code == 302


def test_html_in_the_brief_is_text(signed_in: Client, program: Program):
    save(signed_in, program, "</textarea><script>alert(1)</script>")
    for url in (reverse("program", args=[program.pk]), reverse("program-brief-version", args=[program.pk, 2])):
        page = signed_in.get(url).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_a_second_editor_gets_both_texts_and_loses_none(signed_in: Client, program: Program):
    program.save_brief("# Aim\n\nTheirs.\n", by="mara", based_on=1)
    answer = save(signed_in, program, "# Aim\n\nMine.\n")
    assert answer.status_code == 409
    assert "mara saved version 2" in answer.text
    assert "\n# Aim\n\nMine.\n</textarea>" in answer.text
    assert "Theirs." in answer.text
    assert 'name="based_on" value="2"' in answer.text
    assert program.briefs.count() == 2


def test_saving_again_after_a_conflict_is_deliberate(signed_in: Client, program: Program):
    program.save_brief("Theirs", by="mara", based_on=1)
    save(signed_in, program, "Mine")
    assert save(signed_in, program, "Mine", 2).status_code == 302
    assert program.brief.text == "Mine"


def test_a_conflict_by_htmx_is_a_409_with_the_diff(signed_in: Client, program: Program):
    program.save_brief("Theirs", by="mara", based_on=1)
    answer = save(signed_in, program, "Mine", **HTMX)
    assert answer.status_code == 409
    assert 'id="brief-status"' in answer.text
    assert "<textarea" not in answer.text


@pytest.mark.parametrize("based_on", ["", "x", "0", "-1", "9" * 30])
def test_a_broken_base_saves_nothing(signed_in: Client, program: Program, based_on: str):
    assert save(signed_in, program, "Mine", based_on).status_code in {409, 422}
    assert program.briefs.count() == 1


def test_a_double_click_makes_one_version(signed_in: Client, program: Program):
    save(signed_in, program, "Mine")
    save(signed_in, program, "Mine")
    assert program.briefs.count() == 2


def test_an_old_version_shows_what_has_changed_and_can_be_restored(signed_in: Client, program: Program):
    program.save_brief("# Aim\n\nRaise it.\n", by="mara", based_on=1)
    page = signed_in.get(reverse("program-brief-version", args=[program.pk, 1])).text
    assert "Restore as new version" in page
    assert "Raise" in page
    save(signed_in, program, "# Aim\n\nLower val_bpb.\n", 2)
    assert (program.brief.number, program.brief.text) == (3, "# Aim\n\nLower val_bpb.\n")


def test_the_current_version_has_nothing_to_restore(signed_in: Client, program: Program):
    page = signed_in.get(reverse("program-brief-version", args=[program.pk, 1])).text
    assert "Restore" not in page
    assert "Nothing has changed since" in page


def test_versions_show_how_often_their_ideas_were_kept(signed_in: Client, program: Program):
    run = make_run(program)
    make_experiment(run, score=1.3)
    for state in (State.KEPT, State.DISCARDED, State.FAILED, State.REVERTED, State.TRAINING):
        make_experiment(run, state)
    page = signed_in.get(reverse("program", args=[program.pk]) + "?part=versions").text
    assert "50 %" in page  # kept and reverted, of four that were judged; the baseline and the live one do not count
    assert "<textarea" not in page


@pytest.mark.parametrize("path", ["/programs/99/", "/programs/1/brief/99/", "/programs/99/brief/1/", "/programs/0/"])
def test_what_does_not_exist_is_a_404(signed_in: Client, program: Program, path: str):
    assert signed_in.get(path).status_code == 404


@pytest.mark.parametrize("name", ["program-brief", "program-settings", "program-start-run"])
def test_changes_are_posts_by_who_is_signed_in(signed_in: Client, client: Client, program: Program, name: str):
    url = reverse(name, args=[program.pk])
    assert signed_in.get(url).status_code == 405
    assert reverse("sign-in") in Client().post(url)["Location"]


# Settings


def save_settings(client: Client, program: Program, **changed: object) -> HttpResponse:
    return client.post(reverse("program-settings", args=[program.pk]), {**SETTINGS, **changed})


def test_settings_are_saved(signed_in: Client, program: Program):
    answer = save_settings(
        signed_in, program, budget_seconds=60, researcher="litellm", model=" openai/gpt-x ", api_base="http://ollama:11434/v1"
    )  # fmt: skip
    program.refresh_from_db()
    assert answer.status_code == 302
    assert (program.budget_seconds, program.researcher, program.model) == (60, "litellm", "openai/gpt-x")
    assert program.api_base == "http://ollama:11434/v1"


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("budget_seconds", "-5", "from 5 to 86,400"),
        ("budget_seconds", "4", "from 5 to 86,400"),
        ("budget_seconds", "86401", "from 5 to 86,400"),
        ("budget_seconds", "1e3", "whole number"),
        ("budget_seconds", "9" * 5000, "whole number"),
        ("budget_seconds", "", "whole number"),
        ("grace_seconds", "9", "from 10 to 86,400"),
        ("researcher", "root", "not one of the available choices"),
        ("api_base", "ftp://x/", "http:// or https://"),
        ("api_base", "javascript:alert(1)", "http:// or https://"),
        ("api_base", "http://", "http:// or https://"),
        ("api_base", "http://[::1", "http:// or https://"),
        ("api_base", "http://x:99999/", "http:// or https://"),
        ("api_base", "http://a b/", "http:// or https://"),
        ("api_base", "https://me:key@host/", "Leave keys out"),
    ],
)
def test_a_bad_setting_says_what_is_right_and_changes_nothing(
    signed_in: Client, program: Program, field: str, value: str, why: str
):
    answer = save_settings(signed_in, program, **{field: value})
    assert answer.status_code == 422
    assert why in answer.content.decode()
    before = SettingsForm(instance=Program.objects.get(pk=program.pk)).initial
    assert before == {**SETTINGS, "budget_seconds": 20}


def test_an_llm_needs_a_model(signed_in: Client, program: Program):
    answer = save_settings(signed_in, program, researcher="litellm", model="  ")
    assert "An LLM needs a model" in answer.content.decode()


# Runs


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    calls: list[tuple[str, dict[str, Any]]] = []

    def start_run(program: Program, tag: str, **options: Any) -> Run:
        calls.append((tag, options))
        return make_run(program, tag)

    monkeypatch.setattr(tasks, "start_run", start_run)
    return calls


def start(client: Client, program: Program, **data: object) -> Any:
    form = {"tag": "mar5", "mode": "autopilot", "max_experiments": "", "hours": "", **data}
    return client.post(reverse("program-start-run", args=[program.pk]), form)


def test_a_run_starts_with_its_limits(signed_in: Client, program: Program, started: list[Any]):
    answer = start(signed_in, program, tag=" Mar5 ", mode="approve_diffs", max_experiments="20", hours="0.5")
    assert answer["Location"] == reverse("run", args=[Run.objects.get().pk])
    options = {"mode": Mode.APPROVE_DIFFS, "max_experiments": 20, "hours": 0.5, "by": "owner"}
    assert started == [("mar5", options)]


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("tag", "", "Give the run a tag"),
        ("tag", "-rf", "letters a to z"),
        ("tag", "../main", "letters a to z"),
        ("tag", "a b", "letters a to z"),
        ("tag", "mär", "letters a to z"),
        ("tag", "x" * 61, "at most 60"),
        ("tag", "demo", "already has a run demo"),
        ("mode", "yolo", "not one of the available choices"),
        ("max_experiments", "0", "from 1 to 100,000"),
        ("max_experiments", "-3", "from 1 to 100,000"),
        ("max_experiments", "1000000", "from 1 to 100,000"),
        ("hours", "0", "from 0.05"),
        ("hours", "nan", "from 0.05"),
        ("hours", "inf", "from 0.05"),
        ("hours", "1001", "from 0.05"),
    ],
)
def test_a_bad_start_starts_nothing(
    signed_in: Client, program: Program, started: list[Any], field: str, value: str, why: str
):
    make_run(program, "demo")
    answer = start(signed_in, program, **{field: value})
    assert answer.status_code == 422
    assert why in answer.text
    assert started == []


def test_a_tag_lost_to_somebody_faster_is_said(signed_in: Client, program: Program, monkeypatch: pytest.MonkeyPatch):
    def start_run(*_: object, **__: object) -> Run:
        raise StateError("There is already a run 'mar5'.")

    monkeypatch.setattr(tasks, "start_run", start_run)
    answer = start(signed_in, program)
    assert answer.status_code == 422
    assert "already a run" in answer.text


def test_the_tag_is_the_day_or_the_next_free_one(program: Program):
    day = date(2026, 11, 23)
    assert free_tag(program, day) == "nov23"
    make_run(program, "nov23")
    assert free_tag(program, day) == "nov23-2"
    make_run(program, "nov23-3")
    make_run(program, "nov23-2")
    assert free_tag(program, day) == "nov23-4"
    make_run(make_program("other"), "nov23-4")
    assert free_tag(program, day) == "nov23-4"
