"""Time as the app sees it: one seam, so that a test can let two hundred hours pass in a second."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from shared.times import to_millisecond


class Clock(Protocol):
    def now(self) -> datetime:
        """The UTC time, to the millisecond."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> datetime:
        return to_millisecond(datetime.now(UTC))

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


@dataclass(frozen=True)
class Deadline:
    """The moment by which an invocation must have saved its place.

    The host ends a function that outlives `functionTimeout` by restarting the whole worker, which can leave
    a timer dead for good; so every function stops itself well before.
    """

    clock: Clock
    at_s: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        return cls(clock, clock.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        return self.at_s - self.clock.monotonic()

    @property
    def passed(self) -> bool:
        return self.remaining_s <= 0
