"""A stage on which the feed lacks events, and what is asked of the search and comes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Any

from integration.stage import ANCHOR, Stage, on_stage
from integration.test_audit_content import a_blob, an_event, world_of
from local.tenant import ContentBlob, Fault, Limits, World
from shared.audit import searching
from shared.audit.search_plan import read_plan

MIDNIGHT = ANCHOR.replace(hour=0)
NEVER = datetime.max.replace(tzinfo=ANCHOR.tzinfo)
QUERIES = "/v1.0/security/auditLog/queries"
QUICK = Limits(search_s=60)


def days_ago(days: float) -> str:
    return f"{ANCHOR - timedelta(days=days):%Y-%m-%d}"


def event_at(number: int, at: datetime, **more: Any) -> dict[str, Any]:
    return an_event(number, CreationTime=f"{at:%Y-%m-%dT%H:%M:%S}", **more)


def blob_at(number: int, at: datetime, *records: dict[str, Any], listed: datetime | None = None) -> ContentBlob:
    """A blob that was there an hour after what happened `at` a time; one that is too old has expired."""
    return a_blob(number, *(records or (event_at(number, at),)), created=at + timedelta(hours=1), listed=listed)


def searching_stage(
    world: World, account: str, limits: Limits = QUICK, search: str = "off"
) -> AbstractContextManager[Stage]:
    return on_stage(world, account, limits, AUDIT_SEARCH=search, AUDIT_WINDOW_HOURS="24")


def unlisted_days(days: int, per_day: int = 1) -> World:
    """Events of the last days that the feed never brings."""
    times = [
        MIDNIGHT - timedelta(days=day) + timedelta(hours=3 + number)
        for day in range(1, days + 1)
        for number in range(per_day)
    ]
    return world_of(*[blob_at(number, at, listed=NEVER) for number, at in enumerate(times, 1)])


def poll(stage: Stage, times: int = 1, **after: float) -> None:
    for _ in range(times):
        stage.run("poll_audit_content")
        stage.clock.advance(**(after or {"minutes": 15}))


def poll_until(stage: Stage, condition: Callable[[], bool], most: int = 60) -> int:
    """Poll every quarter of an hour; return how often it took."""
    for ticks in range(1, most + 1):
        poll(stage)
        if condition():
            return ticks
    raise AssertionError("it never came")


def is_done(stage: Stage, which: str = searching.BACKFILL) -> bool:
    plan = read_plan(stage.app.checkpoints.load(searching.PLACE, which).values)
    return plan is not None and plan.is_done and plan.told


def published(stage: Stage) -> set[tuple[str, str]]:
    stage.publish()
    rows = stage.rows("fact_audit_event")
    found = {(row["event_id"], row["operation"]) for row in rows}
    keys = {(row["event_id"], row["operation"], row["resource_id"]) for row in rows}
    assert len(keys) == len(rows), "an event is there twice"
    return found


def numbers(stage: Stage) -> list[int]:
    return sorted(int(event_id[-12:], 16) for event_id, _ in published(stage))


def to_graph(stage: Stage, method: str = "") -> list[str]:
    return [
        request.path
        for request in stage.tenant.requests
        if request.service == "graph" and method in ("", request.method)
    ]


def kinds(stage: Stage) -> list[str]:
    return sorted(gap.kind for gap in stage.app.journal.gaps())


def ending(status: str, times: int | None) -> Fault:
    body = json.dumps({"id": "x", "status": status}).encode()
    return Fault("graph", path_contains=f"{QUERIES}/", times=times, status=200, body=body)


def in_next_month(stage: Stage) -> None:
    """Nine days after the month is over, which the app has seen from its first day on."""
    first = (ANCHOR.replace(day=1) + timedelta(days=32)).replace(day=1)
    stage.clock.at = first + timedelta(days=9, hours=1)
