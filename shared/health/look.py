"""Looks at what the app has left behind in storage: about a dozen small requests, whatever there is in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any

from shared.app import App
from shared.audit.cursor import CURSOR as FEED_CURSOR
from shared.audit.cursor import read_feed_cursor
from shared.batches import grouped
from shared.dataverse.cursor import CURSOR as SESSIONS_CURSOR
from shared.dataverse.cursor import read_cursor
from shared.health.codes import Code
from shared.health.facts import FunctionHealth, GapHealth, Health, QueueHealth, SourceHealth, Unpublished
from shared.health.lateness import FEEDS, QUEUE_FUNCTIONS, TIMERS, is_late, overdue, schedule_of
from shared.health.reasons import Seen, reasons
from shared.health.words import hours
from shared.limits import HealthLimits
from shared.schedules import read_schedule
from shared.state.journal import THE_APP, Gap
from shared.state.names import Container, Queue
from shared.state.sources import Faring

GENERAL = "Audit.General"
DAY = timedelta(days=1)
STAGED = ("dim_", "fact_")
MOST_STAGED = 5000  # one page of a listing
PLACE = ("watermark_utc", "history_utc", "position_utc", "until_utc")  # without the digests, which are long


def look(app: App) -> Health:
    """Everything that tells how the app is."""
    now = app.clock.now()
    beats = app.journal.heartbeats()
    first: datetime = beats.get(THE_APP, {}).get("first_utc") or app.journal.first_seen(now)
    return _Look(app, now, first, beats, app.sources.all()).health()


@dataclass(frozen=True)
class _Look:
    """`first` is when the app first ran in this storage account: what timers are measured from."""

    app: App
    now: datetime
    first: datetime
    beats: Mapping[str, Mapping[str, Any]]
    farings: list[Faring]

    def health(self) -> Health:
        queues = [self._queue(queue) for queue in Queue]
        by_queue = {queue.name: queue for queue in queues}
        functions = [
            *(self._timer(name) for name in TIMERS),
            *(self._message_function(name, by_queue[queue]) for name, queue in QUEUE_FUNCTIONS.items()),
        ]
        gaps = [gap for gap in self.app.journal.noticed_since(self.now - DAY, self.now) if gap.is_loss]
        health = Health(
            at_utc=self.now,
            functions=functions,
            sources=[*self._environments(), *self._feeds()],
            queues=queues,
            unpublished=self._unpublished(),
            gaps_last_day=len(gaps),
            gaps=_counted(gaps),
        )
        seen = Seen(self.app.settings, self.first, self.farings, gaps)
        return replace(health, reasons=list(reasons(health, seen)))

    @property
    def limits(self) -> HealthLimits:
        return self.app.settings.health

    def _timer(self, name: str) -> FunctionHealth:
        """A function that never succeeded is measured from when the app first ran: it may be dead from birth."""
        schedule, beat = schedule_of(name, self.app.settings.schedules), self.beats.get(name, {})
        last: datetime | None = beat.get("succeeded_utc")
        return FunctionHealth(
            name=name,
            kind="timer",
            schedule=schedule,
            last_success_utc=last,
            last_run_utc=_last_run(beat),
            last_error=beat.get("error"),
            next_utc=read_schedule(schedule).next_after(self.now),
            is_late=is_late(schedule, last or self.first, self.now, self.limits.missed_ticks),
        )

    def _message_function(self, name: str, queue: QueueHealth) -> FunctionHealth:
        beat = self.beats.get(name, {})
        return FunctionHealth(
            name=name,
            kind="queue",
            schedule=None,
            last_success_utc=beat.get("succeeded_utc"),
            last_run_utc=_last_run(beat),
            last_error=beat.get("error"),
            next_utc=None,
            is_late=bool(queue.oldest_utc and self.now - queue.oldest_utc > hours(self.limits.backlog_hours)),
        )

    def _queue(self, queue: Queue) -> QueueHealth:
        queues = self.app.storage.queues
        messages = queues.length(queue)
        oldest = queues.oldest(queue) if messages else None
        return QueueHealth(
            name=str(queue), messages=messages, poison=queues.length(queue.poison), oldest_utc=oldest
        )

    def _environments(self) -> Iterator[SourceHealth]:
        known = {entity.row: entity for entity in self.app.environments.all()}
        places = self.app.checkpoints.all(SESSIONS_CURSOR, PLACE)
        for environment in self.app.settings.environments:
            entity = known.get(environment.host)
            place = places.get(entity.get("environment_id", "")) if entity else None
            cursor = read_cursor(place.values, self.now) if place else None
            until = cursor and (cursor.position or cursor.watermark)
            source = self._source(environment.name, "environment", until)
            told: Mapping[str, Any] = entity.properties if entity else {}
            logs = self._faring("reconcile", environment.name)
            yield replace(
                source,
                problem=told.get("access_problem"),
                problem_utc=told.get("problem_since_utc"),
                remark=told.get("remarks"),
                waiting=logs.waiting or 0,
                waiting_utc=logs.waiting_utc,
                clock_ahead_s=self._faring("poll_flow_sessions", environment.name).clock_ahead_s,
            )

    def _feeds(self) -> Iterator[SourceHealth]:
        places = self.app.checkpoints.all(FEED_CURSOR)
        for content_type in self.app.settings.audit_content_types:
            place = places.get(content_type)
            cursor = read_feed_cursor(place.values) if place else None
            may_be_quiet = content_type != GENERAL  # no other type has events in every tenant
            polled = self._faring("poll_audit_content", content_type)
            source = self._source(content_type, "audit", cursor and cursor.watermark)
            yield replace(
                source,
                problem=polled.problem if polled.code == Code.ACCESS_REFUSED else None,
                problem_utc=polled.failing_utc if polled.code == Code.ACCESS_REFUSED else None,
                waiting=polled.waiting or 0,
                waiting_utc=polled.waiting_utc,
                clock_ahead_s=polled.clock_ahead_s,
                silent_utc=None if cursor is None or may_be_quiet else cursor.silent_since(source.first_utc),
            )

    def _faring(self, function: str, source: str) -> Faring:
        found = (one for one in self.farings if (one.function, one.source) == (function, source))
        return next(found, Faring(function=function, source=source))

    def _source(self, name: str, kind: str, until: datetime | None) -> SourceHealth:
        """A source that was never read is behind since the app first met it."""
        first = self._first_seen(FEEDS[kind], name)
        schedule = schedule_of(FEEDS[kind], self.app.settings.schedules)
        return SourceHealth(
            name=name,
            kind=kind,
            read_until_utc=until,
            first_utc=first,
            lag_s=_seconds(self.now - (until or first)),
            late_s=_seconds(overdue(schedule, max(until or first, first), self.now)),
        )

    def _first_seen(self, function: str, source: str) -> datetime:
        return self._faring(function, source).first_utc or self.app.sources.first_seen(function, source, self.now)

    def _unpublished(self) -> Unpublished:
        """What is staged; of very much, the first pages of its listing."""
        blobs = self.app.storage.blobs
        found = (islice(blobs.list(Container.STAGING, prefix), MOST_STAGED) for prefix in STAGED)
        items = list(chain.from_iterable(found))
        folders = {item.name.rpartition("/")[0] for item in items}
        return Unpublished(days=len(folders), oldest_utc=min((item.modified_utc for item in items), default=None))


def _counted(gaps: Iterable[Gap]) -> list[GapHealth]:
    by_kind = grouped(gaps, lambda gap: (gap.source, gap.kind))
    return [GapHealth(source=source, kind=kind, gaps=len(found)) for (source, kind), found in by_kind.items()]


def _seconds(length: timedelta) -> int:
    return round(length.total_seconds())


def _last_run(beat: Mapping[str, Any]) -> datetime | None:
    times = [beat[name] for name in ("succeeded_utc", "failed_utc") if beat.get(name)]
    return max(times, default=None)
