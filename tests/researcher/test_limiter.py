"""Runs and processes that share a key take turns."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from experiments.researcher.limiter import Limiter
from experiments.researcher.llm import LiteLLM, LLMSettings
from tests.researcher.calling import MESSAGES, restarts_of, text_of
from tests.standin_llm import StandIn

ROOT = Path(__file__).parents[2]
IMPORTS = "import time; from pathlib import Path as P; from experiments.researcher.limiter import Limiter as L"


def researcher(server: StandIn, folder: Path, **options: int) -> LiteLLM:
    shared = LLMSettings(folder=folder, tries=2, **options)
    return LiteLLM("openai/standin", server.api_base, shared=shared, jitter=lambda: 0.0)


def test_a_slot_is_free_again_when_its_call_ends(tmp_path: Path) -> None:
    limiter, same = Limiter(tmp_path, 2, key="k"), Limiter(tmp_path, 2, key="k")
    first, second = limiter.try_enter(), same.try_enter()
    assert first and second and limiter.try_enter() is None
    with first:
        pass
    assert same.try_enter()


def test_other_keys_and_other_servers_have_turns_of_their_own(tmp_path: Path) -> None:
    held = Limiter(tmp_path, 1, "openai", "", "one")
    held.hold(30)
    slot = held.try_enter()
    assert slot and Limiter(tmp_path, 1, "openai", "", "one").try_enter() is None
    for other in (Limiter(tmp_path, 1, "openai", "", "two"), Limiter(tmp_path, 1, "openai", "box:1", "one")):
        assert other.try_enter() and other.wait_seconds() == 0


def test_the_key_is_written_nowhere(tmp_path: Path) -> None:
    limiter = Limiter(tmp_path, 1, "openai", "", "sk-secret-123")
    limiter.hold(30)
    limiter.try_enter()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and all(b"secret" not in path.read_bytes() and "secret" not in str(path) for path in files)


def test_a_wait_is_shared_with_other_processes_and_a_shorter_one_does_not_end_it(tmp_path: Path) -> None:
    code = f"{IMPORTS}; L(P({str(tmp_path)!r}), 1).hold(50)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    limiter = Limiter(tmp_path, 1)
    assert 45 < limiter.wait_seconds() <= 50
    limiter.hold(3)
    assert limiter.wait_seconds() > 45


def test_a_killed_process_holds_no_slot(tmp_path: Path) -> None:
    code = f"{IMPORTS}; slot = L(P({str(tmp_path)!r}), 1).try_enter(); print('in', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"in\n"
        assert Limiter(tmp_path, 1).try_enter() is None
        process.kill()
        process.wait()
    assert Limiter(tmp_path, 1).try_enter()


@pytest.mark.parametrize("text", ["", "soon", "nan", "99999999999999", "-1"])
def test_a_damaged_file_holds_nobody(tmp_path: Path, text: str) -> None:
    limiter = Limiter(tmp_path, 1)
    limiter.hold(5)
    next(tmp_path.rglob("not-before")).write_text(text)
    assert limiter.wait_seconds() == 0


def test_when_one_run_is_told_to_wait_the_other_asks_no_sooner(tmp_path: Path) -> None:
    asked: list[float] = []
    with StandIn(script=["429"], retry_after="1.5") as server:
        server.answer = lambda messages: asked.append(time.monotonic()) or "IDEA: x"  # type: ignore[func-returns-value]
        began, replies = time.monotonic(), {}
        first = researcher(server, tmp_path).reply(MESSAGES)
        pieces = [next(first), next(first)]  # it has been refused by now
        while not restarts_of(pieces):
            pieces.append(next(first))
        rest = threading.Thread(target=lambda: replies.update(first=[*first]))
        rest.start()
        second = list(researcher(server, tmp_path).reply(MESSAGES))
        rest.join()
    assert "told another run with this key to wait" in restarts_of(second)[0]
    assert text_of(second) == text_of(replies["first"]) == "IDEA: x"
    assert len(server.requests) == 3 and min(asked) - began >= 1.5


def test_no_more_calls_at_once_than_allowed(tmp_path: Path) -> None:
    with StandIn(delay_seconds=0.02) as server:
        threads = [
            threading.Thread(target=lambda: list(researcher(server, tmp_path, parallel=2).reply(MESSAGES))) for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(server.requests), server.busiest) == (5, 2)


def test_a_reader_who_leaves_frees_the_slot(tmp_path: Path) -> None:
    with StandIn(delay_seconds=0.02) as server:
        reply = researcher(server, tmp_path, parallel=1).reply(MESSAGES)
        while not text_of([next(reply)]):
            pass
        reply.close()  # type: ignore[attr-defined]
        assert text_of(researcher(server, tmp_path, parallel=1).reply(MESSAGES)).startswith("IDEA")
