"""`make quick`: the tests of the rooms that a change touches, in less than two minutes, and what they leave out.

Its arguments are the command that runs files of tests: make's own.

The change is what git calls changed or new; where nothing is, the last commit; with SINCE=main all since that branch.
A file of tests belongs to a change that it imports or that is in the room of its name: tests/loop to experiments/loop,
tests/test_charts.py to experiments/charts.py. Cheap files go first (tests/seconds.json), until the time is used up.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.timing import known

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 70.0  # of each worker: what it takes to begin comes on top
ROOMS = {  # where the name does not tell
    "trainer/": ["trainer", "attacks"],
    "templates/": ["views", "browser"],
    "static/": ["browser"],
    "experiments/management/": ["commands", "faults"],
    "experiments/models/": ["models", "loop"],
}


def changed(since: str = "") -> list[str]:
    """Paths from the root."""

    def git(*args: str) -> list[str]:
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()

    if since:
        return sorted({*git("diff", "--name-only", since), *git("ls-files", "--others", "--exclude-standard")})
    now = {*git("diff", "--name-only", "HEAD"), *git("ls-files", "--others", "--exclude-standard")}
    return sorted(now or git("diff", "--name-only", "HEAD~", "HEAD"))


def files_of_tests() -> list[str]:
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py"))


def rooms_of(path: str) -> list[str]:
    """Folders and files of tests that a path's name leads to."""
    parts = path.split("/")
    if parts[0] == "tests":
        return [path if parts[-1].startswith("test_") else path.rpartition("/")[0] + "/"]
    found = [f"tests/{room}/" for start, rooms in ROOMS.items() if path.startswith(start) for room in rooms]
    if parts[0] == "experiments" and len(parts) > 2:
        found.append(f"tests/{parts[1]}/")
    return [*found, f"tests/test_{Path(path).stem}.py"]


def imports(test: str, path: str) -> bool:
    """Whether a file of tests names this module in an import."""
    package, _, name = path.removesuffix(".py").replace("/", ".").rpartition(".")
    text = (ROOT / test).read_text()
    whole = re.escape(f"{package}.{name}")
    part = rf"from {re.escape(package)} import [^\n]*\b{re.escape(name)}\b"
    return path.endswith(".py") and bool(re.search(rf"^(import|from) {whole}\b|^{part}", text, re.MULTILINE))


def choose(paths: list[str], seconds: dict[str, float], most: float) -> tuple[list[str], list[str]]:
    """Files of tests to run, and those that belong to the change and are left out."""
    rooms = tuple(room for path in paths for room in rooms_of(path))
    theirs = [test for test in files_of_tests() if test.startswith(rooms) or any(imports(test, path) for path in paths)]
    chosen, total = [], 0.0
    for test in sorted(theirs, key=lambda name: (name not in paths, seconds.get(name, 1.0))):
        takes = seconds.get(test, 1.0)
        if total + takes <= most:
            chosen.append(test)
            total += takes
    return chosen, [test for test in theirs if test not in chosen]


def main() -> None:
    paths = changed(os.environ.get("SINCE", ""))
    chosen, left = choose(paths, known(), SECONDS * int(os.environ["WORKERS"]))
    print(f"{len(paths)} changed: {' '.join(paths[:12])}{' …' if len(paths) > 12 else ''}")
    if left:
        print(f"left out, for `make test`: {' '.join(left)}")
    if not chosen:
        print("no tests belong to this change: `make test` runs all")
        return
    print(f"run: {' '.join(chosen)}", flush=True)
    os.execv(sys.argv[1], [*sys.argv[1:], *chosen])


if __name__ == "__main__":
    main()
