"""Reading days of audit records once more, from what was kept of them: nothing is asked of the service."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import partial
from typing import TYPE_CHECKING

from shared.audit.collector import stage_events
from shared.audit.feed import ContentBlob
from shared.audit.reading import Reading, read_blob
from shared.audit.searched import read_kept
from shared.batches import batches
from shared.clock import Deadline
from shared.errors import Unreadable
from shared.settings import Replay
from shared.state.checkpoints import Checkpoint
from shared.state.ledger import FURTHEST_DAY, row_of
from shared.state.names import Container
from shared.threads import InvocationThreads

if TYPE_CHECKING:
    from shared.app import App
    from shared.tally import Tally

log = logging.getLogger("flowtrail")

PLACE = "replay"
READERS = 8
BLOBS_PER_BATCH = 48
RESERVE_S = 60.0
SUFFIX = ".json.gz"


def replay(app: App, content_type: str, deadline: Deadline, tally: Tally) -> None:
    """Carry out the order in `AUDIT_REPLAY`, or the rest of it; one that is done is not repeated.

    The wanted records are staged once more, and publishing replaces the rows of the same events.
    """
    order = app.settings.audit_replay
    if order is not None:
        _Replay(app, content_type, order, deadline, tally).run()


@dataclass(frozen=True)
class _Raw:
    """A blob in the container `raw`, and the content blob that it was made from."""

    name: str
    blob: ContentBlob


class _Replay:
    def __init__(self, app: App, content_type: str, order: Replay, deadline: Deadline, tally: Tally) -> None:
        self.app = app
        self.content_type = content_type
        self.order = order
        self.deadline = deadline
        self.tally = tally
        self.place: Checkpoint = app.checkpoints.load(PLACE, content_type)
        self.workloads = ",".join(sorted(app.settings.audit_workloads))

    def run(self) -> None:
        known = (self.place.values.get("order"), self.place.values.get("workloads"))
        if known != (self.order.order, self.workloads):
            self._save(after="", done=False)
        if self.place.values.get("done"):
            return
        with InvocationThreads(READERS) as pool:
            for batch in batches(self._rest(), BLOBS_PER_BATCH):
                if self.deadline.remaining_s < RESERVE_S:
                    self.tally.finished = False
                    return
                self._stage(batch, [reading for reading in pool.map(self._read, batch) if reading])
                self._save(after=batch[-1].name, done=False)
        self._save(after="", done=True)
        self.tally.note = f"{self.order.order} is done; AUDIT_REPLAY can be emptied"
        log.warning("The replay of %s, %s, is done", self.content_type, self.order.order)

    def _rest(self) -> Iterator[_Raw]:
        """What is still to be read, in the order of names, which is that of days."""
        after = str(self.place.values.get("after") or "")
        for day in self.order.days():
            folder = f"audit/{self.content_type}/date={day}/"
            names = [item.name for item in self.app.storage.blobs.list(Container.RAW, folder) if item.name > after]
            if names:
                find = partial(self._blob, day, self._listed(day))
                yield from (_Raw(name, find(name[len(folder) :].removesuffix(SUFFIX))) for name in names)

    def _listed(self, day: date) -> Mapping[str, ContentBlob]:
        """The blobs that the ledger knows of around a day, by the names under which their records are kept."""
        entries = self.app.ledger.between(self.content_type, day - FURTHEST_DAY, day + FURTHEST_DAY)
        return {row_of(entry.content_id): entry.blob for entry in entries}

    def _blob(self, day: date, listed: Mapping[str, ContentBlob], name: str) -> ContentBlob:
        since = datetime.combine(day, time(), UTC)
        return listed.get(name) or read_kept(name, day) or ContentBlob(name, self.content_type, "", since, since)

    def _read(self, raw: _Raw) -> Reading | None:
        packed = self.app.storage.blobs.get(Container.RAW, raw.name)
        try:
            body = gzip.decompress(packed or b"")
            return read_blob(body, raw.blob, self.app.settings.audit_workloads, self.app.clock.now())
        except (OSError, EOFError, zlib.error, Unreadable) as error:
            log.error("%s can't be read again: %s", raw.name, error)  # noqa: TRY400 - it explains itself
            self.tally.rows_failed += 1
            return None

    def _stage(self, batch: list[_Raw], readings: list[Reading]) -> None:
        rows = [row for reading in readings for row in reading.rows]
        stage_events(self.app, rows, [PLACE, self.order.order, *(raw.name for raw in batch)])
        self.tally.rows_read += sum(reading.records for reading in readings)
        self.tally.rows_written += len(rows)

    def _save(self, *, after: str, done: bool) -> None:
        values = {"order": self.order.order, "workloads": self.workloads, "after": after, "done": done}
        self.place = self.app.checkpoints.save(self.place, values)
