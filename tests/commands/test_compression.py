"""Static files as .gz: made once, anew when the file has changed, and what cannot be written is said."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from experiments.management.compression import WORTH_BYTES, compress

TEXT = b"let there = 'be text';\n" * WORTH_BYTES


def test_large_files_get_a_small_twin(tmp_path: Path):
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "large.js").write_bytes(TEXT)
    (tmp_path / "tiny.css").write_text("a {}")
    assert compress(tmp_path) == ""
    assert {path.name for path in tmp_path.rglob("*.gz")} == {"large.js.gz"}
    small = tmp_path / "vendor" / "large.js.gz"
    assert gzip.decompress(small.read_bytes()) == TEXT and small.stat().st_size < len(TEXT) / 10


def test_an_edited_file_is_compressed_anew(tmp_path: Path):
    large, small = tmp_path / "large.js", tmp_path / "large.js.gz"
    large.write_bytes(TEXT)
    compress(tmp_path)
    made = small.stat().st_mtime_ns
    compress(tmp_path)
    assert small.stat().st_mtime_ns == made
    large.write_bytes(TEXT + b"more")
    os.utime(large, ns=(made + 10**9, made + 10**9))
    compress(tmp_path)
    assert gzip.decompress(small.read_bytes()).endswith(b"more")


def test_what_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "large.js").write_bytes(TEXT)
    (tmp_path / f"large.js.gz.{os.getpid()}").mkdir()  # in the way, also for root
    assert "cannot be written" in compress(tmp_path)
