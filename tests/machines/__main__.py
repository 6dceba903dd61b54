"""make machines: the README's two commands on every machine that this one can be made to look like. ARGS="--list" first.

A row after the other: clean clone, empty home, `make run`, two experiments, Ctrl-C. Nothing is left, also of a row that is
interrupted. Ends with 1 when a row is red. Standard library only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.machines import installation, processes, pythons, report
from tests.machines.installation import Unfit, lacks_disk
from tests.machines.machine import machine
from tests.machines.report import Outcome
from tests.machines.rows import Row, UnknownName, all_rows, choose
from tests.machines.trial import try_out

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "machines-tried.md"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make machines", description=__doc__)
    parser.add_argument("--list", action="store_true", help="the rows, and why one cannot be tried here")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help="these rows")
    parser.add_argument("--python", default="", metavar="NAME", help="the Python of the variants (else the system's own)")
    parser.add_argument("--venv", type=Path, help="link this installation in instead of making one for the variants")
    parser.add_argument("--minutes", type=float, default=10, help="a row's limit (10); half where nothing is installed")
    parser.add_argument("--keep", action="store_true", help="leave the folders, to look at")
    parser.add_argument("--write", action="store_true", help="put the table into docs/machines-tried.md")
    return parser.parse_args()


def main() -> int:
    asked = arguments()
    found = pythons.find(os.environ)
    if asked.venv:
        found, asked.python = with_that_of(asked.venv, found)
    try:
        rows = choose(all_rows(found, asked.python), filter(None, asked.only.split(",")))
    except UnknownName as error:
        sys.exit(str(error))
    if asked.list:
        show(rows)
        return 0
    listen()
    outcomes: list[Outcome] = []
    try:
        return try_all(rows, asked, outcomes)
    except KeyboardInterrupt:
        return 130
    except Unfit as error:
        sys.exit(str(error))
    finally:
        if outcomes:
            print(f"\n{report.table(outcomes)}")


def with_that_of(venv: Path, found: list[pythons.Python]) -> tuple[list[pythons.Python], str]:
    """The variants are to run on this virtual environment's Python, found or not."""
    own = pythons.look(venv / "bin" / "python")
    if own is None:
        sys.exit(f"{venv} is no virtual environment of Python 3.11 to 3.14. `make setup` makes one.")
    same = [python for python in found if python.path.resolve() == own.path.resolve()]
    return (found, same[0].name) if same else ([own, *found], own.name)


def show(rows: Sequence[Row]) -> None:
    for row in rows:
        why = row.why_not()
        print(f"{row.name:<16} {row.says}" + (f"  (not here: {why})" if why else ""))


def listen() -> None:
    """Ctrl-C, a closed terminal and kill end it the same way, and once: what cleans up is not to be broken off."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def end(_number: int, _frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        print("ending: processes, mounts and folders of this row", flush=True)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, end)


def try_all(rows: Sequence[Row], asked: argparse.Namespace, outcomes: list[Outcome]) -> int:
    root, commit = Path(tempfile.mkdtemp(prefix="machines.")).resolve(), git("rev-parse", "HEAD")
    root.chmod(0o755)  # the plain user's folder lies in it
    print(f"{report.host()}, commit {git('log', '-1', '--format=%h %s')}, in {root}", flush=True)
    if git("status", "--porcelain", "--untracked-files=no"):
        print("what is not committed is not tried", flush=True)
    try:
        for number, row in enumerate(rows):
            outcomes.append(try_row(row, root, commit, asked))
            print(outcomes[-1].line, flush=True)
            if not asked.keep:
                tidy(root, row, rows[number + 1 :])
        if asked.write:
            report.write(PAGE, outcomes, commit)
    finally:
        processes.end_all(root)
        if asked.keep:
            print(f"kept: {root}")
        else:
            shutil.rmtree(root)
    return int(any(outcome.result == report.RED for outcome in outcomes))


def tidy(root: Path, row: Row, later: Sequence[Row]) -> None:
    """The installation goes with the last of its rows."""
    shutil.rmtree(root / f"row-{row.name}", ignore_errors=True)
    if row.installation not in {other.installation for other in later}:
        shutil.rmtree(root / row.installation, ignore_errors=True)


def try_row(row: Row, root: Path, commit: str, asked: argparse.Namespace) -> Outcome:
    """Where a row of the same installation has been, its clone and virtual environment, with a fresh var."""
    place = root / row.installation
    shares = row.installation if row.installation != row.name else ""
    why_not = row.why_not() or ("" if place.exists() else lacks_disk(root))
    if why_not:
        return Outcome(row.name, row.says, shares, why_not)
    shared = asked.venv if row.python and row.installation == row.python.name else None
    try:
        made = installation.make(row, place, ROOT, commit, shared)
    except RuntimeError as error:
        return Outcome(row.name, row.says, shares, str(error))
    with machine(row, root, made.clone) as here:
        seen = try_out(here, made, asked.minutes)
    return Outcome(row.name, row.says, shares, torch=made.torch(), seen=seen)


def git(*words: str) -> str:
    done = subprocess.run([shutil.which("git") or "git", "-C", ROOT, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
