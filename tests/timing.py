"""Which file of tests takes how long: the longest are begun first, so that no worker waits for one at the end.

Those in a browser come before all others: then each worker ends its shared installation, which costs a tenth of a core.

tests/seconds.json holds a whole run's seconds by file (of a worker's time, on two busy cores); `--write-seconds` writes it
anew. A file that is not in it yet is begun first.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

KNOWN = Path(__file__).with_name("seconds.json")


def known() -> dict[str, float]:
    """File, from the root of the repository -> seconds."""
    seconds: dict[str, float] = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    return seconds


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-seconds", action="store_true", help="write tests/seconds.json from this run")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--write-seconds") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Writer())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seconds = known()

    def place(item: pytest.Item) -> tuple[bool, float]:
        file = file_of(item.nodeid)
        return not file.startswith("tests/browser/"), -seconds.get(file, float("inf"))

    items.sort(key=place)  # stable: a file's tests keep their order


class Writer:
    """In the process that hears of all workers' tests."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[file_of(report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        rounded = {name: round(seconds, 1) for name, seconds in self.seconds.most_common()}
        KNOWN.write_text(json.dumps(rounded, indent=0) + "\n")
