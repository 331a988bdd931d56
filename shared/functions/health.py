"""How the app is: the facts that the health endpoint and the status page show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cronsim import CronSim

from shared.app import App
from shared.audit.cursor import CURSOR as FEED_CURSOR
from shared.audit.cursor import read_feed_cursor
from shared.dataverse.cursor import CURSOR as SESSIONS_CURSOR
from shared.dataverse.cursor import read_cursor
from shared.settings import Schedules
from shared.state.journal import HARMLESS
from shared.state.names import Queue

MISSED_TICKS = 3
SLACK = timedelta(minutes=15)
MOST_LAG = timedelta(hours=2)
DAY = timedelta(days=1)
TIMERS = {
    "poll_flow_sessions": "flow_sessions",
    "poll_audit_content": "audit_content",
    "sync_inventory": "inventory",
    "publish": "publish",
    "reconcile": "reconcile",
}
"""Timer functions and the schedule of each, as `Schedules` names it."""


@dataclass(frozen=True, kw_only=True)
class FunctionHealth:
    name: str
    schedule: str
    last_success_utc: datetime | None
    last_error: str | None
    next_utc: datetime
    is_late: bool


@dataclass(frozen=True, kw_only=True)
class SourceHealth:
    """`lag_s` is the age of the place up to which the source has been read.

    A `problem` keeps data from being read; a `remark` tells of settings that keep it from being there.
    """

    name: str
    kind: str
    read_until_utc: datetime | None
    lag_s: int
    problem: str | None = None
    remark: str | None = None


@dataclass(frozen=True, kw_only=True)
class QueueHealth:
    name: str
    messages: int
    poison: int


@dataclass(frozen=True, kw_only=True)
class Health:
    """`reasons` says everything that keeps the app from being healthy; none: it is."""

    at_utc: datetime
    functions: list[FunctionHealth] = field(default_factory=list[FunctionHealth])
    sources: list[SourceHealth] = field(default_factory=list[SourceHealth])
    queues: list[QueueHealth] = field(default_factory=list[QueueHealth])
    gaps_last_day: int = 0
    reasons: list[str] = field(default_factory=list[str])

    @property
    def is_healthy(self) -> bool:
        return not self.reasons


def run(app: App) -> tuple[int, str]:
    """HTTP status and JSON body."""
    health = look(app)
    body = {"status": "healthy" if health.is_healthy else "unhealthy", **asdict(health)}
    return 200 if health.is_healthy else 503, msgspec.json.encode(body).decode()


def unhealthy(reason: str) -> tuple[int, str]:
    """The answer of an app that can't even look."""
    return 503, msgspec.json.encode({"status": "unhealthy", "reasons": reason.splitlines()}).decode()


def look(app: App) -> Health:
    """Everything that tells how the app is, from a few small reads."""
    now = app.clock.now()
    first = app.journal.first_seen(now)
    beats = app.journal.heartbeats()
    functions = [_function(name, app.settings.schedules, beats.get(name, {}), first, now) for name in TIMERS]
    sources = [*_environments(app, first, now), *_feeds(app, first, now)]
    queues = [_queue(app, queue) for queue in Queue]
    gaps = sum(gap.kind not in HARMLESS for gap in app.journal.noticed_since(now - DAY))
    return Health(
        at_utc=now,
        functions=functions,
        sources=sources,
        queues=queues,
        gaps_last_day=gaps,
        reasons=list(_reasons(functions, sources, queues, gaps)),
    )


def _function(
    name: str, schedules: Schedules, beat: Mapping[str, Any], first: datetime, now: datetime
) -> FunctionHealth:
    """A function that never succeeded is measured from when the app first ran: a timer may be dead from birth."""
    schedule: str = getattr(schedules, TIMERS[name])
    last: datetime | None = beat.get("succeeded_utc")
    return FunctionHealth(
        name=name,
        schedule=schedule,
        last_success_utc=last,
        last_error=beat.get("error"),
        next_utc=next(CronSim(schedule, now)),
        is_late=is_late(schedule, last or first, now),
    )


def is_late(schedule: str, last: datetime, now: datetime) -> bool:
    """Whether several ticks and some slack have passed since the last success."""
    ticks = CronSim(schedule, last)
    for _ in range(MISSED_TICKS - 1):
        next(ticks)
    return next(ticks) + SLACK < now


def _environments(app: App, first: datetime, now: datetime) -> Iterator[SourceHealth]:
    known = {entity.row: entity for entity in app.environments.all()}
    places = app.checkpoints.all(SESSIONS_CURSOR)
    for environment in app.settings.environments:
        entity = known.get(environment.host)
        place = places.get(entity.get("environment_id", "")) if entity else None
        until = (
            read_cursor(place.values, now).position or read_cursor(place.values, now).watermark if place else None
        )
        problem, remark = (entity.get(name) if entity else None for name in ("access_problem", "remarks"))
        yield replace(_source(environment.name, "environment", until, first, now), problem=problem, remark=remark)


def _feeds(app: App, first: datetime, now: datetime) -> Iterator[SourceHealth]:
    places = app.checkpoints.all(FEED_CURSOR)
    for content_type in app.settings.audit_content_types:
        place = places.get(content_type)
        until = read_feed_cursor(place.values).watermark if place else None
        yield _source(content_type, "audit", until, first, now)


def _source(name: str, kind: str, until: datetime | None, first: datetime, now: datetime) -> SourceHealth:
    """A source that was never read is behind since the app first ran."""
    lag_s = round((now - (until or first)).total_seconds())
    return SourceHealth(name=name, kind=kind, read_until_utc=until, lag_s=lag_s)


def _queue(app: App, queue: Queue) -> QueueHealth:
    length = app.storage.queues.length
    return QueueHealth(name=str(queue), messages=length(queue), poison=length(queue.poison))


def _reasons(
    functions: list[FunctionHealth], sources: list[SourceHealth], queues: list[QueueHealth], gaps: int
) -> Iterator[str]:
    for function in functions:
        if function.is_late:
            since = function.last_success_utc or "it was deployed"
            yield f"{function.name} has not succeeded since {since}: {function.last_error or 'no run was seen'}"
    for source in sources:
        if source.problem:
            yield f"{source.name} can't be read: {source.problem}"
        elif source.lag_s > MOST_LAG.total_seconds():
            yield f"{source.name} is {source.lag_s // 60} minutes behind"
    for queue in queues:
        if queue.poison:
            yield f"{queue.poison} messages of {queue.name} failed too often and lie in {queue.name}-poison"
    if gaps:
        yield f"{gaps} gaps were noticed within a day; the table gaps names them"
