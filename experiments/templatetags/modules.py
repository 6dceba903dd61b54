"""Scripts of a page, with all that they import asked for at once: else the browser finds that one file after the other."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from django import template
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

register = template.Library()
IMPORT = re.compile(r"""^(?:import|\}) ?(?:[^;'"]*? from )?["']\./([\w-]+)\.js["'];""", re.M)


@register.simple_tag
def modules(*names: str) -> SafeString:
    """`names`: of files in static/js, without .js. They run in this order, once the page is read."""
    imported = [name for one in names for name in imports_of(one)]
    early = [[_url(name)] for name in dict.fromkeys(imported) if name not in names]
    preloads = format_html_join("", '<link rel="modulepreload" href="{}">', early)
    scripts = format_html_join("", '<script type="module" src="{}"></script>', [[_url(name)] for name in names])
    return preloads + scripts


def _url(name: str) -> str:
    return static(f"js/{name}.js")


@lru_cache
def imports_of(name: str) -> tuple[str, ...]:
    """What a module imports, and what these import; files on demand (`import()`) are not among them."""
    found = finders.find(f"js/{name}.js")
    text = Path(str(found)).read_text() if found else ""
    direct = IMPORT.findall(text)
    return tuple(dict.fromkeys([*direct, *(deeper for one in direct for deeper in imports_of(one))]))
