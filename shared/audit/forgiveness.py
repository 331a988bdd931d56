"""When a content blob that can't be fetched is tried again, and when it is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.errors import Defer, FlowtrailError, Missing, Skip
from shared.net.api import NotSubscribed
from shared.state.ledger import BlobStatus, LedgerEntry

FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(hours=1)
MOST_MISSES = 5
PATIENCE = timedelta(hours=24)
AFTER_EXPIRY = timedelta(hours=1)
LONGEST_ERROR = 1000
GONE_FOR_GOOD = frozenset({"AF20051", "AF20052"})
"""Codes of blobs that no further attempt will bring: expired, and unknown to the service."""


def after_failure(entry: LedgerEntry, error: FlowtrailError, now: datetime, server_time: datetime) -> LedgerEntry:
    """The entry after an attempt that failed: pending with a pause that grows, or lost.

    The pause never reaches beyond the time at which the blob can last be had.
    """
    attempts = entry.attempts + 1
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempts - 1, 10))
    last_chance = max(now, entry.expires_utc - 2 * FIRST_PAUSE)
    failed = replace(
        entry,
        attempts=attempts,
        last_error=str(error)[:LONGEST_ERROR],
        retry_utc=min(now + pause, last_chance),
    )
    if _is_about_the_blob(error):
        failed = replace(failed, misses=(entry.misses or 0) + 1, missed_utc=entry.missed_utc or server_time)
    return replace(failed, status=BlobStatus.LOST) if is_lost(failed, error, server_time) else failed


def is_lost(entry: LedgerEntry, error: FlowtrailError, server_time: datetime) -> bool:
    """Whether there is no hope for a blob.

    What the service says is gone is gone. What can't be found or understood is given up after a day of such
    answers; whatever else is wrong, when it has expired. A service that does not answer, or has no subscription,
    says nothing about the blob.
    """
    if isinstance(error, Missing) and error.code.upper() in GONE_FOR_GOOD:
        return True
    if isinstance(error, (Defer, NotSubscribed)):
        return False
    tired = (entry.misses or 0) >= MOST_MISSES and server_time - (entry.missed_utc or server_time) >= PATIENCE
    return (tired and _is_about_the_blob(error)) or server_time - entry.expires_utc > AFTER_EXPIRY


def _is_about_the_blob(error: FlowtrailError) -> bool:
    return isinstance(error, Skip) and not isinstance(error, NotSubscribed)
