"""How the app is, in facts and in what follows from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

LONG_BEFORE = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One thing that keeps the app from being healthy: a code word, where, since when, and two sentences."""

    code: str
    where: str
    since_utc: datetime | None
    problem: str
    remedy: str

    @property
    def text(self) -> str:
        return f"{self.where}: {self.problem} {self.remedy}"


@dataclass(frozen=True, kw_only=True)
class FunctionHealth:
    """`kind` is timer or queue; what a queue starts has no schedule and is late where its messages wait."""

    name: str
    kind: str
    schedule: str | None
    last_success_utc: datetime | None
    last_run_utc: datetime | None
    last_error: str | None
    next_utc: datetime | None
    is_late: bool


@dataclass(frozen=True, kw_only=True)
class SourceHealth:
    """`lag_s` is the age of the place up to which the source has been read, `late_s` how late that is.

    Lateness counts from the tick that should have read on, and is below 0 while that is to come; and from
    `first_utc` at the earliest, when the app first met the source: a first load is behind by months, and not late.
    A `problem` keeps data from being read, since `problem_utc`; a `remark` tells of settings that keep it from
    being there. `waiting` are content blobs still to be fetched, or action logs that have been awaited for long,
    the oldest since `waiting_utc`. `clock_ahead_s` is how far the app's clock is ahead of the source's. A feed
    that has shown nothing new for longer than any is quiet has done so since `silent_utc`.
    """

    name: str
    kind: str
    read_until_utc: datetime | None
    first_utc: datetime
    lag_s: int
    late_s: int
    problem: str | None = None
    problem_utc: datetime | None = None
    remark: str | None = None
    waiting: int = 0
    waiting_utc: datetime | None = None
    clock_ahead_s: int | None = None
    silent_utc: datetime | None = None

    @property
    def is_first_load(self) -> bool:
        return self.read_until_utc is not None and self.first_utc - self.read_until_utc > LONG_BEFORE


@dataclass(frozen=True, kw_only=True)
class QueueHealth:
    """`messages` are all, also those that are to be seen later; `oldest_utc` is of those to be taken now."""

    name: str
    messages: int
    poison: int
    oldest_utc: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Unpublished:
    """Days of tables, and dimensions, with staged rows; the oldest of those since `oldest_utc`."""

    days: int = 0
    oldest_utc: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class GapHealth:
    """How many gaps of one kind were noticed in a source within a day."""

    source: str
    kind: str
    gaps: int


@dataclass(frozen=True, kw_only=True)
class Health:
    """`reasons` says everything that keeps the app from being healthy; none: it is."""

    at_utc: datetime
    functions: list[FunctionHealth] = field(default_factory=list[FunctionHealth])
    sources: list[SourceHealth] = field(default_factory=list[SourceHealth])
    queues: list[QueueHealth] = field(default_factory=list[QueueHealth])
    unpublished: Unpublished = field(default_factory=Unpublished)
    gaps_last_day: int = 0
    gaps: list[GapHealth] = field(default_factory=list[GapHealth])
    reasons: list[Reason] = field(default_factory=list[Reason])

    @property
    def is_healthy(self) -> bool:
        return not self.reasons
