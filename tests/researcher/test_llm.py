"""The LLM researcher against a server on loopback: streaming, retries, and errors that say what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.researcher.base import Context, Message, Piece, ResearcherAway, ResearcherError, Restart, Text, Usage
from experiments.researcher.edits import apply_edits, parse_reply
from experiments.researcher.llm import LiteLLM, redact
from experiments.researcher.prompt import build_prompt
from tests.standin_llm import StandIn

KEY = "sk-test-0123456789abcdef"
TRAIN = "MATRIX_LR = 0.04\nWARMDOWN_RATIO = 0.5\nDEPTH = 8\n"
CONTEXT = Context("brief", 1, "val_bpb", True, 60, "cpu", {"train.py": TRAIN}, {"prepare.py": "F = 0.1\n"}, 0, 1.5)
MESSAGES = build_prompt(CONTEXT).messages


@pytest.fixture
def server() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("AUTORESEARCH_API_BASE_KEY", KEY)  # what a server of one's own gets, and the stand-in echoes


class Slept(list[float]):
    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def llm(server: StandIn, model: str = "openai/standin", **options: float) -> LiteLLM:
    tries = int(options.pop("tries", 5))
    return LiteLLM(model, server.api_base, tries=tries, sleep=Slept(), jitter=lambda: 0.5, **options)


def pieces_of(researcher: LiteLLM, messages: tuple[Message, ...] = MESSAGES) -> list[Piece]:
    return list(researcher.reply(messages, CONTEXT))


def final_text(pieces: list[Piece]) -> str:
    """As the engine reads it: a Restart throws away what came so far."""
    text = ""
    for piece in pieces:
        text = "" if isinstance(piece, Restart) else text + (piece.text if isinstance(piece, Text) else "")
    return text


def restarts(pieces: list[Piece]) -> list[str]:
    return [piece.why for piece in pieces if isinstance(piece, Restart)]


def failure_of(researcher: LiteLLM, kind: type[ResearcherError] = ResearcherError) -> str:
    with pytest.raises(ResearcherError) as caught:
        pieces_of(researcher)
    assert type(caught.value) is kind
    return str(caught.value)


def test_a_reply_streams_in_pieces_and_is_an_edit_that_applies(server: StandIn) -> None:
    pieces = pieces_of(llm(server))

    assert sum(isinstance(piece, Text) for piece in pieces) > 5
    proposal = parse_reply(final_text(pieces), CONTEXT.files)
    assert apply_edits(CONTEXT.files, proposal.edits)["train.py"] == TRAIN.replace("0.04", "0.044")
    assert isinstance(pieces[-1], Usage)
    assert pieces[-1].tokens_in > 100
    assert pieces[-1].cost is None  # nobody knows the price of a stand-in


def test_the_prompt_arrives_whole(server: StandIn) -> None:
    pieces_of(llm(server))

    sent = server.requests[0]
    assert [(m["role"], m["content"]) for m in sent["messages"]] == [(m.role, m.content) for m in MESSAGES]
    assert sent["model"] == "standin"
    assert sent["stream_options"] == {"include_usage": True}


def test_each_reply_of_the_standin_differs(server: StandIn) -> None:
    replies = [final_text(pieces_of(llm(server))) for _ in range(4)]

    assert len(set(replies)) == 4


def test_a_known_model_has_a_cost(server: StandIn) -> None:
    usage = pieces_of(llm(server, "openai/gpt-4o"))[-1]

    assert isinstance(usage, Usage)
    assert usage.cost is not None
    assert usage.cost > 0


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ("429", "rate limited (429), try 2 of 5 in 2 s"),
        ("500", "the provider failed (500): "),
        ("refuse", "no connection, try 2 of 5 in 2 s"),
        ("cut", "the reply was cut off, try 2 of 5 in 2 s"),
        ("break", "the connection broke: "),
        ("empty", "the reply was empty, try 2 of 5 in 2 s"),
    ],
)
def test_what_may_pass_is_tried_again(server: StandIn, behaviour: str, why: str) -> None:
    server.script = [behaviour, "ok"]
    server.retry_after = "1.6"

    pieces = pieces_of(llm(server))

    assert len(restarts(pieces)) == 1
    assert why in restarts(pieces)[0]
    assert parse_reply(final_text(pieces), CONTEXT.files).edits
    assert len(server.requests) == 2


def test_silence_is_a_timeout_and_tried_again(server: StandIn) -> None:
    server.script = ["timeout", "ok"]

    pieces = pieces_of(llm(server, timeout_seconds=0.5))

    assert restarts(pieces) == ["no answer in time, try 2 of 5 in 2 s"]


def test_waits_grow_and_heed_retry_after(server: StandIn) -> None:
    server.script = ["500", "500", "500", "429", "ok"]
    server.retry_after = "33"
    slept = Slept()

    list(LiteLLM("openai/standin", server.api_base, sleep=slept, jitter=lambda: 0.5).reply(MESSAGES, CONTEXT))

    assert slept == [2.0, 4.0, 8.0, 33.5]


@pytest.mark.parametrize("behaviour", ["429", "500", "cut", "empty", "refuse"])
def test_after_the_last_try_the_error_says_what_to_do(server: StandIn, behaviour: str) -> None:
    message = failure_of(llm(server, f"openai/standin-{behaviour}", tries=3), ResearcherAway)

    assert "no reply in 3 tries" in message
    assert "built-in sweep" in message
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("401", "openai refused the key for openai/standin"),
        ("404", "openai knows no model openai/standin"),
        ("400", "openai refused the request for openai/standin"),
    ],
)
def test_what_cannot_pass_is_not_tried_again(server: StandIn, behaviour: str, message: str) -> None:
    server.script = [behaviour]

    found = failure_of(llm(server))

    assert message in found
    assert "built-in sweep" in found
    assert KEY not in found  # the stand-in echoes it
    assert len(server.requests) == 1


def test_the_key_is_in_no_restart(server: StandIn) -> None:
    server.script = ["500", "ok"]

    (why,) = restarts(pieces_of(llm(server)))

    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert "[redacted]" in why
    assert KEY not in why


def test_a_missing_key_is_named_before_any_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")

    assert failure_of(LiteLLM("openai/gpt-4o")) == (
        "No key for openai: set OPENAI_API_KEY and restart, or choose the built-in sweep on the program page."
    )


def test_a_model_of_nobody_is_refused() -> None:
    assert "Write it as provider/model" in failure_of(LiteLLM("no-such-model"))


def test_a_server_of_ones_own_needs_neither_key_nor_provider(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")

    assert parse_reply(final_text(pieces_of(llm(server, "standin"))), CONTEXT.files).edits


def test_a_server_that_reports_no_usage_is_believed(server: StandIn) -> None:
    server.reports_usage = False

    assert restarts(pieces_of(llm(server))) == []


def test_a_script_can_hold_a_callable_and_sees_the_messages(server: StandIn) -> None:
    server.script = [lambda messages: f"IDEA: {len(messages)} messages"]

    assert final_text(pieces_of(llm(server))) == "IDEA: 2 messages"


def test_a_reader_who_leaves_early_hangs_up(server: StandIn) -> None:
    server.delay_seconds = 0.01
    reply = llm(server).reply(MESSAGES, CONTEXT)

    next(piece for piece in reply if isinstance(piece, Text))
    reply.close()  # type: ignore[attr-defined]

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("ANTHROPIC_API_KEY", "abc123def", True),
        ("HF_TOKEN", "abc123def", True),
        ("CLIENT_SECRET", "abc123def", True),
        ("DB_PASSWORD", "abc123def", True),
        ("HARMLESS", "abc123def", False),
        ("TINY_KEY", "abc", False),
    ],
)
def test_values_of_secret_variables_are_masked(monkeypatch: pytest.MonkeyPatch, name: str, value: str, hidden: bool) -> None:
    monkeypatch.setenv(name, value)

    assert redact(f"refused: {value}!") == ("refused: [redacted]!" if hidden else f"refused: {value}!")


@pytest.mark.parametrize(
    "secret",
    ["sk-proj-abcdefghij1234", "sk-ant-api03-AbCd_1234-xyz", "sk-abcd1234", "sk-proj-****************wxyz"],
)
def test_what_looks_like_a_key_is_masked(secret: str) -> None:
    assert redact(f"Incorrect API key provided: {secret}. See") == "Incorrect API key provided: [redacted]. See"


def test_text_without_secrets_is_left_alone() -> None:
    text = "task-7 of risk-aware sk8 at https://example.org/a@b: 12:30"

    assert redact(text) == text
    assert redact("https://ada:pass@example.org") == "https://[redacted]@example.org"


def test_litellm_is_imported_only_for_a_call() -> None:
    code = "import sys, experiments.researcher.choose as c; c.choose('litellm', model='a/b'); c.choose('sweep')"
    check = "; assert not {'litellm', 'openai', 'optuna', 'libcst'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", code + check], check=True, cwd=Path(__file__).parents[2])
