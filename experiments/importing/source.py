"""Where an import comes from: an address to fetch, a folder on this machine, or a table alone. Refuses everything else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from experiments.importing.refused import ImportRefused
from experiments.importing.tsv import MAX_BYTES

_SCP = re.compile(r"[\w.-]+@[\w.-]+:(?!/)[\w./~-]+")  # git@github.com:owner/name.git
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HELPER = re.compile(r"[a-z][a-z0-9+.-]*::", re.IGNORECASE)  # ext::sh -c …
_BRANCH = re.compile(r"(?!-)[\w.+@#-]+(/[\w.+@#-]+)*")


@dataclass(frozen=True)
class Source:
    """`text` is stored with the run. At most one of `url` and `folder` is set; `table` is a file on this machine."""

    text: str
    url: str = ""
    folder: Path | None = None  # a git repository, only read
    table: Path | None = None

    @property
    def has_repository(self) -> bool:
        return bool(self.url or self.folder)

    @property
    def name(self) -> str:
        """Of the program: the last part of where it comes from, and the one before it where that says nothing."""
        parts = [part for part in re.split(r"[/:\\]", self.text.partition(" (")[0]) if part]
        name = parts[-1] if parts else "imported"
        name = re.sub(r"\.(git|tsv|txt)$", "", name)
        if name in {"results", "autoresearch", ""} and len(parts) > 1:
            name = parts[-2] if name != "autoresearch" else f"{parts[-2]}-{name}"
        return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:60] or "imported"


def is_remote(text: str) -> bool:
    """Whether it is an address rather than a path; a refused one counts too."""
    return bool(_SCHEME.match(text) or _HELPER.match(text) or _SCP.fullmatch(text))


def find(text: str) -> Source:
    """What `text`, a path or an address, means. Raises ImportRefused."""
    text = text.strip()
    if not text:
        raise ImportRefused("Give a folder or an address, or choose a results.tsv.")
    if text.startswith("-") or any(ord(letter) < 32 for letter in text):
        raise ImportRefused("This is neither a path nor an address. An example: https://github.com/karpathy/autoresearch")
    if len(text) > 300:
        raise ImportRefused("The path or address is too long: at most 300 characters.")
    return _remote(text) if is_remote(text) else _local(text)


def _remote(text: str) -> Source:
    if _SCP.fullmatch(text):
        return Source(text, url=text)
    if _HELPER.match(text):
        raise ImportRefused("Only https, ssh and git addresses are fetched; this one would start a program.")
    scheme = text.partition("://")[0].lower()
    if scheme == "file":
        raise ImportRefused("Give the folder itself, without file://.")
    if scheme not in {"https", "ssh", "git"}:
        raise ImportRefused(f"Only https, ssh and git addresses are fetched, not {scheme}://.")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port  # a port that is none raises
    except ValueError:
        raise ImportRefused("This is no valid address. An example: https://github.com/karpathy/autoresearch") from None
    if not re.fullmatch(r"[\w:][\w.:-]*", host):
        raise ImportRefused("The address names no server. An example: https://github.com/karpathy/autoresearch")
    if parts.password or (parts.username and scheme == "https"):
        raise ImportRefused(
            "Leave the name and password out: the address is stored with the run. For a private repository, "
            "clone it yourself, then import the folder."
        )
    return Source(text.rstrip("/"), url=text)


def _local(text: str) -> Source:
    try:
        path = Path(text).expanduser()
        path = path if path.is_absolute() else Path.cwd() / path
        exists, is_folder = path.exists(), path.is_dir()
        path = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ImportRefused(f"The path cannot be read: {str(error)[:200]}") from None
    if not exists:
        raise ImportRefused(f"There is nothing at {path} on this machine. Look at the path again.")
    if not is_folder:
        return _table(path)
    if (path / ".git").exists() or ((path / "HEAD").is_file() and (path / "objects").is_dir()):
        return Source(str(path), folder=path)
    if (path / "results.tsv").is_file():
        return _table(path / "results.tsv")
    raise ImportRefused(f"{path} is neither a git repository nor has it a results.tsv. Give the folder of a clone.")


def _table(path: Path) -> Source:
    if path.suffix.lower() != ".tsv" or not path.is_file():
        raise ImportRefused(f"{path.name} is no .tsv file. Give a results.tsv, or the folder of a clone.")
    return Source(str(path), table=path)


def read_file(path: Path) -> bytes:
    """A table on this machine; a byte more than the limit is enough to refuse it."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read: {error.strerror}.", "table") from None


def check_branch(branch: str) -> str:
    branch = branch.strip().removeprefix("refs/heads/")
    if branch and (not _BRANCH.fullmatch(branch) or ".." in branch or len(branch) > 200):
        raise ImportRefused("This is no name of a branch. An example: autoresearch/mar5", "branch")
    return branch
