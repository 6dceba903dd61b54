"""What a bench of pages measures with: requests timed on loopback, visits of a fresh browser, median and worst."""

from __future__ import annotations

import gzip
import http.client
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page

from tests.bench.table import Line, at_most
from tests.installation import Installation

VIEW: Any = {"width": 1440, "height": 1000}
LIBRARY = "plotly"
PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


@dataclass(frozen=True)
class Answer:
    milliseconds: float  # from the request to the last byte: on loopback that is the server's time
    wire_bytes: int
    plain_bytes: int


class Visitor:
    """A signed-in person: requests of their own, and pages in a browser that has seen nothing yet."""

    def __init__(self, here: Installation, browser: Browser) -> None:
        self.here, self.browser = here, browser
        context = browser.new_context()
        context.new_page().goto(here.sign_in_link())
        self.state: Any = context.storage_state()
        context.close()
        self.cookie = "; ".join(f"{one['name']}={one['value']}" for one in self.state["cookies"])

    def get(self, path: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.here.port, timeout=60)
        connection.connect()
        began = time.perf_counter()
        connection.request("GET", path, headers={"Cookie": self.cookie, "Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        body = answer.read()
        milliseconds = (time.perf_counter() - began) * 1000
        connection.close()
        assert answer.status == 200, f"{path}: {answer.status}"
        plain = gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body
        return Answer(milliseconds, len(body), len(plain))

    @contextmanager
    def fresh_page(self) -> Iterator[Page]:
        with fresh_page(self.browser, storage_state=self.state) as page:
            yield page


@contextmanager
def fresh_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page of a context whose cache is empty."""
    context = browser.new_context(viewport=VIEW, **options)
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def seconds_until(page: Page, address: str, condition: str) -> float:
    """From the start of the navigation to the first frame in which `condition`, JavaScript, holds."""
    page.goto(address, wait_until="commit")
    found = page.wait_for_function(f"() => ({condition}) && performance.now()").json_value()
    return float(found) / 1000


def wire_kilobytes(page: Page, visit: Callable[[], Any]) -> tuple[float, float]:
    """All that comes over the network during `visit`, as compressed as it came; the same without the chart library."""
    session = page.context.new_cdp_session(page)
    addresses: dict[str, str] = {}
    sizes: dict[str, float] = {}
    session.on("Network.requestWillBeSent", lambda event: addresses.update({event["requestId"]: event["request"]["url"]}))
    session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    session.send("Network.enable")
    visit()
    page.wait_for_load_state("networkidle")
    session.detach()
    library = sum(size for request, size in sizes.items() if LIBRARY in addresses.get(request, ""))
    assert library > 0, f"{LIBRARY} did not come"
    return sum(sizes.values()) / 1000, (sum(sizes.values()) - library) / 1000


def times(metric: str, values: Sequence[float], unit: str, goal: float | None) -> Line:
    """The median against the goal; the worst is shown."""
    return at_most(metric, statistics.median(values), unit, goal, worst=max(values))
