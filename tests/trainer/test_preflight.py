"""Broken edits are caught before they cost device time, and good ones are let through."""

from __future__ import annotations

import pytest

from tests.trainer import examining
from tests.trainer.rehearsing import BROKEN, GOOD, H100, Edit, rehearse, template

prepared, zygote = examining.prepared, examining.zygote
CARDS = {"cpu": None, "card": H100}


def named(edits: list[Edit]) -> list:
    return [pytest.param(edit, id=edit.name) for edit in edits]


@pytest.mark.parametrize("device", CARDS)
@pytest.mark.parametrize("edit", named(BROKEN))
def test_a_broken_edit_is_caught_or_known_to_be_missed(edit, device, tmp_path, prepared, zygote):
    source = edit.apply(template())
    seconds = 6.0 if "without end" in edit.name else 60.0
    found = rehearse(source, tmp_path / "w", prepared, zygote, CARDS[device], seconds=seconds, memory_bytes=4 * 2**30)
    wanted = getattr(edit, device)
    assert found.ok is wanted, found
    if wanted is not True and edit.words:
        assert edit.words in found.error


@pytest.mark.parametrize("device", CARDS)
@pytest.mark.parametrize("edit", named(GOOD))
def test_a_good_edit_is_no_false_alarm(edit, device, tmp_path, prepared, zygote):
    found = rehearse(edit.apply(template()), tmp_path / "w", prepared, zygote, CARDS[device], memory_bytes=4 * 2**30)
    assert (found.ok, found.error) == (True, ""), found
    assert found.stage == "end" and found.params > 10_000
