"""manage.py seed_demo: a made-up night that every page can show, and that no worker goes on with."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from experiments.loop.workspace import Workspace
from experiments.models import Chunk, Experiment, Program, Run
from experiments.results import results_tsv
from experiments.states import LIVE, Kind, RunState, State

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def folders(settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Repositories of the test's own: ids begin again with each test."""
    settings.VAR_DIR, settings.REPOS_DIR = tmp_path / "var", tmp_path / "var" / "repos"


def seed(count: int, *options: str) -> Run:
    call_command("seed_demo", "--experiments", str(count), *options, stdout=io.StringIO())
    return Run.objects.latest("pk")


def git(run: Run, *args: str) -> str:
    return subprocess.run(
        ["git", "--git-dir", str(run.program.repo), *args], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.parametrize("count", [0, 1, 30])
def test_it_makes_so_many_and_nothing_is_left_to_do(count: int):
    run = seed(count)
    assert run.experiments.count() == count
    assert run.state == RunState.ENDED
    assert not run.experiments.filter(state__in=LIVE).exists()


def test_the_staircase_falls_and_the_shares_are_believable():
    run = seed(200)
    kept = list(run.experiments.filter(state=State.KEPT).order_by("number").values_list("score", flat=True))
    assert kept == sorted(kept, reverse=True)
    assert len(kept) == pytest.approx(30, abs=8)
    assert run.experiments.filter(state=State.FAILED).count() == pytest.approx(20, abs=5)
    assert not run.experiments.filter(state=State.FAILED, score__isnull=False).exists()
    assert run.best is not None and run.best.score == min(kept)


def test_parents_are_the_best_of_their_time():
    run = seed(60)
    best: int | None = None
    for row in run.experiments.order_by("number"):
        assert row.parent_id == best
        if row.state == State.KEPT:
            best = row.pk


def changed(diff: str) -> list[str]:
    return [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]


def test_its_commits_are_in_git_with_the_diffs_that_the_page_shows():
    run = seed(80)
    for row in run.experiments.exclude(commit="").select_related("parent"):
        assert git(run, "rev-parse", row.ref) == row.commit
        if row.parent and row.kind != Kind.REPEAT:
            assert changed(row.diff) == changed(git(run, "diff", row.parent.commit, row.commit))
    assert run.best is not None and git(run, "rev-parse", run.branch) == run.best.commit == run.tip


def test_times_follow_each_other_and_moves_end_in_the_state():
    run = seed(40)
    for row in run.experiments.prefetch_related("moves"):
        times = [at for at in (row.proposed_at, row.training_at, row.trained_at, row.finished_at) if at]
        assert row.created_at <= times[0] and times == sorted(times)
        assert list(row.moves.order_by("pk"))[-1].new == row.state
    ats = list(run.moves.order_by("pk").values_list("at", flat=True))
    assert ats == sorted(ats)


def test_what_trained_has_a_curve_and_the_last_ones_a_log():
    run = seed(30)
    trained = run.experiments.filter(training_at__isnull=False)
    with_curve = set(Chunk.objects.filter(stream="series", experiment__run=run).values_list("experiment", flat=True))
    assert with_curve == set(trained.values_list("pk", flat=True))
    assert Chunk.objects.filter(stream="log", experiment=trained.last()).exists()


def test_the_same_seed_makes_the_same_night():
    first, second = seed(30, "--seed", "7"), seed(30, "--seed", "7")
    other = seed(30, "--seed", "8")
    rows = [list(run.experiments.values_list("number", "state", "score", "description")) for run in (first, second, other)]
    assert rows[0] == rows[1] != rows[2]


def test_several_runs_share_a_program():
    seed(5, "--runs", "3")
    assert Program.objects.count() == 1
    assert [run.experiments.count() for run in Run.objects.all()] == [5, 5, 5]


def test_dates_of_its_own_are_for_the_seed_alone(django_user_model: object):
    seed(2)
    fresh = Experiment.objects.create(run=Run.objects.get(), number=99, kind=Kind.IDEA, state=State.CANCELLED)
    assert fresh.created_at is not None  # set by itself, as everywhere else


def test_results_tsv_of_it_can_be_written():
    run = seed(30)
    assert len(results_tsv(run).splitlines()) > 20


@pytest.mark.parametrize("options", [("--experiments", "-1"), ("--experiments", "3", "--runs", "0")])
def test_impossible_numbers_are_refused(options: tuple[str, ...]):
    with pytest.raises(CommandError, match="From 0 to"):
        call_command("seed_demo", *options)


def test_with_a_git_of_2020_and_a_broken_configuration_of_the_person(old_git: Path, monkeypatch, tmp_path: Path):  # type: ignore[no-untyped-def]
    (tmp_path / ".gitconfig").write_text("[not a configuration")
    monkeypatch.setenv("HOME", str(tmp_path))
    run = seed(20)
    assert run.best is not None
    assert Workspace(run.program.repo).ref(f"refs/heads/{run.branch}") == run.best.commit
