"""One HTTP request out, one whole answer back; the seam at which tests put their own answers."""

from __future__ import annotations

import http.client
import io
import socket
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from shared.clock import Deadline
from shared.errors import FlowtrailError, TooLarge

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 120.0
PIECE_BYTES = 256 * 1024
MEBIBYTE = 1024 * 1024
GZIP = 16 + zlib.MAX_WBITS


class NetworkError(FlowtrailError):
    """No whole answer came: refused, cut off, timed out or garbled. Trying again may help."""


@dataclass(frozen=True)
class Request:
    """`max_bytes` bounds the decompressed body, so that no server can fill the memory."""

    method: str
    url: str
    headers: Mapping[str, str]
    deadline: Deadline
    body: bytes = b""
    max_bytes: int = 64 * MEBIBYTE


@dataclass(frozen=True)
class Reply:
    """Header names are in lower case. `is_repeat`: the request had been sent before, and may have been heard."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    is_repeat: bool = field(default=False, compare=False)


class Transport(Protocol):
    def __call__(self, request: Request, /) -> Reply:
        """The whole answer to `request`.

        Raises:
            NetworkError: no whole answer came before the deadline.
            TooLarge: the body is longer than `max_bytes`.
        """
        ...


class _InTime(io.RawIOBase):
    """What a socket brings until one moment, header and body: its own timeout begins anew with every byte."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._raw = connected.makefile("rb", buffering=0)
        self._until_s = time.monotonic() + (connected.gettimeout() or ANSWER_TIMEOUT_S)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer did not end in time")
        self._socket.settimeout(min(READ_TIMEOUT_S, left_s))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


@dataclass(frozen=True)
class _TimedSocket:
    """As much of a socket as an answer needs."""

    connected: socket.socket

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_InTime(self.connected))


class _Answer(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(_TimedSocket(sock), *arguments, **options)  # type: ignore[arg-type] - all of it that is used


class _Http(HTTPConnection):
    response_class = _Answer


class _Https(HTTPSConnection):
    response_class = _Answer


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Http  # type: ignore[assignment] - as the library's own classes, to the letter of its protocol


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _Https  # type: ignore[assignment] - the same


class PooledTransport:
    """Keeps connections open and shares them between threads.

    The read timeout that a request is given is the time for its whole answer.
    """

    def __init__(self, connections_per_host: int) -> None:
        self._pool = urllib3.PoolManager(
            num_pools=128,
            maxsize=connections_per_host,
            retries=False,
        )
        self._pool.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def __call__(self, request: Request) -> Reply:
        try:
            response = self._pool.request(
                request.method,
                request.url,
                body=request.body or None,
                headers={"Accept-Encoding": "gzip", **request.headers},
                redirect=False,
                preload_content=False,
                timeout=_timeout(request.deadline),
            )
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(response.status, headers, _body(response, request))
        except urllib3.exceptions.HTTPError as error:
            raise NetworkError(f"{request.method} {_place(request.url)}: {error}") from error


def _timeout(deadline: Deadline) -> urllib3.Timeout:
    left_s = max(1.0, deadline.remaining_s)
    return urllib3.Timeout(connect=min(CONNECT_TIMEOUT_S, left_s), read=min(ANSWER_TIMEOUT_S, left_s))


def _body(response: urllib3.BaseHTTPResponse, request: Request) -> bytes:
    """The whole body; a connection whose body was not read to its end is closed, not kept."""
    pieces: list[bytes] = []
    room = request.max_bytes
    try:
        if response.length_remaining is None and not response.chunked:  # it could be cut, even in its header
            raise NetworkError(f"{_place(request.url)} does not say where its answer ends")
        for piece in _decoded(response, request):
            room -= len(piece)
            if room < 0:
                raise TooLarge(f"{_place(request.url)} is longer than {request.max_bytes:,} bytes")
            pieces.append(piece)
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _decoded(response: urllib3.BaseHTTPResponse, request: Request) -> Iterator[bytes]:
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding == "gzip":
        return _gunzipped(_received(response, request))
    if encoding != "identity":
        raise NetworkError(f"{_place(request.url)} came in an encoding that was not asked for: {encoding}")
    return _received(response, request)


def _received(response: urllib3.BaseHTTPResponse, request: Request) -> Iterator[bytes]:
    while piece := response.read1(PIECE_BYTES, decode_content=False):
        if request.deadline.passed:
            raise NetworkError(f"{_place(request.url)} did not end in time")
        yield piece


def _gunzipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Inflate in bounded steps, and refuse a stream that stops before its end.

    urllib3 2.8 takes a cut gzip stream for a whole one when Content-Length agrees with the cut (measured).
    """
    inflate = zlib.decompressobj(GZIP)
    try:
        for piece in pieces:
            data = piece
            while data:
                if inflate.eof:  # another member follows
                    inflate = zlib.decompressobj(GZIP)
                yield inflate.decompress(data, PIECE_BYTES)
                data = inflate.unconsumed_tail or inflate.unused_data
        while tail := inflate.decompress(b"", PIECE_BYTES):
            yield tail
    except zlib.error as error:
        raise NetworkError(f"broken gzip: {error}") from error
    if not inflate.eof:
        raise NetworkError("the gzip stream stops before its end")


def _place(url: str) -> str:
    """A URL for a message: without the query, which can carry what is nobody's business."""
    return url.split("?", 1)[0]
