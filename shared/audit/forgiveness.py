"""When a content blob that can't be fetched is tried again, and when it is lost."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from shared.errors import Defer, FlowtrailError, Missing, Skip
from shared.state.ledger import BlobStatus, LedgerEntry

FIRST_PAUSE = timedelta(minutes=10)
LONGEST_PAUSE = timedelta(hours=1)
MOST_ATTEMPTS = 5
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
    lost = is_lost(replace(entry, attempts=attempts), error, server_time)
    return replace(
        entry,
        status=BlobStatus.LOST if lost else BlobStatus.PENDING,
        attempts=attempts,
        last_error=str(error)[:LONGEST_ERROR],
        retry_utc=min(now + pause, last_chance),
    )


def is_lost(entry: LedgerEntry, error: FlowtrailError, server_time: datetime) -> bool:
    """Whether there is no hope for a blob.

    What the service says is gone is gone. What can't be found or understood is given up after a day of attempts;
    whatever else is wrong, when it has expired. A service that does not answer says nothing about the blob.
    """
    if isinstance(error, Missing) and error.code.upper() in GONE_FOR_GOOD:
        return True
    if isinstance(error, Defer):
        return False
    tired = entry.attempts >= MOST_ATTEMPTS and server_time - entry.listed_utc >= PATIENCE
    return (tired and isinstance(error, Skip)) or server_time - entry.expires_utc > AFTER_EXPIRY
