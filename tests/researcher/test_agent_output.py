"""What an agent prints: its cost and its idea in the documented forms, tolerant of everything else."""

from __future__ import annotations

import json

import pytest

from experiments.researcher.agent_output import Output, words_in, words_of_file
from experiments.researcher.base import Usage


def usage(text: str) -> Usage | None:
    output = Output()
    output.feed(text)
    output.finish()
    return output.usage


def result(cost: object, **usage: object) -> str:
    return json.dumps({"type": "result", "total_cost_usd": cost, "usage": usage}) + "\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing of the kind\n", None),
        ("COST_USD=0.12\n", Usage(0, 0, 0.12)),
        ("COST_USD=0.12", Usage(0, 0, 0.12)),  # no newline at the end
        ("  cost_usd = $1,234.5\n", Usage(0, 0, 1234.5)),
        ("TOKENS_IN=1200 TOKENS_OUT=340\n", Usage(1200, 340, None)),  # unknown, not 0
        ("TOKENS_IN=1_200\nTOKENS_OUT=340 COST_USD=0\n", Usage(1200, 340, 0.0)),
        ("COST_USD=1\nCOST_USD=2\nTOKENS_IN=5\n", Usage(5, 0, 2.0)),
        ("\x1b[32mCOST_USD=0.5\x1b[0m\r\n", Usage(0, 0, 0.5)),
        ("the COST_USD=0.12 of it\n", None),  # not a line of its own
        ("COST_USD=-1\nCOST_USD=nan\nCOST_USD=inf\nCOST_USD=1e9\nCOST_USD=\nTOKENS_IN=99999999999\n", None),
        ("COST_USD=0.3\nCOST_USD=much\n", Usage(0, 0, 0.3)),
        (result(0.04, input_tokens=10, cache_read_input_tokens=90, output_tokens=7), Usage(100, 7, 0.04)),
        (result(0.04), Usage(0, 0, 0.04)),
        (json.dumps([{"type": "system"}, json.loads(result(0.5, output_tokens=3))]), Usage(0, 3, 0.5)),
        (json.dumps({"type": "assistant", "usage": {"input_tokens": 5}}) + "\n", None),
        (result(None) + result("0.2") + result(True) + result(float("nan")) + result([1]), Usage(0, 0, 0.2)),
        ('{"total_cost_usd": 1e999, "usage": {"input_tokens": -5, "output_tokens": "x"}}\n', None),
        ('{"total_cost_usd": \n' + "[" * 100_000 + "\n", None),
        (result(0.1) + "COST_USD=0.2\n", Usage(0, 0, 0.2)),  # the last one wins
    ],
)
def test_cost(text: str, expected: Usage | None) -> None:
    assert usage(text) == expected


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_text_may_come_in_any_pieces(size: int) -> None:
    text, output, shown = "one\r\ntwo words\rIDEA: three\nCOST_USD=1\nend", Output(), ""
    for at in range(0, len(text), size):
        shown += output.feed(text[at : at + size]) + output.pending()
    shown += output.finish()
    assert shown == "one\ntwo words\nIDEA: three\nCOST_USD=1\nend\n"
    assert output.said == {"IDEA": "three"} and output.usage is not None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IDEA: a\nIDEA: b", {"IDEA": "b"}),  # a prompt that it repeats comes first
        ("**IDEA:** wider\n- hypothesis: `because`", {"IDEA": "wider", "HYPOTHESIS": "because"}),
        ("my idea: no\nIDEAS: no\nIDEA:\nIDEA:   ", {}),
        ("THEME: x\u202ey\x00z", {"THEME": "xyz"}),
        ("IDEA: " + "x" * 5000, {"IDEA": "x" * 200}),
        ("HYPOTHESIS: " + "x" * 5000, {"HYPOTHESIS": "x" * 4000}),
    ],
)
def test_words_in_its_output(text: str, expected: dict[str, str]) -> None:
    assert words_in(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wider model\n", {"IDEA": "Wider model"}),
        ("# Wider model\n\nMore text.\n", {"IDEA": "Wider model"}),
        ("IDEA: wider\nHYPOTHESIS: it\nshould help\n\nTHEME: width",
         {"IDEA": "wider", "HYPOTHESIS": "it should help", "THEME": "width"}),
        ("\n\n", {}),
        ("HYPOTHESIS: only", {"HYPOTHESIS": "only"}),
        ("\x1b[1mbold\x1b[0m\n", {"IDEA": "bold"}),
    ],
)
def test_words_of_idea_md(text: str, expected: dict[str, str]) -> None:
    assert words_of_file(text) == expected
