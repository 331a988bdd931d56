"""Once a day: everything that can still be had is looked at again, and what is missing is said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from functools import partial

from shared.app import App
from shared.audit.collector import note_lost
from shared.audit.cursor import CURSOR as FEED_CURSOR
from shared.audit.cursor import all_seven_days, read_feed_cursor
from shared.audit.feed import OddEntries
from shared.clock import Deadline
from shared.functions.expiry import expiries
from shared.functions.reconcile_runs import reconcile_runs
from shared.functions.redrive import redrives
from shared.functions.sources import each_source
from shared.intervals import pieces
from shared.net.api import NotSubscribed, StartAgain
from shared.state.ledger import BlobStatus, earliest_day
from shared.tally import Tally

log = logging.getLogger("flowtrail")

FUNCTION = "reconcile"
DEADLINE_S = 480.0
MOST_STARTS = 3
LOOKED_BACK = timedelta(days=30)
LOOKED_BACK_AT_FIRST = timedelta(days=400)
GIVEN_UP = "auditgivenup"


def run(app: App) -> dict[str, int]:
    deadline = app.deadline(DEADLINE_S)
    return each_source(
        app,
        FUNCTION,
        {
            **{name: partial(list_again, app, name) for name in app.settings.audit_content_types},
            **{env.name: partial(reconcile_runs, app, env) for env in app.settings.environments},
            **redrives(app),
            **expiries(app),
        },
        deadline,
    )


def list_again(app: App, content_type: str, deadline: Deadline, tally: Tally) -> None:
    """List all seven days once more: a blob that was listed late enters the ledger now, and is counted.

    A listing that the service breaks off starts again, by the service's time of then.
    """
    give_up_expired(app, content_type)
    late = 0
    try:
        for number in _listings(app, content_type, deadline, tally):
            late += number
    finally:  # what entered the ledger is not late any more where the listing starts again
        _tell_late(content_type, late, tally)


def _listings(app: App, content_type: str, deadline: Deadline, tally: Tally) -> Iterator[int]:
    for _ in range(MOST_STARTS - 1):
        try:
            yield from _list_all(app, content_type, deadline, tally)
        except StartAgain as error:
            log.warning("The listing of %s starts again: %s", content_type, error)
        else:
            return
    yield from _list_all(app, content_type, deadline, tally)


def _list_all(app: App, content_type: str, deadline: Deadline, tally: Tally) -> Iterator[int]:
    """List, and tell how many blobs of each page were late."""
    feed = app.activity_feed
    whole = all_seven_days(feed.subscriptions(deadline).server_time)
    listed_until = read_feed_cursor(app.checkpoints.load(FEED_CURSOR, content_type).values).watermark
    tally.window_from_utc, tally.window_to_utc = whole.start, whole.end
    problem: OddEntries | None = None
    for window in pieces(whole, timedelta(hours=app.settings.audit_window_hours)):
        try:
            for page in feed.listing(content_type, window, deadline):
                until = listed_until or whole.start
                yield app.ledger.add([blob for blob in page if blob.created < until], app.clock.now())
                new = app.ledger.add([blob for blob in page if blob.created >= until], app.clock.now())
                tally.rows_read += len(page)
                tally.rows_written += new
        except NotSubscribed as error:
            log.info("Nothing of %s can be listed: %s", content_type, error)
            break
        except OddEntries as error:
            problem = error
    if problem:
        raise problem


def _tell_late(content_type: str, late: int, tally: Tally) -> None:
    tally.rows_written += late
    if late:
        tally.note = f"{late} content blobs were listed late"
        log.warning("%d content blobs of %s were listed late", late, content_type)


def give_up_expired(app: App, content_type: str) -> None:
    """Call blobs lost that were listed and never fetched, and that nobody asks for any more.

    Nothing enters days that are that old, so that few of those that were looked at are looked at again.
    """
    until = earliest_day(app.clock.now())
    place = app.checkpoints.load(GIVEN_UP, content_type)
    looked_at: datetime | None = place.values.get("until_utc")
    since = (looked_at - LOOKED_BACK).date() if looked_at else until - LOOKED_BACK_AT_FIRST
    for entry in app.ledger.pending(content_type, since, until):
        reason = entry.last_error or "It was listed, and expired before it could be fetched."
        note_lost(app, entry, reason)
        app.ledger.failed(replace(entry, status=BlobStatus.LOST, last_error=reason))
    app.checkpoints.save(place, {"until_utc": datetime.combine(until, time(), UTC)})
