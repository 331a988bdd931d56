"""Fetching the content blobs of the ledger, and staging their events."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from shared.audit.blob import Selection, select
from shared.audit.events import read_event
from shared.batches import batches, grouped
from shared.clock import Deadline
from shared.errors import Defer, Missing, Skip, Throttled, TooLarge, Unreadable
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_AUDIT_EVENT
from shared.state.journal import Gap
from shared.state.ledger import BlobStatus, LedgerEntry, earliest_day, row_of
from shared.state.names import Container

if TYPE_CHECKING:
    from shared.app import App
    from shared.functions.sources import Tally

log = logging.getLogger("flowtrail")

THREADS = 12
BLOBS_PER_BATCH = 48
RESERVE_S = 60.0
MOST_ATTEMPTS = 5
GONE_FOR_GOOD = frozenset({"AF20051", "AF20052"})
"""Codes of blobs that no further attempt will bring: expired, and unknown to the service."""


@dataclass
class _Fetched:
    """A blob that was fetched and read."""

    entry: LedgerEntry
    selection: Selection
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Collector:
    """Works off the pending blobs of one content type, a batch of them at a time.

    Raw records and rows are durable before the ledger calls a blob done. A blob that fails stays pending and
    keeps no other one waiting; one that can't be had any more is lost, which is a gap.
    """

    def __init__(self, app: App, content_type: str, deadline: Deadline, tally: Tally) -> None:
        self.app = app
        self.content_type = content_type
        self.deadline = deadline
        self.tally = tally
        self.throttled = threading.Event()

    def collect(self) -> None:
        pending = self.app.ledger.pending(self.content_type, earliest_day(self.app.clock.now()))
        with ThreadPoolExecutor(THREADS) as pool:
            for batch in batches(pending, BLOBS_PER_BATCH):
                if self.throttled.is_set() or self.deadline.remaining_s < RESERVE_S:
                    self.tally.finished = False
                    return
                self._keep([fetched for fetched in pool.map(self._fetch, batch) if fetched])

    def _fetch(self, entry: LedgerEntry) -> _Fetched | None:
        if self.throttled.is_set():
            return None
        try:
            return self._read(entry)
        except Throttled as error:
            self.throttled.set()
            log.warning("Fetching %s pauses: %s", self.content_type, error)
        except (Defer, Skip) as error:
            self._failed(entry, error)
        except Exception as error:
            log.exception("Content blob %s failed", entry.content_id)
            self._failed(entry, Unreadable(f"{type(error).__name__}: {error}"))
        return None

    def _read(self, entry: LedgerEntry) -> _Fetched:
        body = self.app.activity_feed.fetch(entry.blob, self.deadline)
        try:
            selection = select(body, self.app.settings.audit_workloads)
        except Unreadable:
            self._put_raw(entry, "unreadable/audit", body)
            raise
        fetched = _Fetched(replace(entry, bytes=len(body)), selection)
        for record in selection.kept:
            self._add_event(fetched, record)
        self._keep_raw(fetched, body)
        return fetched

    def _add_event(self, fetched: _Fetched, record: bytes) -> None:
        try:
            fetched.rows.append(read_event(record, fetched.entry.blob, self.app.clock.now()))
        except Unreadable:
            fetched.selection.failed.append(record)

    def _keep_raw(self, fetched: _Fetched, body: bytes) -> None:
        """Keep what the setting `RAW_AUDIT` wants kept as received, and always what could not be read."""
        rule, selection = self.app.settings.raw_audit, fetched.selection
        if rule == "all":
            self._put_raw(fetched.entry, "audit", body)
        elif rule == "kept" and selection.kept:
            self._put_raw(fetched.entry, "audit", _array(selection.kept))
        if selection.failed:
            log.error(
                "%d records of content blob %s can't be read", len(selection.failed), fetched.entry.content_id
            )
            self._put_raw(fetched.entry, "unreadable/audit", b"\n".join(selection.failed))

    def _put_raw(self, entry: LedgerEntry, folder: str, body: bytes) -> None:
        name = f"{folder}/{entry.content_type}/date={entry.created_utc.date()}/{row_of(entry.content_id)}.json.gz"
        self.app.storage.blobs.put(Container.RAW, name, gzip.compress(body, 6, mtime=0))

    def _keep(self, batch: Sequence[_Fetched]) -> None:
        """Stage the rows of a batch, one file for each day of events, then call its blobs done."""
        rows = [row for fetched in batch for row in fetched.rows]
        holds = [fetched.entry.content_id for fetched in batch]
        for day, group in grouped(rows, _day).items():
            self.app.staging.put(Destination(FACT_AUDIT_EVENT, day), [rows_of(FACT_AUDIT_EVENT, group)], holds)
        self.app.ledger.done([self._done(fetched) for fetched in batch])
        self.tally.rows_read += sum(fetched.selection.records for fetched in batch)
        self.tally.rows_written += len(rows)
        self.tally.rows_failed += sum(len(fetched.selection.failed) for fetched in batch)

    def _done(self, fetched: _Fetched) -> LedgerEntry:
        selection = fetched.selection
        return replace(
            fetched.entry,
            status=BlobStatus.DONE,
            attempts=fetched.entry.attempts + 1,
            last_error=None,
            done_utc=self.app.clock.now(),
            records=selection.records,
            records_kept=len(fetched.rows),
            records_failed=len(selection.failed),
            dropped=json.dumps(dict(selection.dropped.most_common(50))) if selection.dropped else None,
        )

    def _failed(self, entry: LedgerEntry, error: Defer | Skip) -> None:
        """Leave a blob pending for a few attempts more, or call it lost where there is no hope."""
        gone = isinstance(error, Missing) and error.code.upper() in GONE_FOR_GOOD
        worn_out = isinstance(error, (Missing, Unreadable, TooLarge)) and entry.attempts + 1 >= MOST_ATTEMPTS
        lost = gone or worn_out
        log.log(logging.ERROR if lost else logging.WARNING, "Content blob %s: %s", entry.content_id, error)
        if lost:
            self._note_gap(entry, str(error))
        self.app.ledger.failed(entry, str(error), lost=lost)
        self.tally.rows_failed += 1

    def _note_gap(self, entry: LedgerEntry, reason: str) -> None:
        self.app.journal.lost(
            Gap(
                source=self.content_type,
                from_utc=entry.created_utc,
                to_utc=entry.created_utc,
                kind="content blob lost",
                subject=entry.content_id,
                reason=reason,
                noticed_utc=self.app.clock.now(),
            )
        )


def _array(records: Sequence[bytes]) -> bytes:
    return b"[" + b",\n".join(records) + b"]"


def _day(row: dict[str, Any]) -> date:
    return row["created_utc"].date()
