"""What an import needs of git: a private copy of a repository's objects, its table, its commits and their diffs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from experiments.importing import gitcall
from experiments.importing.gitcall import GitFailed
from experiments.importing.local import Local
from experiments.importing.refused import ImportRefused
from experiments.importing.source import Source, read_file
from experiments.importing.tsv import MAX_BYTES

HEADS = "refs/imported/heads/"
ROWS = "refs/imported/rows/"  # commits that no branch has: discarded ones that still lie in a local clone
_OTHERS = "refs/imported/others/"  # of a local clone: what it has fetched itself
_FETCH = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules")
_REFSPECS = (f"+refs/heads/*:{HEADS}*", f"+refs/autoresearch/*:{_OTHERS}autoresearch/*")
_NOT_CODE = (":(top,exclude)*results.tsv", ":(top,exclude)*run.log")
MAX_LISTED = 8


@dataclass(frozen=True)
class Commit:
    sha: str
    at: datetime
    subject: str


class Copy:
    """A bare repository of ours with the objects of somebody else's."""

    def __init__(self, folder: Path, source: Source) -> None:
        self.folder, self.source = folder, source
        self.local = Local(source.folder) if source.folder else None
        self.refs: dict[str, str] = {}  # name below refs/imported/: commit

    # Getting it

    def fill(self, progress: gitcall.Progress | None = None) -> None:
        """All branches. Raises ImportRefused."""
        self.folder.mkdir(parents=True)
        there = self.local.refs() if self.local else {}
        if any(len(sha) == 64 for sha in there.values()):
            self._create_sha256()
        else:
            gitcall.create(self.folder)
        if self.local:
            self._take(there, progress)
        else:
            gitcall.copy(self.folder, [*_FETCH, "--", self.source.url, *_REFSPECS], progress=progress)
            (self.folder / "FETCH_HEAD").unlink(missing_ok=True)  # names the address; to write none came with git 2.29
        listing = self._call("for-each-ref", "--format=%(refname) %(objectname)", "refs/imported")
        self.refs = dict(line.split(" ", 1) for line in listing.splitlines())
        if not self.refs:
            raise ImportRefused("The repository is empty: it has no commit yet.")

    def _create_sha256(self) -> None:
        try:
            gitcall.create(self.folder, "--object-format=sha256")
        except GitFailed as error:
            if "object-format" not in str(error):
                raise
            raise ImportRefused(
                "Its commits have SHA-256 names, for which git 2.29 or newer is needed here. Import its results.tsv alone."
            ) from error

    def _take(self, refs: dict[str, str], progress: gitcall.Progress | None = None) -> None:
        """Copy the objects of a folder on this machine: by our git and configuration, its own is never asked or run."""
        assert self.local is not None
        if self.local.shallow.is_file():
            (self.folder / "shallow").write_bytes(self.local.shallow.read_bytes())
        wanted = "".join(f"{sha}\n" for sha in sorted(set(refs.values())))
        pack = self.folder / "objects" / "pack" / "pack"
        packing = ["pack-objects", "--revs", "--quiet", "--missing=allow-any", str(pack)]
        if wanted:
            gitcall.copy(self.folder, packing, stdin=wanted, more=self._beside, progress=progress)
            self.keep(refs)

    @property
    def _beside(self) -> dict[str, str]:
        """Lets our git see the objects of the folder as well."""
        return {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self.local.objects)} if self.local else {}

    def _call(self, *args: str, stdin: str = "") -> str:
        return gitcall.call(self.folder, *args, stdin=stdin)

    # Branches

    def branches(self) -> list[str]:
        return sorted(name.removeprefix(HEADS) for name in self.refs if name.startswith(HEADS))

    def head(self) -> str:
        """The name of the branch that is checked out there, or that a clone starts with; "" where there is none."""
        if self.local:
            return self.local.head()
        try:
            said = self._call("ls-remote", "--symref", "--", self.source.url, "HEAD")
        except GitFailed:
            return ""
        found = re.match(r"ref: refs/heads/(\S+)\tHEAD", said)
        return found[1] if found else ""

    def tip(self, branch: str) -> tuple[str, str]:
        """(name, commit) of the branch that is asked for; "" is the one that is checked out. Raises ImportRefused."""
        usual = [name for name in ("HEAD", "main", "master") if HEADS + name in self.refs]
        wanted = branch or self.head() or next(iter(usual), "")
        short = wanted.removeprefix("origin/")
        for name in (HEADS + wanted, f"{HEADS}autoresearch/{wanted}", f"{_OTHERS}remotes/origin/{short}"):
            if name in self.refs:
                return name.removeprefix(HEADS).removeprefix(f"{_OTHERS}remotes/origin/"), self.refs[name]
        there = self.branches()
        if not branch and len(there) == 1:
            return there[0], self.refs[HEADS + there[0]]
        what = f"There is no branch {branch!r}." if branch else "It has no branch that is checked out: choose one."
        raise ImportRefused(f"{what} There are: {listed(there)}.", "branch")

    # The table

    def table(self, branch: str, tip: str, *, asked: bool) -> bytes:
        """results.tsv: of the branch where one was asked for, else the one that lies in the folder, first."""
        places = [lambda: self._committed(tip), self._lying]
        for place in places if asked else reversed(places):
            data = place()
            if data is not None:
                return data
        having = [name for name in self.branches()[:200] if self._committed(self.refs[HEADS + name]) is not None]
        if having:
            raise ImportRefused(f"There is no results.tsv on {branch}. These branches have one: {listed(having)}.", "branch")
        raise ImportRefused(
            f"There is no results.tsv on {branch}: it is usually not committed. Give the file as well.", "table"
        )

    def _committed(self, commit: str) -> bytes | None:
        return self.file(commit, "results.tsv", MAX_BYTES + 1)

    def _lying(self) -> bytes | None:
        path = self.source.folder / "results.tsv" if self.source.folder else None
        return read_file(path) if path and path.is_file() and not path.is_symlink() else None

    def file(self, commit: str, path: str, most: int) -> bytes | None:
        try:
            return gitcall.read(self.folder, "cat-file", "blob", f"{commit}:{path}", most=most)
        except GitFailed:
            return None

    # Commits

    def resolve(self, hashes: Iterable[str]) -> dict[str, str]:
        """The full commit of each hash that is there. Of a folder on this machine also those that no branch has any more."""
        wanted = sorted(set(hashes))
        found = self._look_up(wanted, {})
        loose = self._look_up([name for name in wanted if name not in found], self._beside)
        if loose:
            self._take({f"{ROWS}{sha}": sha for sha in loose.values()})
        return found | loose

    def _look_up(self, hashes: Sequence[str], more: Mapping[str, str]) -> dict[str, str]:
        if not hashes:
            return {}
        asked = "".join(f"{name}^{{commit}}\n" for name in hashes)
        form = "--batch-check=%(objectname) %(objecttype)"
        answers = gitcall.call(self.folder, "cat-file", form, stdin=asked, more=more).splitlines()
        pairs = zip(hashes, (answer.split(" ") for answer in answers), strict=True)
        return {name: answer[0] for name, answer in pairs if answer[-1] == "commit"}

    def commits(self, tip: str, others: Iterable[str]) -> dict[str, Commit]:
        """Time and subject of the commits of a branch, newest first, and of some others."""
        form = "--format=%H%x09%ct%x09%s"
        lines = self._call("log", "--max-count=20000", form, tip, "--").splitlines()
        rest = sorted(set(others))
        if rest:
            names = "".join(f"{sha}\n" for sha in rest)
            lines += self._call("log", "--no-walk=unsorted", form, "--stdin", stdin=names).splitlines()
        parts = (line.split("\t", 2) for line in lines)
        return {sha: Commit(sha, datetime.fromtimestamp(int(at), UTC), subject) for sha, at, subject in parts}

    def parent(self, commit: str) -> str:
        """The first parent; "" where there is none."""
        try:
            return self._call("rev-parse", "--verify", "--quiet", f"{commit}^1").strip()
        except GitFailed:
            return ""

    def diff(self, old: str, new: str) -> str | None:
        """Unified, without the table and the log, by no driver of the repository's; None where it is too large to keep."""
        plain = ("--no-ext-diff", "--no-textconv", "--no-color", "-M")
        data = gitcall.read(self.folder, "diff-tree", "-p", *plain, old, new, "--", ".", *_NOT_CODE)
        return None if data is None else data.decode(errors="replace").replace("\0", "\ufffd")

    def keep(self, refs: dict[str, str]) -> None:
        """Set refs of ours; one that is there stays as it is."""
        there = set(self._call("for-each-ref", "--format=%(refname)").split())
        commands = "".join(f"create {name} {sha}\n" for name, sha in refs.items() if name not in there)
        self._call("update-ref", "--stdin", stdin=commands)


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MAX_LISTED]) or "none"
    return f"{shown} and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else shown
