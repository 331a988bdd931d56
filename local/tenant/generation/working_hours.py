"""When work happens: busy office hours, quieter nights and weekends."""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime
from itertools import accumulate

_HOUR_S = 3600
_SATURDAY = 5
_FIRST_OFFICE_HOUR, _LAST_OFFICE_HOUR = 7, 16
_WEEKEND_SHARE = 0.3
# Relative weight of each hour of a working day, UTC.
_WEIGHTS = (3, 3, 3, 3, 2, 2, 4, 8, 12, 13, 13, 12, 9, 11, 12, 11, 9, 7, 5, 4, 4, 4, 3, 3)


class Calendar:
    """Spreads moments over a span of time by the weight of its hours."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self._start_s = start.timestamp()
        self._span_s = end.timestamp() - self._start_s
        hours = int(self._span_s // _HOUR_S) + 1
        self._sums = list(accumulate(self._weight(hour) for hour in range(hours)))

    def moment_s(self, share: float) -> float:
        """The epoch second by which this share (0 to 1) of all work has begun."""
        wanted = share * self._sums[-1]
        hour = min(bisect_right(self._sums, wanted), len(self._sums) - 1)
        before = self._sums[hour - 1] if hour else 0.0
        inside = (wanted - before) / (self._sums[hour] - before)
        return self._start_s + min((hour + inside) * _HOUR_S, self._span_s)

    def _weight(self, hour: int) -> float:
        day, hour_of_day = _day_and_hour(self._start_s + hour * _HOUR_S)
        return _WEIGHTS[hour_of_day] * (_WEEKEND_SHARE if day >= _SATURDAY else 1.0)


def is_office_hour(epoch_s: float) -> bool:
    day, hour = _day_and_hour(epoch_s)
    return day < _SATURDAY and _FIRST_OFFICE_HOUR <= hour <= _LAST_OFFICE_HOUR


def _day_and_hour(epoch_s: float) -> tuple[int, int]:
    """Weekday (Monday is 0) and hour in UTC; the epoch began on a Thursday."""
    hours = int(epoch_s // _HOUR_S)
    return (hours // 24 + 3) % 7, hours % 24
