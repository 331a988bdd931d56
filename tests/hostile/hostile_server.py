"""A server below HTTP: it reads the head of a request, keeps it, and writes whatever bytes it likes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

HEAD_BYTES = 65_536

Conversation = Callable[["Peer"], None]
"""Answers one request; the connection is closed behind it."""


class Peer:
    """The client of one connection, as the server sees it."""

    def __init__(self, connection: socket.socket, stopped: threading.Event) -> None:
        self._connection = connection
        self._stopped = stopped

    def hear(self) -> bytes:
        """The head of the next request; nothing where the client has gone."""
        head = b""
        while b"\r\n\r\n" not in head:
            piece = self._connection.recv(HEAD_BYTES)
            if not piece:
                return b""
            head += piece
        return head

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def trickle(self, data: bytes, every_s: float) -> None:
        """Byte after byte, until the client has had enough or the server is stopped."""
        for at in range(len(data)):
            if self._stopped.wait(every_s):
                return
            self.send(data[at : at + 1])

    def flood(self, data: bytes) -> None:
        """The same again and again, until the client has had enough."""
        while not self._stopped.is_set():
            self.send(data)


class HostileServer:
    def __init__(self, answer: Conversation) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self.heads: list[bytes] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._stopped.set()
        for end in (self._listener, *self._connections):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in (self._acceptor, *self._threads):
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # stopped
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._converse, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _converse(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            peer = Peer(connection, self._stopped)
            if head := peer.hear():
                self.heads.append(head)
                self._answer(peer)


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole answer; `length` is what it claims, if not the truth."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
