"""What starts each function, and whether a timer is late by its own schedule."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice

from shared.schedules import read_schedule
from shared.settings import Schedules
from shared.state.names import Queue

SLACK = timedelta(minutes=15)
REACH = timedelta(minutes=6)
"""How far before a tick that may end which it has done: rows settle for half a minute, and clocks differ."""
TIMERS = {
    "poll_flow_sessions": "flow_sessions",
    "poll_audit_content": "audit_content",
    "sync_inventory": "inventory",
    "publish": "publish",
    "reconcile": "reconcile",
}
"""Timer functions and the schedule of each, as `Schedules` names it."""
FEEDS = {"environment": "poll_flow_sessions", "audit": "poll_audit_content"}
"""The timer function that reads each kind of source."""
QUEUE_FUNCTIONS = {"decode_additional_context": Queue.ADDITIONAL_CONTEXT, "publish_day": Queue.PUBLISH_DAY}


def schedule_of(timer: str, schedules: Schedules) -> str:
    return getattr(schedules, TIMERS[timer])


def overdue(schedule: str, since: datetime, now: datetime) -> timedelta:
    """How long ago the tick was that should have gone on from there; less than nothing while it is to come."""
    return now - read_schedule(schedule).next_after(since + REACH)


def is_late(schedule: str, last: datetime, now: datetime, missed_ticks: int) -> bool:
    """Whether several ticks and some slack have passed since then; nothing vouches for a time that is to come."""
    if last > now + SLACK:
        return True
    ticks = read_schedule(schedule).after(last)
    return next(islice(ticks, missed_ticks - 1, None)) + SLACK < now
