"""The simulated tenant: its services on loopback ports, its clock, its faults and its truth."""

from __future__ import annotations

import json
import math
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from local.tenant.activity import Activity, Subscriptions
from local.tenant.dataverse import Dataverse
from local.tenant.faults import Faults, Service
from local.tenant.identity import ENDPOINT_PATH, Identity, Tokens, presented_audience
from local.tenant.limits import Concurrency, Limits, SlidingWindow
from local.tenant.search import AuditSearch, Search
from local.tenant.truth import Served, Truth
from local.tenant.wire import Handler, Request, Response, Server, json_response
from local.tenant.world import World

_KEPT_REQUESTS = 100_000


class EnvironmentAddress(NamedTuple):
    """Where one environment is found."""

    name: str
    url: str
    environment_id: str


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as the tenant saw it; `path` is path and query as sent, header names are in lower case."""

    when: datetime
    service: Service
    environment: str | None
    method: str
    path: str
    status: int
    audience: str
    authorization: str
    headers: Mapping[str, str]


class RequestLog:
    """The last 100,000 requests, oldest first; reading it is safe while requests come in."""

    def __init__(self) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=_KEPT_REQUESTS)
        self._lock = threading.Lock()

    def add(self, record: RequestRecord) -> None:
        with self._lock:
            self._records.append(record)

    def clear(self) -> None:
        with self._lock:
            self._records.clear()

    def __iter__(self) -> Iterator[RequestRecord]:
        with self._lock:
            return iter(list(self._records))

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, at: int) -> RequestRecord:
        with self._lock:
            return self._records[at]


@dataclass(frozen=True)
class _Service:
    """One service behind one port."""

    name: Service
    environment: str | None
    answer: Handler
    rate: SlidingWindow
    concurrency: Concurrency


def utc_now() -> datetime:
    return datetime.now(UTC)


class Tenant:
    """Serves a world until it is stopped; a context manager.

    `clock` says what has become visible; `latency_s` is added before each answer. Assigning another
    `world` with environments of the same names changes what exists while the addresses stay; so do the
    addresses of another start that is given the `ports` of the one before.
    """

    def __init__(
        self,
        world: World,
        clock: Callable[[], datetime] = utc_now,
        latency_s: float = 0.0,
        limits: Limits | None = None,
        ports: Sequence[int] = (),
    ) -> None:
        self.faults = Faults()
        self.requests = RequestLog()
        self.clock = clock
        self.latency_s = latency_s
        self.identity_header = secrets.token_hex(16).upper()
        self._limits = limits or Limits()
        self._tokens = Tokens(clock, self._limits.token_lifetime_s)
        self._served = Served()
        self._stopping = threading.Event()
        self._names = [environment.name for environment in world.environments]
        self._server = Server([partial(self._answer, service) for service in self._services()], ports)
        origins = [f"http://127.0.0.1:{number}" for number in self._server.ports]
        *self._origins, self.activity_url, self._identity_origin, self.control_url, self.graph_url = origins
        self._searches: dict[str, Search] = {}
        self.world = world

    @property
    def world(self) -> World:
        return self._world

    @world.setter
    def world(self, world: World) -> None:
        if [environment.name for environment in world.environments] != self._names:
            raise ValueError("another world must have environments of the same names")
        if len(set(self._names)) < len(self._names):
            raise ValueError("environments must differ in their names")
        if not hasattr(self, "_world") or self._world.subscriptions != world.subscriptions:
            self._subscriptions = Subscriptions(world.subscriptions)
        self._world = world
        self._truth = Truth(world, self._served)
        feed = (self.activity_url, self.clock, self._tokens, self._limits)
        self._activity = Activity(world, self._subscriptions, *feed)
        self._identity = Identity(world, self._tokens, self.identity_header, self.activity_url, self.graph_url)
        self._search = AuditSearch(world, self._searches, self.graph_url, self.clock, self._tokens, self._limits)
        self._dataverse = {
            environment.name: Dataverse(world, environment, origin, self.clock, self._tokens)
            for environment, origin in zip(world.environments, self._origins, strict=True)
        }

    @property
    def ports(self) -> list[int]:
        """The ports of all services, in an order that does not change."""
        return list(self._server.ports)

    @property
    def environments(self) -> list[EnvironmentAddress]:
        return [
            EnvironmentAddress(environment.name, origin, environment.environment_id)
            for environment, origin in zip(self._world.environments, self._origins, strict=True)
        ]

    @property
    def tenant_id(self) -> str:
        return self._world.tenant_id

    @property
    def client_id(self) -> str:
        return self._world.client_id

    @property
    def identity_endpoint(self) -> str:
        return self._identity_origin + ENDPOINT_PATH

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        """Ends all threads and frees all ports."""
        self._stopping.set()
        self._server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def app_settings(self) -> dict[str, str]:
        """The app settings that let Flowtrail run against this tenant."""
        environments = [{"url": url, "name": name} for name, url, _ in self.environments]
        return {
            "ENVIRONMENTS": json.dumps(environments, ensure_ascii=False),
            "TENANT_ID": self.tenant_id,
            "AZURE_CLIENT_ID": self.client_id,
            "MANAGEMENT_API_URL": self.activity_url,
            "GRAPH_API_URL": self.graph_url,
            "IDENTITY_ENDPOINT": self.identity_endpoint,
            "IDENTITY_HEADER": self.identity_header,
            "HISTORY_START": f"{self._world.history_start:%Y-%m-%d}",
        }

    def revoke_tokens(self) -> None:
        """Makes all tokens issued so far invalid; new ones can be had."""
        self._tokens.revoke()

    def disable_subscription(self, content_type: str) -> None:
        """Disables a subscription as an administrator would; what is created until its next start is lost."""
        self._subscriptions.disable(content_type, self.clock())

    def truth(self) -> dict[str, Any]:
        """What exists now by the tenant's clock, and what was served."""
        return self._truth.at(self.clock(), {name: url for name, url, _ in self.environments})

    def _services(self) -> Iterator[_Service]:
        limits = self._limits
        for name in self._names:
            rate = SlidingWindow(limits.dataverse_requests, limits.dataverse_window_s)
            concurrency = Concurrency(limits.dataverse_concurrent)
            yield _Service("dataverse", name, partial(self._answer_dataverse, name), rate, concurrency)
        free = SlidingWindow(None, 0.0), Concurrency(None)
        yield _Service("activity", None, self._answer_activity, *free)
        yield _Service("identity", None, self._answer_identity, *free)
        yield _Service("control", None, self._control, *free)
        yield _Service("graph", None, self._answer_search, *free)

    # The services are looked up for each request, because another world brings others.

    def _answer_dataverse(self, name: str, request: Request) -> Response:
        return self._dataverse[name].answer(request)

    def _answer_activity(self, request: Request) -> Response:
        return self._activity.answer(request)

    def _answer_search(self, request: Request) -> Response:
        return self._search.answer(request)

    def _answer_identity(self, request: Request) -> Response:
        return self._identity.answer(request)

    def _answer(self, service: _Service, request: Request) -> Response:
        response = self._protected(service, request)
        self._served.note(service.name, response)
        now = self.clock()
        authorization = request.headers.get("authorization", "")
        self.requests.add(
            RequestRecord(
                now,
                service.name,
                service.environment,
                request.method,
                request.target,
                int(response.status),
                presented_audience(authorization),
                authorization,
                request.headers,
            )
        )
        return replace(response, headers={"Date": format_datetime(now, usegmt=True), **response.headers})

    def _protected(self, service: _Service, request: Request) -> Response:
        """The answer under the service's limits, the latency and the scripted faults."""
        try:
            admitted = service.concurrency.enter()
            self._pause(self.latency_s)
            if not admitted:
                limit = service.concurrency.limit
                return _throttled(
                    "0x80072326", f"Number of concurrent requests exceeded the limit of {limit}.", 1.0
                )
            wait_s = service.rate.wait_s(self.clock())
            if wait_s > 0:
                limit = (
                    f"the limit of {service.rate.limit} over the time window of {service.rate.window_s:g} seconds"
                )
                return _throttled("0x80072322", f"Number of requests exceeded {limit}.", wait_s)
            return self._spoiled(service, request)
        finally:
            service.concurrency.leave()

    def _spoiled(self, service: _Service, request: Request) -> Response:
        fault = self.faults.take(service.name, service.environment, request)
        if fault is None:
            return service.answer(request)
        self._pause(fault.delay_s)
        return fault.spoil(fault.replacement() or service.answer(request))

    def _pause(self, seconds: float) -> None:
        if seconds > 0:
            self._stopping.wait(seconds)

    def _control(self, request: Request) -> Response:
        if request.method == "GET" and unquote(request.path) == "/truth":
            return json_response(HTTPStatus.OK, self.truth(), "truth")
        return Response(HTTPStatus.NOT_FOUND, kind="unknown")


def _throttled(code: str, message: str, wait_s: float) -> Response:
    content = {"error": {"code": code, "message": message}}
    return json_response(
        HTTPStatus.TOO_MANY_REQUESTS, content, "throttled", Retry_After=str(max(1, math.ceil(wait_s)))
    )
