"""Waiting that all threads of a source share."""

from __future__ import annotations

import threading

from shared.clock import Clock

SHORTEST_S = 0.001  # below it, rounding could make a wait of nothing, again and again


class Cooldown:
    """A pause that one thread learns of from a service and all threads keep."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s = 0.0
        self._lock = threading.Lock()

    def extend(self, seconds: float) -> None:
        with self._lock:
            self._until_s = max(self._until_s, self._clock.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        remaining_s = self._until_s - self._clock.monotonic()
        return remaining_s if remaining_s > SHORTEST_S else 0.0


class Pace:
    """At most `per_minute` requests a minute, evenly: each caller is told how long to wait for its turn."""

    def __init__(self, clock: Clock, per_minute: float) -> None:
        self._clock = clock
        self._step_s = 60.0 / per_minute
        self._next_s = 0.0
        self._lock = threading.Lock()

    def wait_s(self) -> float:
        """Take the next turn and return the seconds until it comes."""
        with self._lock:
            now_s = self._clock.monotonic()
            turn_s = max(now_s, self._next_s)
            self._next_s = turn_s + self._step_s
            return turn_s - now_s
