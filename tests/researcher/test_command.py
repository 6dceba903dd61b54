"""External agents, each a real process: what they may do, what becomes of their edits, and what is left of them."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from experiments.researcher import agent_folder
from experiments.researcher.base import Message, ResearcherAway, ResearcherError
from experiments.researcher.choose import choose
from experiments.researcher.command import CommandResearcher
from experiments.researcher.edit_error import EditError
from experiments.researcher.edits import apply_edits
from experiments.researcher.prompt import build_prompt, repair_message
from tests.researcher.agents import SCRIPTS, TRAIN, Outcome, agent, alive, ask, context
from trainer import agent as starting
from trainer import bubblewrap
from trainer.agent import Agent
from trainer.sandbox import BUBBLEWRAP, level

needs_bubblewrap = pytest.mark.skipif(level().name != BUBBLEWRAP, reason=level().why or "never")
SEALED = [pytest.param("auto", marks=needs_bubblewrap), "off"]


@pytest.fixture
def folders() -> Iterator[Path]:
    """Where agents work, not below /tmp, which is empty inside. After each test nothing is left there, and nobody lives."""
    place = Path(tempfile.mkdtemp(dir="/var/tmp", prefix="autoresearch-test-"))
    yield place / "agents"
    left = alive(place)
    folders = sorted(path.name for path in (place / "agents").glob("*")) if (place / "agents").exists() else ["lock"]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    shutil.rmtree(place, ignore_errors=True)
    assert (left, folders) == ([], ["lock"])


# Good ones


@pytest.mark.parametrize("sandbox", SEALED)
def test_what_an_agent_leaves_in_the_files_is_its_proposal(folders: Path, sandbox: str) -> None:
    outcome = ask(agent(folders, "good.py", sandbox=sandbox))
    assert outcome.files(context()) == {"train.py": TRAIN.replace("0.04", "0.05")}
    assert outcome.proposal is not None
    assert outcome.proposal.description == "a higher matrix rate"
    assert outcome.proposal.hypothesis == "it is still falling at the end"
    assert "looking at LEDGER.md, PROMPT.md, prepare.py, program.md, train.py\n" in outcome.shown
    assert outcome.shown.startswith("[Output of an external agent: ") and "[The agent ended after" in outcome.shown
    assert "-MATRIX_LR = 0.04\n+MATRIX_LR = 0.05\n" in outcome.text
    assert outcome.usage is not None
    assert (outcome.usage.tokens_in, outcome.usage.tokens_out, outcome.usage.cost) == (1200, 340, 0.0125)


@needs_bubblewrap
def test_an_agent_in_shell_names_its_idea_in_a_file_and_says_no_cost(folders: Path) -> None:
    outcome = ask(agent(folders, "tuner.sh"))
    assert outcome.files(context())["train.py"] == TRAIN.replace("0.04", "0.052")
    assert outcome.proposal is not None
    assert outcome.proposal.description == "Matrix rate 0.052"
    assert outcome.proposal.hypothesis == "more steps of the same kind are worth a try."
    assert outcome.usage is None  # unknown, which is not 0
    assert "Ignored" not in outcome.shown


@needs_bubblewrap
def test_the_script_of_the_docs_is_an_agent(folders: Path) -> None:
    script = re.findall(r"```python\n(.*?)```", (SCRIPTS.parents[2] / "docs/researchers.md").read_text(), re.S)[-1]
    tools = folders.parent / "tools"
    tools.mkdir()
    (tools / "agent.py").write_text(script)
    outcome = ask(Agent(["{python}", f"{tools}/agent.py"], folders, read=[str(tools)]))
    (value,) = re.findall(r"^MATRIX_LR = (\S+)", outcome.files(context())["train.py"], re.M)
    assert value != "0.04" and outcome.proposal is not None and outcome.usage is not None
    assert outcome.proposal.description == f"MATRIX_LR {value} instead of 0.04" and outcome.usage.cost == 0


@needs_bubblewrap
def test_a_result_in_json_is_read_for_cost_and_idea(folders: Path) -> None:
    outcome = ask(agent(folders, "claude_like.py"))
    assert outcome.proposal is not None and outcome.usage is not None
    assert (outcome.proposal.description, outcome.proposal.hypothesis) == ("a rate of 0.13", "bolder")
    assert (outcome.usage.tokens_in, outcome.usage.tokens_out, outcome.usage.cost) == (12012, 800, 0.0421)


@needs_bubblewrap
def test_output_comes_while_the_agent_works_and_controls_are_gone(folders: Path) -> None:
    outcome = ask(agent(folders, "controls.py"))
    assert "red <script>alert(1)</script>" in outcome.shown and "gnp.exe\n" in outcome.shown
    assert "to the other <img src=x onerror=alert(1)>\n" in outcome.shown
    assert not any(character in outcome.shown for character in "\x1b\0\u202e\x07")
    assert "one two three\n" in outcome.shown
    came = {text: at for at, text in outcome.pieces}
    assert came["one two"] < came[next(text for text in came if "three" in text)] - 0.3
    assert outcome.proposal is not None and outcome.proposal.description == "<b>bold</b> idea"


@needs_bubblewrap
def test_the_best_is_laid_out_with_its_folders_and_edits_name_their_file(folders: Path) -> None:
    given = context(files={"src/model.py": "W = 0.04\n", "train.py": TRAIN}, fixed_files={"src/fixed.py": "F = 1\n"})
    code = "import pathlib; p = pathlib.Path('src/model.py'); p.write_text(p.read_text() + 'H = 2\\n')"
    outcome = ask(Agent(["{python}", "-c", code], folders), given)
    assert outcome.files(given) == {"src/model.py": "W = 0.04\nH = 2\n", "train.py": TRAIN}
    assert outcome.proposal is not None and outcome.proposal.description == "Change src/model.py"


@needs_bubblewrap
def test_two_at_once_do_not_meet(folders: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda script: ask(agent(folders, script)), ["good.py", "controls.py"])
    assert "0.05" in first.files(context())["train.py"] and "0.11" in second.files(context())["train.py"]


# Those that cannot be started


@needs_bubblewrap
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], "No command is set for the agent"),
        (["no-such-agent", "-p"], "command no-such-agent was not found on this machine. Install it"),
        (["/no/such/agent"], "command /no/such/agent was not found"),
        (["bin/agent"], "a name on PATH or a whole path"),
        ([str(SCRIPTS)], "is a folder"),
        ([str(SCRIPTS / "good.py")], "is not executable: chmod +x"),
        ([str(SCRIPTS / "tuner.sh")], f"which its sandbox does not show. Add {SCRIPTS} to AUTORESEARCH_AGENT_READ"),
    ],
)
def test_a_command_that_cannot_start_is_named_and_a_person_asked(folders: Path, command: list[str], words: str) -> None:
    failure = ask(Agent(command, folders)).failure
    assert type(failure) is ResearcherError and words in str(failure)


@needs_bubblewrap
def test_an_interpreter_that_the_sandbox_lacks_is_named(folders: Path) -> None:
    tools = folders.parent / "tools"
    tools.mkdir()
    (tools / "agent").write_text(f"#!{folders.parent}/elsewhere/python\n")
    (tools / "agent").chmod(0o755)
    failure = ask(Agent(["agent"], folders, read=[str(tools)])).failure
    assert type(failure) is ResearcherError and "The agent could not be started" in str(failure)
    assert "AUTORESEARCH_AGENT_READ" in str(failure)


@needs_bubblewrap
def test_a_link_on_the_way_that_the_sandbox_lacks_is_named(folders: Path) -> None:
    """Its first and its last are shown, what lies between is not."""
    tools, between = folders.parent / "tools", folders.parent / "between"
    for made in (tools, between):
        made.mkdir()
    shutil.copy(SCRIPTS / "tuner.sh", tools / "real")
    (between / "current").symlink_to(tools / "real")
    (tools / "agent").symlink_to(between / "current")
    failure = ask(Agent(["agent"], folders, read=[str(tools)])).failure
    assert f"is at {between}/current, which its sandbox does not show. Add {between} to" in str(failure)
    outcome = ask(Agent(["agent"], folders, read=[str(tools), str(between / "current")]))
    assert outcome.proposal is not None and outcome.proposal.description == "Matrix rate 0.052"


def test_without_a_sandbox_nothing_starts_and_the_words_say_why(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folders))
    monkeypatch.setattr(bubblewrap, "PACKAGE", "no_such")
    level.cache_clear()
    try:
        failure = ask(agent(folders, "good.py")).failure
    finally:
        level.cache_clear()
    assert type(failure) is ResearcherError
    assert "no sandbox for the agent here: the system's: bubblewrap is not installed: apt-get install" in str(failure)
    assert "AUTORESEARCH_SANDBOX=off" in str(failure)


# Those that do not end, or end badly


@pytest.mark.parametrize("sandbox", SEALED)
def test_who_hangs_is_ended_with_all_its_children_and_its_edit_is_not_used(folders: Path, sandbox: str) -> None:
    began = time.monotonic()
    outcome = ask(agent(folders, "hang.py", seconds=3, sandbox=sandbox))
    assert type(outcome.failure) is ResearcherAway and outcome.proposal is None
    assert "still running after 3 s and was ended" in str(outcome.failure) and "last words: working" in str(outcome.failure)
    assert time.monotonic() - began < 40
    assert alive(folders) == []


@pytest.mark.parametrize("sandbox", SEALED)
def test_children_that_left_the_session_are_dead_before_the_files_are_read(folders: Path, sandbox: str) -> None:
    outcome = ask(agent(folders, "daemons.py", sandbox=sandbox))
    assert alive(folders) == []
    assert isinstance(outcome.failure, EditError) or outcome.proposal is not None


@needs_bubblewrap
def test_who_starts_processes_without_end_is_ended(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "MOST_PROCESSES", 40)
    outcome = ask(agent(folders, "crowd.py", seconds=30))
    assert type(outcome.failure) is ResearcherAway and "too many processes" in str(outcome.failure)
    assert alive(folders) == []


@needs_bubblewrap
def test_an_edit_that_nobody_wants_any_more_ends_its_agent(folders: Path) -> None:
    given, researcher = context(), CommandResearcher(agent(folders, "hang.py"))
    pieces = researcher.reply(researcher.phrase(build_prompt(given).messages, given), given)
    while not any("sleep" in process.name() for process in alive(folders)):
        next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert alive(folders) == []


@needs_bubblewrap
def test_exit_code_without_a_change_is_told_with_its_last_words(folders: Path) -> None:
    outcome = ask(agent(folders, "fail.py"))
    assert type(outcome.failure) is ResearcherAway
    assert "ended with exit code 3 and changed nothing" in str(outcome.failure)
    assert "Its last words: could not sign in" in str(outcome.failure)


@needs_bubblewrap
def test_exit_code_with_a_change_is_told_and_the_change_used(folders: Path) -> None:
    outcome = ask(agent(folders, "fail.py", "edit"))
    assert "0.12" in outcome.files(context())["train.py"] and "with exit code 3]" in outcome.shown


@needs_bubblewrap
def test_100_mb_of_output_are_cut_and_the_end_is_read(folders: Path) -> None:
    outcome = ask(agent(folders, "loud.py"))
    assert "0.09" in outcome.files(context())["train.py"]
    assert len(outcome.shown) < 500_000 and "bytes of output were not kept]" in outcome.shown
    assert outcome.usage is not None and outcome.usage.cost == 0.5
    assert outcome.proposal is not None and outcome.proposal.description == "loud"


# What the sandbox holds


@needs_bubblewrap
@pytest.mark.parametrize("network", [False, True])
def test_outside_its_folder_nothing_is_written_and_nothing_read(
    folders: Path, network: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_SECRET", "of-the-server")
    monkeypatch.setenv("AGENT_TEST_KEY", "of-the-agent")
    secret = folders.parent / "secret"
    secret.write_text("the owner's")
    before = sorted(folders.parent.iterdir())
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = ("outside.py", str(secret), str(server.getsockname()[1]))
        shown = ask(agent(folders, *arguments, network=network, env=["AGENT_TEST_KEY"])).shown
    assert "WROTE" not in shown.replace("WROTE /mine", "") and "READ" not in shown
    assert ("CONNECTED" in shown) is network
    assert "KEYS ['AGENT_TEST_KEY']\nPIDS True\nHOME []\n" in shown
    assert sorted(path for path in folders.parent.iterdir() if path != folders) == before
    assert not any(Path(place, "mine").exists() for place in ("/", "/usr", "/etc", SCRIPTS))


@needs_bubblewrap
def test_a_home_of_its_own_stays(folders: Path) -> None:
    home = folders.parent / "home"
    home.mkdir()
    ask(agent(folders, "outside.py", "/no", "9", home=str(home)))
    assert (home / "login").read_text() == "x"


@needs_bubblewrap
def test_its_key_is_masked_in_what_it_prints_and_refused_in_a_file(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_TEST_KEY", "0123456789abcdef")
    outcome = ask(agent(folders, "key.py", env=["AGENT_TEST_KEY"]))
    assert "the key is [redacted] indeed\n" in outcome.shown and "key=[redacted]\n" in outcome.shown
    assert "01234567" not in outcome.shown
    failure = ask(agent(folders, "leave.py", "key", env=["AGENT_TEST_KEY"])).failure
    assert isinstance(failure, EditError) and "one of the agent's keys" in str(failure)


# What it leaves


def failure_of(folders: Path, *script: str, sandbox: str = "auto") -> str:
    outcome = ask(agent(folders, *script, sandbox=sandbox))
    assert isinstance(outcome.failure, EditError) and outcome.proposal is None
    return str(outcome.failure)


@needs_bubblewrap
def test_deleting_everything_is_refused(folders: Path) -> None:
    assert "The agent deleted train.py. Edit it in place" in failure_of(folders, "delete.py")


@needs_bubblewrap
def test_no_change_is_an_error_though_its_output_looks_like_an_edit(folders: Path) -> None:
    assert "changed none of the files that may be edited (train.py)" in failure_of(folders, "idle.py")


@needs_bubblewrap
def test_a_change_of_fixed_files_alone_is_named(folders: Path) -> None:
    words = failure_of(folders, "only_fixed.py")
    assert "changed none of the files" in words and "prepare.py: may not be edited" in words


@needs_bubblewrap
def test_what_is_not_editable_is_ignored_and_named_and_output_gives_no_edit(folders: Path) -> None:
    outcome = ask(agent(folders, "meddle.py"))
    assert outcome.files(context()) == {"train.py": TRAIN.replace("0.04", "0.07")}
    assert "[Ignored: prepare.py, program.md: may not be edited; notes.txt: not a file of the program]" in outcome.shown
    assert outcome.proposal is not None and {edit.path for edit in outcome.proposal.edits} == {"train.py"}


@pytest.mark.parametrize("sandbox", SEALED)
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("binary", "is no text after the agent"),
        ("nul", "holds a NUL character"),
        ("large", "train.py has 5,400,000 bytes after the agent; at most 1,000,000"),
        ("link", "no readable file"),
        ("folder", "a folder, a pipe or a device"),
        ("pipe", "a folder, a pipe or a device"),
    ],
)
def test_what_is_no_text_file_any_more_is_refused(folders: Path, sandbox: str, what: str, words: str) -> None:
    secret = folders.parent / "secret"
    secret.write_text("the owner's\n")
    assert words in failure_of(folders, "leave.py", what, str(secret), sandbox=sandbox)


@needs_bubblewrap
def test_a_link_in_the_place_of_a_folder_is_not_followed(folders: Path) -> None:
    elsewhere = folders.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.py").write_text("SECRET = 1\n")
    given = context(files={"src/model.py": "W = 1\n"}, fixed_files={})
    failure = ask(agent(folders, "leave.py", "linked-folder", str(elsewhere / "model.py")), given).failure
    assert isinstance(failure, EditError) and "put a link in the place of src/model.py's folder" in str(failure)


@needs_bubblewrap
def test_invalid_python_goes_on_to_the_engine_which_says_the_line(folders: Path) -> None:
    outcome = ask(agent(folders, "leave.py", "invalid"))
    assert outcome.proposal is not None
    with pytest.raises(EditError, match=r"train\.py is no Python after the edit: line 10"):
        apply_edits({"train.py": TRAIN}, outcome.proposal.edits)


@needs_bubblewrap
def test_line_ends_stay_those_of_the_file(folders: Path) -> None:
    assert ask(agent(folders, "leave.py", "windows")).files(context()) == {"train.py": TRAIN.replace("0.04", "0.08")}


@needs_bubblewrap
def test_a_folder_nested_without_end_is_removed(folders: Path) -> None:
    failure_of(folders, "leave.py", "deep")
    assert not list(folders.glob("agent-*"))


# Asked again, and what a dead worker leaves


@needs_bubblewrap
def test_asked_again_it_has_the_error_and_its_edit(folders: Path) -> None:
    given, mine = context(), agent(folders, "repairs.py")
    messages = CommandResearcher(mine).phrase(build_prompt(given).messages, given)
    first = ask(mine, given, messages)
    with pytest.raises(EditError) as error:
        first.files(given)
    again = (*messages, Message("assistant", first.text), repair_message(str(error.value)))
    outcome: Outcome = ask(mine, given, again)
    assert outcome.files(given) == {"train.py": TRAIN.replace("0.04", "0.08")}


def test_a_folder_of_a_dead_worker_is_removed_and_a_living_one_is_not(folders: Path) -> None:
    (folders / "agent-dead" / "src").mkdir(parents=True)
    (folders / "agent-dead" / "owner").touch()
    with agent_folder.fresh_folder(folders) as mine, agent_folder.fresh_folder(folders) as other:
        assert sorted(folders.glob("agent-*")) == sorted([mine, other])


@needs_bubblewrap
def test_an_agent_dies_with_its_worker(folders: Path) -> None:
    code = (
        "from pathlib import Path; from tests.researcher.agents import agent, ask\n"
        f"ask(agent(Path({str(folders)!r}), 'hang.py'))"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=SCRIPTS.parents[2])
    until = time.monotonic() + 30
    while not any("sleep" in process.name() for process in alive(folders)):
        assert time.monotonic() < until
        time.sleep(0.05)
    worker.kill()
    worker.wait()
    while alive(folders):
        assert time.monotonic() < until, alive(folders)
        time.sleep(0.05)
    with agent_folder.fresh_folder(folders):  # and the next one clears what it left
        assert len(list(folders.glob("agent-*"))) == 1


def test_a_program_without_a_command_is_told_so() -> None:
    with pytest.raises(ResearcherError, match="There is no researcher called 'abacus'"):
        choose("abacus")
    assert choose("command", agent=Agent(["claude", "-p"], Path("/x"))).label == "claude -p (external agent)"


