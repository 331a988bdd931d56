"""Action logs of the second generation: rows of the elastic table `flowlogs`, one for each action.

Only runs that a cloud flow starts have them. Source: Power Automate docs, "Configure desktop flow logs", and the
table reference of flowlog; no real row has been seen, so what a row must have is kept small.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec

from shared.clock import Deadline
from shared.dataverse.action_log import ActionRecord, read_action, read_front
from shared.dataverse.web_api import Query, Row, WebApi
from shared.errors import TooLarge, Unreadable
from shared.times import happened_utc, iso_utc, parse_utc

ACTION = 100000001  # choice `type`: DesktopFlowRunAction
KEY_COLUMNS = ("flowlogid", "data", "type", "createdon")
NEWER_COLUMNS = ("duration", "logindex")
PAGE_ROWS = 500
MOST_ACTIONS = 500_000
BATCH_ACTIONS = 5_000
IN_MEMORY_BYTES = 16 * 1024 * 1024

SURE_TIME = re.compile(
    r"20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?Z", re.ASCII
)
"""An instant that need not be read to be known for one; on the last days of a month it is read."""

BELOW_MILLISECOND = re.compile(r"[.,]\d{3}(\d{1,6})", re.ASCII)

_written = msgspec.json.Decoder(ActionRecord)

Order = tuple[int, int, str, str]
"""Rank of a row: with or without a log index, that index, when it began, and its id."""
Place = tuple[int, int]
"""Where something was written, and its length in bytes."""


def readable_log_columns(attributes: frozenset[str] | None) -> tuple[str, ...]:
    """The columns to read, of those that the environment's table has; none where it has no such table."""
    if not attributes:
        return ()
    return (*KEY_COLUMNS, *(column for column in NEWER_COLUMNS if column in attributes))


@dataclass
class FlowLog:
    """The actions of one run as they arrive, in any order; to be closed when they have been read.

    Up to 16 MiB stay in memory, more goes to a temporary file; only the order of the rows always stays.
    """

    _rows: dict[str, tuple[Order, Place]] = field(default_factory=dict[str, "tuple[Order, Place]"])
    _unreadable: dict[str, Place] = field(default_factory=dict[str, Place])
    _size: int = 0

    def __post_init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - see close

    def __len__(self) -> int:
        return len(self._rows)

    def close(self) -> None:
        self._file.close()

    def add(self, row: Row) -> None:
        """Take a row; one that comes again, as rows of a table that is being written may, counts once."""
        row_id = str(row.get("flowlogid"))
        record, readable = _record(row)
        if not readable and row_id in self._rows and row_id not in self._unreadable:
            return
        self._rows[row_id] = (_order(row, record, row_id), self._write(msgspec.json.encode(record)))
        self._unreadable.pop(row_id, None)
        if not readable:
            self._unreadable[row_id] = self._write(msgspec.json.encode(row))

    def batches(self) -> Iterator[list[ActionRecord]]:
        """The actions in log order."""
        rows = sorted(self._rows.values())
        for first in range(0, len(rows), BATCH_ACTIONS):
            yield [_written.decode(self._read(place)) for _, place in rows[first : first + BATCH_ACTIONS]]

    @property
    def unreadable(self) -> int:
        return len(self._unreadable)

    def unreadable_rows(self) -> Iterator[bytes]:
        """Each row that can't be read, as it came: a line of JSON."""
        for place in self._unreadable.values():
            yield self._read(place) + b"\n"

    def _write(self, text: bytes) -> Place:
        self._file.seek(self._size)
        self._file.write(text)
        self._size += len(text)
        return self._size - len(text), len(text)

    def _read(self, place: Place) -> bytes:
        at, length = place
        self._file.seek(at)
        return self._file.read(length)


def _order(row: Row, record: ActionRecord, row_id: str) -> Order:
    index = row.get("logindex")
    begin = _sortable(record.start_time or record.end_time)
    return (0, index, begin, row_id) if isinstance(index, int) else (1, 0, begin, row_id)


def _sortable(text: str | None) -> str:
    """An instant as text that sorts by time, to the last digit: in UTC, without the `Z`, which would come last."""
    if text is None or SURE_TIME.fullmatch(text):
        return (text or "")[:-1]
    instant = happened_utc(text)
    if instant is None:
        return ""
    below = BELOW_MILLISECOND.search(text)
    digits = instant.replace(tzinfo=None).isoformat(timespec="milliseconds") + (below[1] if below else "")
    return digits.rstrip("0").rstrip(".")


def read_flow_log(api: WebApi, session_id: str, columns: tuple[str, ...], deadline: Deadline) -> FlowLog:
    """All action rows of one run; to be closed by the caller. Rows of other types are left out.

    Raises:
        Missing: the environment has no such run, or no such table.
        TooLarge: more actions than are read.
    """
    flow_log = FlowLog()
    try:
        path = f"flowsessions({session_id})/flowsession_flowlog_parentobjectid"
        for page in api.pages(Query(path, columns), deadline, PAGE_ROWS):
            for row in page:
                if row.get("type") == ACTION:
                    flow_log.add(row)
            if len(flow_log) > MOST_ACTIONS:
                raise TooLarge(f"the log has more than {MOST_ACTIONS:,} actions")
    except BaseException:
        flow_log.close()
        raise
    return flow_log


def _record(row: Row) -> tuple[ActionRecord, bool]:
    """A row's action, and whether its `data` could be read; one that could not keeps what its front says."""
    data, readable = str(row.get("data")), True
    try:
        record = read_action(data)
    except Unreadable:
        record, readable = read_front(data), False
        record.error_message = record.error_message or "This row of the log can't be read."
    if not (SURE_TIME.fullmatch(record.start_time or "") and SURE_TIME.fullmatch(record.end_time or "")):
        _complete_times(record, parse_utc(row.get("createdon")), row.get("duration"))
    return record, readable


def _complete_times(record: ActionRecord, written: datetime | None, duration_ms: Any) -> None:
    """Fill in an end or a start that the action lacks from the row's duration, else from when it was written."""
    if not isinstance(duration_ms, int) or not 0 <= duration_ms < 1 << 40:
        duration_ms = None
    start, end = happened_utc(record.start_time), happened_utc(record.end_time)
    if start is None and end is None and written is not None:
        end = written
        record.end_time = iso_utc(end)
    if duration_ms is None:
        return
    if end is None and start is not None:
        record.end_time = iso_utc(start + timedelta(milliseconds=duration_ms))
    elif start is None and end is not None:
        record.start_time = iso_utc(end - timedelta(milliseconds=duration_ms))
