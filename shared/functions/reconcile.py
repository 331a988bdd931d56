"""Once a day: everything that can still be had is looked at again, and what is missing is said."""

from __future__ import annotations

import logging
from datetime import timedelta
from functools import partial

from shared.app import App
from shared.audit.cursor import MARGIN, RETENTION, SETTLE
from shared.clock import Deadline
from shared.functions.reconcile_runs import reconcile_runs
from shared.functions.sources import Tally, each_source
from shared.intervals import Interval, pieces
from shared.net.api import NotSubscribed

log = logging.getLogger("flowtrail")

FUNCTION = "reconcile"
DEADLINE_S = 480.0


def run(app: App) -> None:
    deadline = app.deadline(DEADLINE_S)
    each_source(
        app,
        FUNCTION,
        {
            **{name: partial(list_again, app, name) for name in app.settings.audit_content_types},
            **{env.name: partial(reconcile_runs, app, env) for env in app.settings.environments},
        },
        deadline,
    )


def list_again(app: App, content_type: str, deadline: Deadline, tally: Tally) -> None:
    """List all seven days once more: a blob that was listed late enters the ledger now, and is counted."""
    feed = app.activity_feed
    now = feed.subscriptions(deadline).server_time
    whole = Interval(now - RETENTION + MARGIN, now - SETTLE)
    tally.window_from_utc, tally.window_to_utc = whole.start, whole.end
    try:
        for window in pieces(whole, timedelta(hours=app.settings.audit_window_hours)):
            for page in feed.listing(content_type, window, deadline):
                tally.rows_read += len(page)
                tally.rows_written += app.ledger.add(page, app.clock.now())
    except NotSubscribed as error:
        log.info("Nothing of %s can be listed yet: %s", content_type, error)
    if tally.rows_written:
        log.warning("%d content blobs of %s were listed late", tally.rows_written, content_type)
