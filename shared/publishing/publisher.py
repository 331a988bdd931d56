"""Publishing: staged rows merged into the files that Power BI reads, one destination at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from shared.errors import Conflict
from shared.publishing.derived import DERIVED, Derivations
from shared.publishing.dimensions import stage_unknown_members
from shared.publishing.parquet import read_rows, rows_of, write_rows
from shared.publishing.rewriting import rewrite
from shared.publishing.staging import Destination, Staging, spool
from shared.schema import Table
from shared.state.blobs import BlobItem, Blobs, Lease
from shared.state.names import Container

MOST_STAGED_BYTES = 16 * 1024 * 1024  # compressed; repetitive text takes twenty times as much in memory
MOST_STAGED_FILES = 2_000
MOST_CONFLICTS = 5
HOUR_PART = re.compile(r"part-[0-9]{2}\.parquet")
DAY_PART = "part-0.parquet"
NAIVE = pa.timestamp("ms")


@dataclass(frozen=True)
class Publication:
    """What one publishing did, and what is to be published next because of it."""

    rows_staged: int = 0
    rows_new: int = 0
    files_written: int = 0
    next: tuple[Destination, ...] = ()


@dataclass(frozen=True)
class Publisher:
    """`grain` is day or hour; a day that is published already keeps the grain it has."""

    blobs: Blobs
    staging: Staging
    derivations: Derivations
    grain: str

    def publish(self, destination: Destination) -> Publication:
        """Merge what is staged for a destination into its files.

        Members that the rows refer to are staged first, the files are written next, what is derived from them is
        marked, and only then the staged rows are given up, so that a crash in between repeats all of it.

        Raises:
            Conflict: somebody else is publishing it, or changed a file again and again.
        """
        with self.blobs.leased(Container.STAGING, lock_name(destination)) as lease:
            items = self.staging.waiting_for(destination)
            now = _first_batch(items)
            if not now:
                return Publication()
            if destination.table.name in DERIVED:
                return self._derive(destination, items)
            tables = self.staging.read(destination, now)
            members = stage_unknown_members(self.blobs, self.staging, destination.table, tables)
            reached = self.derivations.note_runs(destination, tables)
            merged = [self._publish_file(*part, lease) for part in self._parts(destination, tables)]
            derived = self.derivations.mark_days(reached, destination)
            self.staging.discard(now)
            return Publication(
                rows_staged=sum(table.num_rows for table in tables),
                rows_new=sum(rows.num_rows for rows in merged if rows is not None),
                files_written=sum(rows is not None for rows in merged),
                next=(*members, *derived, *([destination] if len(items) > len(now) else [])),
            )

    def _derive(self, destination: Destination, marks: list[BlobItem]) -> Publication:
        """Make the files anew from what they are made from, and write those that come out different.

        Their ETags are taken first: of two publishers, one that began earlier can't undo what the other one made
        from newer rows.
        """
        there = {item.name: item.etag for item in self.blobs.list(Container.POWERBI, destination.folder)}
        rows = self.derivations.rows(destination)
        parts = {name: tables[0] for _, name, tables in self._parts(destination, [rows])}
        written = sum(
            self._write_if_different(destination.table, name, parts.get(name, rows.slice(0, 0)), there.get(name))
            for name in sorted({*parts, *there})  # an hour that lost all its rows leaves an empty file behind
        )
        self.staging.discard(marks)
        return Publication(files_written=written)

    def _write_if_different(self, table: Table, name: str, rows: pa.Table, etag: str | None) -> bool:
        if rows.equals(self._there(table, name)):
            return False
        with spool() as new:
            write_rows(table, [rows], new)
            new.seek(0)
            self.blobs.put(Container.POWERBI, name, new, if_match=etag, if_absent=etag is None)
        return True

    def _there(self, table: Table, name: str) -> pa.Table:
        with spool() as old:
            if self.blobs.copy_into(Container.POWERBI, name, old) is None:
                return rows_of(table, [])
            old.seek(0)
            return read_rows(table, old)

    def _parts(
        self, destination: Destination, tables: Sequence[pa.Table]
    ) -> Iterator[tuple[Table, str, Sequence[pa.Table]]]:
        """Table, file name and staged rows of each file that a destination consists of."""
        if destination.day is None:
            yield destination.table, f"{destination.folder}{destination.table.name}.parquet", tables
        elif self._grain_of(destination) == "day":
            yield destination.table, destination.folder + DAY_PART, tables
        else:
            for hour in range(24):
                if parts := [
                    part for table in tables if (part := _of_hour(destination.table, table, hour)).num_rows
                ]:
                    yield destination.table, f"{destination.folder}part-{hour:02d}.parquet", parts

    def _grain_of(self, destination: Destination) -> str:
        names = [item.name.rpartition("/")[2] for item in self.blobs.list(Container.POWERBI, destination.folder)]
        if DAY_PART in names:
            return "day"
        return "hour" if any(map(HOUR_PART.fullmatch, names)) else self.grain

    def _publish_file(self, table: Table, name: str, staged: Sequence[pa.Table], lease: Lease) -> pa.Table | None:
        """Merge into one file and return the rows that are new in it; `None` if the file stays as it is."""
        for _ in range(MOST_CONFLICTS):
            try:
                return self._replace(table, name, staged, lease)
            except Conflict:
                continue
        raise Conflict(f"{name} was changed by somebody else {MOST_CONFLICTS} times in a row")

    def _replace(self, table: Table, name: str, staged: Sequence[pa.Table], lease: Lease) -> pa.Table | None:
        with spool() as old, spool() as new:
            etag = self.blobs.copy_into(Container.POWERBI, name, old)
            new_rows = rewrite(table, None if etag is None else old, staged, new, lease.renew)
            if new_rows is None:
                return None
            new.seek(0)
            self.blobs.put(Container.POWERBI, name, new, if_match=etag, if_absent=etag is None)
            return new_rows


def lock_name(destination: Destination) -> str:
    return f"locks/{destination.folder}lock"


def _first_batch(items: Sequence[BlobItem]) -> list[BlobItem]:
    """As many staged files as fit in memory at once, at least one."""
    sizes = accumulate(item.size for item in items)
    fitting = sum(size <= MOST_STAGED_BYTES for size in sizes)
    return list(items[: max(1, min(fitting, MOST_STAGED_FILES))])


def _of_hour(table: Table, rows: pa.Table, hour: int) -> pa.Table:
    utc = rows.column(table.day_column or "").cast(NAIVE)  # with a zone, Arrow would look for a zone database
    return rows.filter(pc.equal(pc.hour(utc), hour))
