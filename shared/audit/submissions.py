"""How many queries the audit log search is sent in a day, over all that search and whatever the schedule."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.errors import Conflict
from shared.state.checkpoints import Checkpoints

KIND, SOURCE = "auditsubmissions", "graph"
SPACING = timedelta(minutes=9)
"""The service grants a tenant 200 a day at least (Microsoft Graph, throttling limits); others search, too."""
SAVED_UP = timedelta(hours=1)
"""How much time without a query counts for later ones: in no 24 hours are there more than 25 hours' worth."""


def take_turn(checkpoints: Checkpoints, now: datetime) -> bool:
    """Whether a query may be sent now; it is counted before it is sent, and of two at once one may."""
    place = checkpoints.load(KIND, SOURCE)
    used = used_until(place.values.get("used_utc"), now)
    if used is None:
        return False
    try:
        checkpoints.save(place, {"used_utc": used})
    except Conflict:
        return False
    return True


def used_until(used: datetime | None, now: datetime) -> datetime | None:
    """Up to when time is used up by one more query; `None` where that up to now is used already.

    What is used up far ahead was noted by a clock that was ahead, and says only that nothing is saved up.
    """
    known = now if used and used > now + SAVED_UP else used
    begin = max(known or now - SAVED_UP, now - SAVED_UP)
    return begin + SPACING if begin <= now else None
