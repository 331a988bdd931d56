"""A small threaded HTTP/1.1 server: many ports, one accepting thread, one thread for each connection."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import selectors
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from itertools import chain, repeat
from typing import Any, BinaryIO

logger = logging.getLogger(__name__)

_LINE_LIMIT = 65_536
_GZIP_FROM_BYTES = 1_024
_FORGET_FROM = 64
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BODILESS = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came; `target` is path and query undecoded, header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(frozen=True, slots=True)
class Response:
    """One answer.

    `kind` and `served` (pairs of category and id) say for the truth what was given out; `cut_after_bytes`
    closes the connection in the middle of the body; `extra_length` falsifies Content-Length.
    """

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = ""
    served: tuple[tuple[str, str], ...] = ()
    cut_after_bytes: int | None = None
    extra_length: int = 0

    @property
    def whole(self) -> bool:
        return self.cut_after_bytes is None and self.extra_length == 0


Handler = Callable[[Request], Response]


def _encoded(content: Any) -> bytes:
    """UTF-8; text that breaks off inside a character can only be written as escapes."""
    try:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(content, separators=(",", ":")).encode()


def json_response(status: int, content: Any, kind: str = "", **headers: str) -> Response:
    """A JSON answer; underscores in header names stand for hyphens, empty headers are left out."""
    named = {name.replace("_", "-"): value for name, value in headers.items() if value}
    body = _encoded(content)
    return Response(status, body, {"Content-Type": "application/json; charset=utf-8", **named}, kind)


def zipped(response: Response, request: Request) -> Response:
    """The response, compressed when the client asks for it and it pays."""
    if len(response.body) < _GZIP_FROM_BYTES or "gzip" not in request.headers.get("accept-encoding", ""):
        return response
    headers = {**response.headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return replace(response, body=gzip.compress(response.body, 1, mtime=0), headers=headers)


class BadRequestError(Exception):
    """What was sent is not a request that this server understands."""


def read_request(stream: BinaryIO) -> Request | None:
    """The next request of a connection; None at its end."""
    line = stream.readline(_LINE_LIMIT)
    if not line:
        return None
    parts = line.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):  # noqa: PLR2004 - method, target, version
        raise BadRequestError("request line")
    headers = _read_headers(stream)
    if "transfer-encoding" in headers:
        raise BadRequestError("a body must come with Content-Length")
    body = stream.read(int(headers.get("content-length") or 0))
    return Request(parts[0], parts[1], headers, body)


def _read_headers(stream: BinaryIO) -> dict[str, str]:
    headers: dict[str, str] = {}
    while (line := stream.readline(_LINE_LIMIT)) not in {b"\r\n", b"\n", b""}:
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return headers


def response_bytes(response: Response) -> bytes:
    """Head and body in one piece, cut where the response says so."""
    lines = [f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if response.status not in _BODILESS:
        lines.append(f"Content-Length: {len(response.body) + response.extra_length}")
    head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
    return head + response.body[: response.cut_after_bytes]


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=512)
    except OSError:
        return socket.create_server(("127.0.0.1", 0), backlog=512)


class Server:
    """Serves each handler on a port of its own at 127.0.0.1; `ports` are their numbers, in order.

    `wanted` are the ports to take where they are free, in the same order.
    """

    def __init__(self, handlers: Sequence[Handler], wanted: Sequence[int] = ()) -> None:
        self._selector = selectors.DefaultSelector()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._forget_at = _FORGET_FROM
        self._stopping = False
        ports = chain(wanted, repeat(0))
        self._listeners = [self._listen(handler, port) for handler, port in zip(handlers, ports, strict=False)]
        self.ports: list[int] = [listener.getsockname()[1] for listener in self._listeners]
        self._wake, woken = socket.socketpair()
        self._woken = woken
        self._selector.register(woken, selectors.EVENT_READ)
        self._acceptor = threading.Thread(target=self._accept, name="tenant-accept", daemon=True)

    def start(self) -> None:
        self._acceptor.start()

    def stop(self) -> None:
        """Ends all connections and threads and frees the ports; a second time it does nothing."""
        if self._stopping:
            return
        self._stopping = True
        if self._acceptor.is_alive():
            self._wake.send(b"x")
            self._acceptor.join()
        self._selector.close()
        for listener in (*self._listeners, self._wake, self._woken):
            listener.close()
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._connections:
            thread.join()

    def _listen(self, handler: Handler, port: int) -> socket.socket:
        listener = _listener(port)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, handler)
        return listener

    def _accept(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._connect(key.fileobj, key.data)  # pyright: ignore[reportArgumentType]

    def _connect(self, listener: socket.socket, handler: Handler) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # the client went away before it was accepted
            return
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=self._converse, args=(connection, handler), daemon=True)
        self._forget_ended()
        self._connections[thread] = connection
        thread.start()

    def _forget_ended(self) -> None:
        """Drops ended threads when there may be many; `stop` must find the others."""
        if len(self._connections) >= self._forget_at:
            self._connections = {thread: each for thread, each in self._connections.items() if thread.is_alive()}
            self._forget_at = _FORGET_FROM + 2 * len(self._connections)

    def _converse(self, connection: socket.socket, handler: Handler) -> None:
        with connection, contextlib.suppress(OSError), connection.makefile("rb") as stream:
            while _exchange(connection, stream, handler):
                pass


def _exchange(connection: socket.socket, stream: BinaryIO, handler: Handler) -> bool:
    """Answers one request; whether the connection can serve another."""
    try:
        request = read_request(stream)
    except (BadRequestError, ValueError) as problem:
        connection.sendall(response_bytes(Response(HTTPStatus.BAD_REQUEST, str(problem).encode())))
        return False
    if request is None:
        return False
    response = _answer(handler, request)
    connection.sendall(response_bytes(response))
    return response.whole and request.headers.get("connection", "").lower() != "close"


def _answer(handler: Handler, request: Request) -> Response:
    try:
        return handler(request)
    except Exception:  # a mistake in the simulation must be seen, not hang its client
        logger.exception("the simulated tenant failed at %s %s", request.method, request.target)
        return Response(HTTPStatus.NOT_IMPLEMENTED, b"the simulated tenant failed; see its log")
