"""Tells the log how the app is after every run of a timer: what the status page shows, for alerts to watch.

Every timer reports on all of them, so that one that froze is told of by another that still runs, and only
all of them together can fall silent.
"""

from __future__ import annotations

from shared.app import App
from shared.functions.health import look
from shared.records import write_record


def report(app: App) -> None:
    """One record for each function, source and queue, and one for the whole."""
    health = look(app)
    for function in health.functions:
        write_record("function", function)
    for source in health.sources:
        write_record("source", source)
    for queue in health.queues:
        write_record("queue", queue)
    write_record("health", {"gaps_last_day": health.gaps_last_day, "reasons": health.reasons})
