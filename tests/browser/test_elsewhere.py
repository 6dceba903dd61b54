"""What people do outside a run's page: the inbox, a phone, colours, keys, the log of all, import, report, and leaving."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.steps import start, stop
from tests.installation import Installation, wait_for

SEED = """
import json
from tests.factories import *
from experiments.states import State
run = make_run(make_program("past"), "night", state="ended")
base = make_experiment(run, State.KEPT, 1.5)
pks = [base.pk] + [make_experiment(run, State.KEPT, 1.5 - i / 10, parent=base, description=f"idea {i}").pk for i in (1, 2)]
run.record("mara", "note", why="steer it")
print(json.dumps([run.pk, pks]))
"""
TABLE = (
    "commit\tval_bpb\tmemory_gb\tstatus\tdescription\nbaseline\t0.997900\t44.0\tkeep\tbaseline\n"
    "e05a87d\t0.000000\t0.0\tcrash\tbatch 131K\nbea057b\t0.986041\t43.9\tkeep\tsmaller <b>batch</b>\n"
)


@pytest.fixture(scope="module")
def past(here: Installation) -> Any:
    """An ended run of three keeps: its id, and theirs."""
    return json.loads(here.python(SEED))


def test_an_edit_is_approved_from_the_inbox_and_the_next_on_a_phone(
    here: Installation, browser: Browser, session: Any, page: Page
):
    page.goto(here.url)
    expect(page.locator("#needs")).to_contain_text("Nothing needs you.")
    run = start(here, mode="approve_diffs", max_experiments=3)
    page.locator("#needs").get_by_role("button", name=re.compile("^Approve")).click(timeout=60_000)
    expect(page.locator("#needs")).not_to_contain_text("#1 ")

    window = {"width": 390, "height": 800}
    phone = browser.new_context(storage_state=session, viewport=window, has_touch=True, is_mobile=True)
    small = phone.new_page()
    small.goto(f"{here.url}/runs/{run}/")
    expect(small.locator("#experiment-1")).to_contain_text(re.compile("kept|discarded"), timeout=60_000)
    approve = small.get_by_role("button", name=re.compile("^Approve ?A?$"))
    approve.wait_for(timeout=60_000)
    expect(small.locator(".act-diff").first).to_be_visible()
    assert small.evaluate("document.documentElement.scrollWidth <= innerWidth")
    approve.tap()
    these = f"run_id={run}, experiment__number=2, why='approved'"
    moves = f"from experiments.models import Move; print(Move.objects.filter({these}).count())"
    wait_for(lambda: here.python(moves).strip() == "1", 30, every=0.5)  # what comes of it is the loop's
    phone.close()
    stop(here, run)


def test_colours_stay_as_chosen(here: Installation, page: Page):
    page.goto(here.url)
    switch = page.get_by_role("button", name="Colours: light, dark or as the system")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    switch.click()
    switch.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    switch.click()
    page.reload()
    assert page.evaluate(ground) == light


def test_the_keys_are_listed_and_lead_on(here: Installation, past: Any, page: Page):
    page.goto(f"{here.url}/experiments/{past[1][0]}/")
    page.keyboard.press("?")
    keys = page.locator("dialog#keys")
    expect(keys).to_be_visible()
    page.keyboard.press("j")
    page.wait_for_timeout(200)
    expect(keys).to_be_visible()  # an open dialog has the keys
    page.keyboard.press("Escape")
    expect(keys).to_be_hidden()
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile(f"/experiments/{past[1][1]}/"))
    page.keyboard.press("k")
    expect(page).to_have_url(re.compile(f"/experiments/{past[1][0]}/"))


def test_the_audit_log_is_narrowed_down(here: Installation, past: Any, page: Page):
    page.goto(f"{here.url}/audit/")
    page.get_by_label("Who").select_option("mara")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".log-table tbody tr")).to_have_count(1)
    expect(page.locator(".log-table")).to_contain_text("steer it")
    page.locator("select[name=run]").select_option(label="past/night")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_label("Who")).to_have_value("mara")
    expect(page.locator(".log-table tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    expect(page.get_by_label("Who")).to_have_value("")


def test_the_machines_page_renews_itself(here: Installation, page: Page):
    page.goto(f"{here.url}/machines/")
    expect(page.locator("#now")).to_contain_text("This machine")
    expect(page.locator(".queues")).to_contain_text("● 1")
    page.evaluate("document.querySelector('.queues').dataset.old = '1'")
    expect(page.locator(".queues[data-old]")).to_have_count(0, timeout=15_000)
    expect(page.locator(".queues")).to_contain_text("● 1")


def test_a_table_is_imported_and_reported(here: Installation, page: Page, tmp_path: Path):
    page.goto(f"{here.url}/import/")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("main")).to_contain_text("Give a folder or an address, or choose a results.tsv.")
    (tmp_path / "results.tsv").write_text(TABLE)
    page.get_by_label("results.tsv").set_input_files(tmp_path / "results.tsv")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator(".messages")).to_contain_text("Imported 3 experiments: 2 kept, 1 failed")
    expect(page.locator("#table")).to_contain_text("smaller <b>batch</b>")
    expect(page.locator("#tiles")).to_contain_text("0.986041")

    page.get_by_role("link", name="Report", exact=True).click()
    page.evaluate("void (window.print = () => { window.printed = true; })")
    page.get_by_role("button", name="Print…").click()
    assert page.evaluate("window.printed") is True
    with page.expect_download() as download:
        page.get_by_role("link", name="Markdown").click()
    text = Path(download.value.path()).read_text()
    assert text.startswith("# ") and "0.986041" in text


def test_who_signs_out_is_out_in_every_window_and_comes_back(here: Installation, browser: Browser, past: Any):
    context = browser.new_context()
    page, other = context.new_page(), context.new_page()
    page.goto(here.sign_in_link())
    other.goto(f"{here.url}/runs/{past[0]}/")
    page.locator("header details.menu > summary").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator(".messages")).to_contain_text("You are signed out.")
    other.evaluate("htmx.trigger(document.body, 'refresh')")  # as the next update does
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(here.sign_in_link())
    expect(page.locator("#programs")).to_contain_text("past")
    context.close()
