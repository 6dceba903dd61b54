"""program.md as HTML. Its own HTML stays text, no image is loaded, and headings stand below the page's own."""

from __future__ import annotations

from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.token import Token

BELOW = 2  # `# Aim` becomes an h3
_COMMONMARK = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")


@lru_cache(maxsize=32)
def html(text: str) -> SafeString:
    """Safe to show: markdown-it escapes all text and leaves out links that could run a script."""
    env: MutableMapping[str, Any] = {}
    tokens = _COMMONMARK.parse(text, env)
    for token in tokens:
        _settle(token)
        for inner in token.children or []:
            _settle(inner)
    return SafeString(_COMMONMARK.renderer.render(tokens, _COMMONMARK.options, env))


def _settle(token: Token) -> None:
    if token.type in {"heading_open", "heading_close"}:
        token.tag = f"h{min(6, int(token.tag[1]) + BELOW)}"
    elif token.type == "link_open":
        token.attrSet("rel", "nofollow noreferrer noopener")
    if token.type.endswith("_open") and token.block and token.type not in {"thead_open", "tbody_open", "tr_open"}:
        token.attrSet("dir", "auto")
