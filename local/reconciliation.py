"""Both sides compared: what the simulated tenant has and served, and what the app kept and published."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from shared.app import App
from shared.batches import grouped
from shared.publishing.layout import current
from shared.publishing.staging import destination_of
from shared.schema import TABLES, Table, arrow_schema
from shared.state.names import Container, StateTable

Key = tuple[Any, ...]


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

    def read(self, table: Table) -> pa.Table:
        mine = (name for name in self.names() if name.startswith(f"{table.name}/"))
        parts = [pq.read_table(io.BytesIO(self.file(name))) for name in mine]
        return pa.concat_tables([arrow_schema(table).empty_table(), *parts])


def reconcile(truth: Mapping[str, Any], app: App) -> Reconciliation:
    """Compare the tenant's truth with the register, the ledger and the published tables."""
    published = PublishedTables(app)
    runs = (
        published.read(TABLES["fact_flow_session"]).select(["session_id", "status_code", "log_status"]).to_pylist()
    )
    actions = published.read(TABLES["fact_flow_action"]).select(["session_id", "seq"]).to_pylist()
    events = (
        published.read(TABLES["fact_audit_event"]).select(["event_id", "operation", "resource_id"]).to_pylist()
    )
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


def _actions(sessions: list[dict[str, Any]], rows: list[dict[str, Any]], runs: list[dict[str, Any]]) -> Line:
    """An action counts as lost where a run's published log is shorter than the tenant's, or has a hole."""
    wanted = {
        run["session_id"]: run["actions"] for run in sessions if run["completed"] and run["log"] in ("v1", "v2")
    }
    seqs: dict[str, set[int]] = {}
    for row in rows:
        seqs.setdefault(row["session_id"], set()).add(row["seq"])
    lost = [
        (session_id, seq)
        for session_id, count in wanted.items()
        for seq in range(count)
        if seq not in seqs.get(session_id, set())
    ]
    loaded = sum(row["log_status"] == "loaded" for row in runs)
    repeats = _repeats((row["session_id"], row["seq"]) for row in rows)
    return Line(f"actions, in {loaded} logs", sum(wanted.values()), len(rows), len(rows), tuple(lost), repeats)


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
