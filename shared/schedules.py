"""NCRONTAB expressions as the Functions host reads them, in UTC.

Six fields: second, minute, hour, day of the month, month, and day of the week from 0 for Sunday to 6. A moment
must match all of them; cron takes a day that matches either of its two fields. Months and weekdays have English
names, which may be shortened (NCrontab, the library of the host, and its timer extension). What the host takes and
does not mean as it looks is refused: a range that runs backwards, which it turns round, and a step of 0, which it
takes for 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

A_DAY = timedelta(days=1)
A_SECOND = timedelta(seconds=1)
LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
PART = re.compile(r"(?P<first>\*|[0-9]+|[a-z]+)(-(?P<last>[0-9]+|[a-z]+))?(/(?P<step>[0-9]+))?", re.IGNORECASE)
LONGEST_NUMBER = 9
INTERVAL = re.compile(r"([0-9]+\.)?[0-9]+:[0-9]+(:[0-9]+(\.[0-9]+)?)?")


@dataclass(frozen=True)
class _Field:
    """What one field of an expression may hold."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()

    def values(self, text: str) -> tuple[int, ...]:
        """The numbers that match, in order."""
        return tuple(sorted({number for part in text.split(",") for number in self._part(part)}))

    def _part(self, text: str) -> Sequence[int]:
        match = PART.fullmatch(text)
        if match is None or (match["first"] == "*" and match["last"]):
            raise ValueError(f"its {self.name} {text!r} is none; it takes *, numbers, ranges, lists and steps")
        first, last = self._bounds(match)
        step = int(match["step"] or 1)
        if first > last:
            raise ValueError(f"its {self.name} {text!r} runs backwards, which the host turns round")
        if step == 0:
            raise ValueError(f"its {self.name} {text!r} has a step of 0")
        return range(first, last + 1, step)

    def _bounds(self, match: re.Match[str]) -> tuple[int, int]:
        """`*` is everything, and a step behind a single value goes on to the end."""
        if match["first"] == "*":
            return self.least, self.most
        first = self._number(match["first"])
        if match["last"]:
            return first, self._number(match["last"])
        return first, self.most if match["step"] else first

    def _number(self, text: str) -> int:
        if not text.isdecimal():
            return self._named(text)
        if len(text) > LONGEST_NUMBER or not self.least <= int(text) <= self.most:
            raise ValueError(f"its {self.name} {text} is not from {self.least} to {self.most}")
        return int(text)

    def _named(self, text: str) -> int:
        for at, name in enumerate(self.names):
            if name.lower().startswith(text.lower()):
                return self.least + at
        raise ValueError(f"its {self.name} {text!r} is none")


FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, MONTHS),
    _Field("weekday", 0, 6, WEEKDAYS),
)


@dataclass(frozen=True)
class Schedule:
    """When a timer comes: at the moments that match every field; each holds its numbers in order."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]

    def after(self, instant: datetime) -> Iterator[datetime]:
        """The moments later than `instant`, without end."""
        while True:
            instant = self.next_after(instant)
            yield instant

    def next_after(self, instant: datetime) -> datetime:
        """The first moment later than `instant`; the rarest, a 29 February on one weekday, is forty years away."""
        at = instant.astimezone(UTC).replace(microsecond=0) + A_SECOND
        day = at.date()
        if self._comes_on(day) and (found := self._time_from(at.time())):
            return datetime.combine(day, found, UTC)
        day += A_DAY
        while not self._comes_on(day):
            day += A_DAY
        return datetime.combine(day, time(self.hours[0], self.minutes[0], self.seconds[0]), UTC)

    def _comes_on(self, day: date) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def _time_from(self, at: time) -> time | None:
        """The first time of a day that is not before `at`."""
        for hour in (hour for hour in self.hours if hour >= at.hour):
            for minute in self.minutes:
                least = time(hour, minute) if (hour, minute) != (at.hour, at.minute) else at
                for second in self.seconds:
                    if (found := time(hour, minute, second)) >= max(least, at):
                        return found
        return None


def read_schedule(text: str) -> Schedule:
    """The schedule that an expression describes.

    Raises:
        ValueError: it is none, or never comes; what follows the setting's name.
    """
    if INTERVAL.fullmatch(text):
        raise ValueError(
            f"is {text!r}, an interval; the plan of this app takes NCRONTAB like '0 */5 * * * *' only"
        )
    texts = text.split()
    if len(texts) != len(FIELDS):
        raise ValueError(f"is {text!r}; it takes six fields: {' '.join(field.name for field in FIELDS)}")
    try:
        schedule = Schedule(*(field.values(part) for field, part in zip(FIELDS, texts, strict=True)))
    except ValueError as error:
        raise ValueError(f"is {text!r}, no NCRONTAB expression like '0 */5 * * * *': {error}") from None
    if not any(day <= LONGEST_MONTHS[month - 1] for month in schedule.months for day in schedule.days):
        raise ValueError(f"is {text!r}, which never comes: no month of it has such a day")
    return schedule


def parse_schedule(text: str) -> str:
    """The expression itself, if it is one."""
    read_schedule(text)
    return text
