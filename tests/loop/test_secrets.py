"""A key that a provider quotes in its errors is found nowhere: not in the database, a log, a page, an export, a training."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from django.core import serializers
from django.core.management import call_command
from django.urls import reverse

from experiments import models as ours
from experiments.loop import actions, asking, outage
from experiments.models import Experiment, Run, stream
from experiments.researcher import keys
from experiments.researcher.llm import LiteLLM, LLMSettings
from tests.standin_llm import StandIn

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite_is_enough]
KEY = "own-Zq81xKpL0vTn47"
OTHER = "sk-proj-neverSentAnywhere88"


@pytest.fixture
def run(make_script_program, loop, monkeypatch, tmp_path, caplog) -> Iterator[Run]:
    for name in ("openai", "httpx", "httpcore", "experiments", "celery"):  # more than an installation writes
        caplog.set_level(logging.DEBUG, logger=name)
    path = tmp_path / "keys.env"
    path.write_text(f"{keys.API_BASE_KEY}={KEY}\nOPENAI_API_KEY={OTHER}\n")
    path.chmod(0o600)
    shared = LLMSettings(timeout_seconds=2, tries=2, keys_file=path, folder=tmp_path / "llm")
    impatient = partial(LiteLLM, shared=shared, sleep=lambda _: None)
    monkeypatch.setattr(asking, "choose", lambda kind, *, model, api_base, **_: impatient(model, api_base))
    monkeypatch.setattr(outage, "SHORTEST_WAIT", timedelta(0))
    with StandIn(script=["500", "ok", "429", "503", "401", "ok", "404"]) as server:
        program = make_script_program(
            "environment", researcher="litellm", model="openai/standin", api_base=server.api_base
        )
        run = actions.start_run(program, "night", by="ada")
        while server.script:
            loop.step(run)
            if not run.is_active:
                run.resume(by="ada")
        assert server.script == []
        assert f"Bearer {KEY}" in str(server.headers) and OTHER not in str(server.headers)
        yield run
    keys.load(None)


def database() -> str:
    models = [model for model in vars(ours).values() if isinstance(model, type) and hasattr(model, "objects")]
    models += [stream.Chunk]
    return "".join(serializers.serialize("json", model.objects.all()) for model in models)


@pytest.mark.usefixtures("no_event_loop")
def test_it_is_nowhere(run, caplog, capfd, signed_in):
    dump = database()
    assert "[redacted]" in dump  # the errors are there, without it
    urls = [reverse("run", args=[run.pk]), reverse("program", args=[run.program.pk]), reverse("audit"), reverse("home")]
    urls.append(reverse("report", args=[run.pk]))
    for row in run.experiments.all():
        urls.append(reverse("experiment", args=[row.pk]))
        urls += [f"{reverse('experiment-stream', args=[row.pk, name])}?download=1" for name in ("log", "reply", "thoughts")]
    pages = "".join(b"".join(answer).decode() for answer in map(signed_in.get, urls))
    out = io.StringIO()
    call_command("export", run.tag, stdout=out)
    captured = capfd.readouterr()
    records = [*caplog.get_records("setup"), *caplog.get_records("call")]
    log = "".join(f"{record.getMessage()} {record.exc_info}\n" for record in records)
    assert "401 Unauthorized" in log
    folder = Path(run.program.repo)
    repository = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for secret in (KEY, OTHER):
        for where, text in (
            ("database", dump), ("pages", pages), ("log", log), ("console", captured.out + captured.err),
            ("export", out.getvalue()),
        ):  # fmt: skip
            assert secret not in text, where
        assert secret.encode() not in repository


def test_a_training_sees_neither_the_key_nor_where_it_lies(run):
    logs = ["".join(stream.read(row, stream.LOG).chunks) for row in Experiment.objects.filter(run=run)]
    seen = [json.loads(line[4:]) for log in logs for line in log.splitlines() if line.startswith("ENV ")]
    assert seen
    for environment in seen:
        assert KEY not in str(environment) and OTHER not in str(environment)
        assert not [name for name in environment if "KEY" in name]
