from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.forms import model_to_dict
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from experiments import tasks
from experiments.forms_program import MAX_BRIEF, free_tag
from experiments.models import Program, Run
from experiments.states import Kind, Mode, State, StateError
from tests.factories import make_experiment, make_program, make_run

HTMX = {"HX-Request": "true"}
RECIPE = {
    "command": "{python} train.py", "editable": "train.py", "dataset": "stdlib", "budget_seconds": 300, "grace_seconds": 120,
}  # fmt: skip
RESEARCHER = {"researcher": "sweep", "model": "", "api_base": ""}


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
    assert 'id="brief-text"' not in answer.text
    assert "Theirs</textarea>" in answer.text


@pytest.mark.parametrize("based_on", ["", "x", "0", "-1", "9" * 30])
def test_a_broken_base_saves_nothing(signed_in: Client, program: Program, based_on: str):
    assert save(signed_in, program, "Mine", based_on).status_code in {409, 422}
    assert program.briefs.count() == 1


def test_a_double_click_makes_one_version(signed_in: Client, program: Program):
    save(signed_in, program, "Mine")
    save(signed_in, program, "Mine")
    assert program.briefs.count() == 2


def restore(client: Client, program: Program, number: int, based_on: object) -> Any:
    return client.post(reverse("program-brief-restore", args=[program.pk, number]), {"based_on": based_on}, follow=True)


def test_an_old_version_shows_what_has_changed_and_can_be_restored(signed_in: Client, program: Program):
    program.save_brief("# Aim\n\nRaise it.\n", by="mara", based_on=1)
    page = signed_in.get(reverse("program-brief-version", args=[program.pk, 1])).text
    assert "Restore as version 3" in page
    assert "Raise" in page
    answer = restore(signed_in, program, 1, 2)
    assert "Version 1 is back, as version 3" in answer.text
    assert (program.brief.number, program.brief.text, program.brief.author) == (3, "# Aim\n\nLower val_bpb.\n", "owner")


@pytest.mark.parametrize("based_on", [1, "", "x", "-1", "²"])
def test_a_restore_over_what_somebody_saved_meanwhile_is_refused(signed_in: Client, program: Program, based_on: object):
    program.save_brief("Theirs", by="mara", based_on=1)
    answer = restore(signed_in, program, 1, based_on)
    assert "mara saved version 2 in the meantime" in answer.text
    assert program.brief.text == "Theirs"


def compare(client: Client, program: Program, old: object, new: object) -> Any:
    return client.get(reverse("program-brief-compare", args=[program.pk]), {"from": old, "to": new})


def test_any_two_versions_are_compared_the_older_one_first(signed_in: Client, program: Program):
    program.save_brief("# Aim\n\nRaise it.\n", by="mara", based_on=1)
    program.save_brief("# Aim\n\nRaise it <b>now</b>.\n", by="owner", based_on=2)
    for old, new in ((1, 3), (3, 1)):
        page = compare(signed_in, program, old, new).text
        assert "version 1 to 3" in page
        assert "&lt;" in page and "<b>now</b>" not in page
    assert "This is one version" in compare(signed_in, program, 2, 2).text


@pytest.mark.parametrize(("old", "new"), [("", 1), ("x", 1), (1, 99), ("9" * 30, 1), ("²", 1)])
def test_versions_that_do_not_exist_are_not_compared(signed_in: Client, program: Program, old: object, new: object):
    assert compare(signed_in, program, old, new).status_code == 404


def preview(client: Client, program: Program, text: str) -> str:
    return str(client.post(reverse("program-brief-preview", args=[program.pk]), {"text": text}).text)


@pytest.mark.parametrize(
    ("text", "shown", "never"),
    [
        ("# Aim", '<h3 dir="auto">Aim</h3>', "<h1"),
        ("<script>alert(1)</script>", "&lt;script&gt;", "<script"),
        ("[x](javascript:alert(1))", "[x]", "href"),
        ("![x](http://elsewhere/y.png)", "http://elsewhere/y.png", "<img"),
        ("<img src=x onerror=alert(1)>", "&lt;img", "<img"),
        ("a\r\n\r\nb 🎉 مرحبا", "b 🎉 مرحبا", "\r"),
    ],
)
def test_a_preview_is_markdown_without_html_of_its_own(
    signed_in: Client, program: Program, text: str, shown: str, never: str
):
    page = preview(signed_in, program, text)
    assert shown in page
    assert never not in page
    assert program.briefs.count() == 1


def test_the_page_has_the_preview_without_javascript(signed_in: Client, program: Program):
    assert '<h3 dir="auto">Aim</h3>' in signed_in.get(reverse("program", args=[program.pk])).text


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


@pytest.mark.parametrize(("lower", "best"), [(True, "−0.200000"), (False, "+0.100000")])
def test_versions_show_their_best_gain(signed_in: Client, lower: bool, best: str):
    program = make_program("other", lower_is_better=lower)
    run = make_run(program)
    base = make_experiment(run, score=1.3)
    for number, (state, score) in enumerate(
        [(State.KEPT, 1.1), (State.REVERTED, 1.4), (State.DISCARDED, 0.5), (State.DISCARDED, 9.0)], start=1
    ):
        make_experiment(run, state, score, number=number, parent=base)
    make_experiment(run, State.KEPT, 0.1, number=9, parent=base, kind=Kind.MANUAL)  # a person's, not the brief's
    page = signed_in.get(reverse("program", args=[program.pk]) + "?part=versions").text
    assert best in page


@pytest.mark.parametrize("path", ["/programs/99/", "/programs/1/brief/99/", "/programs/99/brief/1/", "/programs/0/"])
def test_what_does_not_exist_is_a_404(signed_in: Client, program: Program, path: str):
    assert signed_in.get(path).status_code == 404


@pytest.mark.parametrize(
    "name",
    ["program-brief", "program-brief-preview", "program-recipe", "program-researcher", "program-start-run"],
)
def test_changes_are_posts_by_who_is_signed_in(signed_in: Client, client: Client, program: Program, name: str):
    url = reverse(name, args=[program.pk])
    assert signed_in.get(url).status_code == 405
    assert reverse("sign-in") in Client().post(url)["Location"]


# Settings


def save_recipe(client: Client, program: Program, **changed: object) -> Any:
    return client.post(reverse("program-recipe", args=[program.pk]), {**RECIPE, **changed})


def save_researcher(client: Client, program: Program, **changed: object) -> Any:
    return client.post(reverse("program-researcher", args=[program.pk]), {**RESEARCHER, **changed})


def test_a_recipe_is_saved(signed_in: Client, program: Program, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tasks, "missing_files", lambda program, paths: [])
    answer = save_recipe(
        signed_in, program, budget_seconds=60, command="{python} -u 'my train.py'", editable="train.py\r\nmodel.py\r\n",
        dataset="folder:/data/texts",
    )  # fmt: skip
    program.refresh_from_db()
    assert answer.status_code == 302
    assert program.command == ["{python}", "-u", "my train.py"]
    assert (program.editable, program.dataset) == (["train.py", "model.py"], "folder:/data/texts")
    assert (program.budget_seconds, program.researcher) == (60, "sweep")


def test_an_editable_file_must_be_in_the_repository(
    signed_in: Client, program: Program, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tasks, "missing_files", lambda program, paths: ["trian.py"])
    answer = save_recipe(signed_in, program, editable="trian.py")
    assert answer.status_code == 422
    assert "The repository has no file trian.py" in answer.text
    program.refresh_from_db()
    assert program.editable == ["train.py"]


def test_a_researcher_is_saved(signed_in: Client, program: Program):
    answer = save_researcher(
        signed_in, program, researcher="litellm", model=" openai/gpt-x ", api_base="http://ollama:11434/v1"
    )
    program.refresh_from_db()
    assert answer.status_code == 302
    assert (program.researcher, program.model, program.budget_seconds) == ("litellm", "openai/gpt-x", 20)
    assert program.api_base == "http://ollama:11434/v1"


def test_an_agent_is_saved_and_shown_as_a_line(signed_in: Client, program: Program):
    line = "claude -p --append-system-prompt 'be brief' {prompt_file}"
    agent = {"researcher": "command", "agent_command": f" {line} ", "agent_network": "True", "agent_seconds": "600"}
    assert save_researcher(signed_in, program, **agent).status_code == 302
    program.refresh_from_db()
    assert program.agent_command == ["claude", "-p", "--append-system-prompt", "be brief", "{prompt_file}"]
    assert (program.agent_network, program.agent_seconds) == (True, 600)
    page = signed_in.get(reverse("program", args=[program.pk])).text
    assert f'value="{escape(line)}"' in page and '<option value="True" selected>' in page
    assert "can send program.md, the files and the history out" in page


def test_another_researcher_asks_nothing_of_an_agent(signed_in: Client, program: Program):
    save_researcher(signed_in, program, researcher="command", agent_command="claude -p", agent_seconds="600")
    assert save_researcher(signed_in, program, agent_command="claude 'x", agent_seconds="").status_code == 302
    program.refresh_from_db()
    assert (program.researcher, program.agent_command, program.agent_seconds) == ("sweep", ["claude", "-p"], 600)


@pytest.mark.parametrize(
    ("agent", "why"),
    [
        ({"agent_command": "  "}, "An agent needs a command: enter it, for example claude -p."),
        ({"agent_command": "claude 'x"}, "The command cannot be read: No closing quotation. Close every quote."),
        ({"agent_command": "x" * 2001}, "at most 2000 characters"),
        ({"agent_command": "claude", "agent_seconds": "5"}, "seconds from 10 to 7,200"),
        ({"agent_command": "claude", "agent_seconds": "soon"}, "seconds from 10 to 7,200"),
        ({"agent_command": "claude", "agent_network": "perhaps"}, "not one of the available choices"),
    ],
)
def test_a_bad_agent_says_what_is_right(signed_in: Client, program: Program, agent: dict[str, str], why: str):
    answer = save_researcher(signed_in, program, researcher="command", **agent)
    assert answer.status_code == 422 and why in answer.text
    assert Program.objects.get(pk=program.pk).researcher == "sweep"


def test_the_effect_of_a_change_stands_beside_the_field_and_names_the_running_runs(signed_in: Client, program: Program):
    make_run(program, "nov23")
    page = signed_in.get(reverse("program", args=[program.pk])).text
    assert 'data-effect="effect-budget_seconds"' in page
    assert 'id="effect-budget_seconds"' in page
    assert "Scores from before are not comparable" in page
    assert "Running now: " in page and ">nov23</a>" in page


def test_a_program_with_its_own_metric_has_no_data_to_choose(signed_in: Client):
    program = make_program("own", fixed=[])
    assert 'name="dataset"' not in signed_in.get(reverse("program", args=[program.pk])).text
    assert save_recipe(signed_in, program, budget_seconds=77).status_code == 302
    program.refresh_from_db()
    assert (program.budget_seconds, program.dataset) == (77, "stdlib")


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
        ("command", "", "for example {python} train.py"),
        ("command", "python 'train", "Close every quote"),
        ("editable", " \r\n ", "Name at least one file"),
        ("editable", "../train.py", "leads out of the repository"),
        ("editable", "/etc/passwd", "leads out of the repository"),
        ("editable", ".git/config", "leads out of the repository"),
        ("editable", "prepare.py", "it computes the score"),
        ("dataset", "wikipedia", "folder:/data/texts"),
        ("dataset", "folder:texts", "folder:/data/texts"),
        ("researcher", "root", "not one of the available choices"),
        ("api_base", "ftp://x/", "http:// or https://"),
        ("api_base", "javascript:alert(1)", "http:// or https://"),
        ("api_base", "http://", "http:// or https://"),
        ("api_base", "http://[::1", "http:// or https://"),
        ("api_base", "http://x:99999/", "http:// or https://"),
        ("api_base", "http://a b/", "http:// or https://"),
        ("api_base", "https://me:key@host/", "Leave keys out"),
        ("api_base", "http://169.254.169.254/v1", "metadata"),
        ("api_base", "http://0x7f000001:8000/v1", "odd spelling"),
        ("api_base", "http://[::ffff:10.0.0.1]/v1", "hides an IPv4 address"),
        ("fallbacks", "openai/x\r\n<script>", "is no name of a model"),
        ("fallbacks", "two words", "is no name of a model"),
        ("fallbacks", "\n".join(f"openai/m{n}" for n in range(9)), "at most 8"),
        ("price_in", "-1", "US dollars from 0 to 10,000"),
        ("price_in", "nan", "US dollars from 0 to 10,000"),
        ("price_out", "much", "US dollars from 0 to 10,000"),
        ("price_out", "2", "Enter both prices, or neither"),
    ],
)
def test_a_bad_setting_says_what_is_right_and_changes_nothing(
    signed_in: Client, program: Program, field: str, value: str, why: str
):
    answer = (save_recipe if field in RECIPE else save_researcher)(signed_in, program, **{field: value})
    assert answer.status_code == 422
    assert why in answer.content.decode()
    now = model_to_dict(Program.objects.get(pk=program.pk))
    assert now == model_to_dict(program)


def test_fallbacks_and_prices_are_saved_and_shown_again(signed_in: Client, program: Program):
    answer = save_researcher(
        signed_in, program, researcher="litellm", model="openai/a", price_in="0.25", price_out="2",
        fallbacks=" openai/b \r\n\r\nopenai/a\r\nanthropic/c-4.5\r\nopenai/b\r\n",
    )  # fmt: skip
    program.refresh_from_db()
    assert answer.status_code == 302
    assert (program.fallbacks, program.price_in, program.price_out) == (["openai/b", "anthropic/c-4.5"], 0.25, 2.0)
    page = signed_in.get(reverse("program", args=[program.pk])).text
    assert "openai/b\r\nanthropic/c-4.5</textarea>" in page and "Try this model" in page
    assert "Only where litellm does not know the model" in page and 'id="effect-fallbacks"' in page


def test_a_host_that_the_operator_has_listed_is_fine(signed_in: Client, program: Program, settings):
    settings.LLM_HOSTS = ["169.254.1.1"]
    assert save_researcher(signed_in, program, api_base="http://169.254.1.1:8000/v1").status_code == 302


def test_an_llm_needs_a_model(signed_in: Client, program: Program):
    answer = save_researcher(signed_in, program, researcher="litellm", model="  ")
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


@pytest.mark.parametrize(
    ("form", "fields", "first", "second"),
    [("recipe", RECIPE, {"budget_seconds": 60}, {"grace_seconds": 77}),
     ("researcher", RESEARCHER, {"model": "openai/theirs"}, {"model": "openai/<mine>"})],
)  # fmt: skip
def test_two_people_at_one_form_of_settings(
    signed_in: Client, program: Program, form: str, fields: dict[str, object], first: dict[str, object],
    second: dict[str, object],
):  # fmt: skip
    url = reverse(f"program-{form}", args=[program.pk])

    def seen(page: str) -> str:
        return page.partition(f'id="{form}"')[2].partition('name="seen" value="')[2].partition('"')[0]

    opened = seen(signed_in.get(reverse("program", args=[program.pk])).text)
    assert signed_in.post(url, {**fields, **first, "seen": opened}).status_code == 302
    late = signed_in.post(url, {**fields, **second, "seen": opened})
    assert late.status_code == 409
    assert "Somebody saved this form while you had it open" in late.text
    assert f"{next(iter(first.values()))}" in late.text.partition("Stored now:")[2].partition("</p>")[0]
    program.refresh_from_db()
    assert all(getattr(program, name) == value for name, value in first.items())
    assert str(next(iter(second.values()))).replace("<", "&lt;").replace(">", "&gt;") in late.text  # nothing typed is lost
    assert signed_in.post(url, {**fields, **second, "seen": seen(late.text)}).status_code == 302
    program.refresh_from_db()
    assert all(getattr(program, name) == value for name, value in second.items())
