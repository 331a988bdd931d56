"""What a function has done for one of its sources, counted as it goes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import datetime


@dataclass
class Tally:
    """What one source gave in one run.

    `finished` turns false where the deadline came first, `begun` where not even its turn came or another run was
    ahead. `note` is for the person who reads the ingest log. `waiting` counts what is still to be done there, the
    oldest since `waiting_utc`; `clock_ahead_s` is how far this clock is ahead of the service's.
    """

    window_from_utc: datetime | None = None
    window_to_utc: datetime | None = None
    rows_read: int = 0
    rows_written: int = 0
    rows_failed: int = 0
    finished: bool = True
    begun: bool = True
    note: str | None = None
    waiting: int | None = None
    waiting_utc: datetime | None = None
    clock_ahead_s: int | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def waits(self, since_utc: datetime) -> None:
        """Count one thing that is left to do."""
        with self._lock:
            self.waiting = (self.waiting or 0) + 1
            self.waiting_utc = min(self.waiting_utc or since_utc, since_utc)
