"""The texts of each data set: who is held out, what is read, and what is said about what cannot be."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tests.trainer.template_modules import load_template

download = load_template("download")
corpus = load_template("corpus")


def story(number: int, lines: int = 40) -> str:
    return f"# story {number}\n" + f"line of story {number}, and its words\n" * lines


def write_parquet(path: Path, texts: list[str], column: str = "text", **more: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({column: texts, **more}), path, row_group_size=100)
    return path


def damage(path: Path, group: int = 0) -> None:
    """As a whole file whose content has gone bad from this row group on: its footer still says what should be there."""
    with pyarrow.parquet.ParquetFile(path) as file:
        column = file.metadata.row_group(group).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 300] = os.urandom(300)
    path.write_bytes(data)


def test_bytes_are_taken_at_whole_characters() -> None:
    assert corpus.take_bytes(["ab", "é🙂", "x"], 5) == ["ab", "é"]
    assert corpus.take_bytes(["ab", "é"], 100) == ["ab", "é"]


# folder


def folder(tmp_path: Path, stories: int = 400) -> Path:
    path = tmp_path / "mine"
    path.mkdir()
    for number in range(stories):
        place = path / f"{number % 7}"
        place.mkdir(exist_ok=True)
        (place / f"{number}.txt").write_text(story(number))
    return path


def load_folder(path: Path, eval_bytes: int = 2**19) -> Any:
    return corpus.load(f"folder:{path}", Path("unused"), eval_bytes)


def test_a_folder_is_split_by_the_hash_of_its_parts(tmp_path: Path) -> None:
    path = folder(tmp_path)
    texts = load_folder(path)
    train, held = list(texts.train()), texts.validation + texts.secret
    assert set(train) <= set(map(story, range(400)))
    assert not {text.splitlines()[0] for text in train} & {text.splitlines()[0] for text in held}
    assert len(train) == pytest.approx(400 * 15 / 16, rel=0.05)
    assert corpus.bytes_of(texts.validation) == pytest.approx(corpus.bytes_of(texts.secret), abs=corpus.PART_CHARS)
    assert all(Path(name).read_text()[:9] in "".join(held) for name in texts.hidden[:3])
    assert len(texts.hidden) == pytest.approx(len(held), abs=1)


def test_one_large_file_is_split_too(tmp_path: Path) -> None:
    (tmp_path / "all.txt").write_text("".join(map(story, range(600))))
    texts = load_folder(tmp_path)
    joined = "".join(texts.train())
    assert all(piece not in joined for piece in texts.validation[:-1] + texts.secret[:-1])
    assert len(joined) == pytest.approx(15 / 16 * len("".join(map(story, range(600)))), rel=0.03)
    assert max(map(len, texts.train())) > 3 * corpus.PART_CHARS  # the text between two held-out parts is one document
    assert texts.hidden == [str(tmp_path / "all.txt")]


def test_of_much_held_out_text_the_first_hashes_are_taken(tmp_path: Path) -> None:
    path = folder(tmp_path, 2000)
    few, all_of_it = load_folder(path, 2000), load_folder(path, 2**22)
    assert few.validation[:-1] == all_of_it.validation[: len(few.validation) - 1]
    assert corpus.bytes_of(few.validation) == corpus.bytes_of(few.secret) == 2000


def test_mixed_encodings_are_read_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder(tmp_path)
    (path / "old.txt").write_bytes("Émile et Zoé\n".encode("latin-1") * 200)
    (path / "mark.txt").write_bytes(b"\xef\xbb\xbf" + b"marked text\r\n" * 200)
    (path / "wide.txt").write_text("weites Wort\n" * 200, encoding="utf-16")
    (path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + os.urandom(500))
    (path / "noise").write_bytes(bytes(value for value in os.urandom(5000) if value))
    (path / ".hidden").write_text("a secret of mine\n" * 100)
    joined = "".join(load_folder(path).train())
    assert "Émile et Zoé\n" in joined and "weites Wort\n" in joined
    assert "marked text\nmarked" in joined and "\ufeff" not in joined
    assert "IHDR" not in joined and "a secret of mine" not in joined
    told = capsys.readouterr().out
    assert "Files: 1 Latin-1, 1 UTF-16, 401 UTF-8, 2 binary" in told
    assert "1 files are not UTF-8 and were read as Latin-1: old.txt" in told
    assert "2 files are no text and were skipped: noise, picture.png" in told


def test_parquet_of_ones_own_is_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a" / "x.parquet", [story(number) for number in range(300)], number=list(range(300)))
    write_parquet(tmp_path / "b.parquet", [story(number) for number in range(300, 600)], column="only")
    texts = load_folder(tmp_path)
    assert len(list(texts.train())) == pytest.approx(600 * 15 / 16, rel=0.05)
    assert set(texts.hidden) == {str(tmp_path / "a" / "x.parquet"), str(tmp_path / "b.parquet")}


@pytest.mark.parametrize("name", ["x.parquet", "cut.parquet", "bad.parquet"])
def test_a_parquet_of_ones_own_that_cannot_be_read_is_named_and_kept(tmp_path: Path, name: str) -> None:
    path = write_parquet(tmp_path / name, [story(number) for number in range(300)])
    if name == "x.parquet":
        path.write_bytes(b"no parquet")
    elif name == "cut.parquet":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        damage(path)
    with pytest.raises(SystemExit, match=rf"{name} cannot be read as parquet .*\. Is it whole\?"):
        load_folder(tmp_path)
    assert path.exists()


def test_a_parquet_without_one_text_column_is_named_with_its_columns(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", ["a"], column="one", two=["b"], three=[3])
    with pytest.raises(
        SystemExit, match=r"not just one column of strings: it has one \(string\), two \(string\), three \(int64\)"
    ):
        load_folder(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no text. Files: none"),
        ({"a.bin": b"\0" * 100, "b.txt": b" \n"}, "holds no text. Files: 1 UTF-8, 1 binary"),
        ({"a.txt": b"only a few words"}, "16 characters of text in 1 parts, of which 0 are held out"),
    ],
)
def test_a_folder_without_enough_text_is_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SystemExit, match=message):
        load_folder(tmp_path)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"names {tmp_path}/none, which is not a folder"):
        load_folder(tmp_path / "none")


# climbmix and tinystories, from a hub on loopback


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a mirror of the hub serves."""
    root = tmp_path / "hub"
    root.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("AUTORESEARCH_MIRROR", f"http://127.0.0.1:{server.server_port}")
        yield root
        server.shutdown()
        thread.join()


def place(hub: Path, url: str) -> Path:
    return hub / url.removeprefix("https://huggingface.co/")


@pytest.fixture
def climbmix(hub: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(corpus, "CLIMBMIX_SHARDS", 3)
    for shard in range(3):
        texts = [story(10_000 * shard + number) for number in range(1500)]
        write_parquet(place(hub, corpus.CLIMBMIX.format(shard)), texts)
    write_parquet(place(hub, corpus.CLIMBMIX.format(6542)), [story(6542000 + number) for number in range(250)])
    return hub


def test_climbmix_is_downloaded_once_and_its_pinned_shard_is_held_out(climbmix: Path, tmp_path: Path) -> None:
    texts = corpus.load("climbmix", tmp_path / "cache", 20_000)
    assert list(texts.train()) == [story(10_000 * shard + number) for shard in range(3) for number in range(1500)]
    assert corpus.bytes_of(texts.validation) == corpus.bytes_of(texts.secret) == 20_000
    assert texts.validation[0] == story(6542000)
    assert texts.secret[0] == story(6542000 + len(texts.validation))
    for path in climbmix.rglob("*.parquet"):
        path.unlink()
    assert corpus.load("climbmix", tmp_path / "cache", 20_000).validation == texts.validation


def test_tinystories_holds_out_its_first_twenty_thousand(hub: Path, tmp_path: Path) -> None:
    write_parquet(place(hub, corpus.TINYSTORIES), [story(number, 1) for number in range(20_300)])
    texts = corpus.load("tinystories", tmp_path / "cache", 5_000)
    assert texts.secret[0] == story(0, 1)
    assert texts.validation[0] == story(10_000, 1)
    assert list(texts.train()) == [story(number, 1) for number in range(20_000, 20_300)]


def test_a_downloaded_shard_that_goes_bad_is_downloaded_anew(
    climbmix: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = corpus.load("climbmix", tmp_path / "cache", 20_000)
    expected = list(texts.train())
    shards = tmp_path / "cache" / "downloads" / "climbmix"
    damage(shards / "shard_00001.parquet", group=12)  # what came before it is not given twice
    (shards / "shard_00002.parquet").write_bytes(b"PAR1")
    assert list(texts.train()) == expected
    assert capsys.readouterr().out.count("; downloading it anew") == 2


def test_one_that_is_bad_at_its_source_is_refused_after_two_tries(climbmix: Path, tmp_path: Path) -> None:
    damage(place(climbmix, corpus.CLIMBMIX.format(1)))
    texts = corpus.load("climbmix", tmp_path / "cache", 20_000)
    with pytest.raises(SystemExit, match=r"cannot be read as parquet .*, also downloaded anew\. Is https://huggingface.co/"):
        list(texts.train())
    assert not (tmp_path / "cache" / "downloads" / "climbmix" / "shard_00001.parquet").exists()


def test_too_little_validation_text_is_refused(climbmix: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"bytes of validation text, 4,000,000 are needed"):
        corpus.load("climbmix", tmp_path / "cache", 4_000_000)


def test_a_data_set_cannot_be_had_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTORESEARCH_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0.01)
    with pytest.raises(SystemExit, match=r"No network: .* use AUTORESEARCH_DATASET=stdlib, or set AUTORESEARCH_MIRROR"):
        corpus.load("tinystories", tmp_path, 1000)
