from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from experiments import stream_reading
from experiments.models import Chunk, Experiment, Run
from experiments.models.stream import READ_LIMIT
from experiments.states import State
from tests.factories import add_points, add_text, make_experiment, make_run


@pytest.fixture
def run(db: None) -> Run:
    run = make_run()
    make_experiment(run, score=1.3)
    return run


def read(client: Client, experiment: Experiment, name: str, query: str = "") -> Any:
    return client.get(reverse("experiment-stream", args=[experiment.pk, name]) + query)


def test_a_stream_is_read_by_cursor(signed_in: Client, run: Run):
    experiment = run.best
    add_text(experiment, "log", "one\r")
    add_text(experiment, "log", "two")
    assert read(signed_in, experiment, "log").json() == {"attempt": 1, "offset": 0, "next": 7, "data": ["one\r", "two"]}
    assert read(signed_in, experiment, "log", "?after=4&attempt=1").json()["data"] == ["two"]
    assert read(signed_in, experiment, "log", "?after=7&attempt=1").json()["data"] == []
    assert read(signed_in, experiment, "log", "?after=4&attempt=9").json()["offset"] == 0


@pytest.mark.parametrize(
    "query", ["?after=-1", "?after=x", "?attempt=1.5", "?after=" + "9" * 40, "?after=²", "?points=-1"]
)
def test_a_bad_number_is_a_400_in_words(signed_in: Client, run: Run, query: str):
    answer = read(signed_in, run.best, "series", query)
    assert answer.status_code == 400
    assert "must be a whole number" in answer.text


def test_an_unknown_stream_is_a_404(signed_in: Client, run: Run):
    assert read(signed_in, run.best, "secrets").status_code == 404


@pytest.mark.parametrize(("state", "thinned"), [(State.KEPT, True), (State.TRAINING, False)])
def test_only_a_finished_curve_is_thinned(signed_in: Client, run: Run, state: State, thinned: bool):
    experiment = make_experiment(run, state)
    add_points(experiment, [3.0 + i % 7 for i in range(500)])
    answer = read(signed_in, experiment, "series", "?points=50").json()
    points = [point for chunk in answer["data"] for point in json.loads(chunk)]
    assert answer["next"] == 500
    assert (len(points) <= 50) == thinned
    assert (points[0]["step"], points[-1]["step"]) == (0, 499)


@pytest.mark.usefixtures("no_event_loop")
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume")  # the test client is no ASGI server
def test_a_download_is_a_text_file_of_everything(signed_in: Client, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("experiments.models.stream.READ_LIMIT", 3)
    for text in ("one\n", "two\n", "<b>three</b>\n"):
        add_text(run.best, "log", text)
    answer = read(signed_in, run.best, "log", "?download=1")
    assert b"".join(list(answer)).decode() == "one\ntwo\n<b>three</b>\n"
    assert answer["Content-Type"] == "text/plain; charset=utf-8"
    assert answer["Content-Disposition"] == 'attachment; filename="small-gpt-demo-0-log.txt"'


@pytest.fixture
def long(run: Run, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """A log of 10 chunks of 10 bytes, read by steps of 25."""
    monkeypatch.setattr(stream_reading, "STEP", 25)
    for i in range(10):
        add_text(run.best, "log", f"chunk {i:03}\n")
    return run.best


def test_of_a_long_log_the_end_comes_first_and_the_rest_by_steps(signed_in: Client, long: Experiment):
    part = read(signed_in, long, "log", "?tail=1").json()
    assert (part["offset"], part["next"], part["data"]) == (80, 100, ["chunk 008\n", "chunk 009\n"])
    text = "".join(part["data"])
    for _ in range(10):
        part = read(signed_in, long, "log", f"?before={part['offset']}&attempt=1").json()
        text = "".join(part["data"]) + text
    assert text == "".join(f"chunk {i:03}\n" for i in range(10))
    assert (part["offset"], part["data"]) == (0, [])


def test_a_reader_that_is_near_the_end_goes_on_and_one_far_behind_jumps(signed_in: Client, long: Experiment):
    assert read(signed_in, long, "log", "?tail=1&after=90&attempt=1").json()["data"] == ["chunk 009\n"]
    assert read(signed_in, long, "log", "?tail=1&after=10&attempt=1").json()["offset"] == 80
    assert read(signed_in, long, "log", "?tail=1&after=90&attempt=7").json()["offset"] == 80


def test_a_chunk_longer_than_a_step_still_comes(signed_in: Client, long: Experiment):
    add_text(long, "log", "x" * 60)
    part = read(signed_in, long, "log", "?tail=1").json()
    assert (part["offset"], len(part["data"])) == (100, 1)
    assert read(signed_in, long, "log", "?before=160&attempt=1").json()["offset"] == 100


def test_the_memory_for_a_page_of_a_huge_log_is_small(signed_in: Client, run: Run):
    text = "a line of a log\n" * 16_000
    size = len(text)
    Chunk.objects.bulk_create(
        Chunk(experiment=run.best, attempt=1, stream="log", offset=i * size, end=(i + 1) * size, data=text)
        for i in range(160)
    )  # 41 MB
    tracemalloc.start()
    url = reverse("experiment-stream", args=[run.best.pk, "log"])
    for query in ("?tail=1", f"?before={20 * size}&attempt=1", "?after=0"):
        assert signed_in.get(url + query).status_code == 200
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 * READ_LIMIT  # READ_LIMIT of text, as JSON, in copies; never the log


@pytest.mark.parametrize("most", [50, 400])
def test_a_gap_survives_the_thinning(signed_in: Client, run: Run, most: int):
    experiment = make_experiment(run, State.KEPT)
    add_points(experiment, [float("nan") if 200 <= i < 203 else 3.0 + i % 7 for i in range(500)])
    answer = read(signed_in, experiment, "series", f"?points={most}").json()
    points = [point for chunk in answer["data"] for point in json.loads(chunk)]
    assert next(point["step"] for point in points if point["loss"] is None) == 200
    assert len(points) <= most


def test_a_curve_longer_than_one_read_is_thinned_as_a_whole(
    signed_in: Client, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("experiments.models.stream.READ_LIMIT", 500)
    experiment = make_experiment(run, State.KEPT)
    for _ in range(20):
        add_points(experiment, [3.0, 2.0, 2.5])
    answer = read(signed_in, experiment, "series", "?points=20").json()
    (chunk,) = answer["data"]
    assert (answer["next"], json.loads(chunk)[-1]["step"]) == (60, 59)
