"""Scripted errors: what goes wrong, for which requests, how often."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Literal
from urllib.parse import unquote

from local.tenant.wire import Request, Response

Service = Literal["dataverse", "activity", "identity", "control", "graph"]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    It applies to requests of `service` (and `environment`, by name) whose path and query, raw or decoded,
    contain `path_contains`, after letting `first_skip` of them pass, `times` times (None: always).
    With a `status` it replaces the answer; without one the normal answer is given, late by `delay_s`,
    cut off after `cut_after_bytes` of its body, or with a Content-Length that is wrong by `wrong_length` bytes;
    `garble` makes another body of it, of a compressed one too.
    """

    service: Service
    environment: str | None = None
    path_contains: str = ""
    method: str | None = None
    times: int | None = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    delay_s: float = 0.0
    cut_after_bytes: int | None = None
    wrong_length: int = 0
    first_skip: int = 0
    garble: Callable[[bytes], bytes] | None = None

    def concerns(self, service: str, environment: str | None, request: Request) -> bool:
        return (
            self.service == service
            and self.environment in {None, environment}
            and self.method in {None, request.method}
            and (self.path_contains in request.target or self.path_contains in unquote(request.target))
        )

    def replacement(self) -> Response | None:
        """The answer given instead of the normal one, if any."""
        if self.status is None:
            return None
        body = _usual_body(self.service, self.status) if self.body is None else self.body
        return Response(self.status, body, {"Content-Type": "application/json; charset=utf-8"}, "fault")

    def spoil(self, response: Response) -> Response:
        """The answer with this fault's headers, cut and length."""
        return replace(
            response,
            body=self.garble(response.body) if self.garble else response.body,
            served=() if self.garble else response.served,
            headers={**response.headers, **self.headers},
            cut_after_bytes=self.cut_after_bytes,
            extra_length=self.wrong_length,
        )


def _usual_body(service: Service, status: int) -> bytes:
    code, message = _USUAL_ERRORS.get((service, status), (str(status), HTTPStatus(status).phrase))
    return json.dumps({"error": {"code": code, "message": message}}).encode()


_USUAL_ERRORS = {
    ("dataverse", 429): (
        "0x80072322",
        "Number of requests exceeded the limit of 6000 over the time window of 300 seconds.",
    ),
    ("activity", 403): (
        "AF429",
        "Too many requests. Method=GetBlob, PublisherId=00000000-0000-0000-0000-000000000000",
    ),
    ("activity", 500): ("AF50000", "An internal error occurred. Retry the request."),
}


class Storm:
    """Faults at random: each request is hit with the probability `rate`, by one of those that concern it.

    Whether the nth request of one address is hit depends on the seed alone, whatever threads do meanwhile.
    """

    def __init__(self, seed: int, rate: float, faults: Sequence[Fault]) -> None:
        self._seed = seed
        self._rate = rate
        self._faults = faults
        self._met: Counter[str] = Counter()

    def take(self, service: str, environment: str | None, request: Request) -> Fault | None:
        place = f"{service} {environment} {request.method} {request.target}"
        self._met[place] += 1
        chance = random.Random(f"{self._seed} {self._met[place]} {place}")
        concerned = [fault for fault in self._faults if fault.concerns(service, environment, request)]
        return chance.choice(concerned) if concerned and chance.random() < self._rate else None


class Faults:
    """The faults that are scripted now; the first that concerns a request wins, then a storm may hit it."""

    def __init__(self) -> None:
        self.storm: Storm | None = None
        self._lock = threading.Lock()
        self._pending: list[_Pending] = []

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._pending.append(_Pending(fault, fault.first_skip, fault.times))

    def clear(self) -> None:
        with self._lock:
            self._pending.clear()
            self.storm = None

    @property
    def pending(self) -> list[Fault]:
        """The faults that have not yet happened as often as they should; those without an end among them."""
        with self._lock:
            return [pending.fault for pending in self._pending]

    def take(self, service: str, environment: str | None, request: Request) -> Fault | None:
        """The fault that befalls this request, counted."""
        with self._lock:
            for pending in self._pending:
                if pending.fault.concerns(service, environment, request) and pending.strikes():
                    self._pending = [each for each in self._pending if each.times != 0]
                    return pending.fault
            return self.storm.take(service, environment, request) if self.storm else None


@dataclass
class _Pending:
    """A scripted fault with what is left of it."""

    fault: Fault
    skip: int
    times: int | None

    def strikes(self) -> bool:
        if self.skip:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True
