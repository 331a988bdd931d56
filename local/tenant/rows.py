"""The rows of one environment at a moment, found without rendering more of them than a page needs."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import Protocol, TypeAlias

from local.tenant.filters import Comparison, Membership
from local.tenant.query import Query, arranged, guid_order
from local.tenant.world import (
    Environment,
    LogFile,
    Row,
    Session,
    SessionState,
    appeared,
    as_time,
    resolved,
    stable_id,
    without_collector,
)

LOG_FILE_NAME = "additionalcontext.json"

# A session's state, as the session and the state's place in it.
_Entry: TypeAlias = tuple[Session, int]
_Place: TypeAlias = tuple[datetime, str]


class Rows(Protocol):
    """The rows of one table."""

    def found(self, query: Query, now: datetime) -> Iterator[Row]:
        """The rows that satisfy the query, in its order, from where its cookie points."""
        ...

    def row(self, key: str, now: datetime) -> Row | None: ...


@dataclass(frozen=True)
class PlainRows:
    """Rows that appear at their `createdon` and stay as they are."""

    key: str
    rows: Sequence[Row]

    def found(self, query: Query, now: datetime) -> Iterator[Row]:
        return arranged((row for row in self.rows if appeared(row, now)), query)

    def row(self, key: str, now: datetime) -> Row | None:
        row = self._by_id.get(key)
        return row if row is not None and appeared(row, now) else None

    @cached_property
    def _by_id(self) -> dict[str, Row]:
        return {str(row[self.key]).lower(): row for row in self.rows}


class SessionRows:
    """The sessions of one environment, indexed by id and by the times that queries ask for."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = sessions
        self._indexes: dict[str, _TimeIndex] = {}
        self._lock = threading.Lock()

    @cached_property
    def _by_id(self) -> dict[str, Session]:
        return {session.session_id.lower(): session for session in self._sessions}

    def session(self, key: str, now: datetime) -> Session | None:
        session = self._by_id.get(key)
        return session if session is not None and session.exists(now) else None

    def row(self, key: str, now: datetime) -> Row | None:
        session = self.session(key, now)
        state = session.state_at(now) if session else None
        return session_row(session, state, now) if session and state else None

    def found(self, query: Query, now: datetime) -> Iterator[Row]:
        """Streams along an index when the order is its order; else collects and sorts."""
        ids = wanted_ids(query, "flowsessionid")
        if ids is not None:
            return arranged((row for key in sorted(ids) if (row := self.row(key, now))), query)
        column = _bounded_column(query)
        if _follows(query) and column in {None, query.order[0].column.name}:
            entries = self._index(query.order[0].column.name).scan(query)
            return (row for row in _visible(entries, now) if query.filter.test(row))
        entries = self._index(column or "modifiedon").between(query)
        return arranged(_visible(entries, now), query)

    def _index(self, column: str) -> _TimeIndex:
        with self._lock:
            if column not in self._indexes:
                self._indexes[column] = _TimeIndex(column, self._sessions)
            return self._indexes[column]


@dataclass(frozen=True)
class FlowLogRows:
    """The `flowlogs` of all sessions; they disappear with their session."""

    sessions: SessionRows
    all_sessions: Sequence[Session]

    def found(self, query: Query, now: datetime) -> Iterator[Row]:
        ids = wanted_ids(query, "flowsessionid", "parentobjectid")
        chosen = self.all_sessions if ids is None else _existing(self.sessions, ids, now)
        return arranged((row for each in chosen if each.exists(now) for row in each.flowlogs_at(now)), query)

    def row(self, key: str, now: datetime) -> Row | None:
        rows = (row for each in self.all_sessions if each.exists(now) for row in each.flowlogs_at(now))
        return next((row for row in rows if row["flowlogid"] == key), None)


def _existing(sessions: SessionRows, ids: Iterable[str], now: datetime) -> list[Session]:
    return [session for key in sorted(ids) if (session := sessions.session(key, now))]


def environment_rows(environment: Environment) -> dict[str, Rows]:
    """The rows of each table by its logical name."""
    sessions = SessionRows(environment.sessions)
    organization = {
        "organizationid": environment.organization_id,
        "name": environment.unique_name,
        "friendlyname": environment.name,
        **environment.organization,
    }
    return {
        "flowsession": sessions,
        "workflow": PlainRows("workflowid", environment.workflows),
        "flowmachine": PlainRows("flowmachineid", environment.machines),
        "flowmachinegroup": PlainRows("flowmachinegroupid", environment.machine_groups),
        "systemuser": PlainRows("systemuserid", environment.users),
        "businessunit": PlainRows("businessunitid", environment.business_units),
        "organization": PlainRows("organizationid", [organization]),
        "flowlog": FlowLogRows(sessions, environment.sessions),
    }


def session_row(session: Session, state: SessionState, now: datetime) -> Row:
    row = {
        "flowsessionid": session.session_id,
        "createdon": session.created,
        "modifiedon": state.modified_at,
        "versionnumber": state.version_number,
        **resolved(state.values),
    }
    if session.file_at(now):
        row["additionalcontext"] = row.get("additionalcontext") or file_id(session)
        row["additionalcontext_name"] = LOG_FILE_NAME
    return row


def file_id(session: Session) -> str:
    return stable_id(session.session_id, "additionalcontext")


def attachment(session: Session, file: LogFile) -> Row:
    """The fileattachment row of a log."""
    return {
        "fileattachmentid": file_id(session),
        "filename": LOG_FILE_NAME,
        "filesizeinbytes": len(resolved(file.content)),
        "mimetype": "application/json",
        "regardingfieldname": "additionalcontext",
        "createdon": file.visible_at,
    }


def wanted_ids(query: Query, *columns: str) -> frozenset[str] | None:
    """The ids to which the filter restricts one of the columns; None when it does not."""
    for part in query.filter.parts:
        if isinstance(part, Comparison) and part.operator == "eq" and part.column.name in columns:
            return frozenset([str(part.value)])
        if isinstance(part, Membership) and part.column.name in columns:
            return frozenset(map(str, part.values))
    return None


def _bounds(query: Query, column: str) -> tuple[datetime | None, datetime | None]:
    """The closed range to which the filter restricts a time column; the filter itself is still tested."""
    parts = [part for part in query.filter.parts if isinstance(part, Comparison) and part.value is not None]
    here = [part for part in parts if part.column.name == column]
    lower = [part.value for part in here if part.operator in {"eq", "ge", "gt"}]
    upper = [part.value for part in here if part.operator in {"eq", "le", "lt"}]
    return max(lower, default=None), min(upper, default=None)


def _bounded_column(query: Query) -> str | None:
    """The indexed time column that the filter restricts, preferably the one that leads the order."""
    names = sorted(_TIMES, key=lambda name: name != query.order[0].column.name)
    return next((name for name in names if _bounds(query, name) != (None, None)), None)


def _follows(query: Query) -> bool:
    """Whether the order is that of a time index: the time, then the id in the same direction."""
    return (
        len(query.order) == 2  # noqa: PLR2004 - time and id
        and query.order[0].column.name in _TIMES
        and query.order[1].column.name == "flowsessionid"
        and query.order[0].descending == query.order[1].descending
    )


def _entries(sessions: Sequence[Session]) -> list[_Entry]:
    return [(session, state) for session in sessions for state in range(len(session.states))]


def _modified(entry: _Entry) -> datetime:
    session, state = entry
    return session.states[state].modified_at


def _created(entry: _Entry) -> datetime:
    return entry[0].created


def _id_order(entry: _Entry) -> str:
    return guid_order(entry[0].session_id)


# The times by which sessions are indexed.
_TIMES: dict[str, Callable[[_Entry], datetime]] = {"modifiedon": _modified, "createdon": _created}


def _visible(entries: Iterable[_Entry], now: datetime) -> Iterator[Row]:
    return (
        session_row(session, session.states[state], now) for session, state in entries if session.shows(state, now)
    )


class _TimeIndex:
    """All states of all sessions in the order of a time and the session's id.

    It holds for every moment: which of its entries exist is decided when it is read.
    """

    def __init__(self, column: str, sessions: Sequence[Session]) -> None:
        self._column = column
        self._time = _TIMES[column]
        with without_collector():
            by_time = groupby(sorted(_entries(sessions), key=self._time), key=self._time)
            self._ordered = [entry for _, ties in by_time for entry in _by_id(list(ties))]

    def between(self, query: Query) -> list[_Entry]:
        """The entries in the filter's range."""
        lower, upper = _bounds(query, self._column)
        return self._ordered[self._start(lower) : self._end(upper)]

    def scan(self, query: Query) -> Iterator[_Entry]:
        """The entries in the filter's range and the query's direction, from where its cookie points."""
        lower, upper = _bounds(query, self._column)
        start, end = self._start(lower), self._end(upper)
        last = _cookie_place(query)
        if not query.order[0].descending:
            begin = start if last is None else max(start, bisect_right(self._ordered, last, key=self._place))
            return (self._ordered[at] for at in range(begin, end))
        stop = end if last is None else min(end, bisect_left(self._ordered, last, key=self._place))
        return (self._ordered[at] for at in range(stop - 1, start - 1, -1))

    def _start(self, lower: datetime | None) -> int:
        return 0 if lower is None else bisect_left(self._ordered, lower, key=self._time)

    def _end(self, upper: datetime | None) -> int:
        return len(self._ordered) if upper is None else bisect_right(self._ordered, upper, key=self._time)

    def _place(self, entry: _Entry) -> _Place:
        return self._time(entry), _id_order(entry)


def _by_id(ties: list[_Entry]) -> list[_Entry]:
    return sorted(ties, key=_id_order) if len(ties) > 1 else ties


def _cookie_place(query: Query) -> _Place | None:
    if query.cookie is None:
        return None
    time, key = query.cookie.last
    return as_time(time), guid_order(key)
