"""What exists in the simulated tenant, each thing with the time from which it can be seen."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias, TypeVar, cast, overload
from uuid import NAMESPACE_URL, uuid5

from local.tenant.columns import TABLES

T = TypeVar("T")
Lazy: TypeAlias = T | Callable[[], T]
Row: TypeAlias = Mapping[str, Any]
LogKind: TypeAlias = Literal["v1", "v2", "none", "bad"]

FLOWSESSION_COLUMNS = frozenset(TABLES["flowsession"].columns)
# The columns of an old environment, as in a metadata dump of 2023.
FLOWSESSION_COLUMNS_2023 = FLOWSESSION_COLUMNS - {
    "clienttrackingid",
    "computeruseagentid",
    "connectionid",
    "credentials",
    "flowtestsessionid",
    "flowtriggerid",
    "machinepercentcpuusage",
    "machinepercentramusage",
    "machineramusage",
    "parentcloudflowrunsequenceid",
    "parentdesktopflowrunguid",
    "parentdesktopflowrunid",
    "parentworkflowid",
    "runmode",
    "runsessionmode",
    "sessionusername",
    "sessionusersid",
    "subcategory",
    "triggertype",
}


def resolved(value: Lazy[T]) -> T:
    """The value itself, rendered now when it is kept as a callable."""
    return cast("T", value()) if callable(value) else value


@contextmanager
def without_collector() -> Iterator[None]:
    """Pauses the cyclic garbage collector, which would go through a growing heap over and over."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class Deferred(Sequence[T]):
    """A sequence that is made when it is first looked at."""

    def __init__(self, make: Callable[[], Sequence[T]]) -> None:
        self._make = make
        self._made: Sequence[T] | None = None
        self._lock = threading.Lock()

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        return self._all()[at]

    def __len__(self) -> int:
        return len(self._all())

    def __iter__(self) -> Iterator[T]:
        return iter(self._all())

    def _all(self) -> Sequence[T]:
        with self._lock:
            if self._made is None:
                with without_collector():
                    self._made = self._make()
            return self._made


def stable_id(*parts: object) -> str:
    """A GUID that depends on the parts alone."""
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, parts))))


@dataclass(frozen=True, slots=True)
class LogSummary:
    """What `truth()` says about a log that it need not render."""

    kind: LogKind
    actions: int = 0
    failed_actions: int = 0


@dataclass(frozen=True, slots=True)
class LogFile:
    """The file column `additionalcontext` of one session.

    Without a summary the truth is read from the content.
    """

    visible_at: datetime
    content: Lazy[bytes]
    chunkable: bool = True
    summary: LogSummary | None = None


@dataclass(frozen=True, slots=True)
class SessionState:
    """The row of a session from `visible_at` on; `modified_at` is its stamp and may be earlier."""

    visible_at: datetime
    modified_at: datetime
    version_number: int
    values: Lazy[Row]


@dataclass(frozen=True, slots=True)
class Session:
    """One desktop flow run; its states are in the order in which they become visible.

    `createdon` is `created_at`, else `createdon` among eager values, else the first state's stamp.
    """

    session_id: str
    states: tuple[SessionState, ...]
    file: LogFile | None = None
    flowlogs: Lazy[tuple[Row, ...]] = ()
    deleted_at: datetime | None = None
    created_at: datetime | None = None
    flowlog_summary: LogSummary | None = None

    @property
    def created(self) -> datetime:
        if self.created_at is not None:
            return self.created_at
        first = self.states[0]
        stated = None if callable(first.values) else first.values.get("createdon")
        return first.modified_at if stated is None else as_time(stated)

    def exists(self, now: datetime) -> bool:
        return self.states[0].visible_at <= now and not self.deleted(now)

    def deleted(self, now: datetime) -> bool:
        return self.deleted_at is not None and self.deleted_at <= now

    def shows(self, state: int, now: datetime) -> bool:
        """Whether this state is the current one of an existing row."""
        later = state + 1
        return (
            self.states[state].visible_at <= now
            and (later == len(self.states) or self.states[later].visible_at > now)
            and not self.deleted(now)
        )

    def state_at(self, now: datetime) -> SessionState | None:
        return next((state for state in reversed(self.states) if state.visible_at <= now), None)

    def file_at(self, now: datetime) -> LogFile | None:
        return self.file if self.file is not None and self.file.visible_at <= now else None

    def flowlogs_at(self, now: datetime) -> tuple[Row, ...]:
        return tuple(row for row in resolved(self.flowlogs) if appeared(row, now))


@dataclass(frozen=True, slots=True)
class Access:
    """What the application user may do in one environment.

    `member` False and empty `roles` are answered with 403, as is each missing privilege such as
    `prvReadflowsession`. A privilege in `depths` has that depth instead of Global, so that rows of other owners
    are left out without a word.
    """

    member: bool = True
    roles: tuple[str, ...] = ("Flowtrail reader",)
    missing_privileges: frozenset[str] = frozenset()
    depths: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Environment:
    """One Power Platform environment; rows carry Web API property names, lookups as `_x_value`."""

    name: str
    environment_id: str
    organization_id: str
    unique_name: str
    sessions: Sequence[Session] = ()
    workflows: tuple[Row, ...] = ()
    machines: tuple[Row, ...] = ()
    machine_groups: tuple[Row, ...] = ()
    users: tuple[Row, ...] = ()
    business_units: tuple[Row, ...] = ()
    organization: Row = field(default_factory=dict)
    columns: frozenset[str] = FLOWSESSION_COLUMNS
    access: Access = field(default_factory=Access)
    absent_tables: frozenset[str] = frozenset()
    language: Literal["en", "de"] = "en"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """The identity of one wanted audit event."""

    event_id: str
    operation: str
    workload: str
    created_utc: str


@dataclass(frozen=True, slots=True)
class BlobSummary:
    """What `truth()` says about a blob that it need not render."""

    records: int
    events: tuple[AuditEvent, ...]


@dataclass(frozen=True, slots=True)
class ContentBlob:
    """One audit content blob, listable from `listed_at` (which may be after `created`) to `expires`."""

    content_id: str
    content_type: str
    created: datetime
    listed_at: datetime
    expires: datetime
    records: Lazy[tuple[Row, ...] | bytes]
    summary: Lazy[BlobSummary] | None = None


@dataclass(frozen=True)
class World:
    """Everything that exists in one tenant.

    `subscriptions` maps a content type to whether its subscription is enabled (True) or was disabled
    by an administrator (False); without an entry it was never started.
    """

    environments: tuple[Environment, ...]
    blobs: tuple[ContentBlob, ...] = ()
    tenant_id: str = stable_id("tenant")
    client_id: str = stable_id("client")
    history_start: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=90))
    subscriptions: Mapping[str, bool] = field(default_factory=dict)
    feed_roles: tuple[str, ...] = ("ActivityFeed.Read",)
    unified_auditing: bool = True
    graph_roles: tuple[str, ...] = ("AuditLogsQuery.Read.All",)


def as_time(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def appeared(row: Row, now: datetime) -> bool:
    """Whether a row without a life of its own exists by now: from its `createdon`, else always."""
    created = row.get("createdon")
    return created is None or as_time(created) <= now
