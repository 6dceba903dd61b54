"""Without a working sandbox what an LLM or agent wrote trains only once a person has said so, and nothing is verified."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from experiments.loop import actions, training
from experiments.models import Program, Run
from experiments.states import RunState, State
from tests.factories import make_program, make_run
from tests.views.test_new import FORM

LABEL = "Train what an LLM or an agent writes without a sandbox"
LLM = {"researcher": "litellm", "model": "openai/gpt-4.1-mini"}


@pytest.mark.parametrize(
    ("setting", "researcher", "allowed", "asked_for"),
    [
        ("auto", "sweep", False, "auto"), ("auto", "litellm", False, "ask"), ("auto", "command", False, "ask"),
        ("auto", "litellm", True, "auto"), ("off", "litellm", False, "off"), ("require", "litellm", True, "require"),
    ],
)  # fmt: skip
def test_who_needs_a_persons_word(settings, setting: str, researcher: str, allowed: bool, asked_for: str) -> None:
    settings.SANDBOX = setting
    assert training.sandbox_of(Program(researcher=researcher, unprotected=allowed)) == asked_for


@pytest.mark.django_db(transaction=True)
@pytest.mark.sqlite_is_enough
def test_an_llms_run_pauses_until_it_is_allowed_and_a_sweeps_does_not(
    make_script_program, loop, without_a_sandbox
) -> None:
    sweep = actions.start_run(make_script_program("silent", "sweep"), "night", by="ada")
    asked = actions.start_run(make_script_program("silent", "llm", **LLM), "night", by="ada")
    for run in (sweep, asked):
        loop.until(run, lambda run=run: not run.is_active or run.experiments.filter(state=State.FAILED).exists())
    assert sweep.experiments.get(number=0).sandbox == "limits"
    assert (asked.state, asked.reason) == (RunState.PAUSED, "sandbox")
    assert "bubblewrap is not installed" in asked.detail and "under Researcher. Then resume." in asked.detail
    Program.objects.filter(pk=asked.program_id).update(unprotected=True)
    asked = Run.objects.get(pk=asked.pk)
    asked.resume(by="ada")
    loop.until(asked, lambda: asked.experiments.filter(state=State.FAILED).exists())
    assert asked.experiments.get(number=0).sandbox == "limits"


@pytest.mark.django_db
def test_a_new_program_of_an_llm_asks_where_there_is_no_sandbox(signed_in: Client, without_a_sandbox) -> None:
    asked = signed_in.post(reverse("new"), {**FORM, **LLM, "start": "on"})
    assert asked.status_code == 422 and not Program.objects.exists()
    page = asked.content.decode()
    assert LABEL in page and "Nothing trains before you allow this" in page and "bubblewrap is not installed" in page
    signed_in.post(reverse("new"), {**FORM, **LLM, "start": "on", "unprotected": "on"})
    assert Program.objects.get().unprotected and Run.objects.count() == 1


@pytest.mark.django_db
def test_a_sweep_starts_without_being_asked(signed_in: Client, without_a_sandbox) -> None:
    signed_in.post(reverse("new"), {**FORM, "start": "on"})
    assert Run.objects.count() == 1 and not Program.objects.get().unprotected


@pytest.mark.django_db
def test_where_a_sandbox_works_or_is_switched_off_nobody_is_asked(signed_in: Client, settings, monkeypatch) -> None:
    program = make_program(**LLM)
    for setting in ("off", "require"):
        settings.SANDBOX = setting
        for url in (reverse("new"), reverse("program", args=[program.pk])):
            assert LABEL not in signed_in.get(url).content.decode()


@pytest.mark.django_db
def test_a_run_of_an_older_program_asks_once(signed_in: Client, make_script_program, without_a_sandbox) -> None:
    program = make_script_program("silent", **LLM)
    start, page = reverse("program-start-run", args=[program.pk]), reverse("program", args=[program.pk])
    assert signed_in.get(page).content.decode().count(LABEL) == 2  # at the start of a run, and among the settings
    answer = {"tag": "one", "mode": "autopilot"}
    assert signed_in.post(start, answer).status_code == 422 and not Run.objects.exists()
    signed_in.post(start, {**answer, "unprotected": "on"})
    program.refresh_from_db()
    assert program.unprotected and Run.objects.get().tag == "one"
    assert signed_in.get(page).content.decode().count(LABEL) == 1
    signed_in.post(start, {**answer, "tag": "two"})
    assert Run.objects.count() == 2


@pytest.mark.django_db
def test_what_was_allowed_can_be_taken_back(signed_in: Client, without_a_sandbox) -> None:
    program = make_program(unprotected=True, **LLM)
    signed_in.post(reverse("program-researcher", args=[program.pk]), {**LLM, "agent_network": "False"})
    program.refresh_from_db()
    assert not program.unprotected


@pytest.mark.django_db
def test_where_a_worker_has_found_no_sandbox_it_can_be_allowed_though_this_process_has_one(signed_in: Client) -> None:
    program = make_program(**LLM)
    page = reverse("program", args=[program.pk])
    assert LABEL not in signed_in.get(page).content.decode()
    make_run(program, state=RunState.PAUSED, reason="sandbox")
    assert LABEL in signed_in.get(page).content.decode()
    form = {**LLM, "agent_network": "False", "unprotected": "on"}
    signed_in.post(reverse("program-researcher", args=[program.pk]), form)
    program.refresh_from_db()
    assert program.unprotected
