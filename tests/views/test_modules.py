"""What a page's scripts import is asked for at once."""

import re

import pytest
from django.urls import reverse

from experiments.templatetags.modules import imports_of, modules
from tests.factories import make_run


def test_imports_of_imports_come_too_and_each_once():
    assert set(imports_of("progress")) == {"figure", "staircase", "stream", "labels"}
    assert set(imports_of("page")) == {"swaps", "keys", "times"}
    assert imports_of("theme") == () and imports_of("no-such-file") == ()


def test_what_is_imported_on_demand_is_not_asked_for():
    assert "editor" not in imports_of("brief")


def test_scripts_stand_in_their_order_behind_the_preloads():
    html = modules("progress", "stream")
    assert re.findall(r'src="/static/js/(\w+)', html) == ["progress", "stream"]
    assert re.findall(r'modulepreload" href="/static/js/(\w+)', html) == ["figure", "staircase", "labels"]


@pytest.mark.django_db
def test_the_run_page_asks_for_all_of_its_modules(signed_in):
    page = signed_in.get(reverse("run", args=[make_run().pk])).content.decode()
    for name in ("staircase", "labels", "swaps", "curve-lines"):
        assert f'<link rel="modulepreload" href="/static/js/{name}.js">' in page
