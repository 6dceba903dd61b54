from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from experiments.loop import actions
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Program, Run
from experiments.states import Kind, State
from tests.factories import make_experiment

HTMX = {"HX-Request": "true"}


@pytest.fixture
def run(db: None, make_script_program: Callable[..., Program]) -> Run:
    tag = f"night-{os.urandom(4).hex()}"  # a rolled back test leaves its repository
    run = actions.start_run(make_script_program("score"), tag, by="ada")
    make_experiment(run, score=1.3, commit=run.base_commit)
    return run


@pytest.fixture
def text(run: Run) -> str:
    return Workspace(run.program.repo).read(run.base_commit, ["train.py"])["train.py"]


def url(run: Run) -> str:
    return reverse("run-manual", args=[run.pk])


def post(client: Client, run: Run, text: str, headers: dict[str, str] | None = None, **changed: object) -> Any:
    best = run.best
    form = {"based_on": best.pk if best else "", "description": "Hotter", "hypothesis": "", "file:train.py": text, **changed}
    return client.post(url(run), form, headers=headers)


def added(run: Run) -> list[Experiment]:
    return list(run.experiments.filter(kind=Kind.MANUAL))


def test_the_page_holds_the_best_and_the_help(signed_in: Client, run: Run):
    page = signed_in.get(url(run)).text
    assert "MATRIX_LR = 0.04" in page
    assert 'name="file:train.py"' in page and 'data-editor="python"' in page
    assert "on the best" in page and "Nothing yet. Edit a file" in page


def test_an_edit_becomes_an_experiment(signed_in: Client, run: Run, text: str):
    answer = post(signed_in, run, text.replace("0.04", "0.09").replace("\n", "\r\n"), description="  Hotter \t now ")
    made = added(run)[0]
    assert answer["Location"] == reverse("experiment", args=[made.pk])
    assert (made.state, made.description, made.lines_changed) == (State.READY, "Hotter now", (1, 1))
    assert run.moves.filter(by="owner", new=f"#{made.number} created").exists()
    assert "It is trained next." in signed_in.get(answer["Location"]).text


def test_a_paused_run_takes_it_and_says_that_it_waits(signed_in: Client, run: Run, text: str):
    run.pause(by="ada", now=False)
    assert "it waits until you resume" in signed_in.get(url(run)).text
    answer = post(signed_in, run, text.replace("0.04", "0.09"))
    assert "Resume the run and it is trained next." in signed_in.get(answer["Location"]).text


def test_show_the_diff_adds_nothing_and_keeps_the_text(signed_in: Client, run: Run, text: str):
    page = post(signed_in, run, text.replace("0.04", "0.09"), step="diff", description="").text
    assert 'class="r add"' in page and "MATRIX_LR = 0.09" in page
    assert "Say in one line" not in page
    assert added(run) == []


def test_the_live_diff_is_the_fragment_alone(signed_in: Client, run: Run, text: str):
    page = post(signed_in, run, text.replace("0.04", "def"), HTMX, step="diff").text
    assert 'id="changes"' in page and "<textarea" not in page
    assert "is no Python after the edit" in page


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"description": " "}, "Say in one line what you change"),
        ({"description": "x" * 201}, "at most 200"),
        ({"file:train.py": "def f(:"}, "is no Python after the edit"),
        ({"file:train.py": "x\0"}, "NUL"),
        ({"based_on": ""}, "The page has lost what you edit"),
        ({"based_on": "99999"}, "The page has lost what you edit"),
    ],
)
def test_what_cannot_be_tried_says_why_and_loses_no_text(
    signed_in: Client, run: Run, text: str, changed: dict[str, object], why: str
):
    answer = post(signed_in, run, text.replace("0.04", "0.0987"), **changed)
    assert answer.status_code == 422
    assert why in answer.text
    assert "file:train.py" in changed or "MATRIX_LR = 0.0987" in answer.text
    assert added(run) == []


def test_a_text_without_a_change_is_not_added(signed_in: Client, run: Run, text: str):
    answer = post(signed_in, run, text)
    assert answer.status_code == 422
    assert "Nothing is changed yet" in answer.text


def test_a_file_that_may_not_be_edited_is_left_alone(signed_in: Client, run: Run, text: str):
    answer = post(signed_in, run, text, **{"file:program.md": "Do as you like"})
    assert answer.status_code == 422
    assert added(run) == []


def test_html_in_a_file_and_in_its_description_is_text(signed_in: Client, run: Run, text: str):
    answer = post(signed_in, run, text + "# </textarea><script>alert(1)</script>", description="")
    assert "<script>alert" not in answer.text
    assert "&lt;script&gt;alert(1)" in answer.text


def test_from_another_experiment_its_change_is_in_the_editor(signed_in: Client, run: Run, text: str):
    commit = Workspace(run.program.repo).commit(run.base_commit, {"train.py": text.replace("0.04", "0.0712")}, "Tried")
    tried = make_experiment(run, State.DISCARDED, 9.0, commit=commit)
    page = signed_in.get(url(run), {"from": tried.pk}).text
    assert "MATRIX_LR = 0.0712" in page and f"With the change of #{tried.number}" in page
    assert f'action="{url(run)}?from={tried.pk}"' in page


@pytest.mark.parametrize("source", ["99999", "0"])
def test_from_an_experiment_of_no_such_run_is_a_404(signed_in: Client, run: Run, source: str):
    assert signed_in.get(url(run), {"from": source}).status_code == 404


def test_an_ended_and_an_imported_run_refuse_with_one_line_and_lose_no_text(signed_in: Client, run: Run, text: str):
    run.stop(by="ada")
    page = signed_in.get(url(run)).text
    assert "This run has ended. Resume it on its page" in page and "<textarea" not in page
    answer = post(signed_in, run, text.replace("0.04", "0.0987"))
    assert answer.status_code == 409
    assert "This run has ended" in answer.text and "MATRIX_LR = 0.0987" in answer.text
    Run.objects.filter(pk=run.pk).update(source="/a/clone")
    assert "An imported run is a record" in signed_in.get(url(run)).text


def test_a_run_without_a_baseline_says_when_it_can_be_done(signed_in: Client, run: Run):
    run.experiments.all().delete()
    assert "The baseline is not scored yet" in signed_in.get(url(run)).text


def test_it_is_for_who_is_signed_in(run: Run):
    for answer in (Client().get(url(run)), Client().post(url(run))):
        assert reverse("sign-in") in answer["Location"]
