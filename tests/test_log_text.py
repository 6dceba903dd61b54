from __future__ import annotations

import time

import pytest

from experiments import log_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mred\x1b[0m plain", "red plain"),
        ("10%\r20%\r100%\nnext", "100%\nnext"),
        ("long line\rshort", "shortline"),
        ("one\r\ntwo\r\n", "one\ntwo\n"),
        ("abc\b\bX", "aXc"),
        ("\x1b]0;title\x07after \x1b]8;;http://x\x1b\\link", "after link"),
        ("bell\x07 null\x00 \x9b csi \u202eturned", "bell null  csi turned"),
        ("<b>tab\tstays</b>", "<b>tab\tstays</b>"),
        ("\x1b", ""),
    ],
)
def test_a_log_is_what_a_terminal_would_leave(text: str, shown: str):
    assert log_text.plain(text) == shown


def test_the_last_lines_that_say_something():
    assert log_text.last_lines("a\n\nb\n  \nc\n\n", 2) == "b\nc"
    assert log_text.last_lines("x" * 5_000, 3) == "x" * log_text.MAX_LINE + " …"


@pytest.mark.parametrize("text", ["\x1b]" * 50_000, "\x1b[" * 50_000, "x\r" * 50_000, "x\b" * 50_000, "x" * 100_000])
def test_the_worst_text_is_quick(text: str):
    began = time.monotonic()
    log_text.plain(text)
    assert time.monotonic() - began < 20
