"""One import from beginning to end: read everything, then write it in one transaction, or nothing at all."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from experiments.importing import source, store, tsv
from experiments.importing.commits import Known, know
from experiments.importing.gitcall import GitFailed, Progress
from experiments.importing.refused import ImportRefused
from experiments.importing.repository import Copy
from experiments.importing.source import Source
from experiments.importing.store import Imported


@dataclass(frozen=True)
class Wish:
    """What a person asks for. `where` may be empty where `table`, the bytes of a results.tsv, is given."""

    where: str = ""
    branch: str = ""
    table: bytes | None = None
    table_name: str = ""


def check(wish: Wish) -> None:
    """What can be known at once, before anything is fetched. Raises ImportRefused."""
    source.check_branch(wish.branch)
    if wish.where.strip() or wish.table is None:
        source.find(wish.where)
    if wish.table is not None:
        tsv.read_table(wish.table)


def bring(wish: Wish, *, by: str, progress: Progress | None = None) -> Imported:
    """Import it. Raises ImportRefused: then nothing was written."""
    branch = source.check_branch(wish.branch)
    if not wish.where.strip() and wish.table is not None:
        mark = hashlib.sha256(wish.table).hexdigest()[:8]
        return _table_alone(Source(f"{wish.table_name[:200] or 'results.tsv'} (file {mark})"), wish.table, by)
    found = source.find(wish.where)
    if not found.has_repository:
        assert found.table is not None
        if branch:
            raise ImportRefused("A table alone has no branches. Leave it empty, or give a git repository.", "branch")
        return _table_alone(found, wish.table or source.read_file(found.table), by)
    folder = Path(settings.VAR_DIR) / "imports" / secrets.token_hex(8)
    try:
        return _with_repository(Copy(folder, found), wish, branch, by, progress)
    except GitFailed as error:
        raise ImportRefused(f"git could not read it: {str(error)[:300]}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # it has moved to its program, or is of no use


def _table_alone(where: Source, data: bytes, by: str) -> Imported:
    table = tsv.read_table(data)
    return store.save(where, table, Known.nothing(table.rows), by=by)


def _with_repository(copy: Copy, wish: Wish, branch: str, by: str, progress: Progress | None) -> Imported:
    table = tsv.read_table(wish.table) if wish.table is not None else None  # before anything is fetched
    copy.fill(progress)
    name, tip = copy.tip(branch)
    table = table or tsv.read_table(copy.table(name, tip, asked=bool(branch)))
    return store.save(copy.source, table, know(copy, table.rows, name, tip), by=by)
