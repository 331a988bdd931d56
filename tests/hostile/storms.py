"""Everything that can go wrong at the services and in storage, at random, and a host that goes on regardless."""

from __future__ import annotations

import random
import threading
from collections import Counter
from typing import Any, Self

import requests
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import HttpRequest, RequestsTransportResponse
from azure.storage.queue import QueueServiceClient, TextBase64DecodePolicy, TextBase64EncodePolicy
from integration.stage import FUNCTIONS, Stage

from local.tenant import Fault
from shared.state.names import Queue

MOST_DELIVERIES = 5  # host.json's maxDequeueCount
PAGE = b"<!doctype html><html><title>Sign in</title></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
SERVICES = ("dataverse", "activity")


def service_faults() -> list[Fault]:
    """What hits any request of the two services; nothing of it says that a thing does not exist.

    A file column, whose address has no query, is never answered by another file: two in a row would be believed.

    The identity endpoint is left alone: the identity library tries again by a clock of its own, for a minute.
    """
    faults: list[Fault] = []
    for service in SERVICES:
        faults += [Fault(service, times=None, status=status) for status in (408, 500, 502, 503, 504, 401)]
        faults += [
            Fault(service, times=None, status=429, headers={"Retry-After": wish})
            for wish in ("2", "0", "-5", "soon", "Thu, 01 Jan 1970 00:00:00 GMT")
        ]
        faults += [
            Fault(service, times=None, status=200, body=PAGE, headers=HTML),
            Fault(service, times=None, status=502, body=PAGE, headers=HTML),
            Fault(service, times=None, path_contains="?", status=200, body=b"{}"),
            Fault(service, times=None, path_contains="?", status=200, body=b""),
            Fault(service, times=None, cut_after_bytes=0),
            Fault(service, times=None, cut_after_bytes=40),
            Fault(service, times=None, wrong_length=9),
            Fault(service, times=None, path_contains="?", wrong_length=-9),
            Fault(service, times=None, headers={"Date": "Fri, 01 Jan 2100 00:00:00 GMT"}),
        ]
    return [
        *faults,
        Fault("activity", times=None, status=403),
        Fault("activity", times=None, path_contains="/audit/", garble=lambda body: body[:-20] + b"\xff" * 20),
        Fault("activity", times=None, path_contains="/audit/", status=404, body=PAGE, headers=HTML),
        Fault("dataverse", times=None, path_contains="flowsessions?", garble=lambda body: body[: len(body) // 2]),
    ]


class StormyTransport:
    """Storage that is busy, loses requests before they arrive or their answers after, and finds things changed."""

    def __init__(self, inner: Any, seed: int, rate: float) -> None:
        self._inner = inner
        self.rate = rate
        self.hits: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    def send(self, request: HttpRequest, **options: Any) -> Any:
        with self._lock:
            hit = self._random.random() < self.rate and self._random.choice(self._possible(request))
            if hit:
                self.hits[hit] += 1
        if hit == "lost":
            raise ServiceRequestError("the connection was refused")
        if hit in ("busy", "changed"):
            return _refusal(request, 503 if hit == "busy" else 412)
        response = self._inner.send(request, **options)
        if hit == "unanswered":
            raise ServiceResponseError("the connection broke")
        return _refusal(request, 503) if hit == "busy, but done" else response

    def _possible(self, request: HttpRequest) -> list[str]:
        conditional = "If-Match" in request.headers or request.headers.get("If-None-Match") == "*"
        return ["lost", "busy", "unanswered", "busy, but done", *(["changed"] if conditional else [])]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """It stays open for the next use."""


def _refusal(request: HttpRequest, status: int) -> RequestsTransportResponse:
    answer = requests.Response()
    answer.status_code = status
    answer.reason = "ServerBusy" if status == 503 else "ConditionNotMet"
    answer.headers.update({"x-ms-error-code": answer.reason, "Content-Type": "application/xml"})
    answer._content = f"<Error><Code>{answer.reason}</Code></Error>".encode()
    return RequestsTransportResponse(request, answer)


class Host:
    """Runs functions as the Functions host does: what fails is tried again, a message five times at most."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.failures: Counter[str] = Counter()
        self.poison: list[str] = []

    def tick(self, *timers: str) -> None:
        for timer in timers:
            self._attempt(timer)
        for queue in Queue:
            self._messages(queue)

    def _attempt(self, function: str, *arguments: Any) -> bool:
        try:
            self.stage.run(function, *arguments)
        except Exception as error:  # noqa: BLE001 - the host survives whatever its functions raise
            self.failures[type(error).__name__] += 1
            return False
        return True

    def _messages(self, queue: Queue) -> None:
        client = QueueServiceClient.from_connection_string(self.stage.account).get_queue_client(
            queue, message_encode_policy=TextBase64EncodePolicy(), message_decode_policy=TextBase64DecodePolicy()
        )
        for message in list(client.receive_messages(messages_per_page=32, visibility_timeout=600)):
            if self._attempt(FUNCTIONS[queue], message.content, message.dequeue_count or 1):
                client.delete_message(message)
            elif (message.dequeue_count or 1) < MOST_DELIVERIES:
                client.update_message(message, visibility_timeout=0)
            else:
                self.poison.append(message.content)
                client.delete_message(message)
