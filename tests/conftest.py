"""Fixtures for all tests: a signed-in client, a program with a real repository, and a loop that runs in this process."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.contenttypes.management import create_contenttypes
from django.db.models.signals import post_migrate
from django.test import Client

from experiments.loop import actions, engine, reconcile, training, workspace
from experiments.models import Experiment, Program, Run
from experiments.states import LIVE
from tests.environment import VAR
from tests.trainer.examining import prepared, zygote  # noqa: F401  (fixtures, once for each process of tests)
from trainer import bubblewrap, sandbox

SCRIPTS = Path(__file__).parent / "scripts"
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # a good one takes half a second for each user
settings.WHITENOISE_AUTOREFRESH = True  # else each client of a test looks through all static files


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> None:
    """Each emptying of the database counts as a migration: nobody needs its rows of content types and permissions."""
    post_migrate.disconnect(create_contenttypes)
    post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")


@pytest.fixture
def user(db: None) -> User:
    return User.objects.create_superuser("owner")


@pytest.fixture
def signed_in(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


@pytest.fixture
def make_script_program(tmp_path: Path) -> Callable[..., Program]:
    """A program whose train.py is one of tests/scripts: seconds instead of minutes, no torch."""

    def make(script: str = "score", name: str = "", **fields: Any) -> Program:
        folder = tmp_path / f"template-{script}"
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text((SCRIPTS / f"{script}.py").read_text())
        (folder / "program.md").write_text("# Aim\n\nLower val_bpb.\n")
        defaults: dict[str, Any] = {"fixed": [], "budget_seconds": 5, "grace_seconds": 10}
        return actions.create_program(name or script, template=folder, **{**defaults, **fields})

    return make


@pytest.fixture
def old_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The git on the PATH is one of 2020. Returns a file with each call's arguments, as JSON."""
    real, folder, log = shutil.which("git"), tmp_path / "old-git", tmp_path / "git-calls"
    assert real
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "old_git.sh", folder / "git")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("REAL_GIT", real)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(log))
    workspace._options.cache_clear()
    yield log
    workspace._options.cache_clear()


@pytest.fixture
def without_a_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """None of its tools is there until it is undone; nothing of that is remembered for other tests."""
    missing = [bubblewrap.Tool(name, problem="bubblewrap is not installed: get it") for name in ("one", "other")]
    with monkeypatch.context() as without:
        without.setattr(bubblewrap, "tools", lambda: missing)
        sandbox.level.cache_clear()
        yield without
    sandbox.level.cache_clear()


@pytest.fixture
def no_event_loop() -> Iterator[None]:
    """Playwright leaves its loop running in this thread; Django's test client then reads no answer that streams."""
    loop = asyncio.events._get_running_loop()
    asyncio.events._set_running_loop(None)
    yield
    asyncio.events._set_running_loop(loop)


def kept_files(run: Run) -> Path:
    tree = workspace.Workspace(run.program.repo).tree(run.base_commit)
    return VAR / "kept" / f"{tree}-{run.program.budget_seconds}"


def end_as_before(experiment: Experiment) -> None:
    """In place of a training's start: the files that the baseline of an equal program left at its end."""
    shutil.copytree(kept_files(experiment.run), training.folder_of(experiment), symlinks=True)


class Loop:
    """The loop without Celery: what reconcile sends is done at once, in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def step(self, run: Run) -> bool:
        """One look and all that is due. False when nothing was."""
        self.sent = []
        reconcile.reconcile(run.pk, lambda stage, pk: self.sent.append((stage, pk)))
        for stage, pk in self.sent:
            getattr(engine, stage)(pk)
        run.refresh_from_db()
        return bool(self.sent)

    def until(self, run: Run, done: Callable[[], bool], limit: int = 200) -> None:
        for _ in range(limit):
            if done():
                return
            self.step(run)
        raise AssertionError(f"not done after {limit} looks: {list(run.experiments.values_list('number', 'state'))}")

    def baseline(self, run: Run) -> Experiment:
        """Its baseline, finished. Of equal programs only the first one's trains: others get a copy of the files it left."""
        kept, remove = kept_files(run), training.remove

        def keep(experiment: Experiment) -> None:
            if (training.folder_of(experiment) / "result.json").exists():
                kept.parent.mkdir(exist_ok=True)
                shutil.move(training.folder_of(experiment), kept)
            remove(experiment)

        with pytest.MonkeyPatch.context() as patch:
            if kept.exists():
                patch.setattr(training, "start", end_as_before)
            else:
                patch.setattr(training, "remove", keep)
            return self.finish(run, 1)[0]

    def finish(self, run: Run, count: int) -> list[Experiment]:
        """Go on until `count` experiments are finished."""
        finished = run.experiments.exclude(state__in=LIVE).order_by("number")
        self.until(run, lambda: finished.count() >= count)
        return list(finished)


@pytest.fixture
def loop() -> Iterator[Loop]:
    engine.stopping.clear()
    yield Loop()
    engine.stopping.clear()
