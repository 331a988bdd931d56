"""Deletes what is older than the setting `RETENTION_DAYS` keeps.

With the published files goes the state that they came from, so that it does not grow for ever. What comes late for
a day that is over is not published any more: `publish_day` gives it up.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import partial
from itertools import takewhile

from shared.app import App
from shared.clock import Deadline
from shared.functions.sources import Work
from shared.retention import RAW
from shared.schema import FACT_AUDIT_EVENT, FACT_FLOW_SESSION, FACT_INGEST
from shared.setting_values import CONTENT_TYPES
from shared.state.blobs import BlobItem
from shared.state.names import Container, StateTable
from shared.tally import Tally
from shared.times import parse_day

log = logging.getLogger("flowtrail")

RESERVE_S = 20.0
DATED = re.compile(r"/date=([0-9]{4}-[0-9]{2}-[0-9]{2})/")


def expiries(app: App) -> dict[str, Work]:
    """One source where anything is to be deleted ever, none where all is kept."""
    return {"retention": partial(expire, app)} if app.settings.retention.days else {}


def expire(app: App, deadline: Deadline, tally: Tally) -> None:
    """Delete what is too old, file by file; what is not reached today is reached tomorrow."""
    today = app.clock.now().date()
    retention = app.settings.retention
    deleted: dict[str, int] = {}
    for what in retention.days:
        if first := retention.first_day(what, today):
            for number in _deleted(app, what, first):
                deleted[what] = deleted.get(what, 0) + number
                if deadline.remaining_s < RESERVE_S:
                    tally.finished = False
                    break
    tally.rows_written = sum(deleted.values())
    if deleted:
        tally.note = ", ".join(f"{what}: {number} files and rows of state" for what, number in deleted.items())
        log.info("Deleted what is older than RETENTION_DAYS: %s", tally.note)


def _deleted(app: App, what: str, first: date) -> Iterator[int]:
    """Delete, and tell the number after each file and each day of state."""
    if what == RAW:
        yield from _raw(app, first)
        return
    if what == FACT_FLOW_SESSION.name:
        app.derivations.reach.note_deletion(first)
    yield from _files(app, Container.POWERBI, f"{what}/", first)
    if state := STATE.get(what):
        yield from state(app, first)


def _files(app: App, container: Container, folder: str, first: date) -> Iterator[int]:
    """A folder lists its days in order, so what is kept is not listed but for the first of it.

    What is in no folder of a day was put among them by somebody else, and stays.
    """

    def is_over(item: BlobItem) -> bool:
        return _day(item) < first

    listed = app.storage.blobs.list(container, f"{folder}date=")
    dated = (item for item in listed if DATED.match(item.name, len(folder) - 1))
    for item in takewhile(is_over, dated):
        app.storage.blobs.delete_unless_changed(container, item)
        yield 1


def _raw(app: App, first: date) -> Iterator[int]:
    for content_type in CONTENT_TYPES:
        yield from _files(app, Container.RAW, f"audit/{content_type}/", first)
    for item in app.storage.blobs.list(Container.RAW, "unreadable/"):
        if _day(item) < first:
            app.storage.blobs.delete_unless_changed(Container.RAW, item)
            yield 1


def _day(item: BlobItem) -> date:
    dated = DATED.search(item.name)
    return parse_day(dated[1]) if dated else item.modified_utc.date()


def _runs(app: App, first: date) -> Iterator[int]:
    for environment in app.environments.all():
        if environment_id := environment.get("environment_id"):
            table = app.storage.table(StateTable.FLOW_SESSIONS)
            yield from table.delete_between(f"{environment_id}_", f"{environment_id}_{first}")


def _ledger(app: App, first: date) -> Iterator[int]:
    for content_type in CONTENT_TYPES:
        table = app.storage.table(StateTable.AUDIT_CONTENT)
        yield from table.delete_between(f"{content_type}_", f"{content_type}_{first}")


def _ingest_log(app: App, first: date) -> Iterator[int]:
    yield from app.storage.table(StateTable.INGEST_LOG).delete_between("", str(first))


STATE: Mapping[str, Callable[[App, date], Iterator[int]]] = {
    FACT_FLOW_SESSION.name: _runs,
    FACT_AUDIT_EVENT.name: _ledger,
    FACT_INGEST.name: _ingest_log,
}
"""What else is deleted with a published table: the runs in the register, the ledger, the ingest log."""
