"""Authorised requests to one origin: retried by the service's table of errors, never beyond the deadline."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from shared.clock import Clock, Deadline
from shared.errors import AccessError, Defer, Missing, Skip, Throttled, Unreachable
from shared.net.identity import Tokens
from shared.net.policy import Act, Policy, Rule
from shared.net.throttle import Cooldown, Pace
from shared.net.transport import MEBIBYTE, NetworkError, Reply, Request, Transport

ATTEMPTS = 5
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 20.0
THROTTLED_BACKOFF_S = 15.0
LONGEST_THROTTLED_BACKOFF_S = 120.0
SHORTEST_PAUSE_S = 1.0
LONGEST_RETRY_AFTER_S = 24 * 3600.0
MOST_SKEW = timedelta(days=1)
ABSURD_SKEW = timedelta(days=365)
LONGEST_MESSAGE = 500
LONGEST_CODE = 100
NOBODYS_BUSINESS = re.compile(r"[^\s@'\"(<>:;,]+@[^\s@'\")<>:;,]+|\beyJ[\w.-]+")
"""Addresses of people, and tokens, which a service may echo in what it says."""


class NotSubscribed(Skip):
    """The activity feed has no enabled subscription for the content type."""


class StartAgain(Defer):
    """The service breaks a listing off: its window or page is refused, and it has to start again."""


@dataclass(frozen=True)
class Fault:
    """An answer that is no success, in the service's words."""

    status: int
    code: str
    message: str

    def __str__(self) -> str:
        """Without a status there was no answer, and the message says why."""
        return f"HTTP {self.status} {self.code} {self.message}".strip() if self.status else self.message


@dataclass(frozen=True)
class Api:
    """One origin and what all requests to it share. Threads may use it at the same time."""

    origin: str
    policy: Policy
    tokens: Tokens
    transport: Transport
    clock: Clock
    cooldown: Cooldown
    pace: Pace | None = None
    jitter: Callable[[], float] = field(default=random.random)

    @property
    def scope(self) -> str:
        return f"{self.origin}/.default"

    def get(
        self,
        url: str,
        deadline: Deadline,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 64 * MEBIBYTE,
    ) -> Reply:
        return self.send(Request("GET", url, headers or {}, deadline, max_bytes=max_bytes))

    def send(self, request: Request) -> Reply:
        """The answer to a request that succeeded in the end.

        Raises:
            AccessError: an administrator must act.
            Defer: it can't succeed before the deadline, or not for now.
            Missing: the service has no such thing.
            StartAgain: the listing has to start again.
            NotSubscribed: there is no subscription.
            TooLarge: the body is longer than the request allows.
        """
        self._check_origin(request.url)
        token, renewed = self.tokens.get(self.scope), False
        failures = throttled = 0
        while True:
            self._await_turn(request.deadline)
            outcome = self._try(request, token)
            if isinstance(outcome, Reply):
                return replace(outcome, is_repeat=True) if failures else outcome
            rule, fault, after_s = outcome
            if rule.act is Act.REFRESH and not renewed:
                token, renewed = self.tokens.refreshed(self.scope, token), True
            elif rule.act is Act.THROTTLE:
                self.cooldown.extend(self._pause_s(after_s, throttled))
                throttled += 1
            elif rule.act is Act.RETRY and failures < ATTEMPTS - 1:
                self._back_off(request.deadline, fault, failures, after_s)
                failures += 1
            else:
                raise self._error(rule, fault)

    def _check_origin(self, url: str) -> None:
        """Refuse to send a token anywhere but to the origin that it was issued for."""
        if not same_origin(url, self.origin):
            raise AccessError(
                f"{self.policy.service} at {self.origin} points to another place: {_origin_of(url)}.",
                "A token goes only where it was issued for; nothing was sent.",
            )

    def _await_turn(self, deadline: Deadline) -> None:
        """Wait for the end of a pause, then for a turn: after a pause all threads go on one by one."""
        while (pause_s := self.cooldown.remaining_s) > 0:
            self._wait(pause_s, deadline, Throttled, "a pause is asked for")
        if self.pace is not None:
            self._wait(self.pace.wait_s(), deadline, Throttled, "its share of requests is used up")

    def _wait(self, seconds: float, deadline: Deadline, error: type[Defer], why: str) -> None:
        if seconds > max(0.0, deadline.remaining_s):
            text = (
                f"{self.policy.service} at {self.origin}: {why}; {seconds:.0f} s are longer than this run lasts."
            )
            raise error(text, seconds)
        if seconds > 0:
            self.clock.sleep(seconds)

    def _try(self, request: Request, token: str) -> Reply | tuple[Rule, Fault, float | None]:
        """One attempt: the answer, or the rule for what went wrong, the fault, and the seconds to wait."""
        headers = {"Authorization": f"Bearer {token}", **request.headers}
        try:
            reply = self.transport(
                Request(request.method, request.url, headers, request.deadline, request.body, request.max_bytes)
            )
        except NetworkError as error:
            return Rule(Act.RETRY), Fault(0, "", str(error)), None
        if reply.status < 300:  # noqa: PLR2004 - the classes of success
            return reply
        fault = read_fault(reply)
        rule = self.policy.rule(fault.status, fault.code)
        return reply if rule.act is Act.ACCEPT else (rule, fault, retry_after_s(reply, self.clock.now()))

    def _pause_s(self, after_s: float | None, throttled: int) -> float:
        """As long as the service asks for, else a random time that grows while it keeps throttling."""
        if after_s is not None:
            return max(after_s, SHORTEST_PAUSE_S)
        longest_s = min(LONGEST_THROTTLED_BACKOFF_S, 2 * THROTTLED_BACKOFF_S * 2.0**throttled)
        return longest_s * (1 + self.jitter()) / 2

    def _back_off(self, deadline: Deadline, fault: Fault, failures: int, after_s: float | None) -> None:
        """Wait as long as the service asks for, else a random time that grows (full jitter)."""
        longest_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**failures)
        wait_s = longest_s * self.jitter() if after_s is None else after_s
        self._wait(wait_s, deadline, Defer if fault.status else Unreachable, str(fault))

    def _error(self, rule: Rule, fault: Fault) -> Exception:
        text = f"{self.policy.service} at {self.origin}: {fault}"
        if rule.act is Act.RETRY:
            error = Defer if fault.status else Unreachable
            return error(f"{text} (after {ATTEMPTS} attempts)", LONGEST_BACKOFF_S)
        if rule.act is Act.SKIP:
            return Missing(text, fault.code)
        if rule.act is Act.RESTART:
            return StartAgain(text, LONGEST_BACKOFF_S)
        if rule.act is Act.SUBSCRIBE:
            return NotSubscribed(text)
        if rule.act is Act.REFRESH:
            return AccessError(text, "The service refuses a fresh token: check TENANT_ID, CLOUD and the address.")
        return AccessError(text, rule.advice)


def same_origin(url: str, origin: str) -> bool:
    """Whether scheme, host and port are those of `origin`, with nothing hidden in front of the host."""
    return _origin_of(url) == _origin_of(origin) and "@" not in urlsplit(url).netloc


def _origin_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return "an address that is none"
    return f"{parts.scheme}://{parts.hostname}:{port}"


def read_fault(reply: Reply) -> Fault:
    """Code and message out of an error body, `{"error": {"code", "message"}}` in both services; else its start."""
    try:
        error: Any = json.loads(reply.body)["error"]
        return Fault(reply.status, _line(str(error["code"]), LONGEST_CODE), _line(str(error["message"])))
    except (ValueError, KeyError, TypeError, RecursionError):
        return Fault(reply.status, "", _line(reply.body[:LONGEST_MESSAGE].decode("utf-8", "replace")))


def _line(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """What a service says as one line of bounded length, for it ends in logs and table entities."""
    line = "".join(character if character.isprintable() else " " for character in text[:longest])
    return NOBODYS_BUSINESS.sub("(hidden)", line)


def retry_after_s(reply: Reply, now: datetime) -> float | None:
    """Seconds that `Retry-After` asks for, from either of its forms; `None` where there is none that makes sense.

    A date is compared with the server's own `Date`, so that a wrong clock on either side does no harm.
    """
    text = reply.headers.get("retry-after", "").strip()
    if not text:
        return None
    seconds = _seconds(text)
    if seconds is None and (at := _http_date(text)):
        seconds = (at - (_http_date(reply.headers.get("date", "")) or now)).total_seconds()
    if seconds is None or math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


@dataclass(frozen=True)
class Clocks:
    """This machine's time and the service's, by its `Date` header; where it tells none, both are ours.

    A place that is remembered by a date far ahead would keep the app from ever reading on: up to a day apart the
    service's clock counts, beyond that one of both is wrong, and beyond a year it is the service's.
    """

    ours: datetime
    theirs: datetime

    @property
    def now(self) -> datetime:
        return self.theirs if abs(self.theirs - self.ours) <= MOST_SKEW else self.ours

    @property
    def earliest(self) -> datetime:
        """What is past by either clock."""
        return min(self.now, self._or_theirs)

    @property
    def latest(self) -> datetime:
        """What is not to come by either clock."""
        return max(self.now, self._or_theirs)

    @property
    def _or_theirs(self) -> datetime:
        return self.theirs if abs(self.theirs - self.ours) <= ABSURD_SKEW else self.ours

    @property
    def ahead_s(self) -> int:
        """How far ours is ahead of the service's."""
        return round((self.ours - self.theirs).total_seconds())


def clocks(reply: Reply, now: datetime) -> Clocks:
    return Clocks(now, _http_date(reply.headers.get("date", "")) or now)


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _http_date(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
