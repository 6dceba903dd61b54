"""The only caller of git. Bare repositories and plumbing: no work tree, no index a training could poison."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Container, Iterable, Mapping
from pathlib import Path

import git

from experiments.loop.errors import BranchMoved, MergeConflict

ZERO = "0" * 40
NOTES = "refs/notes/autoresearch"
# Nothing that a repository's own configuration or attributes could make git run.
_SAFE = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.attributesFile": os.devnull,
    "core.fsync": "all",
    "core.quotePath": "false",
    "diff.external": "",
    "protocol.allow": "never",
    "gc.auto": "0",
    "gc.reflogExpire": "never",
}
_OPTIONS = [part for key, value in _SAFE.items() for part in ("-c", f"{key}={value}")]
_PERSON = ("autoresearch-web", "autoresearch-web@localhost")


class Workspace:
    """The bare repository of one program."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _git(self, *args: str, stdin: bytes | None = None, index: str = "", raw: bool = False) -> str | bytes:
        """Run one git command here. Raises git.GitCommandError with git's own words."""
        command, scratch = git.Git(str(self.path)), {"GIT_INDEX_FILE": index} if index else {}
        command.update_environment(
            GIT_DIR=str(self.path), GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL=os.devnull, GIT_TERMINAL_PROMPT="0",
            GIT_ATTR_NOSYSTEM="1", LC_ALL="C.UTF-8", GIT_AUTHOR_NAME=_PERSON[0], GIT_AUTHOR_EMAIL=_PERSON[1],
            GIT_COMMITTER_NAME=_PERSON[0], GIT_COMMITTER_EMAIL=_PERSON[1], **scratch,
        )
        with tempfile.TemporaryFile() as source:
            source.write(stdin or b"")
            source.seek(0)
            answer = command.execute(
                ["git", *_OPTIONS, *args], istream=source, strip_newline_in_stdout=False, stdout_as_string=not raw
            )
        assert isinstance(answer, str | bytes)
        return answer

    def _line(self, *args: str, stdin: bytes | None = None, index: str = "") -> str:
        return str(self._git(*args, stdin=stdin, index=index)).strip()

    # Writing

    @classmethod
    def create(cls, path: Path, files: Mapping[str, str], message: str) -> tuple[Workspace, str]:
        """A new bare repository with one commit of `files`. Returns it and the commit."""
        path.mkdir(parents=True, exist_ok=True)
        workspace = cls(path)
        workspace._git("init", "--quiet", "--bare", "--initial-branch=main", str(path))
        commit = workspace.commit(None, files, message)
        workspace.set_ref("refs/heads/main", commit)
        return workspace, commit

    def commit(self, parent: str | None, files: Mapping[str, str], message: str) -> str:
        """A commit on `parent` in which `files` have the given texts; no ref points to it yet."""
        with tempfile.TemporaryDirectory() as folder:
            index = str(Path(folder) / "index")
            if parent:
                self._git("read-tree", parent, index=index)
            for path, text in files.items():
                blob = self._line("hash-object", "-w", "--stdin", stdin=text.encode())
                self._git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", index=index)
            tree = self._line("write-tree", index=index)
        return self.commit_tree(tree, parent, message)

    def commit_tree(self, tree: str, parent: str | None, message: str) -> str:
        above = ["-p", parent] if parent else []
        return self._line("commit-tree", tree, *above, "-F", "-", stdin=message.encode())

    def set_ref(self, ref: str, new: str, old: str | None = None) -> None:
        """Set a ref; with `old`, only if it stands there now (ZERO: does not exist), else BranchMoved."""
        try:
            self._git("update-ref", ref, new, *([] if old is None else [old]))
        except git.GitCommandError:
            found = self.ref(ref)
            if old is not None and found != old:
                raise BranchMoved(found) from None
            raise

    def note(self, commit: str, text: str) -> None:
        """Attach the metrics to a commit, as git notes; a second note replaces the first."""
        self._git("notes", f"--ref={NOTES}", "add", "-f", "-F", "-", commit, stdin=text.encode())

    def merge(self, base: str, ours: str, theirs: str) -> str:
        """The tree of `ours` plus what leads from `base` to `theirs` (all commits or trees). Raises MergeConflict.

        git merge-tree finds the merge base by ancestry (naming one needs git 2.40), so the three trees
        are wrapped into commits that have the ancestry we mean.
        """
        root = self.commit_tree(self.tree(base), None, "base")
        left = self.commit_tree(self.tree(ours), root, "ours")
        right = self.commit_tree(self.tree(theirs), root, "theirs")
        status, out, error = git.Git(str(self.path)).execute(
            ["git", *_OPTIONS, "merge-tree", "--write-tree", "--name-only", "--no-messages", left, right],
            env={"GIT_DIR": str(self.path), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
            with_extended_output=True, with_exceptions=False,
        )
        tree, *names = str(out).splitlines()
        if status == 1:
            raise MergeConflict(names)
        if status:
            raise git.GitCommandError("merge-tree", status, error)
        return tree

    # Reading

    def ref(self, name: str) -> str:
        """The commit a ref points to; empty when there is no such ref."""
        try:
            return self._line("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        except git.GitCommandError:
            return ""

    def tree(self, commit: str) -> str:
        return self._line("rev-parse", "--verify", f"{commit}^{{tree}}")

    def diff(self, old: str, new: str) -> str:
        """Unified diff, with no driver or filter of the repository's choosing."""
        return self._text(
            self._git("diff-tree", "-p", "--no-ext-diff", "--no-textconv", "--no-color", "-M", old, new, raw=True)
        )

    def read(self, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """Texts of `paths` at `commit`; a path that is not there is left out."""
        wanted = set(paths)
        return {path: self._text(data) for path, data in self._blobs(commit, wanted)}

    def export(self, commit: str, folder: Path) -> None:
        """Write the commit's files below `folder`: plain files only, no links, no submodules, no .git."""
        for path, data in self._blobs(commit):
            target = folder / path
            if ".git" in target.parts or not target.resolve().is_relative_to(folder.resolve()):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    def _blobs(self, commit: str, wanted: Container[str] | None = None) -> Iterable[tuple[str, bytes]]:
        listing = self._git("ls-tree", "-r", "-z", "--full-tree", commit, raw=True)
        assert isinstance(listing, bytes)
        for entry in filter(None, listing.split(b"\0")):
            meta, _, path = entry.partition(b"\t")
            mode, kind, blob = meta.split()
            if wanted is not None and path.decode(errors="replace") not in wanted:
                continue
            if kind == b"blob" and mode != b"120000":
                data = self._git("cat-file", "blob", blob.decode(), raw=True)
                assert isinstance(data, bytes)
                yield path.decode(errors="replace"), data

    @staticmethod
    def _text(data: str | bytes) -> str:
        return data if isinstance(data, str) else data.decode(errors="replace")
