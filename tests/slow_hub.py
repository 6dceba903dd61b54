"""A hub on the loopback that sends any file, so slowly that a page can be watched or a process be killed meanwhile."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SIZE, PIECE = 400_000_000, 200_000


class Hub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, pause: float = 0.1, content: bytes | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pause = pause  # seconds between two pieces
        self.content = content  # None: what no data set can read, and much of it
        self.size = SIZE if content is None else len(content)
        self.asked: list[str] = []  # the range of each request, "" for all of it
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: object) -> None:  # a client that has gone
        pass


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        asked = self.headers.get("Range", "")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if start else 200)
        size, content = self.server.size, self.server.content
        self.send_header("Content-Length", str(size - start))
        self.send_header("ETag", '"a"')
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        for at in range(start, size, PIECE):
            self.wfile.write(b"x" * PIECE if content is None else content[at : at + PIECE])
            time.sleep(self.server.pause)

    def log_message(self, *_: object) -> None:
        pass
