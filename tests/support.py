"""Stand-ins for what surrounds the app's core: time, tokens, and the far side of HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.core.credentials import AccessToken

from shared.clock import Deadline
from shared.net.api import Api
from shared.net.identity import Tokens
from shared.net.policy import DATAVERSE, Policy
from shared.net.throttle import Cooldown, Pace
from shared.net.transport import NetworkError, Reply, Request
from shared.settings import Settings, load_settings

NOON = datetime(2026, 5, 19, 12, tzinfo=UTC)
ORIGIN = "https://contoso.crm4.dynamics.com"
TENANT_ID = "11111111-1111-1111-1111-111111111111"
WORKLOADS = frozenset({"powerplatform", "microsoftflow", "powerapps", "microsoftcopilotstudio"})
REQUIRED = {
    "ENVIRONMENTS": ORIGIN,
    "TENANT_ID": TENANT_ID,
    "DataStorage": "UseDevelopmentStorage=true",
}


def settings_with(**environ: str) -> Settings:
    return load_settings({**REQUIRED, **environ})


class FakeClock:
    """Stands still; sleeping moves it and is remembered."""

    def __init__(self, start: datetime = NOON) -> None:
        self.at = start
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class CountingCredential:
    """Gives the same token until it is made anew; `made` are all credentials of one app."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes.extend(scopes)
        return AccessToken(f"token-{self.number}", 4_000_000_000)


def counting_tokens() -> tuple[Tokens, list[CountingCredential]]:
    made: list[CountingCredential] = []

    def new_credential() -> CountingCredential:
        made.append(CountingCredential(len(made) + 1))
        return made[-1]

    return Tokens(new_credential), made


class Script:
    """A transport that answers from a list: replies in turn, errors raised; it keeps the requests."""

    def __init__(self, *answers: Reply | Exception | Callable[[Request], Reply]) -> None:
        self._answers: Iterator[Reply | Exception | Callable[[Request], Reply]] = iter(answers)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, Reply) else answer(request)


def json_reply(body: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(
        status, {name.replace("_", "-"): value for name, value in headers.items()}, json.dumps(body).encode()
    )


def fault(status: int, code: str = "", message: str = "no", **headers: str) -> Reply:
    return json_reply({"error": {"code": code, "message": message}}, status, **headers)


def cut_off() -> NetworkError:
    return NetworkError("the connection broke")


def api_with(
    transport: Callable[[Request], Reply],
    clock: FakeClock,
    *,
    policy: Policy = DATAVERSE,
    origin: str = ORIGIN,
    tokens: Tokens | None = None,
    pace: Pace | None = None,
) -> Api:
    """An API whose random part of each wait is always the whole."""
    return Api(
        origin,
        policy,
        tokens or counting_tokens()[0],
        transport,
        clock,
        Cooldown(clock),
        pace,
        jitter=lambda: 1.0,
    )


def soon(clock: FakeClock, seconds: float = 100.0) -> Deadline:
    return Deadline.after(clock, seconds)


def in_pieces(data: bytes, size: int) -> Iterable[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
