"""Tables that are made from other ones: whole days, made anew whenever what they are made from has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, timedelta
from typing import Any

import pyarrow as pa

from shared.batches import grouped
from shared.clock import Clock
from shared.errors import Conflict
from shared.publishing.day_files import current
from shared.publishing.machine_hours import COLUMNS, active_days, activities, at_least, hours_of, whole_day
from shared.publishing.parquet import iter_rows, rows_of
from shared.publishing.published import copy_of
from shared.publishing.reach import Reach
from shared.publishing.staging import Destination, Staging
from shared.schema import FACT_FLOW_SESSION, FACT_GAP, FACT_INGEST, FACT_MACHINE_HOUR
from shared.state.blobs import Blobs
from shared.state.checkpoints import Checkpoint, Checkpoints
from shared.state.journal import Gap, Journal
from shared.state.names import Container
from shared.times import parse_day

DERIVED = frozenset({FACT_MACHINE_HOUR.name, FACT_INGEST.name, FACT_GAP.name})
PUBLISHED = "published"
LATEST_RECORD = timedelta(hours=1)
"""A function notes its run under the day on which it began; none lasts this long."""
LONGEST_SUBJECTS = 4000
BEFORE_ALL = "1970-01-01"


@dataclass(frozen=True)
class Derivations:
    """What derived tables hold, asked for when a mark in staging says that it has changed."""

    blobs: Blobs
    staging: Staging
    journal: Journal
    reach: Reach

    def rows(self, destination: Destination) -> pa.Table:
        """All rows of a derived file, in an order that depends on nothing but them."""
        if destination.table is FACT_GAP or destination.day is None:
            return rows_of(FACT_GAP, gap_rows(self.journal.gaps()))
        if destination.table is FACT_INGEST:
            return rows_of(FACT_INGEST, self._ingest_rows(destination.day))
        return rows_of(FACT_MACHINE_HOUR, self._machine_hours(destination.day))

    def note_runs(self, destination: Destination, runs: Sequence[pa.Table]) -> list[date]:
        """Note, before they are published, which days runs reach; return the days to be counted then."""
        if destination.table is not FACT_FLOW_SESSION or destination.day is None:
            return []
        return sorted(self.reach.note(destination.day, active_days(runs)))

    def mark_days(self, days: Iterable[date], source: Destination) -> list[Destination]:
        """Ask for the machine hours of days to be counted; return what is to be published."""
        places = [Destination(FACT_MACHINE_HOUR, day) for day in days]
        for place in places:
            self.staging.mark(place, source.folder)
        return places

    def _ingest_rows(self, day: date) -> list[dict[str, Any]]:
        rows = [asdict(record) for record in self.journal.day(day.isoformat())]
        return sorted(rows, key=lambda row: (row["at_utc"], row["function"], row["source"]))

    def _machine_hours(self, day: date) -> list[dict[str, Any]]:
        """Counted anew from the runs that are there; where some were deleted, nothing becomes less than it was."""
        created = self.reach.created_days(day)
        runs = (rows for one in created for rows in self._published(Destination(FACT_FLOW_SESSION, one), COLUMNS))
        counted = hours_of(activities(runs, whole_day(day)), day)
        if not self.reach.lacks_runs(created):
            return counted
        before = self._published(Destination(FACT_MACHINE_HOUR, day), FACT_MACHINE_HOUR.column_names)
        return at_least(counted, [row for rows in before for row in rows.to_pylist()])

    def _published(self, destination: Destination, columns: Iterable[str]) -> Iterator[pa.Table]:
        for item in current(self.blobs.list(Container.POWERBI, destination.folder)):
            with copy_of(self.blobs, item.name) as (file, etag):
                if etag is None:
                    raise Conflict(f"{item.name} was moved or deleted by somebody else")
                yield from iter_rows(destination.table, file, list(columns))


def gap_rows(gaps: Iterable[Gap]) -> list[dict[str, Any]]:
    """The rows of `fact_gap`: one for each source and time, which names all that is missing there."""
    by_time = grouped(gaps, lambda gap: (gap.source, gap.from_utc, gap.to_utc))
    return [
        {
            "source": source,
            "from_utc": from_utc,
            "to_utc": to_utc,
            "kind": _joined(gap.kind for gap in found),
            "subject": _joined(gap.subject for gap in found),
            "reason": _joined(gap.reason for gap in found),
            "noticed_utc": min(gap.noticed_utc for gap in found),
            "is_loss": any(gap.is_loss for gap in found),
        }
        for (source, from_utc, to_utc), found in sorted(by_time.items(), key=lambda item: item[0])
    ]


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(sorted(set(texts)))[:LONGEST_SUBJECTS]


@dataclass(frozen=True)
class JournalMarks:
    """Marks what the app's own journal has new: the ingest log by day, the gaps as a whole."""

    journal: Journal
    staging: Staging
    checkpoints: Checkpoints
    clock: Clock

    def mark_changes(self) -> None:
        """Mark the gaps, and every day of the ingest log, if they are not as they were when last marked."""
        self._mark_gaps()
        self._mark_days()

    def _mark_gaps(self) -> None:
        """A gap is written once, so that only those noticed of late can be new; days as in the ingest log."""
        place = self.checkpoints.load(PUBLISHED, FACT_GAP.name)
        first = parse_day(place.values.get("first_day") or BEFORE_ALL)
        contents = _contents(place.values.get("contents"))
        noticed = grouped(self.journal.gaps_noticed_from(first), lambda gap: str(gap.noticed_utc.date()))
        found = {day: _digest(map(repr, gaps)) for day, gaps in noticed.items()}
        if any(contents.get(day) != content for day, content in found.items()):
            self.staging.mark(Destination(FACT_GAP, None), FACT_GAP.name)
        self._remember(place, found)

    def _mark_days(self) -> None:
        """Days are looked at until an hour after their end: nothing is written to them later."""
        now = self.clock.now().astimezone(UTC)
        place = self.checkpoints.load(PUBLISHED, FACT_INGEST.name)
        first = place.values.get("first_day") or self.journal.first_day()
        if first is None:
            return
        contents = _contents(place.values.get("contents"))
        days = [parse_day(first) + timedelta(days=at) for at in range((now.date() - parse_day(first)).days + 1)]
        for day in days:
            content = _digest(f"{one.function} {one.source} {one.at_utc}" for one in self.journal.day(str(day)))
            if content not in (contents.get(str(day)), _digest(())):
                self.staging.mark(Destination(FACT_INGEST, day), FACT_INGEST.name)
                contents[str(day)] = content
        self._remember(place, contents)

    def _remember(self, place: Checkpoint, contents: Mapping[str, str]) -> None:
        settled = (self.clock.now().astimezone(UTC) - LATEST_RECORD).date().isoformat()
        listed = " ".join(f"{day}={content}" for day, content in sorted(contents.items()) if day >= settled)
        self.checkpoints.save(place, {"first_day": settled, "contents": listed})


def _contents(text: str | None) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in (text or "").split())
    return {day: content for day, _, content in pairs}


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()[:24]
