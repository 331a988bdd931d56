"""How busy machines were: hours counted anew from the runs that were active in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shared.batches import grouped
from shared.intervals import Interval, merged

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LONGEST_RUN = timedelta(days=31)
"""A run that claims more has a wrong clock or was closed long after it died: it is no machine time."""

COLUMNS = ("machine_id", "started_utc", "completed_utc")
COUNTS = ("runs", "busy_ms", "max_concurrent")


@dataclass(frozen=True)
class Activity:
    """The time that one finished run kept a machine; start and end may be the same instant."""

    machine_id: str
    started_utc: datetime
    completed_utc: datetime

    def within(self, hour: datetime) -> Interval | None:
        start, end = max(self.started_utc, hour), min(self.completed_utc, hour + HOUR)
        return Interval(start, end) if start < end else None


def whole_day(day: date) -> Interval:
    start = datetime.combine(day, time(), UTC)
    return Interval(start, start + DAY)


def activities(runs: Iterable[pa.Table], within: Interval) -> Iterator[Activity]:
    """The finished runs that were active in some time; unfinished ones count once they have ended."""
    for rows in runs:
        counted = _counted(rows)
        started, completed = counted.column("started_utc"), counted.column("completed_utc")
        overlaps = pc.and_(
            pc.less(started, pa.scalar(within.end, started.type)),
            pc.greater_equal(completed, pa.scalar(within.start, completed.type)),
        )
        for row in counted.filter(overlaps).to_pylist():
            yield Activity(row["machine_id"], _utc(row["started_utc"]), _utc(row["completed_utc"]))


def active_days(runs: Iterable[pa.Table]) -> set[date]:
    """UTC days in which finished runs were active."""
    found: set[date] = set()
    for rows in runs:
        counted = _counted(rows)
        days = {name: counted.column(name).cast(pa.date32()) for name in ("started_utc", "completed_utc")}
        for span in pa.table(days).group_by(list(days)).aggregate([]).to_pylist():
            first, last = span["started_utc"], span["completed_utc"]
            found.update(first + timedelta(days=number) for number in range((last - first).days + 1))
    return found


def hours_of(runs: Iterable[Activity], day: date) -> list[dict[str, Any]]:
    """The rows of `fact_machine_hour` of one UTC day, in order of machine and hour."""
    whole = whole_day(day)
    by_hour = grouped(
        ((run.machine_id, hour, run) for run in runs for hour in _hours(run, whole)), lambda found: found[:2]
    )
    return [
        {"machine_id": machine_id, "hour_utc": hour, **_counts(hour, [run for *_, run in found])}
        for (machine_id, hour), found in sorted(by_hour.items(), key=lambda item: item[0])
    ]


def at_least(counted: Iterable[dict[str, Any]], before: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `fact_machine_hour`, of each hour of a machine the larger counts of two."""
    by_hour = grouped([*counted, *before], lambda row: (row["machine_id"], row["hour_utc"]))
    return [
        {**found[0], **{name: max(row[name] for row in found) for name in COUNTS}}
        for _, found in sorted(by_hour.items(), key=lambda item: item[0])
    ]


def _hours(run: Activity, whole: Interval) -> Iterator[datetime]:
    """The hours of `whole` that a run was active in; one that ends on the hour is not active in the next."""
    hour = max(run.started_utc.replace(minute=0, second=0, microsecond=0), whole.start)
    while hour < whole.end and (hour < run.completed_utc or hour <= run.started_utc):
        yield hour
        hour += HOUR


def _counts(hour: datetime, runs: Sequence[Activity]) -> Mapping[str, int]:
    active = [interval for run in runs if (interval := run.within(hour))]
    busy = sum((interval.length for interval in merged(active)), timedelta())
    return {
        "runs": len(runs),
        "busy_ms": busy // timedelta(milliseconds=1),
        "max_concurrent": max(1, _most_at_once(active)),
    }


def _most_at_once(active: Sequence[Interval]) -> int:
    """Ends come before starts at the same instant: one run that follows another is not beside it."""
    changes = sorted([(one.start, 1) for one in active] + [(one.end, -1) for one in active])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def _counted(rows: pa.Table) -> pa.Table:
    started, completed = rows.column("started_utc"), rows.column("completed_utc")
    length = pc.subtract(completed.cast(pa.int64()), started.cast(pa.int64()))
    longest = pa.scalar(LONGEST_RUN // timedelta(milliseconds=1), pa.int64())
    fits = pc.and_(pc.greater_equal(length, 0), pc.less_equal(length, longest))
    return rows.select(list(COLUMNS)).filter(
        pc.fill_null(pc.and_(fits, pc.is_valid(rows.column("machine_id"))), fill_value=False)
    )


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC)
