"""Fetching the content blobs of the ledger, and staging their events."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from shared.audit.cursor import RETENTION
from shared.audit.feed import ContentBlob
from shared.audit.forgiveness import LONGEST_PAUSE, after_failure
from shared.audit.reading import Reading, as_array, read_blob, told
from shared.batches import grouped
from shared.clock import Deadline
from shared.errors import Defer, FlowtrailError, Skip, Stop, Throttled, Unreadable
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_AUDIT_EVENT
from shared.state.journal import BLOB_LOST, RECORDS_UNREADABLE, Gap
from shared.state.ledger import BlobStatus, LedgerEntry, earliest_day, row_of
from shared.state.names import Container
from shared.threads import InvocationThreads
from shared.times import is_to_come

if TYPE_CHECKING:
    from shared.app import App
    from shared.tally import Tally

log = logging.getLogger("flowtrail")

THREADS = 12
"""Of all content types together."""
IN_FLIGHT_PER_THREAD = 3
BLOBS_PER_BATCH = 48
ROWS_PER_BATCH = 20_000
RESERVE_S = 60.0
MOST_REFUSALS = 20 * THREADS
MOST_NAMES = 12
UNREADABLE = "unreadable/audit"
LONGEST_NAME = 100
LONGEST_COLLECTION = timedelta(hours=1)


@dataclass(frozen=True)
class Fetched:
    """A blob that was fetched and read, with its ledger entry as it will be once its rows are staged."""

    entry: LedgerEntry
    rows: Sequence[dict[str, Any]]
    dropped: Counter[str]
    unknown: Counter[str]


class Collector:
    """Works off the pending blobs of one content type, several at a time.

    Raw records and rows are durable before the ledger calls a blob done. A blob that fails stays pending and
    keeps no other one waiting; one that can't be had any more is lost, which is a gap.
    """

    def __init__(self, app: App, content_type: str, deadline: Deadline, tally: Tally) -> None:
        self.app = app
        self.content_type = content_type
        self.deadline = deadline
        self.tally = tally
        self.server_time = app.clock.now()
        self.halted = threading.Event()
        self.refusal: Stop | None = None
        self.refusals = 0
        self.dropped: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def collect(self, server_time: datetime) -> None:
        """Fetch what is pending; `server_time` is the service's own.

        Raises:
            Stop: the service refuses blobs to this identity; those that it gives are done.
        """
        self.server_time = server_time
        self.tally.waiting = self.tally.waiting or 0
        threads = max(2, THREADS // len(self.app.settings.audit_content_types))
        with InvocationThreads(threads) as pool:
            for batch in _batches(self._fetch_all(pool, IN_FLIGHT_PER_THREAD * threads)):
                self._keep(batch)
        self._tell_counts()
        if self.refusal is not None:
            raise self.refusal

    def _fetch_all(self, pool: InvocationThreads, most_in_flight: int) -> Iterator[Fetched]:
        """Blobs as they come, a bounded number of them under way; a slow one keeps no other one waiting."""
        running: set[Future[Fetched | None]] = set()
        due = self._due()
        for entry in due:
            if self.halted.is_set() or self.deadline.remaining_s < RESERVE_S:
                self.tally.finished = False
                for left in chain([entry], due):
                    self.tally.waits(left.listed_utc)
                break
            running.add(pool.submit(self._fetch, entry))
            if len(running) >= most_in_flight:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from _results(done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from _results(done)

    def _due(self) -> Iterator[LedgerEntry]:
        now = self.app.clock.now()
        for entry in self.app.ledger.pending(self.content_type, earliest_day(now)):
            if is_to_come(entry.retry_utc, now, LONGEST_PAUSE):
                self.tally.waits(entry.listed_utc)
            else:
                yield entry

    def _fetch(self, entry: LedgerEntry) -> Fetched | None:
        if self.halted.is_set():
            self.tally.waits(entry.listed_utc)
            return None
        try:
            body = self.app.activity_feed.fetch(entry.blob, self.deadline)
        except Throttled as error:
            self.halted.set()
            self.tally.waits(entry.listed_utc)
            log.warning("Fetching %s pauses: %s", self.content_type, error)
        except Stop as error:
            self._refused(entry, error)
        except (Defer, Skip) as error:
            self._failed(entry, error)
        except Exception as error:
            log.exception("Content blob %s can't be fetched", entry.content_id)
            self._failed(entry, Unreadable(f"{type(error).__name__}: {error}"))
        else:
            self.refusals = 0
            return self._read(entry, body)
        return None

    def _read(self, entry: LedgerEntry, body: bytes) -> Fetched | None:
        try:
            reading = read_blob(body, entry.blob, self.app.settings.audit_workloads, self.app.clock.now())
        except Unreadable as error:
            put_raw(self.app, entry.blob, UNREADABLE, body)
            self._failed(entry, error)
        except Exception as error:
            log.exception("Content blob %s can't be read", entry.content_id)
            put_raw(self.app, entry.blob, UNREADABLE, body)
            self._failed(entry, Unreadable(f"{type(error).__name__}: {error}"))
        else:
            keep_raw(self.app, entry.blob, reading, body)
            return Fetched(self._done(entry, reading, len(body)), reading.rows, reading.dropped, reading.unknown)
        return None

    def _done(self, entry: LedgerEntry, reading: Reading, size: int) -> LedgerEntry:
        return replace(
            entry,
            status=BlobStatus.DONE,
            attempts=entry.attempts + 1,
            last_error=None,
            retry_utc=None,
            done_utc=self.app.clock.now(),
            records=reading.records,
            records_kept=len(reading.rows),
            records_failed=len(reading.failed),
            bytes=size,
            dropped=_json(reading.dropped),
            unknown=_json(reading.unknown),
        )

    def _keep(self, batch: Sequence[Fetched]) -> None:
        """Stage the rows of a batch, one file for each day of events, then call its blobs done."""
        rows = [row for fetched in batch for row in fetched.rows]
        for fetched in batch:
            if fetched.entry.records_failed:
                _note_unreadable(self.app, fetched.entry)
        stage_events(self.app, rows, [fetched.entry.content_id for fetched in batch])
        self.app.ledger.done([fetched.entry for fetched in batch])
        for fetched in batch:
            self.tally.rows_read += fetched.entry.records or 0
            self.tally.rows_failed += fetched.entry.records_failed or 0
            self.dropped.update(fetched.dropped)
            self.unknown.update(fetched.unknown)
        self.tally.rows_written += len(rows)

    def _tell_counts(self) -> None:
        """Say what was left out and what is new, so that a wrong filter and a new operation show."""
        notes = [
            f"{what}: {told(counts, MOST_NAMES)}"
            for what, counts in (("dropped by workload", self.dropped), ("unknown operations", self.unknown))
            if counts
        ]
        if notes:
            self.tally.note = "; ".join(notes)
            log.info("Of %s %d records were kept; %s", self.content_type, self.tally.rows_written, self.tally.note)

    def _refused(self, entry: LedgerEntry, error: Stop) -> None:
        """The service, or the app, refuses a blob for what an administrator must change.

        If it is this blob alone, the others go on; if it is all of them, it makes no sense to go on asking. Those
        that are refused pause for longer and longer, so that others have their turn.
        """
        self.refusal = error
        self.refusals += 1
        if self.refusals >= MOST_REFUSALS:
            self.halted.set()
        self._failed(entry, error)

    def _failed(self, entry: LedgerEntry, error: FlowtrailError) -> None:
        failed = after_failure(entry, error, self.app.clock.now(), self.server_time)
        lost = failed.status == BlobStatus.LOST
        log.log(logging.ERROR if lost else logging.WARNING, "Content blob %s: %s", entry.content_id, error)
        if lost:
            note_lost(self.app, entry, str(error))
        else:
            self.tally.waits(entry.listed_utc)
        self.app.ledger.failed(failed)
        self.tally.rows_failed += 1


def note_lost(app: App, entry: LedgerEntry, reason: str) -> None:
    """Tell a content blob that can't be had any more as a gap."""
    _note(app, entry, BLOB_LOST, reason)


def _note_unreadable(app: App, entry: LedgerEntry) -> None:
    """Tell that some records of a blob are in no row, but lie where nothing of them is lost."""
    reason = (
        f"{entry.records_failed} of its {entry.records} records can't be read; they lie under {UNREADABLE} in raw."
    )
    _note(app, entry, RECORDS_UNREADABLE, reason)


def _note(app: App, entry: LedgerEntry, kind: str, reason: str) -> None:
    app.journal.lost(
        Gap(
            source=entry.content_type,
            from_utc=collected_from(entry),
            to_utc=entry.created_utc,
            kind=kind,
            subject=entry.content_id,
            reason=reason,
            noticed_utc=app.clock.now(),
        )
    )


def stage_events(app: App, rows: Sequence[dict[str, Any]], holds: Sequence[str]) -> None:
    """Stage events, one file for each day; `holds` says what they were made from."""
    for day, group in grouped(rows, _day).items():
        app.staging.put(Destination(FACT_AUDIT_EVENT, day), [rows_of(FACT_AUDIT_EVENT, group)], holds)


def keep_raw(app: App, blob: ContentBlob, reading: Reading, body: bytes) -> None:
    """Keep what the setting `RAW_AUDIT` wants kept as received, and always what could not be read."""
    rule = app.settings.raw_audit
    if rule == "all":
        put_raw(app, blob, "audit", body)
    elif rule == "kept" and reading.kept:
        put_raw(app, blob, "audit", as_array(reading.kept))
    if reading.failed:
        log.error("%d records of content blob %s can't be read", len(reading.failed), blob.content_id)
        put_raw(app, blob, UNREADABLE, b"\n".join(reading.failed))


def put_raw(app: App, blob: ContentBlob, folder: str, body: bytes) -> None:
    name = f"{folder}/{blob.content_type}/date={blob.created.date()}/{row_of(blob.content_id)}.json.gz"
    app.storage.blobs.put(Container.RAW, name, gzip.compress(body, 6, mtime=0))


def collected_from(entry: LedgerEntry) -> datetime:
    """When the service began to collect a blob: seven days before it expires, as listings show (measured)."""
    began = entry.expires_utc - RETENTION
    return began if timedelta() <= entry.created_utc - began <= LONGEST_COLLECTION else entry.created_utc


def _batches(blobs: Iterator[Fetched]) -> Iterator[list[Fetched]]:
    """Consecutive blobs, until there are enough of them or of their rows."""
    batch: list[Fetched] = []
    rows = 0
    for fetched in blobs:
        batch.append(fetched)
        rows += len(fetched.rows)
        if len(batch) >= BLOBS_PER_BATCH or rows >= ROWS_PER_BATCH:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _results(done: set[Future[Fetched | None]]) -> Iterator[Fetched]:
    for future in done:
        if fetched := future.result():
            yield fetched


def _json(counts: Counter[str]) -> str | None:
    """The most frequent counts; their names come from outside, and an entity holds so much of them only."""
    frequent = {name[:LONGEST_NAME]: count for name, count in counts.most_common(50)}
    return json.dumps(frequent) if frequent else None


def _day(row: dict[str, Any]) -> date:
    return row["created_utc"].date()
