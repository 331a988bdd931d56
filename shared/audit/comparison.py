"""The events of a day that are here, for a search of that day to be compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

import pyarrow as pa

from shared.audit.searched import SEARCHED
from shared.intervals import Interval
from shared.publishing.parquet import iter_rows
from shared.publishing.published import copy_of
from shared.publishing.staging import Destination
from shared.schema import FACT_AUDIT_EVENT
from shared.state.names import Container
from shared.times import epoch_ms

if TYPE_CHECKING:
    from shared.app import App

COLUMNS = ["event_id", "created_utc", "workload", "content_id"]
ANOTHER = -1


@dataclass(frozen=True)
class KnownDay:
    """Ids of events, and when those happened that the feed brought and that a search is asked for."""

    created_ms: dict[str, int] = field(default_factory=dict[str, int])

    def has(self, event_id: str) -> bool:
        return event_id in self.created_ms

    def of_feed(self, window: Interval, ids: Iterable[str] | None = None) -> int:
        """How many events the feed brought of a time; with `ids` only those."""
        start, end = epoch_ms(window.start), epoch_ms(window.end)
        times = (self.created_ms.get(one, ANOTHER) for one in (self.created_ms if ids is None else ids))
        return sum(start <= time < end for time in times)


def known_day(app: App, day: date) -> KnownDay:
    known = KnownDay()
    workloads = app.settings.audit_workloads
    for rows in _rows(app, day):
        created = rows.column("created_utc").cast(pa.int64())
        names = [rows.column(name).to_pylist() for name in ("event_id", "workload", "content_id")]
        for at, event_id, workload, content_id in zip(created.to_pylist(), *names, strict=True):
            if (workload or "").lower() in workloads and not (content_id or "").startswith(SEARCHED):
                known.created_ms[event_id] = at
            else:
                known.created_ms.setdefault(event_id, ANOTHER)
    return known


def _rows(app: App, day: date) -> Iterator[pa.Table]:
    """What is staged or published of a day; staged first, for publishing moves it on."""
    place = Destination(FACT_AUDIT_EVENT, day)
    yield from app.staging.read(place, app.staging.waiting_for(place))
    for item in app.storage.blobs.list(Container.POWERBI, place.folder):
        with copy_of(app.storage.blobs, item.name) as (file, etag):
            if etag is not None:
                yield from iter_rows(FACT_AUDIT_EVENT, file, COLUMNS)
