"""Publishing: staged rows merged into the files that Power BI reads, one destination at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from shared.publishing.counts import counts_of
from shared.publishing.derived import DERIVED, Derivations
from shared.publishing.dimensions import stage_unknown_members
from shared.publishing.forgotten import ForgottenPeople
from shared.publishing.layout import HOURS, Layout, day_name, hour_name, of_hour
from shared.publishing.merge import RULES, SetsSeen, together
from shared.publishing.parquet import encoded, gathered, read_rows, rows_of, write_rows
from shared.publishing.published import copy_of
from shared.publishing.rewriting import rewrite
from shared.publishing.staging import Destination, Staging, spool
from shared.publishing.turns import Turns
from shared.schema import Table
from shared.state.blobs import BlobItem, Blobs, Lease
from shared.state.names import Container

MOST_STAGED_BYTES = 128 * 1024 * 1024  # in memory; a staged file is compressed
LEAST_TABLE_BYTES = 40 * 1024  # what describes its columns takes memory of its own: 80 KiB, measured of runs
LARGE_BYTES = 2 * 1024 * 1024  # of staged files
LARGE_TABLES_BYTES = 32 * 1024 * 1024  # of what they hold


@dataclass(frozen=True)
class Publication:
    """What one publishing did, and what is to be published next because of it."""

    rows_staged: int = 0
    rows_new: int = 0
    files_written: int = 0
    next: tuple[Destination, ...] = ()


@dataclass(frozen=True)
class _Staged:
    """The rows of some staged files, in few tables, and whether a set is in several of the files."""

    items: Sequence[BlobItem]
    rows: int
    tables: Sequence[pa.Table]
    repeated: bool


@dataclass(frozen=True)
class _Done:
    """A publication, complete but for the staged files, which are to be given up, perhaps in their order."""

    publication: Publication
    items: Sequence[BlobItem]
    in_order: bool = False


@dataclass(frozen=True)
class Publisher:
    blobs: Blobs
    staging: Staging
    derivations: Derivations
    forgotten: ForgottenPeople
    layout: Layout
    turns: Turns = field(default_factory=Turns)

    def publish(self, destination: Destination) -> Publication:
        """Merge what is staged for a destination into its files, after giving these the wanted grain.

        Members that the rows refer to are staged first, the files are written next, what is derived from them is
        marked, and only then the staged rows are given up, so that a crash in between repeats all of it.
        What takes much memory is done one after another: a derived day is made from all of its runs.

        Raises:
            Conflict: somebody else is publishing it, or changed a file meanwhile. All that was read may be out of
                date by then, the forgotten people too, so nothing is tried again: what is staged stays staged.
        """
        with self.blobs.leased(Container.STAGING, lock_name(destination)) as lease:
            moved = self._arrange(destination, lease)
            items = self.staging.waiting_for(destination)
            if not items:
                return Publication(files_written=moved)
            work = self._derive if destination.table.name in DERIVED else self._merge
            with self.turns.at_need(lease) as take_turn:
                if destination.table.name in DERIVED or sum(item.size for item in items) > LARGE_BYTES:
                    take_turn()
                done = work(destination, items, lease, take_turn)
            self.staging.discard(done.items, in_order=done.in_order)
            return replace(done.publication, files_written=moved + done.publication.files_written)

    def _merge(
        self, destination: Destination, items: Sequence[BlobItem], lease: Lease, take_turn: Callable[[], None]
    ) -> _Done:
        staged = self._read_staged(destination, items, take_turn)
        tables = self.forgotten.applied(destination.table, staged.tables)
        members = stage_unknown_members(self.blobs, self.staging, destination.table, tables)
        reached = self.derivations.note_runs(destination, tables)
        merged = [self._replace(*part, lease) for part in self._parts(destination, tables)]
        derived = self.derivations.mark_days(reached, destination)
        publication = Publication(
            rows_staged=staged.rows,
            rows_new=sum(rows.num_rows for rows in merged if rows is not None),
            files_written=sum(rows is not None for rows in merged),
            next=(*members, *derived, *([destination] if len(items) > len(staged.items) else [])),
        )
        return _Done(publication, staged.items, in_order=staged.repeated)

    def _read_staged(
        self, destination: Destination, items: Sequence[BlobItem], take_turn: Callable[[], None]
    ) -> _Staged:
        """The first staged files, as many as memory holds: each further round writes a day's file anew.

        Files of little size can hold much: what repeats itself is small until it is read.
        Many small tables would cost more at every further step than putting them together costs here.
        """
        table, tables, sets = destination.table, list[pa.Table](), SetsSeen(RULES[destination.table.name])
        files = rows = 0
        for held in gathered(self.staging.read(destination, items, take_turn), _size_in_memory):
            united = together(sets.rule, held)
            sets.add(held, united)
            tables.append(encoded(table, united.combine_chunks() if len(held) > 1 else united))
            files, rows = files + len(held), rows + sum(part.num_rows for part in held)
            size = sum(part.nbytes for part in tables)
            if size >= LARGE_TABLES_BYTES:
                take_turn()
            if size >= MOST_STAGED_BYTES:
                break
        return _Staged(items[:files], rows, tables, sets.repeated)

    def _arrange(self, destination: Destination, lease: Lease) -> int:
        """Give a day the wanted grain; the hours that an earlier move left behind are merged into its file."""
        if destination.day is None:
            return 0
        files = self.layout.files(destination)
        for item in self.layout.left_behind(files):
            if destination.table.name not in DERIVED:
                left = [self.layout.read(destination.table, item)]
                self._replace(destination.table, day_name(destination), left, lease)
            self.blobs.delete_unless_changed(Container.POWERBI, item)
        return self.layout.move(destination, files, lease)

    def _derive(
        self,
        destination: Destination,
        marks: Sequence[BlobItem],
        _lease: Lease,
        _take_turn: Callable[[], None],
    ) -> _Done:
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
        return _Done(Publication(files_written=written), marks)

    def _write_if_different(self, table: Table, name: str, rows: pa.Table, etag: str | None) -> bool:
        if rows.equals(self._there(table, name)):
            return False
        with spool() as new:
            write_rows(table, [rows], new)
            new.seek(0)
            self.blobs.put(Container.POWERBI, name, new, if_match=etag, if_absent=etag is None)
        return True

    def _there(self, table: Table, name: str) -> pa.Table:
        with copy_of(self.blobs, name) as (old, etag):
            return rows_of(table, []) if etag is None else read_rows(table, old)

    def _parts(
        self, destination: Destination, tables: Sequence[pa.Table]
    ) -> Iterator[tuple[Table, str, Sequence[pa.Table]]]:
        """Table, file name and staged rows of each file that a destination consists of."""
        if destination.day is None:
            yield destination.table, f"{destination.folder}{destination.table.name}.parquet", tables
        elif self.layout.grain == "day":
            yield destination.table, day_name(destination), tables
        else:
            for hour in HOURS:
                if parts := [
                    part for table in tables if (part := of_hour(destination.table, table, hour)).num_rows
                ]:
                    yield destination.table, hour_name(destination, hour), parts

    def _replace(self, table: Table, name: str, staged: Sequence[pa.Table], lease: Lease) -> pa.Table | None:
        """Merge into one file and return the rows that are new in it; `None` if the file stays as it is.

        The lease, still held once the file is read, tells that the staged rows are as new as the file is.
        """
        with copy_of(self.blobs, name) as (old, etag), spool() as new:
            lease.renew()
            new_rows = rewrite(table, None if etag is None else old, staged, new, lease.renew)
            if new_rows is None:
                return None
            notes = counts_of(table, new)
            new.seek(0)
            self.blobs.put(Container.POWERBI, name, new, if_match=etag, if_absent=etag is None, notes=notes)
            return new_rows


def _size_in_memory(read: pa.Table) -> int:
    """What a file was read into is its own: counting that spares a look at every column of a thousand tables."""
    return max(read.get_total_buffer_size(), LEAST_TABLE_BYTES)


def lock_name(destination: Destination) -> str:
    return f"locks/{destination.folder}lock"
