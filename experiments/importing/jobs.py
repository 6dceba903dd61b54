"""An import that waits for the network: asked for on a page, done by a worker. Both meet in a folder below var/imports."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings

from experiments.importing.bring import Wish, bring
from experiments.importing.refused import Field, ImportRefused

WAITING, WORKING, DONE, FAILED = "waiting", "working", "done", "failed"
SILENT_SECONDS = 600  # then the worker is taken for dead
KEPT_SECONDS = 24 * 3600
TOKEN = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Job:
    """What is known of one such import. `says` is for the person, `run` the run it made or found there already."""

    where: str
    branch: str
    by: str
    state: str = WAITING
    says: str = ""
    field: Field = "source"
    run: int | None = None
    table_name: str = ""

    @property
    def is_open(self) -> bool:
        return self.state in {WAITING, WORKING}


def _folder() -> Path:
    return Path(settings.VAR_DIR) / "imports"


def create(wish: Wish, *, by: str) -> str:
    """Write down what is asked for. Returns the token that a worker needs."""
    _clean_up()
    token = secrets.token_hex(8)
    folder = _folder() / f"job-{token}"
    folder.mkdir(parents=True)
    if wish.table is not None:
        (folder / "table.tsv").write_bytes(wish.table)
    write(token, Job(wish.where, wish.branch, by, table_name=wish.table_name))
    return token


def read(token: str) -> Job | None:
    """None where there is no such job (any more)."""
    path = _folder() / f"job-{token}" / "job.json"
    if not TOKEN.fullmatch(token) or not path.is_file():
        return None
    values: dict[str, Any] = json.loads(path.read_text())
    job = Job(**values)
    if job.state == WORKING and time.time() - path.stat().st_mtime > SILENT_SECONDS:
        return replace(job, state=FAILED, says="The worker that fetched it has ended. Try again.")
    return job


def write(token: str, job: Job) -> None:
    path = _folder() / f"job-{token}" / "job.json"
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(job)))
    os.replace(fresh, path)


def work(token: str) -> None:
    """Do it; what comes out is written down. A second worker that was sent the same does nothing."""
    job = read(token)
    if job is None or job.state != WAITING:
        return
    write(token, replace(job, state=WORKING, says="Fetching the repository …"))
    table = _folder() / f"job-{token}" / "table.tsv"
    wish = Wish(job.where, job.branch, table.read_bytes() if table.exists() else None, job.table_name)

    def tell(megabytes: float) -> None:
        write(token, replace(job, state=WORKING, says=f"Fetching the repository: {megabytes:.1f} MB so far …"))

    try:
        done = bring(wish, by=job.by, progress=tell)
    except ImportRefused as refused:
        write(token, replace(job, state=FAILED, says=str(refused), field=refused.field, run=refused.run))
    except Exception:
        write(token, replace(job, state=FAILED, says="It failed for a reason of ours: see var/log. Nothing was imported."))
        raise
    else:
        write(token, replace(job, state=DONE, says=done.counts, run=done.run.pk))


def _clean_up() -> None:
    """Forget old jobs, and copies that a killed worker left."""
    with contextlib.suppress(FileNotFoundError):
        for path in _folder().iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > KEPT_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
