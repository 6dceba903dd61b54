"""What compilers made is kept by copy: plain files only, and never at the price of a training."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from trainer import compiled, folders


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The out/ of a training that has compiled two files."""
    out = tmp_path / "1-1" / "out"
    for name in ("inductor/ab/kernel.py", "triton/cubin"):
        (out / "compiled" / name).parent.mkdir(parents=True)
        (out / "compiled" / name).write_text(name)
    return out


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_what_is_kept_is_lent_as_a_copy(made: Path, tmp_path: Path) -> None:
    kept, out = tmp_path / "kept" / "1", tmp_path / "2-1" / "out"
    compiled.keep(made, kept)
    compiled.copy(kept, out)
    assert files(out / "compiled") == files(kept) == ["inductor/ab/kernel.py", "triton/cubin"]
    (out / "compiled" / "triton" / "cubin").write_text("rubbish")
    assert (kept / "triton" / "cubin").read_text() == "triton/cubin"


def test_links_pipes_and_what_they_lead_to_stay_behind(made: Path, tmp_path: Path) -> None:
    secret, kept, out = tmp_path / "secret", tmp_path / "kept" / "1", tmp_path / "2-1" / "out"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (made / "compiled" / "file").symlink_to(secret / "key")
    (made / "compiled" / "folder").symlink_to(secret)
    os.mkfifo(made / "compiled" / "pipe")
    compiled.keep(made, kept)
    compiled.copy(kept, out)
    assert files(out / "compiled") == ["inductor/ab/kernel.py", "triton/cubin"]


def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "1-1" / "out"
    elsewhere.mkdir()
    (elsewhere / "key").write_text("secret")
    out.mkdir(parents=True)
    (out / "compiled").symlink_to(elsewhere)
    compiled.keep(out, tmp_path / "kept")
    assert not (tmp_path / "kept").exists() and files(elsewhere) == ["key"]


@pytest.mark.parametrize(("limit", "most"), [("MOST_BYTES", 20), ("MOST_FILES", 1)])
def test_what_has_grown_too_large_is_not_kept(made: Path, tmp_path: Path, monkeypatch, limit: str, most: int) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(compiled, limit, most)
    compiled.keep(made, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_nothing_compiled_nothing_kept(tmp_path: Path) -> None:
    out = tmp_path / "1-1" / "out"
    out.mkdir(parents=True)
    compiled.keep(out, tmp_path / "kept" / "1")
    assert not (tmp_path / "kept").exists()


def test_a_disk_that_is_full_or_read_only_costs_a_cold_start_and_nothing_else(made: Path, tmp_path: Path, caplog) -> None:  # type: ignore[no-untyped-def]
    kept, full = tmp_path / "kept" / "1", Path("/dev/full")
    compiled.keep(made, kept)
    out = tmp_path / "2-1" / "out"
    out.mkdir(parents=True)
    (out / "compiled").write_text("in the way, as a read-only disk is")
    compiled.copy(kept, out)
    assert "is not used" in caplog.text
    compiled.keep(made.parent.parent / "2-1" / "out", kept)  # nothing there to keep
    (made / "compiled").mkdir(parents=True, exist_ok=True)
    (made / "compiled" / "file").write_text("made")
    compiled.keep(made, full / "1")  # no folder can be made there
    assert "is not kept" in caplog.text and files(kept) == ["inductor/ab/kernel.py", "triton/cubin"]


def test_every_folder_is_in_what_the_training_may_write(tmp_path: Path) -> None:
    assert all(Path(value).parent == tmp_path / "compiled" for value in compiled.environment(tmp_path).values())


def test_neither_depth_nor_modes_stand_in_the_way(made: Path, tmp_path: Path) -> None:
    kept, deep = tmp_path / "kept", made / "compiled"
    closed = deep / "closed"
    closed.mkdir()
    (closed / "file").write_text("closed")
    (closed / "file").chmod(0)
    folder = os.open(deep, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=folder)
        folder, last = os.open("d", os.O_RDONLY, dir_fd=folder), folder
        os.close(last)
    os.close(folder)
    compiled.keep(made, kept)
    assert not kept.exists()  # too deep to look at, and said so
    folders.remove(made)
    assert not made.exists()


def test_the_place_for_it_may_be_on_another_disk(made: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:
        compiled.keep(made, Path(elsewhere) / "kept")
        assert files(Path(elsewhere) / "kept") == ["inductor/ab/kernel.py", "triton/cubin"]


def test_what_is_kept_has_the_modes_of_ours(made: Path, tmp_path: Path) -> None:
    (made / "compiled" / "triton").chmod(0o555)
    (made / "compiled" / "triton" / "cubin").chmod(0o4777)
    (made / "compiled" / "triton").chmod(0o755)
    compiled.keep(made, tmp_path / "kept")
    assert (tmp_path / "kept" / "triton" / "cubin").stat().st_mode & 0o7777 == 0o600
