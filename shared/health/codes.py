"""What can be wrong, each under a code word that never changes: alerts and people's own monitors rely on them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Code(StrEnum):
    SETTINGS_WRONG = "settings_wrong"
    STORAGE_REFUSED = "storage_refused"
    HEALTH_FAILED = "health_failed"
    TIMER_FROZEN = "timer_frozen"
    FUNCTION_FAILING = "function_failing"
    ACCESS_REFUSED = "access_refused"
    ENVIRONMENT_GONE = "environment_gone"
    UNREACHABLE = "unreachable"
    THROTTLED = "throttled"
    SOURCE_FAILING = "source_failing"
    BEHIND = "behind"
    AUDIT_BACKLOG = "audit_backlog"
    SUBSCRIPTION_DISABLED = "subscription_disabled"
    FEED_SILENT = "feed_silent"
    LOGS_PENDING = "logs_pending"
    LOGS_UNREADABLE = "logs_unreadable"
    QUEUE_WAITING = "queue_waiting"
    POISON = "poison"
    UNPUBLISHED = "unpublished"
    CLOCK_SKEW = "clock_skew"
    GAP = "gap"


TITLES: Mapping[Code, str] = {
    Code.SETTINGS_WRONG: "A setting is wrong, and nothing runs",
    Code.STORAGE_REFUSED: "The app may not open its own storage, and nothing runs",
    Code.HEALTH_FAILED: "The app can't tell how it is",
    Code.TIMER_FROZEN: "A timer has stopped",
    Code.FUNCTION_FAILING: "A function keeps failing",
    Code.ACCESS_REFUSED: "A permission is missing",
    Code.ENVIRONMENT_GONE: "An environment is not there any more",
    Code.UNREACHABLE: "A service can't be reached",
    Code.THROTTLED: "A service asks the app to slow down",
    Code.SOURCE_FAILING: "A source can't be read",
    Code.BEHIND: "Data is older than it should be",
    Code.AUDIT_BACKLOG: "Audit content waits to be fetched",
    Code.SUBSCRIPTION_DISABLED: "The audit subscription was switched off",
    Code.FEED_SILENT: "The audit feed shows nothing new",
    Code.LOGS_PENDING: "Many action logs have not come",
    Code.LOGS_UNREADABLE: "Action logs can't be read",
    Code.QUEUE_WAITING: "Work piles up in a queue",
    Code.POISON: "Messages were given up",
    Code.UNPUBLISHED: "Rows wait to be published",
    Code.CLOCK_SKEW: "The clocks differ",
    Code.GAP: "Something was lost or may be missing",
}
"""Headings for people."""


def title_of(code: str) -> str:
    """The heading of a code; one that another version of the app left behind is its own."""
    return next((title for known, title in TITLES.items() if known == code), code)
