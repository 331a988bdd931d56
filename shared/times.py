"""UTC instants as the services write them and as the tables keep them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

MILLISECOND = timedelta(milliseconds=1)
EARLIEST_YEAR, LATEST_YEAR = 1700, 2200


def parse_utc(text: object) -> datetime | None:
    """Read an ISO-8601 instant as UTC, cut (never rounded) to milliseconds; `None` when it is none.

    .NET writes seven fractional digits; rounding the seventh would move 23:59:59.9999999 into the next day.
    A missing zone means UTC: audit records leave it out (Management Activity API schema).
    """
    if not isinstance(text, str):
        return None
    try:
        instant = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return to_millisecond(instant.replace(tzinfo=UTC) if instant.tzinfo is None else _as_utc(instant))


def happened_utc(text: object) -> datetime | None:
    """The same for a time at which something happened: the ends of the calendar mean that there is none.

    A table entity holds nothing before 1601, and a day at the very end has no next one; .NET's empty date is in
    the year 1, and nanoseconds end in 2262.
    """
    instant = parse_utc(text)
    return instant if instant and EARLIEST_YEAR <= instant.year <= LATEST_YEAR else None


def _as_utc(instant: datetime) -> datetime:
    try:
        return instant.astimezone(UTC)
    except OverflowError:  # an offset at the edge of year 1 or 9999
        return instant.replace(tzinfo=UTC)


def is_to_come(at: datetime | None, now: datetime, most: timedelta) -> bool:
    """Whether a pause still lasts; one that ends further ahead than `most` was begun by a clock that was ahead."""
    return at is not None and now < at <= now + most


def to_millisecond(instant: datetime) -> datetime:
    beyond = instant.microsecond % 1000
    return instant.replace(microsecond=instant.microsecond - beyond) if beyond else instant


def iso_utc(instant: datetime) -> str:
    """Write an instant the way both services accept in a query: seconds, or milliseconds where there are any."""
    text = instant.astimezone(UTC).replace(tzinfo=None)
    return text.isoformat(timespec="milliseconds" if text.microsecond else "seconds") + "Z"


def epoch_ms(instant: datetime) -> int:
    return round(instant.timestamp() * 1000)


def parse_day(text: str) -> date:
    return date.fromisoformat(text)


def span_ms(start: datetime | None, end: datetime | None) -> int | None:
    """Milliseconds from start to end; `None` unless both are known and in order."""
    if start is None or end is None or end < start:
        return None
    return (end - start) // MILLISECOND
