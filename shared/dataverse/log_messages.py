"""Messages of the queue `additional-context`: runs of one environment and day whose action logs are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Any

import msgspec

from shared.batches import batches, grouped
from shared.dataverse.sessions import AWAITED, LogStatus, Session
from shared.errors import Unreadable
from shared.setting_values import GUID

RUNS_PER_MESSAGE = 20


class LogRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`url` is the environment's origin; `day` the UTC date on which the runs were created.

    With `recheck`, logs in the table `flowlogs` that were read soon after the run are compared once more; with
    `again`, logs that were decoded before are decoded once more. A log that is `slow` took longer than many have
    together. `looked_utc` is when the logs were first looked for and not there. `redriven` counts how often the
    request has been put back after it failed too often.
    """

    url: str
    environment_id: str
    day: date
    session_ids: tuple[str, ...]
    recheck: bool = False
    again: bool = False
    slow: bool = False
    looked_utc: datetime | None = None
    redriven: int = 0

    def body(self) -> str:
        return msgspec.json.encode(self).decode()

    def only(self, session_ids: Iterable[str], **changes: Any) -> LogRequest:
        return msgspec.structs.replace(self, session_ids=tuple(session_ids), **changes)


def read_request(body: str) -> LogRequest:
    """The request in a message.

    Raises:
        Unreadable: it is none that this app wrote.
    """
    try:
        request = msgspec.json.decode(body, type=LogRequest)
    except msgspec.DecodeError as error:
        raise Unreadable(f"This message asks for no action logs: {error}") from error
    if not all(GUID.fullmatch(session_id) for session_id in request.session_ids):
        raise Unreadable("This message names runs by something else than their ids.")
    return request


def is_wanted(session: Session, request: LogRequest) -> bool:
    """Whether a message has something to do for a run; it may have lain long, and the log come another way."""
    return request.again or session.log_status in AWAITED or is_due(session, request)


def is_due(session: Session, request: LogRequest) -> bool:
    """Whether the table is to be read once more: rows that came late are there by now."""
    return request.recheck and session.log_status == LogStatus.LOADED


def requests_for(url: str, sessions: Iterable[Session], *, again: bool = False) -> Iterator[LogRequest]:
    """As few messages as may be, each for runs of one environment and day."""
    for (environment_id, day), group in grouped(sessions, lambda run: (run.environment_id, run.day)).items():
        for batch in batches(group, RUNS_PER_MESSAGE):
            yield LogRequest(url, environment_id, day, tuple(session.session_id for session in batch), again=again)
