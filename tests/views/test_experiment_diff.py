from __future__ import annotations

import gzip
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from experiments import diffs
from experiments.loop.workspace import Workspace
from experiments.models import Experiment, Run
from experiments.states import Kind, State
from tests.factories import make_experiment, make_run

OLD = "".join(f"x{i} = {i}\n" for i in range(60))
NEW = OLD.replace("x30 = 30", "x30 = 31")


@pytest.fixture
def run(db: None, settings: Any, tmp_path: Path) -> Run:
    settings.REPOS_DIR = tmp_path
    run = make_run()
    make_experiment(run, score=1.3)
    return run


@pytest.fixture
def committed(run: Run) -> Experiment:
    """An experiment whose commit is in the program's repository."""
    workspace, base = Workspace.create(run.program.repo, {"train.py": OLD, "other.py": "x\n"}, "start")
    commit = workspace.commit(base, {"train.py": NEW}, "change")
    workspace.set_ref("refs/autoresearch/1/1", commit)
    return make_experiment(run, State.KEPT, 1.2, commit=commit, diff=workspace.diff(base, commit), description="Raise")


def card(client: Client, experiment: Experiment, query: str = "") -> str:
    answer = client.get(f"{reverse('experiment', args=[experiment.pk])}?part=changes{query}")
    assert answer.status_code == 200
    return answer.text


def test_the_view_is_a_link_and_is_remembered(signed_in: Client, committed: Experiment):
    assert 'class="two' not in card(signed_in, committed)
    assert 'class="two' in card(signed_in, committed, "&diff=split")
    assert 'class="two' in card(signed_in, committed)
    assert 'class="two' not in card(signed_in, committed, "&diff=unified")
    assert 'class="two' not in card(signed_in, committed, "&diff=../etc")


def test_side_by_side_the_old_line_stands_left_of_the_new_one(signed_in: Client, committed: Experiment):
    text = card(signed_in, committed, "&diff=split")
    left, right = text.index('<div class="r del">'), text.index('<div class="r add">')
    assert left < right
    assert text[left:right].count("</div>") == 1


def test_hidden_lines_lead_to_the_whole_file_unfolded_there(signed_in: Client, committed: Experiment):
    text = card(signed_in, committed)
    assert "show 27 unchanged lines" in text
    assert "x5 = 5" not in text
    assert f"/experiments/{committed.pk}/?diff=whole&amp;open=1#changes" in text
    whole = card(signed_in, committed, "&diff=whole&open=1")
    assert "<details open><summary>show 27 unchanged lines" in whole
    assert whole.count("<details>") == 1
    assert "other.py" not in whole


@pytest.mark.parametrize(
    ("source", "why"), [("/clones/a", "the run was imported without it"), ("", "it was removed from outside")]
)
def test_a_commit_that_is_not_there_is_said_in_one_line(signed_in: Client, run: Run, source: str, why: str):
    run.source = source
    run.save()
    text = card(signed_in, make_experiment(run, State.KEPT, 1.2, commit="c" * 40), "&diff=whole")
    assert f"The commit ccccccc is not in the repository ({why}), so there is only the diff." in text
    assert "MATRIX_LR" in text


@pytest.mark.parametrize("commit", ["", "--help", "HEAD", "x" * 40])
def test_what_is_no_commit_never_reaches_git(signed_in: Client, committed: Experiment, commit: str):
    Experiment.objects.filter(pk=committed.pk).update(commit=commit)
    assert "is not in the repository" in card(signed_in, committed, "&diff=whole")


def test_the_patch_is_one_that_git_applies(signed_in: Client, committed: Experiment, tmp_path: Path):
    answer = signed_in.get(reverse("experiment-patch", args=[committed.pk]))
    assert answer["Content-Disposition"] == 'attachment; filename="small-gpt-demo-1.patch"'
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", committed.run.program.repo, clone, "-b", "main"], check=True)
    subprocess.run(["git", "apply", "--index"], cwd=clone, input=answer.content, check=True)
    assert (clone / "train.py").read_text() == NEW


def test_what_has_no_diff_has_no_patch_and_no_views(signed_in: Client, run: Run):
    repeat = make_experiment(run, State.KEPT, 1.3, kind=Kind.REPEAT, diff="")
    assert signed_in.get(reverse("experiment-patch", args=[repeat.pk])).status_code == 404
    assert "Side by side" not in card(signed_in, repeat)


def test_a_diff_of_20_000_lines_comes_in_pages_soon_and_small(signed_in: Client, run: Run):
    lines = [f"value_{i} = compute(alpha={i}, beta={i * 3})  # line {i}\n" for i in range(10_000)]
    body = "".join(f"-{line}" for line in lines) + "".join(f"+{line.replace('alpha', 'gamma')}" for line in lines)
    huge = make_experiment(run, State.KEPT, 1.2, diff=f"--- a/train.py\n+++ b/train.py\n@@ -1,10000 +1,10000 @@\n{body}")
    signed_in.get(reverse("experiment", args=[run.best.pk]))  # what is loaded once is loaded
    began = time.monotonic()
    page = signed_in.get(reverse("experiment", args=[huge.pk]))
    assert time.monotonic() - began < 20  # 0.6 s on a machine that does nothing else
    assert len(gzip.compress(page.content)) < 200_000
    assert page.text.count('<div class="r del">') == diffs.MAX_ROWS
    assert "Lines 1–2000 of 20000" in page.text
    following = card(signed_in, huge, "&from=2000")
    assert "value_" in following
    assert 'data-n="2001"' in following
    last = card(signed_in, huge, "&from=18000")
    assert ("Lines before" in last, "The next lines" in last) == (True, False)


@pytest.mark.parametrize("query", ["&from=-1", "&from=x", "&from=99999999999", "&from=²", "&open=x", "&from=1000000"])
def test_a_bad_page_is_no_error(signed_in: Client, committed: Experiment, query: str):
    assert "Diff" in card(signed_in, committed, query)
