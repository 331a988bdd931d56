"""The ledger of content blobs: one entity a blob, from its first listing on."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import Any

from shared.audit.feed import ContentBlob
from shared.batches import grouped
from shared.errors import Conflict
from shared.state.entities import Entities, Entity, Operation, Write

SAFE_KEY = re.compile(r"[A-Za-z0-9$._\-]{1,400}")
DATED_ID = re.compile(r"(20[0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{6,}\$")
FURTHEST_DAY = timedelta(days=2)
MOST_CONFLICTS = 20


class BlobStatus(StrEnum):
    PENDING = "pending"
    DONE = "done"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """A content blob and what became of it.

    `misses` are the answers that there is no such blob, and bodies that can't be understood, the first at
    `missed_utc`.
    `dropped` and `unknown` are JSON: records left out by workload, and operations in no group, with their counts.
    """

    content_id: str
    content_type: str
    uri: str
    created_utc: datetime
    expires_utc: datetime
    listed_utc: datetime
    status: str = BlobStatus.PENDING
    attempts: int = 0
    last_error: str | None = None
    retry_utc: datetime | None = None
    misses: int | None = None
    missed_utc: datetime | None = None
    done_utc: datetime | None = None
    records: int | None = None
    records_kept: int | None = None
    records_failed: int | None = None
    bytes: int | None = None
    dropped: str | None = None
    unknown: str | None = None
    etag: str = ""

    @property
    def blob(self) -> ContentBlob:
        return ContentBlob(self.content_id, self.content_type, self.uri, self.created_utc, self.expires_utc)


class Ledger:
    def __init__(self, table: Entities) -> None:
        self._table = table

    def add(self, blobs: Iterable[ContentBlob], listed: datetime) -> int:
        """Enter the blobs that are not there yet and return their number; the others stay as they are."""
        added = 0
        for partition, group in grouped(blobs, partition_of).items():
            added += self._add(partition, {row_of(blob.content_id): blob for blob in group}, listed)
        return added

    def _add(self, partition: str, blobs: Mapping[str, ContentBlob], listed: datetime) -> int:
        for _ in range(MOST_CONFLICTS):
            present = self._present(partition, min(blobs), max(blobs))
            new = [_entry(blob, listed) for row, blob in blobs.items() if row not in present]
            try:
                self._table.write_all([_operation(Write.CREATE, entry) for entry in new])
            except Conflict:
                continue
            return len(new)
        raise Conflict(f"The ledger's {partition} changes faster than it can be written.")

    def _present(self, partition: str, first: str, last: str) -> set[str]:
        found = self._table.query(
            "PartitionKey eq @partition and RowKey ge @first and RowKey le @last",
            {"partition": partition, "first": first, "last": last},
            select=[],
        )
        return {entity.row for entity in found}

    def pending(self, content_type: str, since: date, before: date = date.max) -> Iterator[LedgerEntry]:
        """The blobs since a day, and before another, that are still to be fetched; what expires first comes first.

        Days come in order, for ids begin with the time from which expiry counts; memory holds a day at a time.
        """
        found = self._table.query(
            "PartitionKey ge @first and PartitionKey lt @last and status eq @status",
            {
                "first": f"{content_type}_{since.isoformat()}",
                "last": f"{content_type}_{before.isoformat()}",
                "status": str(BlobStatus.PENDING),
            },
        )
        for _, day in groupby(found, lambda entity: entity.partition):
            yield from sorted(map(_read, day), key=lambda entry: (entry.expires_utc, entry.content_id))

    def done(self, entries: Sequence[LedgerEntry]) -> None:
        """Enter what became of blobs whose rows are durable; whoever was quicker entered the same."""
        for group in grouped(entries, lambda entry: partition_of(entry.blob)).values():
            self._table.write_all([_operation(Write.UPSERT, entry) for entry in group])

    def failed(self, failed: LedgerEntry) -> None:
        """Enter a fetch that failed, unless another run of the app has entered something meanwhile."""
        with suppress(Conflict):
            self._table.write(_operation(Write.REPLACE, failed))

    def between(self, content_type: str, first: date, last: date) -> Iterator[LedgerEntry]:
        found = self._table.query(
            "PartitionKey ge @first and PartitionKey le @last",
            {"first": f"{content_type}_{first.isoformat()}", "last": f"{content_type}_{last.isoformat()}"},
        )
        return map(_read, found)


def partition_of(blob: ContentBlob) -> str:
    return f"{blob.content_type}_{_day(blob).isoformat()}"


def _day(blob: ContentBlob) -> date:
    """The day in the blob's id, which never changes; a listing may give another creation time another day.

    Ids look like `20200420205451053040861$…` (measured over 170 of them). One whose day is far from its creation
    only looks like that, and would be entered where nobody looks for what is pending.
    """
    dated, created = DATED_ID.match(blob.content_id), blob.created.date()
    try:
        day = date(*map(int, dated.groups())) if dated else created
    except ValueError:
        return created
    return day if abs(day - created) <= FURTHEST_DAY else created


def row_of(content_id: str) -> str:
    """The id itself where it can be a key, else its hash."""
    return content_id if SAFE_KEY.fullmatch(content_id) else hashlib.sha256(content_id.encode()).hexdigest()


def earliest_day(now: datetime) -> date:
    """The first day on which a blob that can still be fetched may have been entered, with days to spare."""
    return (now - timedelta(days=10)).date()


def _entry(blob: ContentBlob, listed: datetime) -> LedgerEntry:
    return LedgerEntry(
        content_id=blob.content_id,
        content_type=blob.content_type,
        uri=blob.uri,
        created_utc=blob.created,
        expires_utc=blob.expires,
        listed_utc=listed,
    )


def _operation(write: Write, entry: LedgerEntry) -> Operation:
    properties = {name: value for name, value in asdict(entry).items() if name != "etag"}
    return Operation(write, partition_of(entry.blob), row_of(entry.content_id), properties, entry.etag)


def _read(entity: Entity) -> LedgerEntry:
    values: dict[str, Any] = {
        name: entity.get(name) for name in LedgerEntry.__dataclass_fields__ if name != "etag"
    }
    return LedgerEntry(**values, etag=entity.etag)
