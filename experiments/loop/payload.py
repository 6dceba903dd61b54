"""How much an edit adds that is no code: what a model learned elsewhere can be written down in a file of its own. Pure.

Whatever it looks like (base64, a list of numbers, many short strings, comments), weights do not compress, and code does:
the largest file of the template, all of it new, has 11 kB when compressed, and an edit of it less than 3 kB.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping

MOST_BYTES = 16_000  # of what is added, compressed: a small model has hundreds of thousands of weights


def find(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """What it adds too much of, to a person; "" where it is an edit like others. A line that only moves is not added."""
    added = Counter(_lines(after)) - Counter(_lines(before))
    size = len(zlib.compress("\n".join(added.elements()).encode(errors="surrogatepass")))
    if size <= MOST_BYTES:
        return ""
    longest = max(added, key=len)
    return (
        f"It adds {size / 1000:,.0f} kB even when compressed, and code has a few: are these weights? The longest line,"
        f" {len(longest):,} characters, begins {longest.strip()[:40]!r}. What a model knows it must learn in its training:"
        f" at most {MOST_BYTES / 1000:.0f} kB may be added."
    )


def _lines(files: Mapping[str, str]) -> list[str]:
    return [line for text in files.values() for line in text.splitlines()]
