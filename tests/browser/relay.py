"""A line between a browser and a server that a test can cut: nobody answers, nothing passes, or no socket is let in."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

CUTS = ("closed", "silent", "no sockets")


class Relay:
    """`cut` ends or silences what is open, for good, as a network that went away does; `mend` lets new connections pass."""

    def __init__(self, server_port: int) -> None:
        self.server_port = server_port
        self.how = ""
        self.pairs: list[tuple[socket.socket, socket.socket]] = []
        self.silenced: set[socket.socket] = set()
        self._listen(0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut("closed")

    def _listen(self, port: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self.listener.getsockname()[1])
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def cut(self, how: str) -> None:
        self.how = how
        if how == "silent":
            self.silenced |= {end for pair in self.pairs for end in pair}
            return
        if how == "closed":
            _close(self.listener)
        for pair in self.pairs:  # also those of plain requests: they are opened again
            for end in pair:
                _close(end)

    def mend(self) -> None:
        how, self.how = self.how, ""
        if how == "closed":
            self._listen(self.port)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                browser, _ = listener.accept()
                threading.Thread(target=self._serve, args=(browser,), daemon=True).start()

    def _serve(self, browser: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self.how == "silent":
                self.silenced.add(browser)
            first = browser.recv(65536)
            if browser in self.silenced:
                return
            if self.how == "closed" or (self.how == "no sockets" and b"upgrade: websocket" in first.lower()):
                _close(browser)
                return
            server = socket.create_connection(("127.0.0.1", self.server_port))
            self.pairs.append((browser, server))
            server.sendall(first)
            threading.Thread(target=self._pump, args=(server, browser), daemon=True).start()
            self._pump(browser, server)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source not in self.silenced:
                    target.sendall(data)
        if source not in self.silenced:
            _close(target)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
