"""Half-open intervals of time: what has been read, and what is still missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, order=True)
class Interval:
    """The time from `start` up to, not including, `end`."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"an interval ends after it starts, not {self.start} to {self.end}")

    @property
    def length(self) -> timedelta:
        return self.end - self.start


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time in as few intervals as possible, in order."""
    result: list[Interval] = []
    for interval in sorted(intervals):
        if result and interval.start <= result[-1].end:
            result[-1] = Interval(result[-1].start, max(result[-1].end, interval.end))
        else:
            result.append(interval)
    return result


def gaps(whole: Interval, done: Iterable[Interval]) -> list[Interval]:
    """The parts of `whole` that no interval in `done` covers, in order."""
    result: list[Interval] = []
    at = whole.start
    for interval in merged(done):
        if interval.start > at and at < whole.end:
            result.append(Interval(at, min(interval.start, whole.end)))
        at = max(at, interval.end)
    if at < whole.end:
        result.append(Interval(at, whole.end))
    return result


def pieces(whole: Interval, longest: timedelta) -> Iterator[Interval]:
    """`whole` cut into consecutive intervals of at most `longest`."""
    at = whole.start
    while at < whole.end:
        end = min(at + longest, whole.end)
        yield Interval(at, end)
        at = end
