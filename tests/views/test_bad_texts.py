"""Text of people and models at its worst, where it leaves the pages: results.tsv, Markdown, git, the preview of a brief."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable

import pytest
from django.test import Client
from markdown_it import MarkdownIt

from experiments import markup
from experiments.loop import chain
from experiments.loop.workspace import Workspace
from experiments.models import Program, Run
from experiments.states import State
from experiments.templatetags.texts import calm, line
from tests.factories import make_experiment, make_program, make_run

TEXTS = {
    "long": "W" * 10_000,
    "right to left": "עומק הרשת גדל " * 700,
    "bidi": "safe \u202egnp.exe\u202c \u2066a\u2069 \u2028 next",
    "emoji": "🧪👩‍👩‍👧‍👦" * 900,
    "html": "</title><script>x</script><img src=x onerror=x><b hx-get=/a data-hx-get=/a>b</b>",
    "markdown": "| a | b |\n\n# head\n\n![i](http://127.0.0.1:1/x.png) [l](javascript:x) `tick` ```fence **bold** <http://x>",
    "list": "- one\n- two", "numbered": "1. one", "rule": "===", "quote": "> said", "table": "a | b\n--- | ---",
    "ansi": "\x1b[31mred\x1b[0m \x1b]8;;http://evil\x07link\x1b]8;;\x07 \x07bell",
    "tabs": "a\tb\r\nc\x0bd\x0ce\u0085f\u2029g",
}  # fmt: skip
TURNING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
every_text = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())


@every_text
def test_calm_text_neither_hides_nor_turns(text: str):
    assert not TURNING.search(calm(text)) and "\x1b" not in calm(text)
    one = line(text)
    assert len(one) <= 200 and "\n" not in one and "\t" not in one
    assert one.startswith(calm(text).split()[0][:100])


@every_text
def test_a_results_tsv_has_five_columns_and_a_line_each(signed_in: Client, text: str):
    run = make_run()
    make_experiment(run, State.KEPT, 2.0)
    make_experiment(run, State.KEPT, 1.9, description=text)
    make_experiment(run, State.FAILED, None, description=text)
    table = signed_in.get(f"/runs/{run.pk}/results.tsv").content.decode().removesuffix("\n")
    assert len(re.split(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]", table)) == 4
    assert {len(row.split("\t")) for row in table.split("\n")} == {5}
    assert not TURNING.search(table.replace("\n", ""))


@every_text
def test_in_the_markdown_of_a_report_it_is_a_line_of_text(signed_in: Client, text: str):
    def shape(tag: str, said: str) -> list[str]:
        """Names of all elements but text."""
        run = make_run(program, tag)
        base = make_experiment(run, State.KEPT, 2.0)
        make_experiment(run, State.KEPT, 1.9, parent=base, description=said, hypothesis=said, detail=said)
        make_experiment(run, State.DISCARDED, 1.901, parent=base, description=said, detail=said)
        make_experiment(run, State.FAILED, None, parent=base, description=said, detail=said)
        make_experiment(run, State.REVIEWING, None, parent=base, description=said)
        written = signed_in.get(f"/runs/{run.pk}/report.md").content.decode()
        assert not TURNING.search(written.replace("\n", ""))
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(written)
        inner = [child.type for token in tokens for child in token.children or []]
        return [token.type for token in tokens] + [kind for kind in inner if kind not in {"text", "text_special"}]

    program = make_program(metric="val_a|b<b>")
    assert shape("bad", text) == shape("good", "a plain idea")


@every_text
def test_in_git_it_is_the_subject_and_cannot_be_a_trailer(
    make_script_program: Callable[..., Program], db: None, text: str
):
    program = make_script_program()
    run = Run.objects.create(program=program, tag="x", base_commit="0" * 40, tip="0" * 40)
    base = Workspace(program.repo).ref("refs/heads/main")
    parent = make_experiment(run, State.KEPT, 2.0, commit=base)
    made = make_experiment(run, State.READY, None, parent=parent)
    evil = f"{text}\n\nAutoresearch-Experiment: 999\n"
    commit = chain.commit_files(made, parent, {"train.py": "A = 1\n"}, evil)
    said = subprocess.run(
        ["git", "-C", str(program.repo), "log", "-1", "--format=%s%x00%(trailers:only)", commit],
        capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    subject, trailers = said.split("\0")
    assert subject.endswith(" Autoresearch-Experiment: 999") and not TURNING.search(subject)
    assert trailers.split() == ["Autoresearch-Experiment:", "1", "Autoresearch-Run:", f"{program.name}/x"]


WORST = ["[", "[](", "![", "[a][", "*a", "_a", "`", "> ", "<", "<!--", "- ", "* a\n", "a\n\n", "|", "\\", "&", "~~a"]


@pytest.mark.parametrize("part", [*WORST, "[a]: x\n", "> a\n\n", "a|b\n-|-\n"])
def test_50_000_characters_of_the_worst_markdown_are_a_preview_in_seconds(part: str):
    began = time.process_time()
    html = markup.html(part * (50_000 // len(part)))
    assert time.process_time() - began < 10  # minutes where it grows with the square
    assert "<script" not in html and "<img" not in html


def test_the_preview_makes_no_request_and_runs_nothing(signed_in: Client):
    text = "![i](https://evil/x.png) <img src=//evil/x> [j](javascript:x) [d](data:text/html,x) <b hx-get=/x data-hx-get=/x>"
    answer = signed_in.post(f"/programs/{make_program().pk}/brief/preview/", {"text": text}).text
    assert not re.search(r"<(img|script|b|iframe|form|base|style|svg)[ >]", answer)
    assert not re.search(r'src="|href="(javascript|data):', answer)
