"""The downloader against a real server that does what servers do: truncate, stall, refuse, change, lie."""

from __future__ import annotations

import email.utils
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.trainer.template_modules import TEMPLATE, load_template

download = load_template("download")
CONTENT = os.urandom(3_000_000)
OTHER = os.urandom(2_500_000)
HASH = hashlib.sha256(CONTENT).hexdigest()
Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Each request gets the next of the server's answers, the last one again and again."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.requests.append(dict(self.headers))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_: object) -> None:
        pass

    def send(
        self,
        content: bytes = CONTENT,
        tag: str = '"a"',
        upto: int | None = None,
        length: int | None = None,
        ranges: bool = True,
        **more: str,
    ) -> None:
        """Content, from where it was asked if the tag still holds; `upto` bytes of it, `length` as the claimed length."""
        asked = self.headers.get("Range")
        start = int(asked.split("=")[1].rstrip("-")) if asked and ranges and self.headers.get("If-Range") == tag else 0
        if start >= len(content):
            return self.refuse(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start if length is None else length))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        for name, value in (({"ETag": tag} if tag else {}) | more).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content[start : len(content) if upto is None else upto])
        return None

    def refuse(self, code: int, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [Handler.send]
        self.requests: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: object) -> None:  # a client that has gone
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0.01)
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    monkeypatch.setattr(download, "TRIES", 4)
    monkeypatch.delenv("AUTORESEARCH_MIRROR", raising=False)


def fetch(server: Server, folder: Path, name: str = "shard") -> Path:
    download.fetch_all({folder / name: f"{server.url}/{name}"})
    return folder / name


def only(folder: Path, *names: str) -> bool:
    return {path.name for path in folder.iterdir()} - {"shard.lock"} == set(names)


def test_a_file_arrives_whole_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    assert fetch(server, tmp_path / "new").read_bytes() == CONTENT
    assert only(tmp_path / "new", "shard")


def test_what_is_there_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(b"mine")
    assert fetch(server, tmp_path).read_bytes() == b"mine"
    assert server.requests == []


def test_many_files_come_at_once(server: Server, tmp_path: Path) -> None:
    together = threading.Barrier(download.WORKERS, timeout=10)

    def answer(handler: Handler) -> None:
        together.wait()
        handler.send()

    server.answers = [answer]
    files = {tmp_path / f"{number}": f"{server.url}/{number}" for number in range(2 * download.WORKERS)}
    download.fetch_all(files)
    assert all(path.read_bytes() == CONTENT for path in files)


@pytest.mark.parametrize("tag", ['"a"', ""])
def test_a_connection_that_closes_early_is_taken_up_again(server: Server, tmp_path: Path, tag: str) -> None:
    """From where it ended, or anew where nothing tells that the content is the same."""
    server.answers = [lambda handler: handler.send(tag=tag, upto=1_000_000), lambda handler: handler.send(tag=tag)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[1].get("Range") == ("bytes=1000000-" if tag else None)


def test_a_stall_is_given_up_and_taken_up_again(server: Server, tmp_path: Path) -> None:
    def stall(handler: Handler) -> None:
        handler.send(upto=500_000)
        handler.wfile.flush()
        time.sleep(1)

    server.answers = [stall, Handler.send]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[1]["Range"] == "bytes=500000-"


def test_a_server_that_always_truncates_leaves_no_file(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.send(upto=1000, ranges=False)]
    with pytest.raises(SystemExit, match="ended after 1,000 of 3,000,000 bytes; given up after 4 tries"):
        fetch(server, tmp_path)
    assert only(tmp_path, "shard.part", "shard.tag")


def test_another_call_goes_on_where_the_last_one_ended(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.send(upto=400_000), lambda handler: handler.refuse(404)]
    with pytest.raises(SystemExit):
        fetch(server, tmp_path)
    server.answers = [Handler.send]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1]["Range"] == "bytes=400000-"


def test_a_missing_file_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.refuse(404)]
    with pytest.raises(SystemExit, match=r"/shard: the server answered 404 Not Found.*AUTORESEARCH_DATASET=stdlib"):
        fetch(server, tmp_path)
    assert len(server.requests) == 1
    assert only(tmp_path)


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.refuse(503), lambda handler: handler.refuse(429), Handler.send]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_as_late_as_it_wants(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.refuse(503, Retry_After="1"), Handler.send]
    started = time.monotonic()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert 0.9 < time.monotonic() - started < 5


def test_retry_after_is_seconds_or_a_date() -> None:
    assert download.seconds("7") == 7
    assert download.seconds(email.utils.formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=2)
    assert download.seconds(email.utils.formatdate(time.time() - 60, usegmt=True)) == 0
    assert download.seconds("soon") is download.seconds(None) is None


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.send(upto=1_000_000), lambda handler: handler.send(ranges=False)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT


def test_content_that_changes_between_two_connections_is_not_mixed(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.send(upto=1_000_000), lambda handler: handler.send(OTHER, tag='"b"')]
    assert fetch(server, tmp_path).read_bytes() == OTHER


def test_nor_where_the_server_sends_the_wrong_rest(server: Server, tmp_path: Path) -> None:
    """It ignores If-Range; the tag of its answer tells."""

    def wrong(handler: Handler) -> None:
        handler.headers.replace_header("If-Range", '"b"')
        handler.send(OTHER, tag='"b"')

    server.answers = [lambda handler: handler.send(upto=1_000_000), wrong, lambda handler: handler.send(OTHER, tag='"b"')]
    assert fetch(server, tmp_path).read_bytes() == OTHER


def test_a_file_that_has_become_shorter_than_our_part_starts_anew(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.send(upto=1_000_000), lambda handler: handler.send(CONTENT[:9])]
    assert fetch(server, tmp_path).read_bytes() == CONTENT[:9]


def test_a_claimed_length_that_is_too_long_is_a_truncation(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.send(length=len(CONTENT) + 5, ranges=False)]
    with pytest.raises(SystemExit, match="ended after 3,000,000 of 3,000,005 bytes"):
        fetch(server, tmp_path)
    assert not (tmp_path / "shard").exists()


def test_a_claimed_length_that_is_too_short_is_found_by_the_hash(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.send(tag=f'"{HASH}"', length=1000, ranges=False)]
    with pytest.raises(SystemExit, match="another SHA-256"):
        fetch(server, tmp_path)
    assert only(tmp_path)


def test_a_length_that_nobody_tells_is_refused(server: Server, tmp_path: Path) -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + CONTENT[:1000])

    server.answers = [answer]
    with pytest.raises(SystemExit, match="does not say how long the file is"):
        fetch(server, tmp_path)


def test_a_flipped_bit_is_found_and_fetched_again(server: Server, tmp_path: Path) -> None:
    damaged = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    tag = f'"{HASH}"'
    server.answers = [lambda handler: handler.send(damaged, tag=tag), lambda handler: handler.send(tag=tag)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert "Range" not in server.requests[1]


def test_the_hash_and_size_that_stand_at_a_redirect_count(server: Server, tmp_path: Path) -> None:
    def redirect(handler: Handler, size: int = len(CONTENT)) -> None:
        headers = {"X_Linked_ETag": f'"{HASH}"', "X_Linked_Size": str(size), "Location": f"{server.url}/cdn"}
        handler.refuse(302, **headers)

    server.answers = [redirect, lambda handler: handler.send(OTHER[:1] + CONTENT[1:]), redirect, Handler.send]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    server.answers = [lambda handler: redirect(handler, 7), Handler.send] * 4
    with pytest.raises(SystemExit, match="3,000,000 bytes of a file of 7"):
        fetch(server, tmp_path, "other")


def test_one_failure_ends_the_others(server: Server, tmp_path: Path) -> None:
    server.answers = [lambda handler: handler.refuse(404)]
    with pytest.raises(SystemExit, match="404"):
        download.fetch_all({tmp_path / f"{number}": f"{server.url}/{number}" for number in range(50)})
    assert len(server.requests) < 50


def test_no_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"No network: .*AUTORESEARCH_DATASET=stdlib, or set AUTORESEARCH_MIRROR"):
        download.fetch_all({tmp_path / "shard": "http://127.0.0.1:9/shard"})


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "shard.part").mkdir()
    with pytest.raises(SystemExit, match=r"cannot be written: Is a directory"):
        fetch(server, tmp_path)


def test_a_mirror_takes_the_place_of_the_hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTORESEARCH_MIRROR", f"{server.url}/")
    download.fetch_all({tmp_path / "shard": "https://huggingface.co/datasets/a/b"})
    assert (tmp_path / "shard").read_bytes() == CONTENT
    assert download.mirrored("https://elsewhere.org/x") == "https://elsewhere.org/x"
    monkeypatch.setenv("AUTORESEARCH_MIRROR", "mirror.example")
    with pytest.raises(SystemExit, match=r"AUTORESEARCH_MIRROR is 'mirror\.example'"):
        download.mirrored("https://huggingface.co/x")


def test_two_processes_download_once(server: Server, tmp_path: Path) -> None:
    def slow(handler: Handler) -> None:
        time.sleep(0.2)
        handler.send()

    server.answers = [slow]
    code = f"import download, pathlib; download.fetch_all({{pathlib.Path({str(tmp_path)!r}, 'shard'): '{server.url}/x'}})"
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=TEMPLATE) for _ in range(2)]
    assert [process.wait(timeout=30) for process in both] == [0, 0]
    assert (tmp_path / "shard").read_bytes() == CONTENT
    assert len(server.requests) == 1


def test_a_killed_download_is_not_there_and_goes_on(server: Server, tmp_path: Path) -> None:
    def hang(handler: Handler) -> None:
        handler.send(upto=700_000)
        handler.wfile.flush()
        time.sleep(30)

    server.answers = [hang, Handler.send]
    code = f"import download, pathlib; download.fetch_all({{pathlib.Path({str(tmp_path)!r}, 'shard'): '{server.url}/x'}})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=TEMPLATE)
    part = tmp_path / "shard.part"
    deadline = time.monotonic() + 20
    while (not part.exists() or not part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "shard").exists()
    have = part.stat().st_size
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[1]["Range"] == f"bytes={have}-"


def test_progress_is_told_in_plain_lines(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(server, tmp_path)
    told = capsys.readouterr().out
    assert "Download: 1 of 1 files, 3 of 3 MB" in told
    assert "\r" not in told
