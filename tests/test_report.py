"""What a report says of a run; the page itself is tested in views/test_report.py."""

from datetime import timedelta

import pytest
from django.utils import timezone

from experiments import report
from experiments.report_rows import SURE, Row, kept_in_order, sigma
from experiments.states import Badge, Failure, Kind, RunState, State
from tests.factories import make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db


def build(run):
    return report.build(run, timezone.now())


def repeats(run, *scores):
    """The baseline and its repeats: one commit, several seeds."""
    base = make_experiment(run, State.KEPT, scores[0], commit="a" * 40)
    for score in scores[1:]:
        make_experiment(run, State.DISCARDED, score, kind=Kind.REPEAT, commit="a" * 40, parent=base)
    return base


def row(number, score, commit="c", state="kept", parent=None, **fields):
    return Row(number, number, "idea", state, "", "", parent, commit, fields.pop("device", "0"), "", score, None, **fields)


def test_sigma_needs_three_scores_of_one_commit():
    assert sigma([row(0, 1.0), row(1, 1.2)]) is None
    assert sigma([row(0, 1.0), row(1, 1.2), row(2, 1.1, commit="d")]) is None
    assert sigma([row(0, 1.0), row(1, 1.1), row(2, 1.2)]) == pytest.approx(0.1)


def test_sigma_leaves_out_other_devices_and_scores_that_do_not_count():
    same = [row(0, 1.0), row(1, 1.1)]
    assert sigma([*same, row(2, 1.2, device="1")]) is None
    assert sigma([*same, row(2, 5.0, badges=[Badge.OVERTIME])]) is None
    assert sigma([row(n, 1.0, commit="") for n in range(5)]) is None


def test_equal_scores_say_nothing_about_the_noise():
    assert sigma([row(n, 1.0) for n in range(4)]) is None


def test_keeps_come_in_the_order_they_build_on_each_other():
    rows = [row(1, 1.0, parent=3), row(2, 1.1), row(3, 1.05, parent=2), row(4, 1.2, state="discarded", parent=1)]
    assert [one.number for one in kept_in_order(rows)] == [2, 3, 1]


def test_a_circle_of_parents_ends():
    assert len(kept_in_order([row(1, 1.0, parent=2), row(2, 1.0, parent=1)])) == 2


def test_gains_are_judged_only_where_the_noise_is_known():
    run = make_run()
    make_experiment(run, State.KEPT, 2.0)
    make_experiment(run, State.KEPT, 1.9)
    assert [keep.noise for keep in build(run).keeps] == [""] and build(run).sigma is None


def test_a_small_gain_is_within_noise_and_a_large_one_is_not():
    run = make_run()
    base = repeats(run, 2.0, 2.01, 1.99)
    small = make_experiment(run, State.KEPT, 1.99, parent=base)
    make_experiment(run, State.KEPT, 1.5, parent=small)
    built = build(run)
    assert built.needed == pytest.approx(0.01 * SURE)
    assert [keep.noise for keep in built.keeps] == ["within", "beyond"]
    assert [keep.row.number for keep in built.doubtful] == [3] and not built.is_within_noise


def test_higher_can_be_better():
    run = make_run(make_program(metric="accuracy", lower_is_better=False))
    base = make_experiment(run, State.KEPT, 0.5)
    make_experiment(run, State.KEPT, 0.6, parent=base)
    make_experiment(run, State.DISCARDED, 0.599, description="embedding LR up")
    built = build(run)
    assert built.gain == pytest.approx(0.1) and built.keeps[0].gain == pytest.approx(0.1)
    assert built.near[0].delta == pytest.approx(-0.001)


def test_a_keep_that_is_worse_on_the_secret_text_is_doubtful():
    run = make_run()
    base = make_experiment(run, State.KEPT, 2.0, secret_score=2.1)
    make_experiment(run, State.KEPT, 1.9, parent=base, secret_score=2.2)
    assert build(run).keeps[0].is_doubtful


def test_an_equal_score_with_fewer_lines_claims_nothing_and_is_not_doubted():
    run = make_run()
    base = repeats(run, 2.0, 2.01, 1.99)
    make_experiment(run, State.KEPT, 2.0, parent=base)
    assert not build(run).keeps[0].is_doubtful


def test_near_misses_are_the_discards_that_were_hardly_worse():
    run = make_run()
    base = make_experiment(run, State.KEPT, 2.0)
    best = make_experiment(run, State.KEPT, 1.9, parent=base)
    for score in (1.91, 1.901, 1.99):
        make_experiment(run, State.DISCARDED, score, parent=best)
    make_experiment(run, State.DISCARDED, 1.89, parent=best, badges=[Badge.VERIFIED, Badge.OVERTIME])
    found = build(run).near
    assert [miss.row.score for miss in found] == [1.901, 1.91, 1.89] and found[-1].was_better


def test_a_theme_is_a_dead_end_when_two_tries_gave_nothing():
    run = make_run()
    base = make_experiment(run, State.KEPT, 2.0)
    for state, score, text in [
        (State.DISCARDED, 2.1, "matrix LR up"), (State.DISCARDED, 2.05, "matrix LR down"), (State.KEPT, 1.9, "depth 3"),
        (State.FAILED, None, "depth 90"), (State.CANCELLED, None, "batch 8"),
    ]:  # fmt: skip
        make_experiment(run, state, score, parent=base, description=text)
    dead, alive = build(run).themes
    assert (dead.name, dead.tried, dead.kept, dead.is_dead) == ("learning rate", 2, 0, True)
    assert dead.best_delta == pytest.approx(0.05)
    assert (alive.name, alive.tried, alive.kept, alive.failed, alive.is_dead) == ("depth and width", 2, 1, 1, False)


def test_failures_are_counted_with_the_device_time_they_cost():
    run, now = make_run(), timezone.now()
    for reason, seconds in [(Failure.OOM, 30), (Failure.OOM, 40), (Failure.NAN, 100)]:
        start = now - timedelta(seconds=500)
        times = {"training_at": start, "trained_at": None, "finished_at": start + timedelta(seconds=seconds)}
        make_experiment(run, State.FAILED, None, reason=reason, **times)
    make_experiment(run, State.FAILED, None, reason=Failure.BAD_PATCH, training_at=None, trained_at=None)
    built = build(run)
    assert [(one.reason, one.count, one.seconds) for one in built.failures] == [
        ("nan", 1, 100), ("oom", 2, 70), ("bad_patch", 1, 0),
    ]  # fmt: skip
    assert built.lost_seconds == 170


def test_cost_is_shared_among_the_gains():
    run = make_run()
    base = make_experiment(run, State.KEPT, 2.0)
    make_experiment(run, State.KEPT, 1.9, parent=base, cost=0.5, tokens_in=900, tokens_out=100)
    make_experiment(run, State.DISCARDED, 2.0, cost=0.7, tokens_in=1000)
    built = build(run)
    assert built.per_keep(built.tiles.cost) == pytest.approx(1.2) and built.per_keep(built.tiles.tokens) == 2000
    assert built.per_keep(0) is None


def test_taken_back_keeps_stand_apart():
    run = make_run()
    base = make_experiment(run, State.KEPT, 2.0)
    make_experiment(run, State.REVERTED, 1.0, parent=base)
    built = build(run)
    assert built.keeps == [] and [one.number for one in built.reverted] == [1] and built.best == built.baseline


def test_a_run_without_times_has_a_report():
    run = make_run(source="https://example.org/r.git", state=RunState.ENDED)
    nothing = {"training_at": None, "trained_at": None, "finished_at": None}
    base = make_experiment(run, State.KEPT, 2.0, **nothing)
    make_experiment(run, State.KEPT, 1.9, parent=base, **nothing)
    make_experiment(run, State.FAILED, None, reason=Failure.CRASH, **nothing)
    built = build(run)
    assert built.times.wall_seconds is None and built.best.score == 1.9


def test_infinite_scores_count_as_none():
    run = make_run()
    make_experiment(run, State.KEPT, 2.0)
    make_experiment(run, State.DISCARDED, float("inf"))
    assert build(run).near == []


def test_the_longest_gap_is_found_and_a_pause_is_none():
    run, now = make_run(), timezone.now()
    for start, end in [(100, 90), (60, 50), (48, 40)]:
        at, done = now - timedelta(minutes=start), now - timedelta(minutes=end)
        make_experiment(run, State.DISCARDED, 2.0, training_at=at, trained_at=done, finished_at=done)
    times = build(run).times
    assert times.gap_seconds == pytest.approx(1800) and times.gap_before.number == 1
    for minutes, state in [(89, "paused"), (62, "active")]:
        run.record("owner", state)
        run.moves.filter(pk=run.moves.last().pk).update(at=now - timedelta(minutes=minutes))
    assert build(run).times.gap_seconds == pytest.approx(180)


def test_queries_do_not_grow_with_experiments(django_assert_num_queries):
    run = make_run()
    for n in range(30):
        make_experiment(run, State.KEPT, 2.0 - n / 100)
    run = type(run).objects.select_related("program").get(pk=run.pk)
    with django_assert_num_queries(5):
        build(run)
