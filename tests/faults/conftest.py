"""A real installation that tests kill parts of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.machine import Machine


@pytest.fixture(scope="module")
def here() -> Iterator[Machine]:
    with Machine() as machine:
        yield machine
