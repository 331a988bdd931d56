"""Tells the log how the app is, for alerts to watch: what the status page shows.

Every timer reports on all functions, so that one that froze is told of by another that still runs, and only all of
them together can fall silent. Timers that tick together would say the same: one report in ten minutes is enough.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from shared.app import App
from shared.health.facts import Health
from shared.health.look import look
from shared.records import write_record

REPORT = "report"
BETWEEN = timedelta(minutes=9)
"""A little less than the ten minutes, for ticks come some seconds early or late."""
MOST_REASONS = 20
LONGEST_REASON = 400
MOST_GAPS = 100
LONGEST_SOURCE = 100
"""Application Insights cuts a message at 32,768 characters, and a cut record is none."""


def report(app: App) -> None:
    """One record for each function, source and queue, and one for the whole."""
    if not app.journal.is_due(REPORT, BETWEEN, app.clock.now()):
        return
    health = look(app)
    for function in health.functions:
        write_record("function", function)
    for source in health.sources:
        write_record("source", source)
    for queue in health.queues:
        write_record("queue", queue)
    write_record("health", _summary(health))


def _summary(health: Health) -> dict[str, object]:
    told = health.reasons[:MOST_REASONS]
    return {
        "gaps_last_day": health.gaps_last_day,
        "gaps": [replace(one, source=one.source[:LONGEST_SOURCE]) for one in health.gaps[:MOST_GAPS]],
        "days_unpublished": health.unpublished.days,
        "codes": sorted({reason.code for reason in health.reasons}),
        "reasons": [reason.text[:LONGEST_REASON] for reason in told],
    }
