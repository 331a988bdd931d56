"""The audit feed: subscriptions kept alive, windows listed into the ledger, blobs fetched, events staged."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from shared.app import App
from shared.audit.collector import Collector
from shared.audit.cursor import CURSOR, FeedCursor, read_feed_cursor, to_list
from shared.audit.feed import ContentBlob, OddEntries, Subscriptions
from shared.audit.replay import replay
from shared.audit.searching import backfill, search_months
from shared.clock import Deadline
from shared.errors import Defer, Skip, Stop, Unreachable
from shared.functions.sources import Work, each_source
from shared.intervals import Interval, pieces
from shared.net.api import NotSubscribed, StartAgain
from shared.state.checkpoints import Checkpoint
from shared.state.journal import CONTENT_EXPIRED, SUBSCRIPTION_DISABLED, Gap
from shared.tally import Tally

log = logging.getLogger("flowtrail")

FUNCTION = "poll_audit_content"
DEADLINE_S = 480.0
MOST_STARTS = 3


def run(app: App) -> dict[str, int]:
    deadline = app.deadline(DEADLINE_S)
    types = app.settings.audit_content_types
    sources: dict[str, Work] = {name: partial(poll_content_type, app, name) for name in types}
    if app.settings.audit_replay:
        sources |= {f"replay of {name}": partial(replay, app, name) for name in types}
    if app.settings.audit_search.since:
        sources["backfill by search"] = partial(backfill, app)
    if app.settings.audit_search.monthly:
        sources["monthly search"] = partial(search_months, app)
    return each_source(app, FUNCTION, sources, deadline)


def poll_content_type(app: App, content_type: str, deadline: Deadline, tally: Tally) -> None:
    """List what became available, then fetch what is not done: what is listed can't be forgotten.

    Blobs that wait are fetched even where the listing fails, for they may expire.
    """
    poll = _Poll(app, content_type, deadline, tally)
    problem: Exception | None = None
    try:
        poll.list_feed()
    except (Stop, Defer, Skip) as error:
        problem = error
    Collector(app, content_type, deadline, tally).collect(poll.now)
    if problem is not None:
        raise problem


class _Poll:
    """`now` is the service's own time, as far as it is known."""

    def __init__(self, app: App, content_type: str, deadline: Deadline, tally: Tally) -> None:
        self.app = app
        self.content_type = content_type
        self.deadline = deadline
        self.tally = tally
        self.feed = app.activity_feed
        self.checkpoint: Checkpoint = app.checkpoints.load(CURSOR, content_type)
        self.cursor: FeedCursor = read_feed_cursor(self.checkpoint.values)
        self.now: datetime = app.clock.now()

    def list_feed(self) -> None:
        self._keep_subscribed()
        try:
            self._list()
        except NotSubscribed as error:
            log.info("Nothing of %s can be listed: %s", self.content_type, error)
            self._start(self.feed.subscriptions(self.deadline))
        first = self.app.sources.first_seen(FUNCTION, self.content_type, self.app.clock.now())
        if since := self.cursor.silent_since(first):
            log.warning("The activity feed has listed no new blob of %s since %s", self.content_type, since)

    def _keep_subscribed(self) -> None:
        """Start a subscription that is missing or disabled at a second look too; one is never stopped."""
        subscriptions = self.feed.subscriptions(self.deadline)
        self.now = subscriptions.server_time
        self.tally.clock_ahead_s = subscriptions.clocks.ahead_s
        if not subscriptions.is_enabled(self.content_type):
            again = self.feed.subscriptions(self.deadline)
            if not again.is_enabled(self.content_type):
                self._start(again)

    def _start(self, seen: Subscriptions) -> None:
        """Start it; that it was off is noted before, for the answer of the start may be lost.

        A lapse is what two answers tell of: two of the list, or that of the start. Where the start says that the
        subscription is on, it is no lapse, unless the list says twice that it is disabled: then somebody was
        quicker. A start that fails tells nothing, and the list may be behind.
        """
        known = self.cursor
        if not known.may_start(self.now):
            if seen.is_disabled(self.content_type) or not seen.exists(self.content_type):
                self._save(known.off(self.now))
            return
        self._save(replace(known.off(self.now), started_utc=self.now))
        try:
            was_off = self.feed.subscribe(self.content_type, self.deadline)
        except Unreachable:
            raise
        except (Stop, Defer, Skip):
            if seen.is_enabled(self.content_type):
                self._save(replace(known, started_utc=self.now))
            raise
        if was_off:
            log.warning("The subscription to %s was not enabled and has been started", self.content_type)
        elif not seen.is_disabled(self.content_type):
            self._save(replace(known, started_utc=self.now))

    def _list(self) -> None:
        """List up to now; a listing that the service breaks off starts again from what is listed already."""
        for _ in range(MOST_STARTS - 1):
            try:
                return self._list_windows()
            except StartAgain as error:
                log.warning("The listing of %s starts again: %s", self.content_type, error)
                self.now = self.feed.subscriptions(self.deadline).server_time
        return self._list_windows()

    def _list_windows(self) -> None:
        whole, missed = to_list(self.cursor, self.now)
        if missed:
            reason = "The app was not able to list it for almost seven days."
            self._note_gap(missed, CONTENT_EXPIRED, reason)
            self._save(replace(self.cursor, watermark=missed.end))
        if whole is None:
            return
        self.tally.window_from_utc, self.tally.window_to_utc = whole.start, whole.end
        problem: OddEntries | None = None
        for window in pieces(whole, timedelta(hours=self.app.settings.audit_window_hours)):
            try:
                self._list_window(window, moves=problem is None)
            except OddEntries as error:  # what is behind it must not wait until it is too late
                problem = error
        self._tell_lapse()
        if problem:
            raise problem

    def _list_window(self, window: Interval, *, moves: bool) -> None:
        """Enter every page into the ledger, and move the watermark after the last, if it may.

        It never moves beyond this machine's time: the service's may be ahead for once, and what becomes available
        until then would not be listed.
        """
        newest, enabled = self.cursor.newest_utc, self.now
        if self.cursor.lapse:
            enabled = self.cursor.enabled_utc
        for page in self.feed.listing(self.content_type, window, self.deadline):
            self.app.ledger.add(page, self.app.clock.now())
            newest, enabled = _newest(newest, page), self.cursor.on_until(page, enabled)
        if not moves:
            return
        listed = min(window.end, self.app.clock.now())
        watermark = max(listed, self.cursor.watermark or listed)
        self._save(replace(self.cursor, watermark=watermark, enabled_utc=enabled, newest_utc=newest))

    def _tell_lapse(self) -> None:
        """What happens while there is no subscription can never be fetched (API reference): a gap.

        Its times are settled before, so that they are the same where it has to be told again after a crash.
        """
        if lapse := self.cursor.lapse:
            self._save(replace(self.cursor, first_off_utc=lapse.start))
            reason = "The subscription was disabled at the service; it has been started again."
            self._note_gap(lapse, SUBSCRIPTION_DISABLED, reason)
            self._save(replace(self.cursor, enabled_utc=self.now, off_utc=None, first_off_utc=None))

    def _note_gap(self, missing: Interval, kind: str, reason: str) -> None:
        self.app.journal.lost(
            Gap(
                source=self.content_type,
                from_utc=missing.start,
                to_utc=missing.end,
                kind=kind,
                subject=self.content_type,
                reason=reason,
                noticed_utc=self.app.clock.now(),
            )
        )

    def _save(self, cursor: FeedCursor) -> None:
        self.cursor = cursor
        self.checkpoint = self.app.checkpoints.save(self.checkpoint, cursor.values())


def _newest(known: datetime | None, page: list[ContentBlob]) -> datetime | None:
    return max((*(blob.created for blob in page), *([known] if known else [])), default=None)
