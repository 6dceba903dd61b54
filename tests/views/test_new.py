"""The page of a new program: what it makes, what it refuses, and the call that tries a model."""

from __future__ import annotations

import contextlib
import html
import io
import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone

from experiments import model_check
from experiments.loop import actions
from experiments.loop.workspace import Workspace
from experiments.management.commands.try_model import why_not
from experiments.models import Program, Run
from experiments.researcher.base import ResearcherAway, ResearcherError
from experiments.researcher.litellm_lazily import import_litellm
from experiments.researcher.llm_errors import OR_THE_SWEEP, detail_of, explain
from experiments.states import Mode, RunState
from tests.standin_llm import StandIn
from trainer import presets

FORM = {"name": "night-gpt", "preset": "cpu", "texts": "", "folder": "", "researcher": "sweep", "model": "", "api_base": ""}
URL = "/new/"


def test_an_empty_installation_leads_to_it(signed_in):
    assert reverse("new") in signed_in.get("/").content.decode()
    page = signed_in.get(URL).content.decode()
    found = presets.detect()[0]
    assert f'value="{found}" checked' in page and 'value="small-gpt"' in page
    shown = re.findall(r'name="preset" value="([^"]+)"', page)  # on a phone seven of them fill a screen
    assert shown == [found, *(name for name in presets.PRESETS if name != found)]


def test_it_makes_a_program_and_starts_its_run(signed_in):
    answer = signed_in.post(URL, {**FORM, "start": "on", "approve": "on", "max_experiments": "30"})
    run = Run.objects.get()
    assert answer.url == f"/runs/{run.pk}/" and run.max_experiments == 30 and run.mode == Mode.APPROVE_DIFFS
    program = run.program
    assert (program.name, program.preset, program.dataset, program.budget_seconds) == ("night-gpt", "cpu", "stdlib", 20)


def test_a_preset_writes_its_constants_into_the_first_commit(signed_in):
    signed_in.post(URL, {**FORM, "preset": "gpu-8gb", "texts": "stdlib"})
    program = Program.objects.get()
    assert not program.runs.exists()  # not asked for
    assert (program.dataset, program.vocab_size, program.budget_seconds) == ("stdlib", 2048, 300)
    source = Workspace(program.repo).read("refs/heads/main", ["train.py"])["train.py"]
    assert "\nDEPTH = 5" in source and "\nWIDTH = 320" in source


def test_an_agent(signed_in):
    agent = {"agent_command": "{python} '/home/me/my agent.py'", "agent_network": "True", "agent_seconds": "300"}
    signed_in.post(URL, {**FORM, "researcher": "command", **agent})
    program = Program.objects.get()
    assert program.agent_command == ["{python}", "/home/me/my agent.py"]
    assert (program.researcher, program.agent_network, program.agent_seconds) == ("command", True, 300)


def test_a_folder_of_ones_own(signed_in, tmp_path):
    signed_in.post(URL, {**FORM, "texts": "folder", "folder": f" {tmp_path} "})
    assert Program.objects.get().dataset == f"folder:{tmp_path}"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "  "}, "Give the program a name"),
        ({"preset": "abacus"}, "abacus"),
        ({"texts": "folder"}, "Enter the folder&#x27;s path"),
        ({"texts": "folder", "folder": "texts"}, "does not begin with /"),
        ({"texts": "folder", "folder": "/no/such/place"}, "There is no folder /no/such/place"),
        ({"researcher": "litellm"}, "An LLM needs a model"),
        ({"researcher": "litellm", "model": "x", "api_base": "ftp://x"}, "begins with http://"),
        ({"researcher": "command"}, "An agent needs a command"),
        ({"researcher": "command", "agent_command": "claude 'x"}, "Close every quote"),
        ({"max_experiments": "-3"}, "number from 1 to 100,000"),
    ],
)
def test_what_is_wrong_is_said_beside_it_and_nothing_is_made(signed_in, changed, words):
    answer = signed_in.post(URL, {**FORM, **changed})
    page = answer.content.decode()
    assert answer.status_code == 422 and words in page and not Program.objects.exists()
    if "name" not in changed:
        assert 'value="night-gpt"' in page  # what was typed stays


def test_a_name_is_taken_once(signed_in):
    signed_in.post(URL, FORM)
    page = signed_in.post(URL, {**FORM, "name": "Night-GPT"}).content.decode()
    assert "already a program Night-GPT" in page and Program.objects.count() == 1


@pytest.fixture
def check_here(monkeypatch) -> Callable[[], None]:
    """From its call on a model is tried in this process: one of its own imports litellm again, which takes seconds."""

    def run(command: list[str], **_: object) -> SimpleNamespace:
        out = io.StringIO()
        with contextlib.suppress(SystemExit):
            call_command(*command[2:], stdout=out)
        return SimpleNamespace(stdout=out.getvalue(), stderr="")

    here = SimpleNamespace(run=run, TimeoutExpired=subprocess.TimeoutExpired)
    return lambda: monkeypatch.setattr(model_check, "subprocess", here)


def test_a_model_is_tried_with_a_real_call(signed_in, check_here):
    with StandIn(answer=lambda messages: "ready") as server:
        asked = {"model": "openai/stand-in", "api_base": server.api_base}
        page = signed_in.post("/new/model/", asked).content.decode()
        assert "answered" in page and "tokens in" in page and "No key was sent" in page
        assert "Price unknown" in page and "Context window unknown" in page and "showed no thoughts" in page
        assert len(server.requests) == 1
        check_here()
        page = signed_in.post("/new/model/", {**asked, "price_in": "2", "price_out": "8"}).content.decode()
        assert "This call cost $0.0" in page


def test_what_is_known_of_a_model_is_said(signed_in, check_here, monkeypatch):
    check_here()
    monkeypatch.setenv("AUTORESEARCH_API_BASE_KEY", "own-0123456789")
    with StandIn(["think"], answer=lambda messages: "ready") as server:
        page = signed_in.post("/new/model/", {"model": "openai/gpt-4o", "api_base": server.api_base}).content.decode()
    assert "The key works." in page and "Context window 128,000 tokens, replies up to 16,384." in page
    assert "This call cost $0.0" in page and "It thinks before it answers." in page


def test_a_model_that_does_not_answer_says_why(signed_in, check_here):
    with StandIn(["401"]) as server:
        asked = {"model": "openai/stand-in", "api_base": server.api_base}
        page = signed_in.post("/new/model/", asked).content.decode()
    assert "✕" in page and "refused the key" in page
    check_here()
    page = signed_in.post("/new/model/", {"model": "openai/x", "api_base": "http://127.0.0.1:9/v1"}).content.decode()
    assert "✕" in page and "Traceback" not in page
    assert "Enter the model first" in signed_in.post("/new/model/", {}).content.decode()


def test_a_failed_call_says_what_to_do_where_there_is_no_run_yet():
    unknown = explain(import_litellm().NotFoundError("The model does not exist", "x", "openai"), "openai/x", "openai")
    assert isinstance(unknown, ResearcherError)
    words = why_not(unknown)
    assert words == "openai knows no model openai/x: The model does not exist. Correct its name."
    away = ResearcherAway(f"openai/x gave no reply. Check the provider and its limits, then resume the run, {OR_THE_SWEEP}")
    assert why_not(away) == "openai/x gave no reply. Check the provider and its limits, then try again."


def test_what_litellm_puts_before_an_error_is_left_out():
    text = "litellm.NotFoundError: NotFoundError: OpenAIException - The model does not exist.\nmore"
    assert detail_of(ValueError(text)) == "The model does not exist"
    assert detail_of(ValueError("litellm.APIError: ")) == "litellm.APIError:"


# One click to the data that are there


@pytest.fixture
def demo(settings, tmp_path):
    """The first program of a machine with a card of 24 GB, on the offline text, and its run."""
    settings.DATA_DIR, settings.REPOS_DIR = tmp_path / "data", tmp_path / "repos"
    program = actions.create_program("small-gpt", preset="gpu-24gb", offline=True, researcher="litellm", model="openai/x")
    program.save_brief("# Aim\n\nMine.\n", by="ada", based_on=1)
    return actions.start_run(program, "demo", by="first start", mode=Mode.APPROVE_DIFFS)


def prepare_folder(settings, name: str) -> None:
    (settings.DATA_DIR / name).mkdir(parents=True)
    (settings.DATA_DIR / name / "meta.json").write_text("{}")


def hidden_fields(page: str) -> dict[str, str]:
    form = page[page.index('<form method="post" action="/new/"') :].partition("</form>")[0]
    return {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)"(?: value="([^"]*)")?', form)}


def test_without_such_data_nothing_is_offered(signed_in, demo, settings):
    prepare_folder(settings, "climbmix-vocab512-v3")  # of another preset: its tokens are of no use
    (settings.DATA_DIR / "climbmix-vocab8192-v3").mkdir()  # not finished
    for page in (f"/programs/{demo.program_id}/", "/"):
        assert "Train on" not in signed_in.get(page).content.decode()


@pytest.mark.parametrize("where", ["/programs/{}/", "/"])
def test_one_click_trains_the_whole_preset_on_the_data_that_are_there(signed_in, demo, settings, where):
    prepare_folder(settings, "climbmix-vocab8192-v3")
    shown = signed_in.get(where.format(demo.program_id)).content.decode()
    assert "Train on climbmix" in shown and "Train on tinystories" not in shown
    answer = signed_in.post(URL, hidden_fields(shown))
    made, preset = Program.objects.get(name="small-gpt-climbmix"), presets.PRESETS["gpu-24gb"]
    run = made.runs.get()
    assert answer.url == f"/runs/{run.pk}/" and (run.state, run.mode) == (RunState.ACTIVE, Mode.APPROVE_DIFFS)
    asked = (made.dataset, made.vocab_size, made.seq_len, made.budget_seconds, made.researcher, made.model)
    assert asked == ("climbmix", preset.vocab_size, preset.seq_len, preset.budget_seconds, "litellm", "openai/x")
    assert made.brief.text == "# Aim\n\nMine.\n" and made.brief.author == "owner"
    demo.refresh_from_db()
    assert (demo.state, demo.reason, demo.program.dataset) == (RunState.PAUSED, "by_hand", "stdlib")
    audit = signed_in.get("/audit/").content.decode()
    assert audit.count("owner") >= 3 and "small-gpt-climbmix trains in its place" in audit
    again = signed_in.get(f"/programs/{demo.program_id}/").content.decode()
    assert "Train on climbmix" not in again and f'href="/programs/{made.pk}/"' in again


def test_what_was_agreed_for_the_old_run_holds_for_the_new_one(signed_in, demo, settings):
    prepare_folder(settings, "climbmix-vocab8192-v3")
    until = timezone.now() + timedelta(hours=8)
    Run.objects.filter(pk=demo.pk).update(mode=Mode.APPROVE_BOTH, max_cost=5.0, deadline_at=until, max_without_gain=7)
    own = {"researcher": "command", "agent_command": ["claude", "-p", "a word"], "price_in": 1.5, "fallbacks": ["openai/y"]}
    Program.objects.filter(pk=demo.program_id).update(**own)
    shown = signed_in.get(f"/programs/{demo.program_id}/").content.decode()
    assert signed_in.post(URL, hidden_fields(shown)).status_code == 302
    run = Program.objects.get(name="small-gpt-climbmix").runs.get()
    assert (run.mode, run.max_cost, run.deadline_at, run.max_without_gain) == (Mode.APPROVE_BOTH, 5.0, until, 7)
    assert {name: getattr(run.program, name) for name in own} == own


def test_who_pauses_can_be_resumed_and_a_second_click_makes_no_second_run_of_a_name(signed_in, demo, settings):
    prepare_folder(settings, "climbmix-vocab8192-v3")
    fields = hidden_fields(signed_in.get(f"/programs/{demo.program_id}/").content.decode())
    assert signed_in.post(URL, fields).status_code == 302
    again = signed_in.post(URL, fields)
    assert again.status_code == 422 and "already a program small-gpt-climbmix" in again.content.decode()
    signed_in.post(f"/runs/{demo.pk}/resume/")
    demo.refresh_from_db()
    assert demo.state == RunState.ACTIVE and Run.objects.count() == 2
