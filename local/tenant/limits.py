"""Request limits of the services; all off unless asked for."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class Limits:
    """What the services grant; None grants everything.

    Dataverse's real figures, per user and server: 6000 requests in 300 s, fewer than 52 at a time
    (Microsoft's service protection limits). The activity API's: 2000 requests a minute and tenant.
    Without a PublisherIdentifier a call counts into a small quota that all such callers share.
    Graph's audit search: 200 submissions a day, a million records of a query (throttling limits); a query takes
    `search_s`, and one that finds more than `search_records` succeeds with that many, and says so or not.
    """

    dataverse_requests: int | None = None
    dataverse_window_s: float = 300.0
    dataverse_concurrent: int | None = None
    activity_requests_per_minute: int | None = None
    activity_calls_without_publisher: int | None = None
    listing_page_size: int = 50
    token_lifetime_s: float = 86_400.0
    search_s: float = 1_500.0
    search_kept_s: float = 30 * 86_400.0
    search_submissions_per_day: int | None = None
    search_records: int | None = None
    search_tells_its_limit: bool = True
    search_page_size: int = 100


@dataclass
class SlidingWindow:
    """At most `limit` requests in any `window_s` seconds."""

    limit: int | None
    window_s: float
    _admitted: deque[datetime] = field(default_factory=deque)
    _refused: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_s(self, now: datetime) -> float:
        """Zero when the request is admitted, else the seconds until the next may be.

        The wait grows with each refused request, as the real one does for clients that keep pressing.
        """
        if self.limit is None:
            return 0.0
        with self._lock:
            while self._admitted and (now - self._admitted[0]).total_seconds() >= self.window_s:
                self._admitted.popleft()
            if len(self._admitted) < self.limit:
                self._admitted.append(now)
                self._refused = 0
                return 0.0
            self._refused += 1
            return self.window_s - (now - self._admitted[0]).total_seconds() + self._refused - 1


@dataclass
class Concurrency:
    """At most `limit` requests at a time."""

    limit: int | None
    _running: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self) -> bool:
        """Whether the request is admitted; `leave` must follow in either case."""
        with self._lock:
            self._running += 1
            return self.limit is None or self._running <= self.limit

    def leave(self) -> None:
        with self._lock:
            self._running -= 1
