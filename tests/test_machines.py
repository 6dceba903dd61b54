"""The pure parts of `make machines`: which Pythons, which rows, which table."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.machines import conditions, pythons, report, rows
from tests.machines.trial import Seen, count_finished, in_few_words

ROOT = Path(__file__).resolve().parent.parent


def fake_python(path: Path, version: str, prefix: Path | None = None, own: Path | None = None) -> Path:
    """A program that answers the probe as that Python would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = prefix or path.parent.parent
    short = [int(part) for part in version.split(".")[:2]]
    said = json.dumps([str(own or path), version, short, str(prefix), str(prefix / "lib" / "python")])
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return path


def python(name: str, prefix: str = "/somewhere") -> pythons.Python:
    return pythons.Python(name, Path(sys.executable), name.partition("-")[0], Path(prefix), Path(prefix) / "lib")


def test_each_python_is_found_once_the_systems_own_first(tmp_path):
    system = fake_python(tmp_path / "usr/bin/python3", "3.11.2")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python3.11").symlink_to(system)
    pyenvs = fake_python(tmp_path / ".pyenv/versions/3.12.1/bin/python3", "3.12.1")
    fake_python(tmp_path / "bin/python3.12", "3.12.1", own=pyenvs)  # pyenv's shim, or a virtual environment
    fake_python(tmp_path / ".local/share/uv/python/cpython-3.14/bin/python3", "3.14.0")
    found = pythons.find({"HOME": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{tmp_path / 'usr/bin'}"}, system)
    assert [python.name for python in found] == ["system", "3.12.1", "3.14.0"]
    assert found[1].path == pyenvs


def test_pythons_that_are_too_old_too_new_or_broken_are_no_rows(tmp_path):
    versions = tmp_path / ".pyenv/versions"
    for version in ("3.10.13", "3.15.0", "3.13.0"):
        fake_python(versions / version / "bin/python3", version)
    broken = fake_python(versions / "broken/bin/python3", "3.12.0")
    broken.write_text("#!/bin/sh\necho 'pyenv: python3: command not found' >&2\nexit 127\n")
    found = pythons.find({"HOME": str(tmp_path), "PATH": ""}, tmp_path / "missing")
    assert [python.name for python in found] == ["3.13.0"]


def test_two_of_one_version_have_names_of_their_own(tmp_path):
    fake_python(tmp_path / "a/bin/python3", "3.12.1")
    fake_python(tmp_path / "b/bin/python3", "3.12.1")
    env = {"HOME": str(tmp_path), "PATH": f"{tmp_path / 'a/bin'}:{tmp_path / 'b/bin'}"}
    assert [python.name for python in pythons.find(env, Path("/no"))] == ["3.12.1", "3.12.1-2"]


def make_prefix(tmp_path: Path, script: str) -> pythons.Python:
    library = tmp_path / "prefix/lib/python3.11"
    for part in ("idlelib/run.py", "test/big.py", "lib2to3/a.py", "json/decoder.py", "site-packages/pip/a.py", "os.py"):
        (library / part).parent.mkdir(parents=True, exist_ok=True)
        (library / part).write_text("")
    program = tmp_path / "prefix/bin/python3"
    program.parent.mkdir()
    program.write_text(script)
    program.chmod(0o755)
    return pythons.Python("3.11.7", program, "3.11.7", tmp_path / "prefix", library)


def test_a_cut_python_has_the_rest_of_its_library(tmp_path):
    whole = make_prefix(tmp_path, '#!/bin/sh\nh=$(dirname "$(dirname "$0")")\n'
                        'echo "[\\"$0\\", \\"3.11.7\\", [3, 11], \\"$h\\", \\"$h/lib/python3.11\\"]"\n')
    copy = pythons.cut(whole, tmp_path / "copy")
    assert sorted(path.name for path in copy.library.iterdir()) == ["json", "os.py"]
    assert (copy.library / "os.py").samefile(whole.library / "os.py")  # by hard links
    assert (whole.library / "idlelib/run.py").exists()


def test_a_copy_that_takes_the_originals_library_is_none(tmp_path):
    whole = make_prefix(tmp_path, "#!/bin/sh\necho '[\"/x\", \"3.11.7\", [3, 11], \"/x\", \"/x/lib\"]'\n")
    with pytest.raises(RuntimeError, match="does not run on its own library"):
        pythons.cut(whole, tmp_path / "copy")


# The rows


def test_rows_that_share_an_installation_follow_each_other():
    found = [python("system", "/usr"), python("3.12.1"), python("3.13.0")]
    for variants_on in ("", "3.12.1"):
        names = [row.installation for row in rows.all_rows(found, variants_on)]
        runs = [name for before, name in zip(["", *names], names, strict=False) if name != before]
        assert len(runs) == len(set(names))


def test_variants_are_on_the_python_that_is_named():
    made = {row.name: row for row in rows.all_rows([python("system", "/usr"), python("3.12.1")], "3.12.1")}
    assert made["no-network"].python == made["3.12.1"].python
    assert made["no-network"].installation == "3.12.1"
    assert made["cut-library"].python == made["3.12.1"].python and made["cut-library"].installation == "cut-library"
    assert {"no-bubblewrap", "no-network"} < {condition.name for condition in made["bare"].conditions}


def test_the_systems_own_python_is_not_copied_for_the_cut_one():
    made = {row.name: row for row in rows.all_rows([python("system", "/usr")])}
    assert made["cut-library"].why_not() == "no Python here that it can have"


def test_chosen_rows_come_in_the_tables_order_and_unknown_ones_are_named():
    made = rows.all_rows([python("3.12.1")])
    assert [row.name for row in rows.choose(made, ["bare", "3.12.1"])] == ["3.12.1", "bare"]
    assert rows.choose(made, []) == made
    with pytest.raises(rows.UnknownName, match=r"No row is called bar\. There are: 3\.12\.1, cuda-link"):
        rows.choose(made, ["bar"])
    with pytest.raises(rows.UnknownName, match=r"No Python is called 3\.9"):
        rows.all_rows([python("3.12.1")], "3.9")


def test_a_machine_that_cannot_be_made_says_why(monkeypatch):
    monkeypatch.setattr(conditions, "is_root", lambda: False)
    made = {row.name: row for row in rows.all_rows([python("3.12.1")])}
    assert made["cuda-link"].why_not() == made["plain-user"].why_not() == "needs root"


# The table


def test_only_a_row_that_was_tried_is_green():
    tried = report.Outcome("bare", "says", "3.12.1", torch="2 CPU", seen=Seen(
        page_seconds=4.4, experiments_seconds=61, stop_seconds=2.26, levels=["bubblewrap"] * 2, badges=["verified"] * 2,
        texts=["abc"] * 2,
    ))
    red = report.Outcome("red", "says", "", seen=Seen(installed=True, page_seconds=92, why="a | b"))
    not_tried = report.Outcome("cuda-link", "says", "", "needs root")
    assert report.table([tried, red, not_tried]).splitlines()[2:] == [
        "| bare | says | 2 CPU | 4 s (of 3.12.1) | 61 s | 2.3 s | bubblewrap | verified | abc | green |",
        "| red | says |  | 92 s, installed |  |  |  |  |  | red: a \\| b |",
        "| cuda-link | says |  |  |  |  |  |  |  | not tried: needs root |",
    ]
    assert [outcome.result for outcome in (tried, red, not_tried)] == ["green", "red", "not tried"]


def test_the_table_is_written_between_its_marks_and_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for name in ("first", r"second \1"):
        report.write(page, [report.Outcome(name, "", "", "why")], "0123456789abcdef")
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and r"second \1" in text
    assert "old" not in text and "first" not in text and "commit 0123456789ab:" in text
    page.write_text("no marks")
    with pytest.raises(ValueError, match="the table's place"):
        report.write(page, [], "0")


def test_the_page_has_a_place_for_the_table():
    text = (ROOT / "docs/machines-tried.md").read_text()
    assert text.index(report.BEGIN) < text.index(report.END)


def test_the_host_is_named_in_words(tmp_path):
    release, memory = tmp_path / "os-release", tmp_path / "meminfo"
    release.write_text('NAME="Debian GNU/Linux"\nVERSION_ID="12"\nID=debian\n')
    memory.write_text("MemTotal:       24684092 kB\nMemFree: 1 kB\n")
    assert report.host(release, memory) == f"Debian 12, {os.cpu_count()} cores, 24 GB"


@pytest.mark.parametrize(("text", "words"), [
    ("", ""),
    ("web ready\n  what  is wrong\n\nmake: *** [Makefile:10: run] Error 1\n", "what is wrong"),
    ("x" * 300, "x" * 200 + " …"),
])
def test_the_last_words_are_few(text, words):
    assert in_few_words(text) == words


def test_only_scored_experiments_are_finished():
    states = [("kept", 2.1), ("discarded", 2.2), ("kept", None), ("failed", 2.0), ("training", None)]
    runs = [{"experiments": [{"state": state, "val_bpb": score} for state, score in states]}]
    assert count_finished(runs) == 2
