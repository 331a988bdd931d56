"""How the rows of a published day lie, in one file or in one for each hour, and the way from one to the other.

No storage changes two blobs at once, so readers follow a rule: where the day's own file is there, the files of its
hours do not count. On the way to hours these are written first and the day's file is deleted last; on the way to
one file it is written first and the hours are deleted last. Either way a single request switches all readers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from shared.batches import grouped
from shared.errors import Conflict
from shared.publishing.counts import counts_of
from shared.publishing.day_files import DAY_PART, file_name, is_whole
from shared.publishing.merge import RULES
from shared.publishing.parquet import RowGroups, ahead, read_encoded, write_rows
from shared.publishing.published import copy_of
from shared.publishing.rewriting import rewrite
from shared.publishing.staging import Destination, destination_of, spool
from shared.schema import Table
from shared.state.blobs import BlobItem, Blobs, Lease
from shared.state.checkpoints import Checkpoints
from shared.state.names import Container

HOUR_PART = re.compile(r"part-[0-9]{2}\.parquet")
HOURS = range(24)
NAIVE = pa.timestamp("ms")
PUBLISHED = "published"
GRAIN = "grain"
MOST_ASKED = 100


def day_name(destination: Destination) -> str:
    return destination.folder + DAY_PART


def hour_name(destination: Destination, hour: int) -> str:
    return f"{destination.folder}part-{hour:02d}.parquet"


def hours_of(table: Table, rows: pa.Table) -> pa.Array:
    """The UTC hour of each row; one without an instant lies in the first."""
    utc = rows.column(table.day_column or "").cast(NAIVE)  # with a zone, Arrow would look for a zone database
    return pc.fill_null(pc.hour(utc), 0)


def of_hour(table: Table, rows: pa.Table, hour: int) -> pa.Table:
    return rows.filter(pc.equal(hours_of(table, rows), hour))


@dataclass(frozen=True)
class DayFiles:
    """The files that a published day has: its own, and those of its hours."""

    whole: BlobItem | None
    hours: Sequence[BlobItem]


@dataclass(frozen=True)
class Layout:
    """`grain` is what is wanted: `day` or `hour`."""

    blobs: Blobs
    checkpoints: Checkpoints
    grain: str

    def files(self, destination: Destination) -> DayFiles:
        items = list(self.blobs.list(Container.POWERBI, destination.folder))
        hours = [item for item in items if HOUR_PART.fullmatch(file_name(item))]
        return DayFiles(next(filter(is_whole, items), None), hours)

    def move(self, destination: Destination, files: DayFiles, lease: Lease) -> int:
        """Give a published day the wanted grain, and return how many files that took; usually none.

        Raises:
            Conflict: somebody else changed one of the files meanwhile.
        """
        if self.grain == "day" and files.hours and files.whole is None:
            return self._to_day(destination, files.hours, lease)
        if self.grain == "hour" and files.whole is not None:
            return self._to_hours(destination, files.whole, files.hours, lease)
        return 0

    def left_behind(self, files: DayFiles) -> Sequence[BlobItem]:
        """The hours that a move to one file has left behind: it was cut short, or one of them changed."""
        return files.hours if self.grain == "day" and files.whole is not None else ()

    def misplaced(self) -> list[Destination]:
        """Some days that still have the other grain, the newest first; once there is none, nobody looks again."""
        known = self.checkpoints.load(PUBLISHED, GRAIN)
        if known.values.get(GRAIN) == self.grain:
            return []
        places = sorted(self._with_other_grain(), key=lambda place: str(place.day), reverse=True)
        if not places:
            self.checkpoints.save(known, {GRAIN: self.grain})
        return places[:MOST_ASKED]

    def _with_other_grain(self) -> Iterator[Destination]:
        by_place = grouped(self.blobs.list(Container.POWERBI), lambda item: destination_of(item.name))
        for place, items in by_place.items():
            if place and place.day and any(is_whole(item) == (self.grain == "hour") for item in items):
                yield place

    def read(self, table: Table, item: BlobItem) -> pa.Table:
        """The rows of a listed file.

        Raises:
            Conflict: somebody else changed it since.
        """
        with copy_of(self.blobs, item.name) as (file, etag):
            if etag != item.etag:
                raise Conflict(f"{item.name} was changed by somebody else")
            return read_encoded(table, file)

    def _to_day(self, destination: Destination, hours: Sequence[BlobItem], lease: Lease) -> int:
        rows = self._rows(destination.table, hours, lease)
        self._put(destination.table, day_name(destination), rows, None)
        for item in hours:
            self.blobs.delete_unless_changed(Container.POWERBI, item)
        return 1

    def _rows(self, table: Table, items: Sequence[BlobItem], lease: Lease) -> Iterator[pa.Table]:
        for item in items:
            with copy_of(self.blobs, item.name) as (file, etag):
                if etag != item.etag:
                    raise Conflict(f"{item.name} was changed by somebody else")
                groups = RowGroups(table, file)
                for number in range(len(groups)):
                    lease.renew()
                    yield groups.read(number)

    def _to_hours(self, destination: Destination, whole: BlobItem, hours: Sequence[BlobItem], lease: Lease) -> int:
        """Each file replaces only what was listed before the day was read, so that no newer one is undone.

        Hours that are there already may hold what the day's file does not, where two instances at once wanted
        another grain: they are merged with it. Derived ones are made anew from it.
        """
        table, there = destination.table, {item.name: item for item in hours}
        is_merged = table.name in RULES
        with copy_of(self.blobs, whole.name) as (file, etag):
            if etag is None:
                raise Conflict(f"{whole.name} was moved by somebody else")
            groups = RowGroups(table, file)
            hours_found = _groups_by_hour(table, groups)
            for hour, numbers in hours_found.items():
                name = hour_name(destination, hour)
                rows, item = _rows_of_hour(table, groups, hour, numbers, lease), there.pop(name, None)
                self._put(table, name, rows, item, [self.read(table, item)] if item and is_merged else [])
        for item in (*(() if is_merged else there.values()), replace(whole, etag=etag)):
            self.blobs.delete_unless_changed(Container.POWERBI, item)
        return len(hours_found)

    def _put(
        self,
        table: Table,
        name: str,
        rows: Iterable[pa.Table],
        there: BlobItem | None,
        kept: Sequence[pa.Table] = (),
    ) -> None:
        """Write rows into a file that is not there, or in place of what is there, of which `kept` is merged in."""
        with ExitStack() as files:
            new = files.enter_context(spool())
            write_rows(table, ahead(rows), new)
            if kept:
                merged = files.enter_context(spool())
                new = merged if rewrite(table, new, kept, merged) is not None else new
            notes = counts_of(table, new)
            new.seek(0)
            etag = there.etag if there else None
            self.blobs.put(Container.POWERBI, name, new, if_match=etag, if_absent=there is None, notes=notes)


def _groups_by_hour(table: Table, groups: RowGroups) -> dict[int, list[int]]:
    """The hours of which a file has rows, each with the row groups that hold them."""
    found: dict[int, list[int]] = {}
    for number in range(len(groups)):
        part = groups.read(number, [table.day_column or ""])
        for hour in pc.unique(hours_of(table, part)).to_pylist():
            found.setdefault(hour, []).append(number)
    return dict(sorted(found.items()))


def _rows_of_hour(
    table: Table, groups: RowGroups, hour: int, numbers: Sequence[int], lease: Lease
) -> Iterator[pa.Table]:
    for number in numbers:
        lease.renew()
        yield of_hour(table, groups.read(number), hour)
