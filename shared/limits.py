"""How late, behind and backed up the app may be, as settings say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class HealthLimits:
    """What may be late, behind or waiting before the app calls itself unhealthy."""

    missed_ticks: int
    environment_hours: int
    audit_hours: int
    backlog_hours: int
    pending_logs: int


def limits_from(read: Callable[[str, int], int]) -> HealthLimits:
    """The limits out of their settings; `read` takes a setting's name and the most that it may be."""
    return HealthLimits(
        missed_ticks=read("HEALTH_MISSED_TICKS", 100),
        environment_hours=read("HEALTH_ENVIRONMENT_HOURS", 168),
        audit_hours=read("HEALTH_AUDIT_HOURS", 144),
        backlog_hours=read("HEALTH_BACKLOG_HOURS", 168),
        pending_logs=read("HEALTH_PENDING_LOGS", 10_000),
    )
