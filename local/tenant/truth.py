"""The truth: what exists, what of it is wanted, and what was served, so that anyone can reconcile."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from local.tenant.activity import blob_body, milliseconds
from local.tenant.rendering import utc_text
from local.tenant.wire import Response
from local.tenant.world import (
    AuditEvent,
    BlobSummary,
    ContentBlob,
    LogFile,
    LogSummary,
    Row,
    Session,
    World,
    resolved,
)

WANTED_WORKLOADS = ("PowerPlatform", "MicrosoftFlow", "PowerApps", "MicrosoftCopilotStudio")
CRM_WORKLOAD = "CRM"
# Of flowsession.statuscode: Paused, Running, Waiting and Suspended are still under way.
_OPEN_STATUSES = {0, 1, 2, 3, 6}
_ACTION_ROW = 100000001
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Served:
    """What was given out; an answer that a fault cut short is a request but gave out nothing."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._items: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._lock = threading.Lock()

    def note(self, service: str, response: Response) -> None:
        with self._lock:
            self._requests[f"{service}/{response.kind}" if response.kind else service] += 1
            for category, key in response.served if response.whole else ():
                self._items[category][key] += 1

    def times(self, category: str) -> Counter[str]:
        with self._lock:
            return Counter(self._items[category])

    def counts(self) -> dict[str, Any]:
        with self._lock:
            return {
                "requests": dict(sorted(self._requests.items())),
                "sessions": len(self._items["session"]),
                "files": len(self._items["log file"]),
            }


class Truth:
    """Tells the truth about a world at a moment; what it has read once it does not read again."""

    def __init__(self, world: World, served: Served) -> None:
        self._world = world
        self._served = served
        self._blobs: dict[str, BlobSummary] = {}

    def at(self, now: datetime, urls: Mapping[str, str]) -> dict[str, Any]:
        """The whole truth; `urls` maps the name of an environment to its address."""
        environments = [
            {
                "name": environment.name,
                "url": urls[environment.name],
                "environment_id": environment.environment_id,
                "sessions": [
                    _session(session, now)
                    for session in environment.sessions
                    if session.states[0].visible_at <= now
                ],
            }
            for environment in self._world.environments
        ]
        return {"environments": environments, "audit": self._audit(now), "served": self._served.counts()}

    def _audit(self, now: datetime) -> dict[str, Any]:
        blobs = [blob for blob in self._world.blobs if blob.listed_at <= now]
        times = self._served.times("blob")
        return {
            "blobs": [self._blob(blob, now, times[blob.content_id]) for blob in blobs],
            "events": self._events(blobs, lambda workload: workload != CRM_WORKLOAD),
            "crm": self._events(blobs, lambda workload: workload == CRM_WORKLOAD),
        }

    def _summary(self, blob: ContentBlob) -> BlobSummary:
        if blob.content_id not in self._blobs:
            found = resolved(blob.summary) if blob.summary else None
            self._blobs[blob.content_id] = found or blob_summary(json.loads(blob_body(blob)))
        return self._blobs[blob.content_id]

    def _blob(self, blob: ContentBlob, now: datetime, served: int) -> dict[str, Any]:
        return {
            "content_id": blob.content_id,
            "content_type": blob.content_type,
            "created": milliseconds(blob.created),
            "expires": milliseconds(blob.expires),
            "expired": blob.expires <= now,
            "records": self._summary(blob).records,
            "served": served,
        }

    def _events(self, blobs: Iterable[ContentBlob], wanted: Callable[[str], bool]) -> list[dict[str, Any]]:
        """Distinct events by id and operation, each with all blobs that deliver it."""
        events: dict[tuple[str, str], dict[str, Any]] = {}
        for blob in blobs:
            for event in self._summary(blob).events:
                if wanted(event.workload):
                    known = events.setdefault((event.event_id, event.operation.lower()), _event(event))
                    known["content_ids"].append(blob.content_id)
        return list(events.values())


def _event(event: AuditEvent) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "operation": event.operation,
        "workload": event.workload,
        "created_utc": event.created_utc,
        "content_ids": [],
    }


def blob_summary(records: Iterable[Row]) -> BlobSummary:
    """The wanted events among a blob's records, Dataverse's (CRM) included."""
    held = list(records)
    return BlobSummary(len(held), tuple(event for record in held if (event := wanted_event(record))))


def wanted_event(record: Row) -> AuditEvent | None:
    names = {name.lower(): name for name in (*WANTED_WORKLOADS, CRM_WORKLOAD)}
    workload = names.get(str(record.get("Workload", "")).lower())
    if workload is None:
        return None
    created = str(record["CreationTime"]).removesuffix("Z") + "Z"
    return AuditEvent(str(record["Id"]).lower(), str(record["Operation"]), workload, created)


def _session(session: Session, now: datetime) -> dict[str, Any]:
    state = session.state_at(now)
    status = resolved(state.values).get("statuscode", 0) if state else 0
    log = log_summary(session, now, completed=status not in _OPEN_STATUSES)
    return {
        "session_id": session.session_id.lower(),
        "status_code": status,
        "completed": status not in _OPEN_STATUSES,
        "created_utc": utc_text(session.created),
        "log": log.kind,
        "actions": log.actions,
        "failed_actions": log.failed_actions,
        "deleted": session.deleted(now),
    }


def log_summary(session: Session, now: datetime, *, completed: bool) -> LogSummary:
    """The log that a reader can find now; where both kinds exist they tell the same and v2 is named."""
    if session.flowlogs:
        if completed and session.flowlog_summary:
            return session.flowlog_summary
        rows = [row for row in session.flowlogs_at(now) if row.get("type") == _ACTION_ROW]
        if rows:
            return _counted("v2", [json.loads(row["data"]) for row in rows])
    file = session.file_at(now)
    return _file_summary(file) if file else LogSummary("none")


def _file_summary(file: LogFile) -> LogSummary:
    if file.summary:
        return file.summary
    try:
        text = resolved(file.content).removeprefix(_BYTE_ORDER_MARK)
        return _counted("v1", json.loads(text)["actions"])
    except (ValueError, KeyError, TypeError):
        return LogSummary("bad")


def _counted(kind: Any, actions: list[Any]) -> LogSummary:
    return LogSummary(kind, len(actions), sum(action.get("status") == "Failed" for action in actions))
