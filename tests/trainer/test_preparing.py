"""Preparing data from a worker's side: it can be given up at once, is done by one at a time, and says how far it is."""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from experiments import loading
from tests.slow_hub import Hub
from tests.trainer.template_modules import load_template
from trainer import launch
from trainer.launch import Data
from trainer.spec import read_json


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as hub:
        monkeypatch.setenv("AUTORESEARCH_MIRROR", hub.url)
        yield hub


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path, "tinystories", 2048, 512)


class Enough(Exception):
    pass


def part(data: Data) -> int:
    return sum(path.stat().st_size for path in data.cache_dir.rglob("*.part"))


def until(done: Callable[[], bool]) -> Callable[[], None]:
    """A check that gives up as soon as `done`, and after 20 s whatever is."""
    give_up = time.monotonic() + 20

    def check() -> None:
        if done() or time.monotonic() > give_up:
            raise Enough

    return check


def test_it_says_how_far_it_is_and_goes_on_where_it_was_given_up(hub: Hub, data: Data) -> None:
    told = []

    def done() -> bool:
        told.append(read_json(data.progress))
        return bool(told[-1] and told[-1].get("done", 0) > 2_000_000)

    with pytest.raises(Enough):
        launch.prepare(data, until(done))
    assert told[-1]["stage"] == "download" and told[-1]["total"] == 400_000_000 and told[-1]["speed"] > 0
    kept = part(data)
    assert kept > 2_000_000 and not data.progress.exists()
    time.sleep(1)
    assert part(data) == kept, "the download goes on although nobody wants it"
    with pytest.raises(Enough):
        launch.prepare(data, until(lambda: part(data) > kept))
    assert hub.asked == ["", f"bytes={kept}-"]


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small TinyStories, as it lies on the hub: what does not get smaller, so that it comes in many pieces."""
    path, generator = tmp_path_factory.mktemp("stories") / "x.parquet", random.Random(1)
    texts = [f"# story {number}\n{generator.randbytes(60).hex()}\n" for number in range(23_000)]
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path, compression="none", row_group_size=1000)
    return path.read_bytes()


@pytest.mark.parametrize("stage", ["download", "tokens"])
def test_what_kill_9_left_is_gone_on_with_and_never_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stories: bytes, stage: str
) -> None:
    """A real prepare.py, killed in the middle of the shard, or of its tokens."""
    data = Data(tmp_path, "tinystories", 300, 64)
    with Hub(0.05, stories) as hub:
        monkeypatch.setenv("AUTORESEARCH_MIRROR", hub.url)
        env = {**launch._environment(data), "AUTORESEARCH_PROGRESS": str(data.progress)}
        process = subprocess.Popen(launch._prepare_command(), env=env, stdout=subprocess.DEVNULL)
        try:
            _wait_for(lambda: bool(part(data)) if stage == "download" else _stage(data) == stage)
        finally:
            process.kill()
            process.wait()
        kept, folder = part(data), launch.where(data)
        assert not folder.exists()  # what a training reads
        assert bool(kept) == (stage == "download") and bool(list(tmp_path.glob("preparing-*-*/"))) == (stage == "tokens")
        hub.pause = 0.0
        assert launch.prepare(data) == folder
    asked = ["", f"bytes={kept}-"] if stage == "download" else [""]
    assert hub.asked == asked, "the whole file is asked for again"
    meta = read_json(folder / "meta.json") or {}
    whole = [text.as_py() for text in pyarrow.parquet.read_table(pyarrow.BufferReader(stories))["text"]]
    assert meta["train_bytes"] == sum(map(len, whole[20_000:]))
    assert sum(shard.stat().st_size for shard in (folder / "train").iterdir()) == 2 * meta["train_tokens"]
    assert not list(tmp_path.glob("preparing-*-*/"))


def _stage(data: Data) -> str:
    return (read_json(data.progress) or {}).get("stage", "")


def _wait_for(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until, "did not happen"
        time.sleep(0.005)


def test_a_server_that_stalls_keeps_nobody_waiting(hub: Hub, data: Data) -> None:
    hub.pause = 30
    with pytest.raises(Enough):
        launch.prepare(data, until(lambda: part(data) > 0))
    assert not data.progress.exists()


def test_two_workers_load_it_once_and_the_one_that_waits_can_be_told_to_stop(hub: Hub, data: Data) -> None:
    first_may_end, ended = threading.Event(), []

    def first() -> None:
        with pytest.raises(Enough):
            launch.prepare(data, until(first_may_end.is_set))
        ended.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    loading_since = time.monotonic()
    with pytest.raises(Enough):  # another thread of the same worker
        launch.prepare(data, until(lambda: time.monotonic() - loading_since > 3))
    with pytest.raises(Enough):  # another process
        launch._ask_prepare(data, until(lambda: time.monotonic() - loading_since > 6))
    assert ended == [] and hub.asked == [""]
    first_may_end.set()
    thread.join(20)
    assert ended == ["first"]


def test_what_failed_is_said_without_the_lines_of_the_progress(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTORESEARCH_MIRROR", "ftp://nowhere")
    with pytest.raises(launch.LaunchError, match="an address that begins with https:// is expected") as caught:
        launch.prepare(data)
    assert "Download:" not in str(caught.value) and not data.progress.exists()


# In words

DOWN = {"stage": "download", "done": 320e6, "total": 1100e6, "speed": 3e6, "updated_at": 1000.0}


@pytest.mark.parametrize(
    ("told", "what", "more", "percent"),
    [
        (DOWN, "Loading climbmix: 320 of 1,100 MB, 4 min left", "goes on where it ended", 29.1),
        (DOWN | {"speed": 0}, "Loading climbmix: 320 of 1,100 MB", "goes on where it ended", 29.1),
        (DOWN | {"updated_at": 900.0}, "Loading climbmix: 320 of 1,100 MB", "Nothing has come for a while.", 29.1),
        (DOWN | {"trouble": "a: it broke; again in 8 s"}, "Loading climbmix: 320 of 1,100 MB", "again in 8 s. Wh", 29.1),
        ({"stage": "download"}, "Loading climbmix: waiting for the first byte", "Nothing has come", None),
        ({"stage": "tokenizer"}, "Preparing climbmix: learning a tokenizer", "once", None),
        ({"stage": "tokens", "part": "train"}, "Preparing climbmix: turning text into tokens (train)", "once", None),
        ({"stage": 3}, "Preparing climbmix: at work", "once", None),
    ],
)  # fmt: skip
def test_words(told: dict, what: str, more: str, percent: float | None) -> None:
    found = loading.describe("climbmix", told, 1003.0)
    assert found.what == what and more in found.more
    assert found.percent == (None if percent is None else pytest.approx(percent, abs=0.1))


def test_the_terminal_says_it_at_the_start_now_and_then_and_at_the_end(
    data: Data, monkeypatch: pytest.MonkeyPatch, settings, tmp_path: Path
) -> None:
    settings.DATA_DIR = str(tmp_path)
    monkeypatch.setenv("AUTORESEARCH_PROGRESS", str(data.progress))
    monkeypatch.setenv("AUTORESEARCH_DATASET", data.dataset)
    download, lines, said = load_template("download"), loading.Lines(), []
    assert list(lines.new(0.0)) == []
    for second in range(100):
        download.tell("download", done=second * 500_000, total=100_000_000, speed=500_000)
        said += lines.new(float(second))
    assert said[0] == "Loading tinystories: 0 of 100 MB, 3 min left (0%)" and len(said) == 10
    download.tell("tokenizer")
    assert list(lines.new(99.5)) == ["Preparing tinystories: learning a tokenizer"]
    download.tell_end()
    assert "no longer being prepared" in "".join(lines.new(100.0)) and list(lines.new(101.0)) == []


def test_what_is_prepared_in_a_moment_needs_no_line(
    data: Data, monkeypatch: pytest.MonkeyPatch, settings, tmp_path: Path
) -> None:
    settings.DATA_DIR = str(tmp_path)
    monkeypatch.setenv("AUTORESEARCH_PROGRESS", str(data.progress))
    download, lines = load_template("download"), loading.Lines()
    for second in range(4):
        download.tell("tokenizer")
        assert list(lines.new(float(second))) == []
    download.tell_end()
    assert list(lines.new(5.0)) == []
    download.tell("tokenizer")
    assert [list(lines.new(now)) != [] for now in (10.0, 15.0, 20.0)] == [False, False, True]


def test_the_size_of_files_that_have_not_begun_is_taken_to_be_that_of_the_others(tmp_path: Path) -> None:
    download = load_template("download")
    with download.Progress(files=10) as progress:
        progress.start(tmp_path / "a", 30, 100)
        assert progress.facts() | {"speed": 0} == {"done": 30, "total": 1000, "speed": 0, "files": 10, "finished": 0}
