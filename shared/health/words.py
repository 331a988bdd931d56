"""Times, spans and schedules as people say them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from shared.schedules import MONTHS, WEEKDAYS, Schedule, read_schedule

UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))
EVERY_MINUTES = re.compile(r"0 \*/([0-9]+) \* \* \* \*")
MOST_TIMES = 6
HOURS_OF_A_DAY = 24
DAYS_OF_A_MONTH = 31


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


def schedule_in_words(text: str) -> str:
    """Such as `every 5 minutes`, `at 03:00 every day`; times are UTC."""
    if match := EVERY_MINUTES.fullmatch(text):
        return f"every {match[1]} minutes" if match[1] != "1" else "every minute"
    schedule = read_schedule(text)
    times = _times(schedule)
    return f"{times} {_days(schedule)}" if times else f"as {text} says"


def _times(schedule: Schedule) -> str:
    """The times of a day, if they are few."""
    hours, minutes = schedule.hours, schedule.minutes
    if schedule.seconds != (0,) or len(minutes) > MOST_TIMES:
        return ""
    if len(hours) == HOURS_OF_A_DAY:
        return f"at minute {_listed([str(minute) for minute in minutes])} of every hour"
    if len(hours) * len(minutes) > MOST_TIMES:
        return ""
    return f"at {_listed([f'{hour:02}:{minute:02}' for hour in hours for minute in minutes])}"


def _days(schedule: Schedule) -> str:
    """Where both a weekday and days of the month are given, a day must be both."""
    on: list[str] = []
    if len(schedule.weekdays) < len(WEEKDAYS):
        on.append(f"on {_listed([WEEKDAYS[number] for number in schedule.weekdays])}")
    if len(schedule.days) < DAYS_OF_A_MONTH:
        days = _listed([str(day) for day in schedule.days])
        on.append(f"{'if that is' if on else 'on'} day {days} of the month")
    if not on:
        on.append("every day")
    if len(schedule.months) < len(MONTHS):
        on.append(f"in {_listed([MONTHS[number - 1] for number in schedule.months])}")
    return " ".join(on)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def hours(number: int) -> timedelta:
    return timedelta(hours=number)
