"""The picture of a report: where its points stand."""

import re

from experiments.report_picture import EDGE, HEIGHT, WIDTH, picture
from tests.test_report import row


def places(path):
    return [(float(x), float(y)) for x, y in re.findall(r"M(\S+) (\S+?)h0", path)]


def night():
    tried = [(2.0, "kept"), (2.1, "discarded"), (None, "failed"), (1.8, "kept"), (1.9, "reverted")]
    return [row(number, score, state=state) for number, (score, state) in enumerate(tried)]


def test_lower_scores_stand_lower_and_later_ones_further_right():
    drawn = picture(night())
    (first, last), others = places(drawn.kept), places(drawn.others)
    assert first[0] == EDGE and first[1] < last[1] and first[0] < last[0] and others[-1][0] == WIDTH - EDGE
    assert [point[0] for point in others] == sorted(point[0] for point in others) and len(others) == 2
    assert drawn.last == 4 and drawn.bottom < 1.8 < 2.0 < drawn.top


def test_the_staircase_goes_level_to_each_keep_and_on_to_the_end():
    drawn = picture(night())
    (_, first), (x, y) = places(drawn.kept)
    assert drawn.stairs.startswith(f"M{EDGE:.1f} {first:.1f}")
    assert drawn.stairs.endswith(f"H{x:.1f}V{y:.1f}H{WIDTH - EDGE:.1f}")


def test_a_failure_has_a_mark_below_and_no_point():
    drawn = picture(night())
    assert re.fullmatch(rf"M{EDGE + 2 / 4 * (WIDTH - 2 * EDGE):.1f} {HEIGHT + 4}v\d+", drawn.failed)


def test_a_wild_score_stands_at_the_rim_and_flattens_nothing():
    tried = [row(n, 2.0 - n / 100) for n in range(20)] + [row(20, 900.0, state="discarded")]
    drawn = picture(tried)
    assert places(drawn.others) == [(WIDTH - EDGE, EDGE)] and drawn.top < 3


def test_no_keep_has_no_staircase_and_one_score_no_picture():
    assert picture([row(0, 2.0), row(1, None, state="failed")]) is None and picture([]) is None
    assert picture([row(0, 2.0, state="discarded"), row(1, 2.1, state="discarded")]).stairs == ""


def test_equal_scores_and_odd_ones_divide_by_nothing():
    assert "nan" not in str(picture([row(n, 1.0) for n in range(3)])).lower()
    assert places(picture([row(0, 1.0), row(1, 0.9), row(2, float("nan"), state="discarded")]).others) == []
