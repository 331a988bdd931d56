"""How the app is, for machines: 200, or 503 with the reasons."""

from __future__ import annotations

from dataclasses import asdict
from types import MappingProxyType

import msgspec

from shared.app import App
from shared.health.facts import FunctionHealth, QueueHealth, SourceHealth
from shared.health.failed import reasons_of
from shared.health.lateness import TIMERS
from shared.health.look import look

__all__ = ["HEADERS", "TIMERS", "FunctionHealth", "QueueHealth", "SourceHealth", "look", "refusal", "run"]

HEADERS = MappingProxyType(
    {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Strict-Transport-Security": "max-age=31536000",
    }
)


def run(app: App) -> tuple[int, str]:
    """HTTP status and JSON body."""
    health = look(app)
    body = {"status": "healthy" if health.is_healthy else "unhealthy", **asdict(health)}
    return 200 if health.is_healthy else 503, msgspec.json.encode(body).decode()


def refusal(error: Exception) -> tuple[int, str]:
    """The answer of an app that can't even look."""
    return 503, msgspec.json.encode({"status": "unhealthy", "reasons": reasons_of(error)}).decode()
