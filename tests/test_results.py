"""results.tsv in the upstream's exact form, as a reader of it would check.

Facts of a published file of 125 experiments: five columns, tabs, Unix line ends, 7 characters of the hash, 6 decimals
of the score, 1 of the memory; a crash has zeros; status is keep, discard or crash.
"""

from __future__ import annotations

import io
import re

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from experiments.models import Experiment
from experiments.results import results_tsv
from experiments.states import State
from tests.factories import make_experiment, make_run

pytestmark = pytest.mark.django_db
LINE = re.compile(r"[0-9a-f]{7}\t\d+\.\d{6}\t\d+\.\d\t(keep|discard|crash)\t[^\t\n]+")


def lines_of(run) -> list[str]:
    text = results_tsv(run)
    assert text.endswith("\n") and "\r" not in text
    return text.splitlines()


def row_of(**fields) -> list[str]:
    experiment = make_experiment(make_run(), **fields)
    return lines_of(experiment.run)[1].split("\t")


def test_the_header_stands_alone_before_anything_is_done():
    assert results_tsv(make_run()) == "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"


def test_every_line_has_the_form():
    run = make_run()
    for state, score in ((State.KEPT, 0.9979), (State.DISCARDED, 1.2), (State.FAILED, None), (State.REVERTED, 0.5)):
        make_experiment(run, state, score)
    assert all(LINE.fullmatch(line) for line in lines_of(run)[1:])
    assert [line.split("\t")[3] for line in lines_of(run)[1:]] == ["keep", "discard", "crash", "keep"]


def test_a_keep_as_upstream_writes_it():
    row = row_of(score=0.9979, commit="bea057b" + "0" * 33, summary={"peak_vram_mb": 45060.2}, description="baseline")
    assert row == ["bea057b", "0.997900", "44.0", "keep", "baseline"]


def test_a_crash_has_zeros_whatever_is_known_of_it():
    row = row_of(state=State.FAILED, score=0.5, summary={"peak_vram_mb": 45060.2}, description="batch 131K")
    assert row[1:] == ["0.000000", "0.0", "crash", "batch 131K"]


def test_a_training_that_does_not_say_its_memory_has_zero():
    assert row_of(score=1.0, summary={})[2] == "0.0"


@pytest.mark.parametrize("state", [State.READY, State.TRAINING, State.CONFIRMING, State.CANCELLED])
def test_what_is_not_finished_or_was_called_off_is_no_result(state):
    run = make_run()
    make_experiment(run, state)
    assert len(lines_of(run)) == 1


def test_a_proposal_that_never_became_a_commit_is_no_result():
    run = make_run()
    make_experiment(run, State.FAILED, commit="")
    assert len(lines_of(run)) == 1


def test_a_description_can_break_neither_columns_nor_lines():
    assert row_of(score=1.0, description="one\ttwo\nthree\r four")[4] == "one two three four"


def test_the_order_is_that_of_the_numbers():
    run = make_run()
    for number in (2, 0, 1):
        make_experiment(run, State.DISCARDED, 1.0, number=number, description=f"idea {number}")
    assert [line.split("\t")[4] for line in lines_of(run)[1:]] == ["idea 0", "idea 1", "idea 2"]


def test_the_export_command_prints_the_same_by_id_and_by_tag():
    run = make_run(tag="night")
    make_experiment(run, State.KEPT, 1.0)
    for name in (str(run.pk), "night"):
        out = io.StringIO()
        call_command("export", name, stdout=out)
        assert out.getvalue() == results_tsv(run)


def test_the_export_of_a_run_that_does_not_exist_says_where_to_look():
    with pytest.raises(CommandError, match=r"no run 'nowhere'\. `python manage\.py status` lists them"):
        call_command("export", "nowhere")


def test_a_long_night_takes_few_queries(django_assert_max_num_queries):
    run = make_run()
    baseline = make_experiment(run, State.KEPT, 1.0)
    Experiment.objects.bulk_create(
        Experiment(run=run, number=n, kind="idea", state=State.DISCARDED, score=1.0, commit=f"{n:040x}", parent=baseline)
        for n in range(1, 300)
    )
    with django_assert_max_num_queries(2):
        assert len(lines_of(run)) == 301
