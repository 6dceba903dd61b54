"""An OpenAI-compatible server on loopback that stands in for an LLM: it streams word by word, and misbehaves on demand.

In a test: `with StandIn(script=["429", "ok"]) as server: ... server.api_base, server.requests`.
By hand: `python -m tests.standin_llm --port 8765 --delay 0.05`, with api_base http://127.0.0.1:8765/v1, any key and the
model openai/standin. The model openai/standin-429 always answers 429, and so on for each behaviour.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Json = dict[str, Any]
Answer = Callable[[list[Json]], str]

FILE_IN_PROMPT = re.compile(
    r"^### (?P<path>\S+\.py) \(editable\)$\n+^(?P<ticks>`{3,})\w*\n(?P<text>.*?)^(?P=ticks)$", re.M | re.S
)
FLOAT_CONSTANT = re.compile(r"^(?P<name>[A-Z][A-Z0-9_]*) *= *(?P<value>\d+\.\d*)(?![\d.eE*/+-])", re.M)
NUMBERS = re.compile(r"^ *\d+\|(?: |$)", re.M)  # before each line of a file, as the prompt shows it
GARBAGE = "Sure! 🙂 Have you tried turning it off and on again? <<<< SEARCH ==== {'edit': ]"
FORBIDDEN = "IDEA: shorter exam\n\nprepare.py\n<<<<<<< SEARCH\nTIME_BUDGET\n=======\nTIME_BUDGET = 1\n>>>>>>> REPLACE\n"
EMPTY_EDIT = "IDEA: nothing\n\ntrain.py\n<<<<<<< SEARCH\n{line}\n=======\n{line}\n>>>>>>> REPLACE\n"
THOUGHTS = "Let me think. The learning rate may be too low: prepare.py is fixed, so train.py it is."
STATUSES = {
    "429": "Rate limit reached",
    "500": "The server had an error",
    "503": "The server is overloaded",
    "401": "Incorrect API key provided",
    "400": "This is a bad request",
    "404": "The model does not exist",
}


@dataclass
class StandIn:
    """`script` is used up first, one behaviour for each request: a name, or a callable from the messages to the reply.

    Names: ok, 429, 500, 503, 401, 400, 404, refuse (closes the connection), timeout (hangs), cut (the stream just ends),
    break (the stream ends against the protocol), late-cut (breaks after the usage), garbage, forbidden (edits prepare.py),
    empty, empty-edit, think (thoughts in a field of their own), think-tags (thoughts between tags in the reply),
    think-unopened (as some templates do: only the closing tag), quota (429, no credit left), redirect (to `redirect_to`).
    """

    script: list[str | Answer] = field(default_factory=list)
    answer: Answer | None = None  # instead of the default reply to "ok"
    delay_seconds: float = 0.0  # before each word
    retry_after: str = "0"
    reports_usage: bool = True
    cached_tokens: int = 0  # said of each prompt
    redirect_to: str = ""
    port: int = 0
    requests: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)  # of each request, names in lower case
    billed: list[Json] = field(default_factory=list)  # each usage that went out: the server's own count
    busiest: int = 0  # the most calls that were under way at once

    def __post_init__(self) -> None:
        self._counter = itertools.count()
        self._lock = threading.Lock()
        self._busy = 0
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler_for(self))
        self._server.daemon_threads = True

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> StandIn:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        self._server.serve_forever()

    def next_behaviour(self, request: Json, headers: dict[str, str] | None = None) -> str | Answer:
        with self._lock:
            self.requests.append(request)
            self.headers.append(headers or {})
            if self.script:
                return self.script.pop(0)
        _, dash, named = str(request.get("model", "")).partition("standin-")
        return named if dash else "ok"

    def enter(self, by: int) -> None:
        with self._lock:
            self._busy += by
            self.busiest = max(self.busiest, self._busy)

    def reply_to(self, behaviour: str | Answer, messages: list[Json]) -> str:
        if callable(behaviour):
            return behaviour(messages)
        if behaviour == "garbage":
            return GARBAGE
        if behaviour == "forbidden":
            return FORBIDDEN
        if behaviour == "empty":
            return ""
        if behaviour == "empty-edit":
            return EMPTY_EDIT.format(line=_constant_lines(messages)[1][0])
        if self.answer is not None:
            return self.answer(messages)
        with self._lock:
            return propose(messages, next(self._counter))


def propose(messages: Sequence[Json], count: int) -> str:
    """A changed value for one float constant of the editable file in the prompt; another one for each `count`."""
    path, lines = _constant_lines(messages)
    line = lines[count % len(lines)]
    found = FLOAT_CONSTANT.match(line)
    assert found is not None
    old = float(found["value"])
    step = 1 + 0.1 * (1 + count // len(lines))
    new = 0.01 * step if old == 0 else old * step if old * step < 1 or old > 1 else old / step
    changed = line[: found.start("value")] + repr(float(f"{new:.4g}")) + line[found.end("value") :]
    return (
        f"IDEA: {found['name']} {found['value']} → {new:.4g}\n"
        f"HYPOTHESIS: none: this is the stand-in for an LLM, at its reply {count + 1}.\n\n"
        f"{path}\n<<<<<<< SEARCH\n{line}\n=======\n{changed}\n>>>>>>> REPLACE\n"
    )


def _constant_lines(messages: Sequence[Json]) -> tuple[str, list[str]]:
    for message in reversed(messages):
        for block in FILE_IN_PROMPT.finditer(str(message.get("content", ""))):
            lines = [line for line in NUMBERS.sub("", block["text"]).split("\n") if FLOAT_CONSTANT.match(line)]
            unique = [line for line in lines if lines.count(line) == 1]
            if unique:
                return block["path"], unique
    return "train.py", ["LR = 0.1"]


def _handler_for(standin: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        server_state = standin

    return Handler


class _Handler(BaseHTTPRequestHandler):
    server_state: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._send_json(200, {"object": "list", "data": [{"id": "standin", "object": "model"}]})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request: Json = json.loads(body or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        behaviour = self.server_state.next_behaviour(request, headers)
        self.server_state.enter(1)
        try:
            self._behave(behaviour, request)
        finally:
            self.server_state.enter(-1)

    def _behave(self, behaviour: str | Answer, request: Json) -> None:
        if behaviour == "refuse":
            self.close_connection = True
        elif behaviour == "timeout":
            self.server_state.closing.wait(60)
            self.close_connection = True
        elif behaviour == "redirect":
            self._send_json(307, {}, {"Location": self.server_state.redirect_to})
        elif behaviour == "quota":
            self._send_error(429, "You exceeded your current quota")
        elif isinstance(behaviour, str) and behaviour in STATUSES:
            self._send_error(int(behaviour), STATUSES[behaviour])
        else:
            self._answer(request, behaviour)

    def _answer(self, request: Json, behaviour: str | Answer) -> None:
        text = self.server_state.reply_to(behaviour, request.get("messages", []))
        usage: Json = {"prompt_tokens": len(str(request)) // 4, "completion_tokens": len(text) // 4}
        usage["total_tokens"] = sum(usage.values())
        if self.server_state.cached_tokens:
            usage["prompt_tokens_details"] = {"cached_tokens": self.server_state.cached_tokens}
        try:
            if request.get("stream"):
                self._stream(text, usage, behaviour)
            else:
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                self.server_state.billed.append(usage)
                self._send_json(200, {**_head("chat.completion"), "choices": [choice], "usage": usage})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the reader went away

    def _stream(self, text: str, usage: Json, behaviour: str | Answer) -> None:
        cut = behaviour in ("cut", "break")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        if behaviour in ("break", "late-cut"):
            self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.close_connection = True
        if behaviour == "think":
            for word in THOUGHTS.split(" "):
                self._event(_chunk({"reasoning_content": f"{word} "}))
        text = {"think-tags": f"<think>\n{THOUGHTS}\n</think>\n\n", "think-unopened": f"{THOUGHTS}\n</think>\n\n"}.get(
            behaviour if isinstance(behaviour, str) else "", ""
        ) + text  # fmt: skip
        words = re.findall(r"\S*\s*", text)
        for word in words[: len(words) // 2] if cut else words:
            if word:
                time.sleep(self.server_state.delay_seconds)
                self._event(_chunk({"content": word}))
        if cut:
            return
        self._event(_chunk({}, "stop"))
        if self.server_state.reports_usage:
            self.server_state.billed.append(usage)
            self._event({**_head("chat.completion.chunk"), "choices": [], "usage": usage})
        if behaviour == "late-cut":
            return
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, data: Json) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")
        self.wfile.flush()

    def _send_error(self, status: int, words: str) -> None:
        headers = {"Retry-After": self.server_state.retry_after} if status in {429, 503} else {}
        text = f"{words} (key: {self.headers.get('Authorization', '')})"  # some servers echo the key
        self._send_json(status, {"error": {"message": text, "type": "standin", "code": str(status)}}, headers)

    def _send_json(self, status: int, data: Json, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _head(kind: str) -> Json:
    return {"id": "chatcmpl-standin", "object": kind, "created": int(time.time()), "model": "standin"}


def _chunk(delta: Json, finish_reason: str | None = None) -> Json:
    return {**_head("chat.completion.chunk"), "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for an LLM, on loopback.")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--delay", type=float, default=0.02, help="seconds before each word")
    given = parser.parse_args()
    server = StandIn(port=given.port, delay_seconds=given.delay)
    print(f"listening: {server.api_base}", flush=True)
    try:
        server.serve()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
