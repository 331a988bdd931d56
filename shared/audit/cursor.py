"""How far the activity feed of a content type has been listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from shared.audit.feed import ContentBlob
from shared.intervals import Interval

CURSOR = "auditcontent"
RETENTION = timedelta(days=7)
MARGIN = timedelta(minutes=5)
EXPIRES_EARLY = timedelta(minutes=20)
"""Content expires up to this much before it is seven days old (measured over 170 blobs: 11 s to 19.6 min)."""
SETTLE = timedelta(seconds=30)
OVERLAP = timedelta(hours=2)
BETWEEN_STARTS = timedelta(minutes=15)
FIRST_CONTENT = timedelta(hours=12)
"""It may take that long after a start (Management Activity API reference)."""
LONGEST_SILENCE = timedelta(days=3)
"""A small tenant may be quiet over a weekend."""


@dataclass(frozen=True)
class FeedCursor:
    """Everything that became available before `watermark` has been listed, and entered in the ledger.

    `enabled_utc` is when the feed was last listed, or brought a blob, so that its subscription was on;
    `started_utc` when a start was last tried; `newest_utc` when the newest blob that was ever listed became
    available; `off_utc` when the subscription was last off by two answers of the service, for one may be wrong;
    `first_off_utc` when it first was in the lapse that is not yet told.
    """

    watermark: datetime | None = None
    enabled_utc: datetime | None = None
    started_utc: datetime | None = None
    newest_utc: datetime | None = None
    off_utc: datetime | None = None
    first_off_utc: datetime | None = None

    def values(self) -> dict[str, Any]:
        return {
            "watermark_utc": self.watermark,
            "enabled_utc": self.enabled_utc,
            "started_utc": self.started_utc,
            "newest_utc": self.newest_utc,
            "off_utc": self.off_utc,
            "first_off_utc": self.first_off_utc,
        }

    def may_start(self, now: datetime) -> bool:
        """Whether a subscription may be started: the service wants 15 minutes between two starts."""
        return self.started_utc is None or now - self.started_utc >= BETWEEN_STARTS

    @property
    def lapse(self) -> Interval | None:
        """The time without a subscription that a start has ended, while it is not yet told as a gap."""
        if self.enabled_utc and self.off_utc and self.off_utc > self.enabled_utc:
            return Interval(self.enabled_utc, self.off_utc)
        return None

    def on_until(self, blobs: Iterable[ContentBlob], known: datetime | None) -> datetime | None:
        """`known`, or when the newest of some blobs became available before the subscription was found to be off.

        The lapse that is not yet told begins no earlier: without a subscription nothing becomes available.
        """
        if not self.lapse:
            return known
        found_off = self.first_off_utc or self.lapse.end
        before = (blob.created for blob in blobs if blob.created <= found_off)
        return max((*before, *([known] if known else [])), default=None)

    def off(self, now: datetime) -> FeedCursor:
        """The subscription is found to be off, perhaps once more in one lapse."""
        first = self.first_off_utc if self.lapse else None
        return replace(self, off_utc=now, first_off_utc=first or now)

    def silent_since(self, first: datetime) -> datetime | None:
        """Since when the feed had shown no new blob when it was last listed, if that is no longer usual.

        `first` is when the app first met the content type: one that was subscribed to by then was never started by
        it.
        """
        if self.enabled_utc is None:
            return None
        since = max(time for time in (self.newest_utc, self.started_utc, first) if time)
        usual = LONGEST_SILENCE if self.newest_utc else FIRST_CONTENT
        return since if self.enabled_utc - since > usual else None


def read_feed_cursor(values: Mapping[str, Any]) -> FeedCursor:
    names = ("watermark_utc", "enabled_utc", "started_utc", "newest_utc", "off_utc", "first_off_utc")
    return FeedCursor(*(values.get(name) for name in names))


def to_list(cursor: FeedCursor, server_time: datetime) -> tuple[Interval | None, Interval | None]:
    """What to list now, and what may have been thrown away though it was never listed.

    The newest half minute is left to settle; the last two hours are listed again, for a blob may be listed late.
    By the service's own clock nothing older than seven days can be asked for, and what comes close to it may
    have expired.
    """
    oldest, newest = server_time - RETENTION + MARGIN, server_time - SETTLE
    whole_since = server_time - RETENTION + EXPIRES_EARLY
    watermark = cursor.watermark or whole_since
    start = max(oldest, watermark - OVERLAP)
    window = Interval(start, newest) if newest > start else None
    missed = Interval(watermark, whole_since) if whole_since > watermark else None
    return window, missed


def all_seven_days(server_time: datetime) -> Interval:
    """Everything that can still be listed."""
    return Interval(server_time - RETENTION + MARGIN, server_time - SETTLE)
