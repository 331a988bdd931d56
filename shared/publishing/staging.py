"""Rows waiting to be published: small files under names that tell what they hold."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import IO

import pyarrow as pa

from shared.batches import grouped
from shared.errors import Conflict
from shared.publishing.parquet import read_encoded, rows_of, write_rows
from shared.schema import TABLES, Table
from shared.state.blobs import BlobItem, Blobs
from shared.state.names import Container
from shared.threads import InvocationThreads
from shared.times import parse_day

IN_MEMORY_BYTES = 16 * 1024 * 1024
READERS = 8
PATH = re.compile(r"(?P<table>[a-z_]+)/(?:date=(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})/)?[^/]+\.parquet")


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
            rows = write_rows(destination.table, parts, file)
            if rows:
                file.seek(0)
                self.blobs.put(Container.STAGING, f"{destination.folder}{_digest(holds)}.parquet", file)
        return rows

    def mark(self, destination: Destination, source: str) -> None:
        """Stage a row without values: what a destination is derived from has changed."""
        self.put(destination, [rows_of(destination.table, [{}])], [source])

    def waiting(self) -> dict[Destination, list[BlobItem]]:
        """All staged files by destination."""
        found = ((destination_of(item.name), item) for item in self.blobs.list(Container.STAGING))
        by_destination = grouped(found, lambda pair: pair[0])
        return {place: [item for _, item in pairs] for place, pairs in by_destination.items() if place}

    def waiting_for(self, destination: Destination) -> list[BlobItem]:
        """The staged files of one destination, in the order in which they were staged."""
        items = self.blobs.list(Container.STAGING, destination.folder)
        mine = (item for item in items if destination_of(item.name) == destination)
        return sorted(mine, key=lambda item: (item.modified_utc, item.name))

    def read(self, destination: Destination, items: list[BlobItem]) -> list[pa.Table]:
        """The rows of staged files, one table for each, labels as dictionaries.

        Raises:
            Conflict: somebody else has published and deleted one.
        """
        with InvocationThreads(READERS) as pool:
            return list(pool.map(partial(self._read, destination.table), items))

    def _read(self, table: Table, item: BlobItem) -> pa.Table:
        with spool() as file:
            if self.blobs.copy_into(Container.STAGING, item.name, file) is None:
                raise Conflict(f"{item.name} was published by somebody else")
            file.seek(0)
            return read_encoded(table, file)

    def discard(self, items: list[BlobItem]) -> None:
        """Delete staged files that have been published, the oldest first, unless they were replaced meanwhile.

        The order matters: after a crash in between, an older version of a log must not be the one that is left.
        """
        for item in items:
            self.blobs.delete_unless_changed(Container.STAGING, item)


def spool() -> IO[bytes]:
    """A temporary file that stays in memory while it is small."""
    return tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)


def destination_of(name: str) -> Destination | None:
    """Where a staged file belongs; `None` for a name that is none of ours."""
    match = PATH.fullmatch(name)
    table = TABLES.get(match["table"]) if match else None
    if match is None or table is None:
        return None
    try:
        return Destination(table, parse_day(match["day"]) if match["day"] else None)
    except ValueError:  # the thirtieth of February
        return None


def _digest(holds: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(holds)).encode()).hexdigest()[:32]
