"""A server on loopback that speaks Anthropic's protocol: it streams a reply with thoughts, and counts as theirs does."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass
class StandInAnthropic:
    """Its own count of input leaves out what was read from the cache or written to it, as theirs does."""

    fresh_tokens: int = 100
    cached_tokens: int = 900
    written_tokens: int = 0
    cut: bool = False  # after the first words
    requests: list[Json] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> StandInAnthropic:
        state = self

        class Handler(_Handler):
            standin = state

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def api_base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    standin: StandInAnthropic

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.standin.requests.append(json.loads(body))
        self.standin.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        state = self.standin
        usage = {
            "input_tokens": state.fresh_tokens, "output_tokens": 1,
            "cache_read_input_tokens": state.cached_tokens, "cache_creation_input_tokens": state.written_tokens,
        }  # fmt: skip
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": [], "usage": usage}
        self._event("message_start", {"message": message})
        self._block(0, "thinking", "thinking_delta", ["Let me ", "think."])
        self._block(1, "text", "text_delta", ["IDEA: ", "less ", "warmdown"])
        if self.standin.cut:
            return
        self._event("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 42}})
        self._event("message_stop", {})

    def _block(self, index: int, kind: str, delta: str, words: list[str]) -> None:
        self._event("content_block_start", {"index": index, "content_block": {"type": kind, kind: ""}})
        for word in words:
            self._event("content_block_delta", {"index": index, "delta": {"type": delta, kind: word}})
        self._event("content_block_stop", {"index": index})

    def _event(self, name: str, data: Json) -> None:
        self.wfile.write(f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode())
        self.wfile.flush()
