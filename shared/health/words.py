"""Times, spans and schedules as people say them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from cronsim import CronSim

UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))
EVERY_MINUTES = re.compile(r"0 \*/([0-9]+) \* \* \* \*")


def span(seconds: float) -> str:
    """A length of time in its largest whole unit; two days and more in days."""
    for unit, length_s in UNITS:
        number = int(seconds // length_s)
        if number >= (2 if unit == "day" else 1):
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "less than a minute"


def brief(seconds: float) -> str:
    """The same for a narrow column."""
    return span(seconds).replace("less than a minute", "< 1 min").replace("minute", "min").replace("mins", "min")


def ago(instant: datetime | None, now: datetime) -> str:
    if instant is None:
        return "never"
    seconds = (now - instant).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def when(instant: datetime | None) -> str:
    return f"{instant.day} {instant:%b %Y, %H:%M}" if instant else "never"


def schedule_in_words(schedule: str, now: datetime) -> str:
    """Such as `every 5 minutes`, `at 03:00 every day`; times are UTC."""
    if match := EVERY_MINUTES.fullmatch(schedule):
        return f"every {match[1]} minutes" if match[1] != "1" else "every minute"
    words = CronSim(schedule, now).explain()
    return words[0].lower() + words[1:]


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def hours(number: int) -> timedelta:
    return timedelta(hours=number)
