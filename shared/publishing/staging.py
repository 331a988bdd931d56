"""Rows waiting to be published: small files under names that tell what they hold.

They are Arrow files. Older versions staged Parquet files, which are still read.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate, chain
from typing import IO

import pyarrow as pa

from shared.batches import batches, grouped
from shared.errors import Conflict, Damaged, Unreadable
from shared.publishing.arrow_file import read_arrow, write_arrow
from shared.publishing.parquet import read_rows, rows_of
from shared.schema import TABLES, Table
from shared.state.blobs import BlobItem, Blobs
from shared.state.names import Container
from shared.threads import InvocationThreads
from shared.times import parse_day

IN_MEMORY_BYTES = 16 * 1024 * 1024
READERS = 8
FETCHED_AT_ONCE_BYTES = 16 * 1024 * 1024
FETCHED_AT_ONCE = 2_000
HANDLED_BY_ONE = 8  # handing over each alone would cost as much as reading it
ARROW, PARQUET = ".arrow", ".parquet"
STAGED = (ARROW, PARQUET)
PATH = re.compile(r"(?P<table>[a-z_]+)/(?:date=(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})/)?[^/]+(?P<ending>\.[a-z]+)")


@dataclass(frozen=True)
class Destination:
    """A published file, or the files of one day: a table, and for a dated one the UTC day."""

    table: Table
    day: date | None

    @property
    def folder(self) -> str:
        return f"{self.table.name}/date={self.day.isoformat()}/" if self.day else f"{self.table.name}/"


@dataclass(frozen=True)
class Staging:
    blobs: Blobs

    def put(self, destination: Destination, parts: Iterable[pa.Table], holds: Iterable[str]) -> int:
        """Stage rows and return their number.

        `holds` says what they were made from; its hash is the name, so that a repeat overwrites itself.
        """
        with spool() as file:
            rows = write_arrow(destination.table, parts, file)
            if rows:
                file.seek(0)
                self.blobs.put(Container.STAGING, f"{destination.folder}{_digest(holds)}{ARROW}", file)
        return rows

    def mark(self, destination: Destination, source: str) -> None:
        """Stage a row without values: what a destination is derived from has changed."""
        self.put(destination, [rows_of(destination.table, [{}])], [source])

    def waiting(self) -> dict[Destination, list[BlobItem]]:
        """All staged files by destination."""
        found = ((destination_of(item.name, STAGED), item) for item in self.blobs.list(Container.STAGING))
        by_destination = grouped(found, lambda pair: pair[0])
        return {place: [item for _, item in pairs] for place, pairs in by_destination.items() if place}

    def waiting_for(self, destination: Destination) -> list[BlobItem]:
        """The staged files of one destination, in the order in which they were staged."""
        items = self.blobs.list(Container.STAGING, destination.folder)
        mine = (item for item in items if destination_of(item.name, STAGED) == destination)
        return sorted(mine, key=lambda item: (item.modified_utc, item.name))

    def read(
        self,
        destination: Destination,
        items: Sequence[BlobItem],
        if_large: Callable[[], object] = lambda: None,
    ) -> Iterator[pa.Table]:
        """The rows of staged files, one table for each; some files are fetched ahead.

        `if_large` is called before a file is read that takes much memory.

        Raises:
            Conflict: somebody else has published and deleted one.
            Unreadable: one is damaged, or none of ours.
        """
        with InvocationThreads(READERS) as pool:
            for batch in _fetched_at_once(items):
                fetched = chain.from_iterable(pool.map(self._contents, batches(batch, HANDLED_BY_ONE)))
                for item, content in zip(batch, fetched, strict=True):
                    yield _rows(destination.table, item.name, content, if_large)

    def _contents(self, items: Sequence[BlobItem]) -> list[bytes | IO[bytes]]:
        return [self._content(item) for item in items]

    def _content(self, item: BlobItem) -> bytes | IO[bytes]:
        file = spool() if item.size > FETCHED_AT_ONCE_BYTES else None
        if file is None:
            content = self.blobs.get(Container.STAGING, item.name)
        else:
            content = file if self.blobs.copy_into(Container.STAGING, item.name, file) else None
        if content is None:
            raise Conflict(f"{item.name} was published by somebody else")
        return content

    def discard(self, items: Sequence[BlobItem], *, in_order: bool = False) -> None:
        """Delete staged files that have been published, unless they were replaced meanwhile.

        `in_order`, one by one and the oldest first, is for files of which several hold the same log: after a crash
        in between, an older version of it must not be the one that is left.
        """
        if in_order:
            self._delete(items)
            return
        with InvocationThreads(READERS) as pool:
            for deleted in [pool.submit(self._delete, some) for some in batches(items, HANDLED_BY_ONE)]:
                deleted.result()

    def _delete(self, items: Sequence[BlobItem]) -> None:
        for item in items:
            self.blobs.delete_unless_changed(Container.STAGING, item)


def spool() -> IO[bytes]:
    """A temporary file that stays in memory while it is small."""
    return tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)


def destination_of(name: str, endings: Collection[str] = (PARQUET,)) -> Destination | None:
    """Where a file belongs that is published or, with other endings, staged; `None` for none of ours."""
    match = PATH.fullmatch(name)
    table = TABLES.get(match["table"]) if match and match["ending"] in endings else None
    if match is None or table is None:
        return None
    try:
        return Destination(table, parse_day(match["day"]) if match["day"] else None)
    except ValueError:  # the thirtieth of February
        return None


def _fetched_at_once(items: Sequence[BlobItem]) -> Iterator[Sequence[BlobItem]]:
    """The files in batches that fit in memory, of at least one."""
    while items:
        fitting = sum(size <= FETCHED_AT_ONCE_BYTES for size in accumulate(item.size for item in items))
        batch = items[: max(1, min(fitting, FETCHED_AT_ONCE))]
        yield batch
        items = items[len(batch) :]


def _rows(table: Table, name: str, content: bytes | IO[bytes], if_large: Callable[[], object]) -> pa.Table:
    try:
        if name.endswith(ARROW):
            return read_arrow(table, content, if_large)
        return read_rows(table, io.BytesIO(content) if isinstance(content, bytes) else content)
    except MemoryError:  # which Arrow's is, too: it says nothing about the file
        raise
    except (Damaged, pa.ArrowException, OSError) as error:
        raise Unreadable(
            f"{Container.STAGING}/{name} can't be read, and keeps what is staged beside it from being published. "
            f"It is damaged, or was put there by somebody else: move it away. ({error})"
        ) from error


def _digest(holds: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(holds)).encode()).hexdigest()[:32]
