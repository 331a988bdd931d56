"""What a function receives when it is invoked by hand instead of by its trigger."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from local.host.functions import Function, HttpTrigger, QueueTrigger
from local.host.trigger_data import (
    HttpRequest,
    QueueMessage,
    TriggerInput,
    http_input,
    queue_input,
    timer_input,
)

TIME_TO_LIVE = timedelta(days=7)


def manual_input(function: Function, overrides: Mapping[str, Any]) -> TriggerInput:
    """Builds the trigger's value.

    Overrides by trigger: timer `past_due`; queue `body`, `dequeue_count`; http `method`, `query`, `headers`,
    `params`, `body`.

    Raises:
        TypeError: there is no such override for this trigger.
    """
    try:
        match function.trigger:
            case QueueTrigger():
                return _message(**overrides)
            case HttpTrigger():
                return http_input(_request(function.trigger, **overrides))
            case _:
                return timer_input(None, **overrides)
    except TypeError as error:
        raise TypeError(f"{function.name}: {str(error).partition('() ')[2] or error}") from error


def _message(*, body: str = "", dequeue_count: int = 1) -> TriggerInput:
    now = datetime.now(UTC)
    message = QueueMessage(
        id=str(uuid.uuid4()),
        text=body,
        pop_receipt="manual",
        dequeue_count=dequeue_count,
        inserted=now,
        expires=now + TIME_TO_LIVE,
        next_visible=now,
    )
    return queue_input(message, body)


def _request(
    trigger: HttpTrigger,
    *,
    method: str | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
    body: str = "",
) -> HttpRequest:
    allowed = trigger.methods or {"GET", "POST"}
    likely = "POST" if body and "POST" in allowed else min(allowed)
    return HttpRequest(
        method=method or likely,
        url=f"http://127.0.0.1/{trigger.route.template}",
        headers=headers or {},
        query=query or {},
        params=params or {},
        body=body.encode(),
    )
