"""What a person does: approve, reject, roll back, revert, edit program.md, pause, stop. Each is seen to work in git too."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import climb, git, open_experiment, program_of, start
from tests.installation import Installation, wait_for
from tests.standin_llm import StandIn


@pytest.fixture
def llm() -> Iterator[StandIn]:
    with StandIn() as server:
        yield server


def test_approve_starts_the_training(here: Installation, page: Page):
    run = start(here, mode="approve_diffs", max_experiments=2)
    page.goto(f"{here.url}/runs/{run}/")
    approve = page.get_by_role("button", name=re.compile("^Approve ?A?$"))
    approve.wait_for()
    assert [row["state"] for row in here.rows(run)][1] == "reviewing"
    page.keyboard.press("a")
    wait_for(lambda: here.rows(run)[1]["state"] in {"kept", "discarded"}, 90)


def test_reject_leads_to_a_proposal_that_knows_the_reason(here: Installation, page: Page, llm: StandIn):
    run = start(here, llm=llm, mode="approve_diffs", max_experiments=3)
    page.goto(f"{here.url}/runs/{run}/")
    page.get_by_label("Why not?").fill("learning rates are settled")
    page.get_by_role("button", name=re.compile("^Reject")).dblclick()
    wait_for(lambda: len(here.rows(run)) > 2 and here.rows(run)[2]["state"] == "reviewing", 90)
    assert here.rows(run)[1]["state"] == "cancelled"
    assert "learning rates are settled" in str(llm.requests[-1])
    expect(page.locator("#activity")).to_contain_text("#2")
    here.python(f"from experiments.models import Run; Run.objects.get(pk={run}).stop(by='test')")


def test_an_edited_brief_is_in_the_next_prompt(here: Installation, page: Page, llm: StandIn):
    run = start(here, llm=llm, mode="approve_diffs")
    wait_for(lambda: any(row["state"] == "reviewing" for row in here.rows(run)), 90)
    page.goto(f"{here.url}/programs/{program_of(here, run)}/")
    page.locator(".write .cm-content").fill("# Aim\n\nTry **weight decay** first, <script>alert(1)</script>.\n")
    page.keyboard.press("Control+s")
    expect(page.locator("#brief-status")).to_contain_text("ersion 2")
    page.goto(f"{here.url}/runs/{run}/")
    page.get_by_role("button", name=re.compile("^Reject")).click()
    wait_for(lambda: len(here.rows(run)) > 2 and here.rows(run)[2]["state"] == "reviewing", 90)
    assert "Try **weight decay** first" in str(llm.requests[-1])
    page.goto(f"{here.url}/runs/{run}/")
    page.locator("#activity a", has_text="#2").first.click()
    expect(page.locator("#head")).to_contain_text("brief v2")
    here.python(f"from experiments.models import Run; Run.objects.get(pk={run}).stop(by='test')")


def test_roll_back_and_revert(here: Installation, page: Page, llm: StandIn):
    llm.answer = climb()
    run = start(here, "ladder", llm=llm, max_experiments=4)
    wait_for(lambda: len(here.finished(run)) == 4, 60)
    rows = here.rows(run)
    assert [row["state"] for row in rows] == ["kept"] * 4
    assert git(here, run, "rev-parse", "BRANCH") == rows[3]["commit"]

    open_experiment(page, here, run, 2)
    page.get_by_role("button", name="Roll back to here…").click()
    page.get_by_role("button", name="Roll back to #2").click()
    expect(page.locator("#head")).to_contain_text("the best now")
    wait_for(lambda: git(here, run, "rev-parse", "BRANCH") == rows[2]["commit"], 20)
    assert [row["state"] for row in here.rows(run)] == ["kept", "kept", "kept", "reverted"]

    open_experiment(page, here, run, 1)
    page.get_by_role("button", name="Revert this commit…").click()
    page.get_by_role("button", name="Make the experiment").click()
    expect(page.locator("body")).to_contain_text("Once you resume the run")  # all four were done: it had ended
    page.goto(f"{here.url}/runs/{run}/")
    page.get_by_role("button", name=re.compile("^Resume")).click()
    wait_for(lambda: len(here.rows(run)) > 4 and here.rows(run)[-1]["state"] in {"kept", "discarded"}, 60)
    rows = here.rows(run)
    assert (rows[-1]["kind"], rows[-1]["state"]) == ("revert", "discarded")  # it was a gain: without it, it is worse
    page.reload()
    assert git(here, run, "show", f"{rows[-1]['commit']}:train.py").count("MATRIX_LR = 0.04") == 1


def test_pause_resume_and_stop(here: Installation, page: Page):
    run = start(here, "slow", budget=20)
    page.goto(f"{here.url}/runs/{run}/")
    expect(page.locator("#activity")).to_contain_text("training", timeout=30_000)
    page.get_by_role("button", name="Pause now").click()
    expect(page.locator("#head")).to_contain_text(re.compile("paused", re.I))
    wait_for(lambda: here.rows(run)[0]["state"] == "ready", 20)
    wait_for(lambda: not here.processes("train.py"), 20)
    page.get_by_role("button", name=re.compile("^Resume")).click()
    wait_for(lambda: here.rows(run)[0]["state"] == "training", 20)
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("dialog#stop").get_by_role("button", name=re.compile("^Stop")).click()
    expect(page.locator("#head")).to_contain_text(re.compile("ended", re.I))
    wait_for(lambda: here.rows(run)[0]["state"] == "cancelled" and not here.processes("train.py"), 20)


def test_the_reply_streams_onto_the_page(here: Installation, page: Page):
    with StandIn(delay_seconds=0.3) as llm:  # slow enough to be seen under way on a busy machine
        run = start(here, "slow", llm=llm, budget=30)
        page.goto(f"{here.url}/runs/{run}/")
        page.locator("#activity a", has_text="#1").first.click()
        reply = page.locator("[data-stream=reply]")
        expect(reply).to_contain_text("IDEA", timeout=30_000)
        expect(reply).to_contain_text("REPLACE", timeout=60_000)  # to its end, without a reload
        here.python(f"from experiments.models import Run; Run.objects.get(pk={run}).stop(by='test')")
