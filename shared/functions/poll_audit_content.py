"""The audit feed: subscriptions kept alive, windows listed into the ledger, blobs fetched, events staged."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from shared.app import App
from shared.audit.collector import Collector
from shared.audit.cursor import FeedCursor, read_feed_cursor, to_list
from shared.audit.feed import Subscriptions
from shared.clock import Deadline
from shared.functions.sources import Tally, each_source
from shared.intervals import Interval, pieces
from shared.net.api import NotSubscribed
from shared.state.checkpoints import Checkpoint
from shared.state.journal import Gap

log = logging.getLogger("flowtrail")

FUNCTION = "poll_audit_content"
DEADLINE_S = 480.0
CURSOR = "auditcontent"


def run(app: App) -> None:
    deadline = app.deadline(DEADLINE_S)
    types = app.settings.audit_content_types
    each_source(app, FUNCTION, {name: partial(poll_content_type, app, name) for name in types}, deadline)


def poll_content_type(app: App, content_type: str, deadline: Deadline, tally: Tally) -> None:
    """List what became available and fetch what is not done, in this order: what is listed can't be forgotten."""
    poll = _Poll(app, content_type, deadline, tally)
    poll.keep_subscribed()
    poll.list_windows()
    Collector(app, content_type, deadline, tally).collect()


class _Poll:
    def __init__(self, app: App, content_type: str, deadline: Deadline, tally: Tally) -> None:
        self.app = app
        self.content_type = content_type
        self.deadline = deadline
        self.tally = tally
        self.feed = app.activity_feed
        self.checkpoint: Checkpoint = app.checkpoints.load(CURSOR, content_type)
        self.cursor: FeedCursor = read_feed_cursor(self.checkpoint.values)
        self.subscriptions: Subscriptions = self.feed.subscriptions(deadline)
        self.now: datetime = self.subscriptions.server_time

    def keep_subscribed(self) -> None:
        """Start a subscription that is missing or disabled; one is never stopped.

        What happens while there is none can never be fetched (Management Activity API reference): a gap.
        """
        if self.subscriptions.is_enabled(self.content_type):
            self._save(replace(self.cursor, enabled_utc=self.now))
            return
        if not self.cursor.may_start(self.now):
            return
        self._save(replace(self.cursor, started_utc=self.now))
        self.feed.subscribe(self.content_type, self.deadline)
        log.warning("The subscription to %s was not enabled and has been started", self.content_type)
        if self.cursor.enabled_utc is not None:
            missing = Interval(
                self.cursor.enabled_utc, max(self.now, self.cursor.enabled_utc + timedelta(seconds=1))
            )
            self._note_gap(
                missing, "subscription disabled", "It was disabled at the service; it has been started again."
            )
        self._save(replace(self.cursor, enabled_utc=self.now))

    def list_windows(self) -> None:
        whole, missed = to_list(self.cursor, self.now)
        if missed:
            self._note_gap(missed, "audit content expired", "The app did not run for more than seven days.")
        if whole is None:
            return
        self.tally.window_from_utc, self.tally.window_to_utc = whole.start, whole.end
        try:
            for window in pieces(whole, timedelta(hours=self.app.settings.audit_window_hours)):
                self.list_window(window)
                watermark = max(window.end, self.cursor.watermark or window.end)
                self._save(replace(self.cursor, watermark=watermark))
        except NotSubscribed as error:
            log.info("Nothing of %s can be listed yet: %s", self.content_type, error)

    def list_window(self, window: Interval) -> None:
        """Enter every page into the ledger; the caller moves the watermark after the last."""
        for page in self.feed.listing(self.content_type, window, self.deadline):
            self.app.ledger.add(page, self.app.clock.now())

    def _note_gap(self, missing: Interval, kind: str, reason: str) -> None:
        note_gaps(self.app, self.content_type, [missing], kind, reason)

    def _save(self, cursor: FeedCursor) -> None:
        self.cursor = cursor
        self.checkpoint = self.app.checkpoints.save(self.checkpoint, cursor.values())


def note_gaps(app: App, source: str, missing: Iterable[Interval], kind: str, reason: str) -> None:
    for interval in missing:
        app.journal.lost(
            Gap(
                source=source,
                from_utc=interval.start,
                to_utc=interval.end,
                kind=kind,
                subject=source,
                reason=reason,
                noticed_utc=app.clock.now(),
            )
        )
