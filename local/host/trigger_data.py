"""What a trigger hands to a function, in the shapes the real host sends.

Source of the shapes: GrpcMessageConversionExtensions.cs of azure-functions-host.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

NEVER = datetime.min.replace(tzinfo=UTC)  # DateTime.MinValue, as the real host writes it


@dataclass(frozen=True)
class Datum:
    """One value as FunctionRpc.proto's TypedData names it."""

    kind: Literal["string", "json", "bytes", "http"]
    value: Any


@dataclass(frozen=True)
class TriggerInput:
    """The trigger's own value and its metadata by name."""

    data: Datum
    metadata: Mapping[str, Datum] = field(default_factory=dict)


@dataclass(frozen=True)
class HttpRequest:
    """An HTTP request as it came in; several values of one query parameter are joined by commas."""

    method: str
    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    params: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class HttpResponse:
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class ScheduleStatus:
    """When a timer last ran (NEVER before the first time) and when it is to run next."""

    last: datetime
    next: datetime


@dataclass(frozen=True)
class QueueMessage:
    """A queue message as received; `text` is what the queue holds, still encoded."""

    id: str
    text: str
    pop_receipt: str
    dequeue_count: int
    inserted: datetime
    expires: datetime
    next_visible: datetime


def timer_input(status: ScheduleStatus | None, *, past_due: bool = False) -> TriggerInput:
    """`status` is None for a timer that is not monitored."""
    moments = status and {
        "Last": status.last.isoformat(),
        "LastUpdated": status.last.isoformat(),
        "Next": status.next.isoformat(),
    }
    value = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": moments, "IsPastDue": past_due}
    return TriggerInput(_json(value))


def queue_input(message: QueueMessage, body: str) -> TriggerInput:
    metadata = {
        "Id": Datum("string", message.id),
        "PopReceipt": Datum("string", message.pop_receipt),
        "DequeueCount": _json(message.dequeue_count),
        "InsertionTime": _json(message.inserted.isoformat()),
        "ExpirationTime": _json(message.expires.isoformat()),
        "NextVisibleTime": _json(message.next_visible.isoformat()),
    }
    return TriggerInput(Datum("string", body), metadata)


def http_input(request: HttpRequest) -> TriggerInput:
    return TriggerInput(Datum("http", request))


def _json(value: object) -> Datum:
    return Datum("json", json.dumps(value))
