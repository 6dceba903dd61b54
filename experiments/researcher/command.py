"""A researcher that is an external agent: a command that edits files in a folder, in a sandbox of its own.

What it prints is shown and never parsed for edits; its proposal is how it leaves the editable files.
"""

from __future__ import annotations

import codecs
import errno
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from trainer.agent import GRACE_SECONDS, Agent, AgentError, joined, start
from trainer.spec import Result, read_json

from . import agent_folder
from .agent_edits import diff_between, edits_between
from .agent_output import Output, words_of_file
from .agent_prompt import as_text, for_agent, ledger
from .base import Context, Message, Piece, Proposal, ResearcherAway, ResearcherError, Shown, Text
from .edit_error import EditError
from .redact import SECRET_NAME, SHORTEST_SECRET
from .reply import parse_reply

BRIEF, LEDGER, PROMPT = "program.md", "LEDGER.md", "PROMPT.md"
POLL_SECONDS = 0.1
IDLE_SECONDS = 0.5  # a line that stands unfinished so long is shown as far as it goes
SHIM_SECONDS = 20.0  # that the shim may take on top, to start and to end what it holds
NEXT_STEP = "Run it by hand in a copy of the files, or change the command on the program page."


class CommandResearcher:
    can_repair = True
    reads_prompt = True
    context_tokens: int | None = None
    repairs = 1  # an agent takes minutes, and pays for each

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.line = joined(agent.command)
        self.label = f"{self.line[:80]} (external agent)"

    def phrase(self, messages: tuple[Message, ...], context: Context) -> tuple[Message, ...]:
        """The prompt as the agent reads it."""
        return for_agent(messages, context, self.agent.seconds)

    def reply(self, messages: tuple[Message, ...], context: Context) -> Iterator[Piece]:
        """Run the agent once. Raises EditError for what it left, ResearcherAway for how it ended, ResearcherError where
        only a person can mend it."""
        with agent_folder.fresh_folder(self.agent.folders) as folder:
            source, others = folder / "src", self._others(messages, context)
            source.mkdir()
            agent_folder.lay_out(source, {**others, **context.files})
            yield Shown(f"[{self._introduction()}]\n\n")
            output, began = Output(), time.monotonic()
            yield from self._run(folder, source / PROMPT, output)
            if output.usage:
                yield output.usage
            code = self._exit_code(_result(folder), output)
            yield Shown(f"\n\n[The agent ended after {time.monotonic() - began:,.0f} s{_with(code)}]\n\n")
            yield from self._proposal(source, context, others, output, code)

    def _others(self, messages: tuple[Message, ...], context: Context) -> dict[str, str]:
        """What lies beside the editable files: to read."""
        ours = {BRIEF: context.brief, LEDGER: ledger(context), PROMPT: as_text(messages)}
        return {path: text for path, text in {**ours, **context.fixed_files}.items() if path not in context.files}

    def _introduction(self) -> str:
        sealed = self.agent.sandbox != "off"
        rights = "in a sandbox" if sealed else "with the rights of this server's user"
        network = "without network" if sealed and not self.agent.network else "with network"
        return (
            f"Output of an external agent: {self.line[:500]}. It runs {rights}, {network}, for {self.agent.seconds:,.0f} s "
            "at most."
        )

    def _run(self, folder: Path, prompt: Path, output: Output) -> Iterator[Piece]:
        """Start it and show what it prints, until it has ended."""
        try:
            process = start(self.agent, folder, prompt)
        except AgentError as error:
            raise ResearcherError(str(error)) from error
        try:
            yield from map(Shown, _follow(process, folder / "log", output, self.agent.seconds + SHIM_SECONDS))
        finally:  # also where nobody wants its edit any more
            _end(process)

    def _exit_code(self, result: Result | None, output: Output) -> int:
        """Raises for an end from which no edit is taken."""
        if result is None or result.ended == "stopped":
            raise ResearcherAway("The agent's supervising process died, or was stopped with the server. It is asked again.")
        if result.ended == "error":
            # the shim speaks of trainings
            detail = result.detail.replace("AUTORESEARCH_SANDBOX_READ", "AUTORESEARCH_AGENT_READ")
            raise ResearcherError(f"The agent could not be started: {detail}")
        if result.ended == "timeout":
            raise ResearcherAway(
                f"The agent was still running after {self.agent.seconds:,.0f} s and was ended; its edit is not used. Give "
                f"it more time on the program page, or an easier task.{_said(output)}"
            )
        if result.ended == "crowded":
            raise ResearcherAway(f"The agent started too many processes and was ended; its edit is not used. {NEXT_STEP}")
        if result.ended == "disk_full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return result.exit_code or 0

    def _proposal(
        self, source: Path, context: Context, others: Mapping[str, str], output: Output, code: int
    ) -> Iterator[Piece]:
        found, said = agent_folder.changes(source, context.files, others), _words(source, output)
        if found.ignored:
            yield Shown(f"[Ignored: {'; '.join(found.ignored)}]\n\n")
        if not found.texts:
            raise _nothing(context, code, found.ignored, output)
        keys = [os.environ.get(name, "") for name in self.agent.env if SECRET_NAME.search(name)]
        for path, text in found.texts.items():
            if any(len(key) >= SHORTEST_SECRET and key in text for key in keys):
                raise EditError(f"{path} would hold one of the agent's keys. Keys never go into a file.")
        yield Text(diff_between(context.files, found.texts) + "\n")
        yield _named(said, context, found.texts)


def _follow(process: subprocess.Popen[bytes], log: Path, output: Output, seconds: float) -> Iterator[str]:
    """What is printed, as it comes, "" where nothing is: who takes it can look whether it is still wanted."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    give_up, position, quiet_since = time.monotonic() + seconds, 0, time.monotonic()
    while True:
        done = process.poll() is not None or time.monotonic() > give_up
        data = _read_from(log, position)
        position += len(data)
        if data:
            quiet_since = time.monotonic()
            yield output.feed(decode(data))
        elif done:
            yield output.feed(decode(b"", True)) + output.finish()
            return
        else:
            yield output.pending() if time.monotonic() - quiet_since > IDLE_SECONDS else ""
            time.sleep(POLL_SECONDS)


def _read_from(path: Path, position: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(position)
            return file.read(65536)
    except FileNotFoundError:
        return b""


def _end(process: subprocess.Popen[bytes]) -> None:
    """The shim takes all it holds with it."""
    for send, patience in ((process.terminate, GRACE_SECONDS + 5), (process.kill, 5.0)):
        if process.poll() is None:
            send()
            _wait(process, patience)


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _result(folder: Path) -> Result | None:
    stored = read_json(folder / "result.json")
    return Result(**stored) if stored else None


def _with(code: int) -> str:
    return f" with exit code {code}" if code else ""


def _said(output: Output) -> str:
    return f" Its last words: {output.last_words}" if output.last_words else ""


def _words(source: Path, output: Output) -> dict[str, str]:
    """IDEA.md, else what it printed."""
    try:
        return {**output.said, **words_of_file(agent_folder.read_text(source, agent_folder.IDEA))}
    except EditError:
        return output.said


def _nothing(context: Context, code: int, ignored: Sequence[str], output: Output) -> Exception:
    files = ", ".join(context.files)
    if code:
        return ResearcherAway(f"The agent ended with exit code {code} and changed nothing. {NEXT_STEP}{_said(output)}")
    beside = f" It did change: {'; '.join(ignored)}." if ignored else ""
    return EditError(f"The agent changed none of the files that may be edited ({files}).{beside} {NEXT_STEP}")


def _named(said: Mapping[str, str], context: Context, texts: Mapping[str, str]) -> Proposal:
    """The parser of replies makes the proposal's words, from these lines alone; the edits are ours."""
    header = [f"{name}: {said[name]}" for name in ("IDEA", "THEME", "HYPOTHESIS") if name in said]
    block = [next(iter(texts)), "<<<<<<< SEARCH", "-", "=======", "+", ">>>>>>> REPLACE"]
    words = parse_reply("\n".join([*header, "", *block]), context.files.keys())
    return replace(words, edits=edits_between(context.files, texts))
