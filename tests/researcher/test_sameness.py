"""The same experiment in other words is found; another one is not taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.researcher.sameness import change_between, whole_key

BASE = '''"""A training."""
LR = 0.04  # of the matrices
BATCH = 2**15
NAME = "SSSL"


def step(x):
    """One step."""
    y = x * LR  # the rate
    return y + 1
'''


def edited(*pairs: tuple[str, str], base: str = BASE) -> str:
    for old, new in pairs:
        assert old in base
        base = base.replace(old, new)
    return base


def change(after: str, before: str = BASE, path: str = "train.py"):
    return change_between({path: before}, {path: after})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LR = 0.06", "LR = 6e-2"),
        ("LR = 0.06  # higher", "LR=0.060"),
        ("LR: float = 0.06", "LR = 0.06"),
    ],
)
def test_a_constant_in_another_spelling_is_the_same(one: str, other: str):
    first, second = (change(edited(("LR = 0.04  # of the matrices", text))) for text in (one, other))
    assert first.key == second.key and first.constants == {"train.py LR": "0.06"} and not first.rest


def test_a_power_and_its_value_are_the_same():
    assert change(edited(("2**15", "2**16"))).key == change(edited(("2**15", "65536"))).key


def test_comments_docstrings_and_spacing_change_nothing():
    after = edited(("  # the rate", ""), ('"""One step."""', "'''Another text.'''"), ("y = x * LR", "y  =  (x*LR)"))
    assert change(after).is_empty


def test_the_same_change_on_another_best_is_the_same():
    """The best has moved on: what was tried before is still what was tried."""
    moved = edited(("2**15", "2**14"))
    once = change(edited(("LR = 0.04", "LR = 0.06")))
    again = change(edited(("LR = 0.04", "LR = 0.06"), base=moved), before=moved)
    assert once.key == again.key
    code = [change(edited(("y + 1", "y + 2"), base=base), before=base) for base in (BASE, moved)]
    assert code[0].key == code[1].key != once.key


@pytest.mark.parametrize(
    "pair",
    [("LR = 0.04", "LR = 0.05"), ("y + 1", "y - 1"), ("x * LR", "LR * x"), ("2**15", "2**16"), ('"SSSL"', '"SSLL"')],
)
def test_another_change_is_another(pair: tuple[str, str]):
    assert change(edited(pair)).key not in {change(edited(("LR = 0.04", "LR = 0.06"))).key, change(BASE).key}


def test_near_is_the_same_constants_and_nothing_else():
    low, high = (change(edited(("LR = 0.04", f"LR = {value}"))) for value in (0.05, 0.06))
    assert low.near_key == high.near_key == "train.py LR" and low.key != high.key
    assert change(edited(("LR = 0.04", "LR = 0.05"), ("y + 1", "y + 2"))).near_key == ""
    assert change(edited(("y + 1", "y + 2"))).near_key == ""


def test_a_constant_that_comes_or_goes_is_a_change_of_the_program():
    came = change(edited(("BATCH", "DROPOUT = 0.1\nBATCH")))
    assert came.rest == ("train.py +DROPOUT = 0.1",) and came.near_key == ""
    assert change(edited(("BATCH = 2**15\n", ""))).rest == ("train.py -BATCH = 32768",)


def test_files_that_are_no_python_count_by_lines():
    assert change("a\nc\n", "a\nb\n", path="notes.md").rest == ("notes.md -b", "notes.md +c")
    assert change("LR = (\n", path="train.py").rest  # broken: refused elsewhere, and no exception here


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_has_a_key(before: str, after: str):
    found = change_between({"train.py": before}, {"train.py": after})
    assert len(found.key) == 40
    if before == after:
        assert found.is_empty


TWO = "def a(x):\n    x = x + 1\n    return x\n\n\ndef b(x):\n    x = x + 1\n    x = x * 2\n    return x\n"


def test_the_same_line_at_another_place_is_another_change():
    places = [
        TWO.replace("x = x + 1\n    return", "x = norm(x)\n    x = x + 1\n    return"),
        TWO.replace("    return x\n\n", "    x = norm(x)\n    return x\n\n"),
        TWO.replace("    x = x * 2", "    x = norm(x)\n    x = x * 2"),
        TWO.replace("x * 2\n", "x * 2\n    x = norm(x)\n"),
    ]
    assert len({change(after, before=TWO).key for after in places}) == 4
    gone = [TWO.replace("    x = x + 1\n", "", 1), TWO.replace("    x = x + 1\n    x = x * 2", "    x = x * 2")]
    assert len({change(after, before=TWO).key for after in gone}) == 2


def test_the_order_of_constants_and_of_blocks_does_not_count():
    assert change(edited(("LR = 0.04  # of the matrices\nBATCH = 2**15", "BATCH = 2**15\nLR = 0.04"))).is_empty


def test_the_whole_is_the_same_however_it_came_about():
    once = edited(("LR = 0.04", "LR = 0.06"))
    assert whole_key({"train.py": edited(("0.06", "4e-2"), base=once)}) == whole_key({"train.py": BASE})
    assert whole_key({"train.py": once}) != whole_key({"train.py": BASE}) != whole_key({"model.py": BASE})
