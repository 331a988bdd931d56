"""Storage in memory, answering at the seam where the SDKs hand a request to HTTP: everything above it is real.

Only what the app and the host use is there; any other operation is answered with 501, so that it can't go
unnoticed. `test_memory_storage.py` holds it against Azurite.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from typing import IO, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.structures import CaseInsensitiveDict
from urllib3.response import HTTPResponse

ACCOUNT = "memory"
BLOB_PORT, QUEUE_PORT, TABLE_PORT = 11, 12, 13  # nothing listens there, and nothing is asked of the network
KEY = "bWVtb3J5"
READ_AT_ONCE = 1024 * 1024
CONNECTION_STRING = (
    f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
    f"BlobEndpoint=http://127.0.0.1:{BLOB_PORT}/{ACCOUNT};"
    f"QueueEndpoint=http://127.0.0.1:{QUEUE_PORT}/{ACCOUNT};"
    f"TableEndpoint=http://127.0.0.1:{TABLE_PORT}/{ACCOUNT};"
)


@dataclass(frozen=True)
class Call:
    """One request; `path` is below the account, unescaped, header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


Handler = Callable[[Call], Answer]


def call_of(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Call:
    parts = urlsplit(url)
    path = unquote(parts.path).removeprefix(f"/{ACCOUNT}").lstrip("/")
    named = {name.lower(): value for name, value in headers.items()}
    return Call(method, path, dict(parse_qsl(parts.query, keep_blank_values=True)), named, body)


def http_date(instant: datetime) -> str:
    return format_datetime(instant, usegmt=True)


class Wire:
    """What a `requests.Session` is to the transport: one method, which answers from memory."""

    def __init__(self, services: Mapping[int, Handler]) -> None:
        self._services = services
        self._lock = threading.Lock()

    def request(self, method: str, url: str, headers: Mapping[str, str], data: Any = None, **_: Any) -> Any:
        body = _read(data) if hasattr(data, "read") else data.encode() if isinstance(data, str) else data or b""
        with self._lock:
            answer = self._services[urlsplit(url).port or 0](call_of(method, url, headers, body))
        return _response(answer, method, url)

    def close(self) -> None:
        """There is nothing to close."""


def _read(data: IO[bytes]) -> bytes:
    """All of it: a part of a large upload gives no more than 4 MiB at once."""
    return b"".join(iter(partial(data.read, READ_AT_ONCE), b""))


def refusal(status: int, code: str) -> Answer:
    """How the blob and the queue service refuse."""
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return Answer(status, body.encode(), {"x-ms-error-code": code, "Content-Type": "application/xml"})


def _response(answer: Answer, method: str, url: str) -> requests.Response:
    response = requests.Response()
    response.status_code = answer.status
    response.headers = CaseInsensitiveDict({"Content-Length": str(len(answer.body)), **answer.headers})
    response.url = url
    response.raw = HTTPResponse(
        io.BytesIO(answer.body), response.headers, answer.status, preload_content=False, request_method=method
    )
    return response


def transport_of(services: Mapping[int, Handler]) -> RequestsTransport:
    wire: Any = Wire(services)
    return RequestsTransport(session=wire, session_owner=False)
