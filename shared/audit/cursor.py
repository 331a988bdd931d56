"""How far the activity feed of a content type has been listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.intervals import Interval

RETENTION = timedelta(days=7)
MARGIN = timedelta(minutes=5)
SETTLE = timedelta(seconds=30)
OVERLAP = timedelta(hours=2)
BETWEEN_STARTS = timedelta(minutes=15)


@dataclass(frozen=True)
class FeedCursor:
    """Everything that became available before `watermark` has been listed, and entered in the ledger.

    `enabled_utc` is when the subscription was last seen enabled, `started_utc` when a start was last tried.
    """

    watermark: datetime | None = None
    enabled_utc: datetime | None = None
    started_utc: datetime | None = None

    def values(self) -> dict[str, Any]:
        return {"watermark_utc": self.watermark, "enabled_utc": self.enabled_utc, "started_utc": self.started_utc}

    def may_start(self, now: datetime) -> bool:
        """Whether a subscription may be started: the service wants 15 minutes between two starts."""
        return self.started_utc is None or now - self.started_utc >= BETWEEN_STARTS


def read_feed_cursor(values: Mapping[str, Any]) -> FeedCursor:
    return FeedCursor(values.get("watermark_utc"), values.get("enabled_utc"), values.get("started_utc"))


def to_list(cursor: FeedCursor, server_time: datetime) -> tuple[Interval | None, Interval | None]:
    """What to list now, and what can no longer be listed though it never was.

    The newest half minute is left to settle; the last two hours are listed again, for a blob may be listed late.
    By the service's own clock nothing older than seven days can be asked for.
    """
    oldest, newest = server_time - RETENTION + MARGIN, server_time - SETTLE
    watermark = cursor.watermark or oldest
    start = max(oldest, watermark - OVERLAP)
    window = Interval(start, newest) if newest > start else None
    missed = Interval(watermark, oldest) if oldest > watermark else None
    return window, missed
