"""The program page as people use it: the editor, its preview, two who edit at once, no JavaScript, and an edit by hand."""

from __future__ import annotations

import ast
import os
import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.installation import Installation, wait_for

BRIEF = "# Aim\n\nLower val_bpb.\n"


@pytest.fixture
def program(here: Installation) -> int:
    name = f"p{os.urandom(4).hex()}"
    code = f"from experiments.loop import actions; print(actions.create_program('{name}', preset='cpu').pk)"
    pk = int(here.python(code))
    save(here, pk, BRIEF)
    return pk


def save(here: Installation, program: int, text: str, expression: str = "") -> None:
    here.python(
        f"from experiments.models import Program; p = Program.objects.get(pk={program})\n"
        f"p.save_brief({expression or repr(text)}, by='mara', based_on=p.brief.number)"
    )


def brief(here: Installation, program: int) -> str:
    code = f"from experiments.models import Program; print(repr(Program.objects.get(pk={program}).brief.text))"
    return str(ast.literal_eval(here.python(code)))


def open_editor(page: Page, here: Installation, program: int) -> Any:
    page.goto(f"{here.url}/programs/{program}/")
    editor = page.locator(".write .cm-content")
    editor.wait_for()
    return editor


def test_typing_marks_previews_and_saves_without_leaving_the_page(here: Installation, page: Page, program: int):
    editor = open_editor(page, here, program)
    expect(page.locator("#brief-text")).to_be_hidden()
    editor.fill("# New aim\n\nTry **this** <script>alert(1)</script> [x](javascript:alert(1)) 🎉\n")
    expect(page.locator("[data-brief-state]")).to_have_text("Unsaved changes")
    preview = page.locator("#brief-preview")
    expect(preview.locator("h3")).to_have_text("New aim")
    expect(preview.locator("strong")).to_have_text("this")
    expect(preview).to_contain_text("<script>alert(1)</script>")
    assert preview.locator("a, script").count() == 0
    page.keyboard.press("Control+s")
    expect(page.locator("#brief-status")).to_contain_text("Saved as version 3")
    expect(page.locator("[data-brief-state]")).to_have_text("")
    expect(page.locator("#versions")).to_contain_text("v3")
    assert brief(here, program).startswith("# New aim")
    assert page.evaluate("document.activeElement.matches('.write .cm-content')")


def test_leaving_with_unsaved_changes_asks_first(here: Installation, page: Page, program: int):
    editor = open_editor(page, here, program)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    editor.click()
    page.keyboard.type("x")
    page.close(run_before_unload=True)
    wait_for(lambda: page.wait_for_timeout(50) or asked, 10)
    assert asked == ["beforeunload"]
    page.keyboard.press("Control+z")
    expect(page.locator("[data-brief-state]")).to_have_text("")


def test_two_people_edit_at_once_and_merge(here: Installation, browser: Browser, session: Any, program: int):
    windows = [browser.new_context(storage_state=session, viewport={"width": 1440, "height": 1000}) for _ in range(2)]
    one, two = (window.new_page() for window in windows)
    first, second = open_editor(one, here, program), open_editor(two, here, program)
    first.fill(BRIEF + "\nTheirs.\n")
    one.keyboard.press("Control+s")
    expect(one.locator("#brief-status")).to_contain_text("Saved as version 3")
    second.fill("# Aim, mine\n\nLower val_bpb.\n")
    two.get_by_role("button", name=re.compile("^Save Ctrl")).click()
    expect(two.locator("#brief-status")).to_contain_text("Not saved")
    assert two.locator("[data-toasts]").inner_text() == ""  # the conflict has a place of its own
    theirs, mine = two.locator(".cm-merge-a .cm-content"), two.locator(".cm-merge-b .cm-content")
    expect(theirs).to_contain_text("Theirs.")
    expect(mine).to_contain_text("# Aim, mine")
    assert brief(here, program) == BRIEF + "\nTheirs.\n"
    two.locator(".cm-merge-revert button").last.click()  # the passage at the end, from theirs
    expect(mine).to_contain_text("Theirs.")
    two.get_by_role("button", name="Save merged").click()
    expect(two.locator("#brief-status")).to_contain_text("Saved as version 4")
    expect(second).to_be_visible()
    expect(second).to_contain_text("Theirs.")
    assert brief(here, program) == "# Aim, mine\n\nLower val_bpb.\n\nTheirs.\n"
    for window in windows:
        window.close()


def test_a_second_conflict_while_merging_shows_the_newer_text(here: Installation, page: Page, program: int):
    editor = open_editor(page, here, program)
    save(here, program, "One of theirs\n")
    editor.fill("Mine\n")
    page.keyboard.press("Control+s")
    expect(page.locator(".cm-merge-a .cm-content")).to_contain_text("One of theirs")
    page.locator(".cm-merge-b .cm-content").fill("Mine, merged\n")
    save(here, program, "Another of theirs\n")
    page.keyboard.press("Control+s")
    expect(page.locator(".cm-merge-a .cm-content")).to_contain_text("Another of theirs")
    expect(page.locator(".cm-merge-b .cm-content")).to_contain_text("Mine, merged")
    page.get_by_role("button", name="Take all of theirs").click()
    expect(page.locator(".cm-merge-b .cm-content")).to_contain_text("Another of theirs")
    page.get_by_role("button", name="Save merged").click()
    expect(page.locator("#brief-status")).to_contain_text("Nothing to save: this is version 4")
    expect(page.locator("[data-brief-state]")).to_have_text("")


def test_without_javascript_it_is_edited_saved_and_a_conflict_shows_both(
    here: Installation, browser: Browser, session: Any, program: int
):
    context = browser.new_context(storage_state=session, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{here.url}/programs/{program}/")
    expect(page.locator("#effect-budget_seconds")).to_be_visible()
    expect(page.locator("#brief-preview h3")).to_have_text("Aim")
    save(here, program, "Theirs\n")
    page.locator("#brief-text").fill("Mine\n")
    page.get_by_role("button", name=re.compile("^Save Ctrl|^Save$")).first.click()
    expect(page.locator("#theirs-text")).to_have_value("Theirs\n")
    expect(page.locator("#brief-text")).to_have_value("Mine\n")
    page.get_by_role("button", name=re.compile("^Save Ctrl|^Save$")).first.click()
    assert brief(here, program) == "Mine\n"
    page.get_by_role("button", name="Compare the two").click()
    expect(page.locator("h1")).to_contain_text("version 3 to 4")
    context.close()


def test_the_effect_of_a_change_is_said_before_it_is_saved(here: Installation, page: Page, program: int):
    open_editor(page, here, program)
    effect = page.locator("#effect-budget_seconds")
    expect(effect).to_be_hidden()
    before = page.locator("#id_budget_seconds").input_value()
    page.locator("#id_budget_seconds").fill("61")
    expect(effect).to_contain_text("Scores from before are not comparable")
    page.locator("#id_budget_seconds").fill(before)
    expect(effect).to_be_hidden()


@pytest.mark.parametrize("text", ["x" * 79 + "\n", "سطر عربي مع English 🎉 فيه\n"])
def test_200_kb_is_edited_without_waiting(here: Installation, page: Page, program: int, text: str):
    long = (text * 3000)[:199_000] + "\n"
    save(here, program, "", f"({text!r} * 3000)[:199_000] + chr(10)")  # too long for a command line
    editor = open_editor(page, here, program)
    editor.click()
    page.keyboard.press("Control+End")
    page.keyboard.type("The end.")
    page.keyboard.press("Control+s")
    expect(page.locator("#brief-status")).to_contain_text("Saved as version 4", timeout=10_000)
    assert brief(here, program) == long + "The end."


def test_nothing_of_the_editor_needs_a_loose_content_security_policy(here: Installation, page: Page, program: int):
    def strict(route: Any) -> None:
        answer = route.fetch()
        policy = "default-src 'self'; connect-src 'self' ws:; style-src 'self'; script-src 'self'"
        route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": policy})

    refused: list[str] = []
    page.on("console", lambda line: refused.append(line.text) if "Content Security Policy" in line.text else None)
    page.route("**/programs/*/", strict)
    open_editor(page, here, program)
    background = "getComputedStyle(document.querySelector('.cm-editor')).display"
    assert page.evaluate(background) == "flex"  # CodeMirror's own styles are there
    assert refused == []


def test_an_edit_by_hand_is_trained_next(here: Installation, page: Page):
    run = here.start_run("score", tag=f"t{os.urandom(3).hex()}", max_experiments=1)
    wait_for(lambda: here.rows(run) and here.rows(run)[0]["state"] == "kept", 60)
    this = f"from experiments.models import Run; run = Run.objects.get(pk={run});"
    wait_for(lambda: "ended" in here.python(f"{this} print(run.state)"), 20)
    here.python(f"{this} run.set_limits(max_experiments=None, hours=None, by='test')")
    here.python(f"{this} run.resume(by='test'); run.pause(by='test', now=True)")
    page.goto(f"{here.url}/runs/{run}/manual/")
    editor = page.locator(".file .cm-content")
    text = page.locator("textarea[data-editor]").input_value()
    editor.fill(text.replace("MATRIX_LR = 0.04", "MATRIX_LR = ("))
    expect(page.locator("#changes")).to_contain_text("is no Python")
    editor.fill(text.replace("MATRIX_LR = 0.04", "MATRIX_LR = 0.09"))
    expect(page.locator("#changes .add")).to_contain_text("MATRIX_LR = 0.09")
    expect(page.locator("#changes")).not_to_contain_text("is no Python")
    page.get_by_label("What you change").fill("Hotter")
    page.get_by_role("button", name=re.compile("^Add to")).click()
    expect(page.locator("h1")).to_contain_text("Hotter")
    made = here.rows(run)[-1]
    assert (made["kind"], made["state"]) == ("manual", "ready")
    here.python(f"{this} run.resume(by='test')")
    wait_for(lambda: next(row for row in here.rows(run) if row["kind"] == "manual")["state"] == "kept", 60)
    here.python(f"{this} run.stop(by='test')")
