"""The branch as people move it: forward again on the page, or from outside with plain git."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.steps import climb, git, open_experiment, start, stop
from tests.installation import Installation, wait_for
from tests.standin_llm import StandIn

TIP = ["rev-parse", "BRANCH"]
OUTSIDE = """
import subprocess
from experiments.models import Run
run = Run.objects.get(pk={run})
def git(*args):
    who = ["-c", "user.name=mara", "-c", "user.email=mara@example.org"]
    command = ["git", "-C", str(run.program.repo), *who, *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
made = git("commit-tree", f"{{run.branch}}^{{{{tree}}}}", "-p", run.branch, "-m", "outside {run}")
git("update-ref", f"refs/heads/{{run.branch}}", made)
print(made)
"""


@pytest.fixture(scope="module")
def run(here: Installation) -> Iterator[int]:
    """A baseline and two keeps; the third edit waits for approval."""
    with StandIn(answer=climb()) as llm:
        pk = start(here, "ladder", llm=llm, max_experiments=3)
        wait_for(lambda: len(here.finished(pk)) == 3, 90, every=0.5)
        this = f"from experiments.models import Run; run = Run.objects.get(pk={pk})"
        wait_for(lambda: "ended" in here.python(f"{this}; print(run.state)"), 30, every=0.5)
        here.python(
            f"{this}; run.set_limits(max_experiments=None, hours=None, by='test')\n"
            "run.set_mode('approve_diffs', by='test'); run.refresh_from_db(); run.resume(by='test')"
        )
        wait_for(lambda: [row["state"] for row in here.rows(pk)] == ["kept"] * 3 + ["reviewing"], 60, every=0.5)
        yield pk
        stop(here, pk)


def tip_is(here: Installation, run: int, commit: str) -> bool:
    return bool(wait_for(lambda: git(here, run, *TIP) == commit, 30, every=0.3))


def move_from_outside(here: Installation, run: int) -> str:
    return here.python(OUTSIDE.format(run=run)).strip()


def test_rolled_back_and_forward_again(here: Installation, page: Page, run: int):
    commits = [row["commit"] for row in here.rows(run)]
    open_experiment(page, here, run, 1)
    page.get_by_role("button", name="Roll back to here…").click()
    expect(page.locator("dialog#roll .affected")).to_contain_text("#2")
    page.get_by_role("button", name="Roll back to #1").click()
    expect(page.locator("#head")).to_contain_text("the best now")
    assert tip_is(here, run, commits[1])
    open_experiment(page, here, run, 2)
    expect(page.locator("#head")).to_contain_text("reverted")
    page.get_by_role("button", name="Roll forward to here…").click()
    expect(page.locator("dialog#roll")).to_contain_text("Are kept again:")
    page.get_by_role("button", name="Roll forward to #2").click()
    expect(page.locator("#head")).to_contain_text("the best now")
    assert tip_is(here, run, commits[2])
    assert [row["state"] for row in here.rows(run)][:3] == ["kept"] * 3


def test_a_branch_that_was_moved_from_outside_is_restored(here: Installation, page: Page, run: int):
    ours = git(here, run, *TIP)
    page.goto(f"{here.url}/runs/{run}/")
    outside = move_from_outside(here, run)
    expect(page.locator("#head .banner")).to_contain_text("was moved from outside", timeout=30_000)
    assert git(here, run, *TIP) == outside  # a person's work is never reset unasked
    page.get_by_role("button", name="Restore our best").click()
    expect(page.get_by_role("button", name="Pause now")).to_be_visible()
    assert tip_is(here, run, ours)
    assert outside in git(here, run, "for-each-ref", f"refs/autoresearch/{run}/")


def test_a_commit_from_outside_is_adopted_from_the_home_page(here: Installation, page: Page, run: int):
    page.goto(here.url)
    outside = move_from_outside(here, run)
    page.locator("#needs").get_by_role("button", name="Adopt their commits").click(timeout=30_000)
    expect(page.locator("#needs")).not_to_contain_text("Adopt their commits")
    page.goto(f"{here.url}/runs/{run}/")
    row = page.locator("#table tr", has_text=f"Adopted from outside: {outside[:7]}")
    expect(row).to_contain_text("manual")
    expect(row).to_contain_text("discarded", timeout=60_000)  # it changes nothing, so it gains nothing
    assert here.rows(run)[-1]["commit"] == outside
