"""The import page: a table or a folder at once, an address by a worker; what is wrong stands at its field."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from kombu.exceptions import OperationalError

from experiments import tasks
from experiments.importing import gitcall, jobs
from experiments.importing.bring import Wish
from experiments.models import Experiment, Program, Run
from experiments.states import RunState, State
from tests.factories import make_experiment, make_program, make_run

pytestmark = pytest.mark.django_db
TABLE = (
    "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
    "baseline\t0.997900\t44.0\tkeep\tbaseline\n"
    "e05a87d\t0.000000\t0.0\tcrash\tbatch 131K\n"
    "bea057b\t0.986041\t43.9\tkeep\t<script>alert(1)</script>\n"
)
ADDRESS = "https://example.org/someone/autoresearch-fork"


@pytest.fixture(autouse=True)
def folders(settings, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    settings.VAR_DIR, settings.REPOS_DIR = tmp_path / "var", tmp_path / "var" / "repos"


def upload(text: str | bytes = TABLE, name: str = "results.tsv") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, text.encode() if isinstance(text, str) else text)


def post(client: Client, **fields: object):  # type: ignore[no-untyped-def]
    return client.post(reverse("import"), fields)


def clone(folder: Path) -> Path:
    """A repository with a committed table on autoresearch/mar5."""
    folder.mkdir(parents=True)

    def git(*args: str) -> None:
        subprocess.run(["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *args], check=True)

    git("init", "--quiet")
    git("symbolic-ref", "HEAD", "refs/heads/master")
    (folder / "train.py").write_text("LR = 1\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "start")
    git("checkout", "--quiet", "-b", "autoresearch/mar5")
    (folder / "results.tsv").write_text(TABLE)
    git("add", ".")
    git("commit", "--quiet", "-m", "results")
    return folder


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ADDRESS leads to: a repository on this machine, fetched as one from far away is."""
    folder = clone(tmp_path / "served")
    here = ("protocol.file.allow=always", f"url.{folder}.insteadOf={ADDRESS}")
    monkeypatch.setattr(gitcall, "_OPTIONS", (*gitcall._OPTIONS, *here))
    return folder


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tokens of the jobs that workers were told of."""
    tokens: list[str] = []
    monkeypatch.setattr(tasks.import_repository, "apply_async", lambda args: tokens.append(args[0]))
    return tokens


# The form


def test_the_page_says_what_is_imported(signed_in: Client):
    text = signed_in.get(reverse("import")).text
    assert "The rows of a <code>results.tsv</code> become an ended run" in text
    assert 'name="where"' in text and 'name="branch"' in text and 'type="file"' in text


def test_a_stranger_signs_in_first(client: Client):
    assert reverse("sign-in") in client.get(reverse("import"))["Location"]
    assert post(client, table=upload()).status_code == 302
    assert not Run.objects.exists()


def test_a_table_becomes_a_run(signed_in: Client):
    answer = post(signed_in, table=upload())
    run = Run.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, reverse("run", args=[run.pk]))
    assert (run.state, run.experiments.count(), run.best.number) == (RunState.ENDED, 3, 2)
    assert "Imported 3 experiments: 2 kept, 1 failed" in signed_in.get(answer["Location"]).text


def test_what_a_table_says_is_escaped(signed_in: Client):
    post(signed_in, table=upload())
    for url in (reverse("run", args=[Run.objects.get().pk]), reverse("experiment", args=[Experiment.objects.last().pk])):
        assert "<script>alert(1)" not in signed_in.get(url).text


def test_the_importer_stands_in_the_audit_log(signed_in: Client):
    post(signed_in, table=upload())
    assert Run.objects.get().moves.filter(new="imported", by="owner").exists()


def test_a_folder_on_this_machine_is_imported_at_once(signed_in: Client, tmp_path: Path):
    answer = post(signed_in, where=str(clone(tmp_path / "fork")))
    assert answer["Location"] == reverse("run", args=[Run.objects.get().pk])
    assert Run.objects.get().tag == "mar5"


def test_two_uploads_of_one_name_are_two_runs(signed_in: Client):
    post(signed_in, table=upload())
    post(signed_in, table=upload(TABLE.replace("0.986041", "0.986042")))
    assert Run.objects.count() == 2


@pytest.mark.parametrize(
    ("fields", "field", "said"),
    [
        ({}, "where", "Give a folder or an address, or choose a results.tsv."),
        ({"where": "/etc/passwd"}, "where", "passwd is no .tsv file."),
        ({"where": "/etc"}, "where", "neither a git repository"),
        ({"where": "/there/is/nothing"}, "where", "There is nothing at /there/is/nothing"),
        ({"where": "ext::sh -c id"}, "where", "would start a program"),
        ({"where": "--upload-pack=id"}, "where", "neither a path nor an address"),
        ({"where": ADDRESS, "branch": "--all"}, "branch", "This is no name of a branch."),
        ({"where": "x" * 301}, "where", "At most 300 characters."),
    ],
)
def test_what_is_wrong_stands_at_its_field(signed_in: Client, fields: dict[str, str], field: str, said: str):
    answer = post(signed_in, **fields)
    assert answer.status_code == 422
    assert [said in error for error in answer.context["form"].errors[field]] == [True]
    assert said in answer.text and "Nothing was imported." in answer.text
    if len(fields.get("where", "")) < 300:
        assert answer.context["form"]["where"].value() == fields.get("where")
    assert not Program.objects.exists()


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"", "The table is empty."), (b"\0\1\2", "binary"), (b"<!doctype html>", "web page"), (b"a,b,c\n1,2,3\n", "commas")],
)
def test_another_file_is_refused_before_anything_is_fetched(signed_in: Client, sent: list[str], data: bytes, said: str):
    for where in ("", ADDRESS):
        answer = post(signed_in, where=where, table=upload(data))
        assert answer.status_code == 422 and said in answer.context["form"].errors["table"][0]
    assert sent == []


def test_a_file_that_is_too_large_is_refused(signed_in: Client):
    answer = post(signed_in, table=upload(b"x" * 5_000_001))
    assert "at most 5 MB are read" in answer.text


def test_the_same_twice_leads_to_the_run_that_is_there(signed_in: Client):
    post(signed_in, table=upload())
    answer = post(signed_in, table=upload())
    assert answer.status_code == 422 and "It was imported before" in answer.text
    assert f'href="{reverse("run", args=[Run.objects.get().pk])}"' in answer.text


# An address


def test_an_address_is_left_to_a_worker(signed_in: Client, sent: list[str]):
    answer = post(signed_in, where=ADDRESS, branch="mar5")
    assert answer["Location"] == reverse("import-job", args=sent)
    text = signed_in.get(answer["Location"]).text
    assert ADDRESS in text and "Waits for a worker" in text and "manage.py up" in text


def test_the_page_follows_it_to_the_run(signed_in: Client, sent: list[str], served: Path):
    url = post(signed_in, where=ADDRESS)["Location"]
    asked = signed_in.get(url, headers={"HX-Request": "true"})
    assert asked.status_code == 200 and "<html" not in asked.text
    tasks.import_repository(sent[0])
    run = Run.objects.get()
    assert run.source == f"{ADDRESS}#autoresearch/mar5"
    assert run.moves.filter(new="imported", by="owner").exists()
    assert signed_in.get(url)["Location"] == reverse("run", args=[run.pk])
    assert signed_in.get(url, headers={"HX-Request": "true"})["HX-Redirect"] == reverse("run", args=[run.pk])


def test_a_message_that_comes_twice_imports_once(signed_in: Client, sent: list[str], served: Path):
    post(signed_in, where=ADDRESS)
    tasks.import_repository(sent[0])
    tasks.import_repository(sent[0])
    job = jobs.read(sent[0])
    assert job is not None and (job.state, job.run) == (jobs.DONE, Run.objects.get().pk)


def test_a_refused_fetch_brings_the_form_back(signed_in: Client, sent: list[str], served: Path):
    url = post(signed_in, where=ADDRESS, branch="nope")["Location"]
    tasks.import_repository(sent[0])
    assert signed_in.get(url, headers={"HX-Request": "true"})["HX-Redirect"] == url
    answer = signed_in.get(url)
    assert "There is no branch" in answer.context["form"].errors["branch"][0]
    assert f'value="{ADDRESS}"' in answer.text and 'value="nope"' in answer.text
    assert not Program.objects.exists()


def test_an_uploaded_table_goes_with_the_address(signed_in: Client, sent: list[str], served: Path):
    post(signed_in, where=ADDRESS, branch="master", table=upload())
    tasks.import_repository(sent[0])
    assert Run.objects.get().tag == "master"


def test_a_fetch_that_takes_too_long_is_ended(signed_in: Client, sent: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gitcall, "CLONE_SECONDS", -1.0)
    post(signed_in, where=ADDRESS)
    tasks.import_repository(sent[0])
    job = jobs.read(sent[0])
    assert job is not None and job.state == jobs.FAILED and "was not fetched within" in job.says


def test_without_redis_it_says_so(signed_in: Client, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: object) -> None:
        raise OperationalError("no connection")

    monkeypatch.setattr(tasks.import_repository, "apply_async", refuse)
    answer = post(signed_in, where=ADDRESS)
    assert answer.status_code == 422 and "Redis does not answer" in answer.text


def test_a_worker_that_died_is_noticed(monkeypatch: pytest.MonkeyPatch):
    token = jobs.create(Wish(ADDRESS), by="owner")
    job = jobs.read(token)
    assert job is not None
    jobs.write(token, jobs.Job(job.where, job.branch, job.by, state=jobs.WORKING))
    monkeypatch.setattr(jobs, "SILENT_SECONDS", -1)
    dead = jobs.read(token)
    assert dead is not None and dead.state == jobs.FAILED and "has ended. Try again." in dead.says


@pytest.mark.parametrize("token", ["0" * 16, "nothing", "..", "0" * 15 + "G"])
def test_a_job_that_is_not_there_is_not_found(signed_in: Client, token: str):
    assert signed_in.get(f"/import/{token}/").status_code == 404


def test_only_its_own_ways_of_asking(signed_in: Client):
    assert signed_in.delete(reverse("import")).status_code == 405
    assert signed_in.post(reverse("import-job", args=["0" * 16])).status_code == 405




def test_an_imported_run_offers_nothing_that_would_be_refused(signed_in):
    run = make_run(make_program("elsewhere"), state="ended", source="/somewhere/autoresearch")
    base = make_experiment(run, State.KEPT, 2.0, number=0)
    kept = make_experiment(run, State.KEPT, 1.9, number=1, parent=base)
    page = signed_in.get(f"/runs/{run.pk}/").text
    assert "imported, a record" in page and "Resume" not in page.partition("<main")[2].partition('id="table"')[0]
    assert f"/runs/{run.pk}/mode/" not in page and f"/runs/{run.pk}/manual/" not in page
    for experiment in (base, kept):
        shown = signed_in.get(f"/experiments/{experiment.pk}/").text
        assert 'data-opens="revert"' not in shown and 'data-opens="roll"' not in shown
    for action in ("roll-back", "revert"):
        answer = signed_in.post(f"/experiments/{base.pk if action == 'roll-back' else kept.pk}/{action}/", follow=True).text
        assert "An imported run is a record" in answer
    assert run.experiments.count() == 2 and run.best == kept
