"""Both sides compared: what the simulated tenant has and served, and what the app kept and published."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.app import App
from shared.batches import grouped
from shared.publishing.day_files import current
from shared.publishing.staging import destination_of
from shared.schema import FACT_AUDIT_EVENT, FACT_FLOW_ACTION, FACT_FLOW_SESSION, Table, arrow_schema
from shared.state.names import Container, StateTable

Key = tuple[Any, ...]
COUNTED = ("session_id", "seq_count_distinct", "seq_max")


@dataclass(frozen=True)
class Line:
    """One kind of thing: how many the tenant has, how many the app's state holds, how many are published."""

    what: str
    served: int
    held: int
    published: int
    lost: tuple[Key, ...] = ()
    duplicated: int = 0


@dataclass(frozen=True)
class Reconciliation:
    lines: tuple[Line, ...] = field(default_factory=tuple)

    @property
    def lost(self) -> int:
        return sum(len(line.lost) for line in self.lines)

    @property
    def duplicated(self) -> int:
        return sum(line.duplicated for line in self.lines)

    @property
    def published(self) -> int:
        return sum(line.published for line in self.lines)


class PublishedTables:
    """The published tables as Power BI would read them: all files of a table, one below the other."""

    def __init__(self, app: App) -> None:
        self._blobs = app.storage.blobs

    def names(self) -> list[str]:
        """The files that count, of each destination."""
        places = grouped(self._blobs.list(Container.POWERBI), lambda item: destination_of(item.name))
        return [item.name for items in places.values() for item in current(items)]

    def file(self, name: str) -> bytes:
        content = self._blobs.get(Container.POWERBI, name)
        if content is None:
            raise FileNotFoundError(name)
        return content

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        names = list(columns or table.column_names)
        mine = (name for name in self.names() if name.startswith(f"{table.name}/"))
        parts = [pq.read_table(io.BytesIO(self.file(name)), columns=names) for name in mine]
        return pa.concat_tables([arrow_schema(table).empty_table().select(names), *parts])


def reconcile(truth: Mapping[str, Any], app: App) -> Reconciliation:
    """Compare the tenant's truth with the register, the ledger and the published tables."""
    published = PublishedTables(app)
    runs = published.read(FACT_FLOW_SESSION, ["session_id", "status_code", "log_status"]).to_pylist()
    actions = published.read(FACT_FLOW_ACTION, ["session_id", "seq"])
    events = published.read(FACT_AUDIT_EVENT, ["event_id", "operation", "resource_id"]).to_pylist()
    registered = {entity.row for entity in app.storage.table(StateTable.FLOW_SESSIONS).all(select=["status_code"])}
    ledger = list(app.storage.table(StateTable.AUDIT_CONTENT).all(select=["content_id", "status"]))
    sessions = [
        run for environment in truth["environments"] for run in environment["sessions"] if not run["deleted"]
    ]
    return Reconciliation(
        (
            _runs(sessions, runs, registered),
            _actions(sessions, actions, runs),
            _blobs(truth["audit"]["blobs"], ledger),
            _events(truth["audit"]["events"], events),
        )
    )


def _runs(sessions: list[dict[str, Any]], rows: list[dict[str, Any]], registered: set[str]) -> Line:
    """A run counts as published once its newest state is."""
    states = {row["session_id"]: row["status_code"] for row in rows}
    lost = [run["session_id"] for run in sessions if states.get(run["session_id"]) != run["status_code"]]
    return Line(
        "desktop-flow runs",
        len(sessions),
        len(registered),
        len(states),
        tuple((session_id,) for session_id in lost),
        _repeats(row["session_id"] for row in rows),
    )


def _actions(sessions: list[dict[str, Any]], rows: pa.Table, runs: list[dict[str, Any]]) -> Line:
    """An action counts as lost where a run's published log is shorter than the tenant's, or has a hole.

    A large tenant's actions are too many to be looked at one by one, so logs are counted first.
    """
    wanted = {
        run["session_id"]: run["actions"] for run in sessions if run["completed"] and run["log"] in ("v1", "v2")
    }
    counted = rows.group_by("session_id").aggregate([("seq", "count_distinct"), ("seq", "max")])
    session_ids, distinct, last = (counted.column(name).to_pylist() for name in COUNTED)
    logs = {one: (number, most) for one, number, most in zip(session_ids, distinct, last, strict=True)}
    odd = [session_id for session_id, count in wanted.items() if logs.get(session_id) != (count, count - 1)]
    there = _seqs(rows, odd)
    lost = [
        (session_id, seq)
        for session_id in odd
        for seq in range(wanted[session_id])
        if (session_id, seq) not in there
    ]
    loaded = sum(row["log_status"] == "loaded" for row in runs)
    repeats = rows.num_rows - sum(distinct)
    return Line(
        f"actions, in {loaded} logs", sum(wanted.values()), rows.num_rows, rows.num_rows, tuple(lost), repeats
    )


def _seqs(rows: pa.Table, session_ids: list[str]) -> set[Key]:
    found = rows.filter(pc.is_in(rows.column("session_id"), value_set=pa.array(session_ids, pa.string())))
    return set(zip(found.column("session_id").to_pylist(), found.column("seq").to_pylist(), strict=True))


def _blobs(blobs: list[dict[str, Any]], ledger: Iterable[Any]) -> Line:
    status = {entity.get("content_id"): entity.get("status") for entity in ledger}
    there = [blob["content_id"] for blob in blobs if not blob["expired"]]
    done = sum(value == "done" for value in status.values())
    lost = tuple((content_id,) for content_id in there if status.get(content_id) != "done")
    return Line("audit content blobs", len(blobs), len(status), done, lost)


def _events(events: list[dict[str, Any]], rows: list[dict[str, Any]]) -> Line:
    there = {(row["event_id"], row["operation"].lower()) for row in rows}
    wanted = {(event["event_id"].lower(), event["operation"].lower()) for event in events}
    repeats = _repeats((row["event_id"], row["operation"], row["resource_id"]) for row in rows)
    return Line("audit events", len(wanted), len(rows), len(rows), tuple(wanted - there), repeats)


def _repeats(keys: Iterable[Any]) -> int:
    return sum(count - 1 for count in Counter(keys).values())
