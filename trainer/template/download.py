"""Fetches files over HTTP, so that a file which is there is whole. Fixed: the researcher edits train.py, never this file.

A file grows under the name NAME.part and gets its own name only when its length, and its SHA-256 where the server tells
it, are right. A download that was cut off goes on where it ended, if the server still has the same content.
AUTORESEARCH_MIRROR takes the place of https://huggingface.co. AUTORESEARCH_PROGRESS names a file for whoever waits: see
`tell`. Standard library only.
"""

import contextlib
import email.utils
import errno
import hashlib
import http.client
import json
import os
import random
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

HUB = "https://huggingface.co"
WORKERS = 4  # files at a time
STALL_SECONDS = 30.0  # without a byte; then the connection is given up
TRIES = 6  # in a row without PROGRESS_BYTES
PROGRESS_BYTES = 2**20
BACKOFF_SECONDS = 1.0  # before the second try, doubled each time, at most MOST_SECONDS
MOST_SECONDS = 60.0
READ_BYTES = 2**18
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP answers that may be better next time
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}  # faults of ours, where no file is named


class DownloadError(Exception):
    """The file cannot be had; the words say why and what to do."""


class Broken(Exception):
    """This try failed, another may not. `wait` seconds were asked for by the server."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


def fetch_all(files: dict[Path, str]) -> None:
    """Download what is missing of {path: address}, some files at a time. Ends the process with the reason when it fails."""
    missing = {path: mirrored(url) for path, url in files.items() if not path.exists()}
    if not missing:
        return
    progress = Progress(len(missing))
    with ThreadPoolExecutor(WORKERS) as pool, progress:
        jobs = [pool.submit(fetch, url, path, progress) for path, url in missing.items()]
        try:
            for job in jobs:
                job.result()
        except BaseException as error:
            progress.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, DownloadError):
                raise SystemExit(f"download: {error}") from None
            raise


def mirrored(url: str) -> str:
    mirror = os.environ.get("AUTORESEARCH_MIRROR", "").rstrip("/")
    if mirror and not mirror.startswith(("http://", "https://")):
        raise SystemExit(f"download: AUTORESEARCH_MIRROR is {mirror!r}; an address that begins with https:// is expected.")
    return url.replace(HUB, mirror, 1) if mirror else url


def fetch(url: str, path: Path, progress: "Progress") -> None:
    """Download one file. Raises DownloadError when it is not to be had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tries = 0
    with locked(path):
        while not path.exists():
            before = size_of(part_of(path))
            try:
                attempt(url, path, progress)
            except Broken as error:
                tries = 1 if size_of(part_of(path)) - before >= PROGRESS_BYTES else tries + 1
                if tries >= TRIES:
                    raise DownloadError(f"{url}: {error}; given up after {tries} tries. {ADVICE}") from None
                backoff = min(MOST_SECONDS, BACKOFF_SECONDS * 2 ** (tries - 1)) * random.uniform(0.5, 1.5)
                wait = max(backoff, min(error.wait or 0.0, 5 * MOST_SECONDS))
                progress.say(f"{path.name}: {error}; again in {wait:.0f} s")
                if progress.stopped.wait(wait):
                    raise DownloadError("stopped") from None
            except OSError as error:  # of the disk: what the network does is Broken
                raise DownloadError(f"{path} cannot be written: {error.strerror or error}.") from None


ADVICE = (
    "Without a network use AUTORESEARCH_DATASET=stdlib, or set AUTORESEARCH_MIRROR to a mirror of huggingface.co; what has "
    "been downloaded is kept, so another call goes on from there."
)


def attempt(url: str, path: Path, progress: "Progress") -> None:
    """One connection: what is missing of the file, then its checks, then its name. Raises Broken."""
    part = part_of(path)
    have = size_of(part) if Tag.stored(part) else 0
    with connected(url, part, have) as (response, linked):
        have, total, sha256 = expected(response, linked, part, have)
        with part.open("r+b" if have else "wb") as file:
            if not have:
                Tag.store(part, response)
            file.seek(have)
            progress.start(path, have, total)
            receive(response, file, path, progress)
            file.flush()
            os.fsync(file.fileno())
    if (size := size_of(part)) != total:
        if size > total:
            drop(part)
        raise Broken(f"the connection ended after {size:,} of {total:,} bytes")
    if sha256 and digest_of(part) != sha256:
        drop(part)
        raise Broken("the content has another SHA-256 than the server says")
    os.replace(part, path)
    drop(part)
    sync_folder(path.parent)
    progress.finish()


@contextlib.contextmanager
def connected(url: str, part: Path, have: int) -> Iterator[tuple[http.client.HTTPResponse, dict[str, str]]]:
    """The response from `have` bytes on, and the headers of redirects before it. Every fault of the network is Broken."""
    headers = {"User-Agent": "autoresearch", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": Tag.stored(part)}
    redirects = Redirects()
    try:
        opener = urllib.request.build_opener(redirects)
        with opener.open(urllib.request.Request(url, headers=headers), timeout=STALL_SECONDS) as response:
            yield response, redirects.headers
    except urllib.error.HTTPError as error:
        if error.code == 416:  # our part is longer than the file now is
            drop(part)
        elif error.code not in PASSING:
            raise DownloadError(f"{url}: the server answered {error.code} {error.reason}. {ADVICE}") from None
        raise Broken(f"the server answered {error.code} {error.reason}", seconds(error.headers.get("Retry-After"))) from None
    except TimeoutError:
        raise Broken(f"nothing came for {STALL_SECONDS:g} s") from None
    except urllib.error.URLError as error:
        raise Broken(f"No network: {error.reason}") from None
    except http.client.HTTPException as error:
        raise Broken(f"the connection broke: {type(error).__name__}") from None
    except OSError as error:
        if error.filename is not None or error.errno in DISK:
            raise
        raise Broken(f"the connection broke: {error.strerror or error}") from None


class Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps what the hub says of a large file before it sends us to where it lies."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        self.headers |= {name.lower(): value for name, value in headers.items()}
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def expected(response: http.client.HTTPResponse, linked: dict[str, str], part: Path, have: int) -> tuple[int, int, str]:
    """(bytes of ours that hold, bytes of the whole file, its SHA-256 or "")."""
    length, span = response.headers.get("Content-Length"), response.headers.get("Content-Range", "")
    if response.status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", span)
        if match is None or int(match[1]) != have or Tag.of(response) not in ("", Tag.stored(part)):
            drop(part)
            raise Broken("the file has changed since the download began")
        total = int(match[2])
    elif length is None:
        raise DownloadError(
            f"{response.url}: the server does not say how long the file is, so nobody could tell when it is whole."
        )
    else:
        have, total = 0, int(length)
    if int(linked.get("x-linked-size", total)) != total:
        raise Broken(f"the server has {total:,} bytes of a file of {int(linked['x-linked-size']):,}")
    for name in (linked.get("x-linked-etag", ""), response.headers.get("ETag", "")):
        if match := re.fullmatch(r'"?([0-9a-f]{64})"?', name):
            return have, total, match[1]
    return have, total, ""


def receive(response: http.client.HTTPResponse, file: BinaryIO, path: Path, progress: "Progress") -> None:
    while data := response.read1(READ_BYTES):
        if progress.stopped.is_set():
            raise DownloadError("stopped")
        file.write(data)
        progress.add(path, len(data))


class Tag:
    """By what a file's content is known from one connection to the next; kept beside the part."""

    @staticmethod
    def of(response: http.client.HTTPResponse) -> str:
        tag = response.headers.get("ETag", "")
        return response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag

    @staticmethod
    def stored(part: Path) -> str:
        path = part.with_suffix(".tag")
        return path.read_text() if path.exists() else ""

    @staticmethod
    def store(part: Path, response: http.client.HTTPResponse) -> None:
        part.with_suffix(".tag").write_text(Tag.of(response))


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def drop(part: Path) -> None:
    part.unlink(missing_ok=True)
    part.with_suffix(".tag").unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seconds(retry_after: str | None) -> float | None:
    """Of a Retry-After header: a number of seconds, or a date."""
    if not retry_after:
        return None
    with contextlib.suppress(ValueError):
        return float(retry_after)
    with contextlib.suppress(ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    return None


def sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not possible on Windows
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time downloads a file; the others wait, and then find it there."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    with path.with_name(path.name + ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def tell(stage: str, **facts: object) -> None:
    """Say what is being done, in a file that is always whole, for whoever waits. Only a hint: no fault of it matters."""
    path = os.environ.get("AUTORESEARCH_PROGRESS")
    if path:
        fresh = Path(f"{path}.new")
        with contextlib.suppress(OSError):
            told = {"dataset": os.environ.get("AUTORESEARCH_DATASET", ""), "stage": stage, "updated_at": time.time()}
            fresh.write_text(json.dumps(told | facts))
            os.replace(fresh, path)


def tell_end() -> None:
    path = os.environ.get("AUTORESEARCH_PROGRESS")
    if path:
        with contextlib.suppress(OSError):
            Path(path).unlink(missing_ok=True)


@dataclass
class Progress:
    """One line on a terminal, renewed; else a line every few seconds."""

    files: int
    stopped: threading.Event = field(default_factory=threading.Event)
    done: dict[Path, int] = field(default_factory=dict)
    totals: dict[Path, int] = field(default_factory=dict)
    finished: int = 0
    shown_at: float = 0.0
    told_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> "Progress":
        self.began, self.fresh = time.monotonic(), 0
        return self

    def __exit__(self, *_: object) -> None:
        self.show(0.0, end="\n")

    def start(self, path: Path, have: int, total: int) -> None:
        self.done[path], self.totals[path] = have, total

    def add(self, path: Path, size: int) -> None:
        with self.lock:
            self.done[path] += size
            self.fresh += size
            self.show(0.2 if sys.stdout.isatty() else 5.0)
            if time.monotonic() - self.told_at >= 1:
                self.told_at = time.monotonic()
                tell("download", **self.facts())

    def finish(self) -> None:
        with self.lock:
            self.finished += 1

    def say(self, text: str) -> None:
        with self.lock:
            print(("\r\033[K" if sys.stdout.isatty() else "") + f"download: {text}", flush=True)
            tell("download", **self.facts(), trouble=text)

    def facts(self) -> dict[str, float]:
        """Bytes done and in all. The size of a file that has not begun is taken to be that of the others."""
        known = len(self.totals)
        return {
            "done": sum(self.done.values()), "total": sum(self.totals.values()) * self.files // max(1, known),
            "speed": self.fresh / max(1e-3, time.monotonic() - self.began), "files": self.files, "finished": self.finished,
        }  # fmt: skip

    def show(self, every: float, end: str = "") -> None:
        now = time.monotonic()
        if now - self.shown_at < every:
            return
        self.shown_at = now
        done, total = (sum(sizes.values()) / 1e6 for sizes in (self.done, self.totals))
        speed = self.fresh / 1e6 / max(1e-3, now - self.began)
        line = f"Download: {self.finished} of {self.files} files, {done:,.0f} of {total:,.0f} MB, {speed:.1f} MB/s"
        print(f"\r\033[K{line}" if sys.stdout.isatty() else line, end=end if sys.stdout.isatty() else "\n", flush=True)
