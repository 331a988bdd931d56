"""The decoder of action logs and the reader of audit blobs as the app runs them, without anything around them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support import WORKLOADS, settings_with

from shared.audit.feed import ContentBlob
from shared.audit.reading import as_array, read_blob
from shared.dataverse.action_log import read_actions
from shared.dataverse.actions import ActionTable
from shared.dataverse.sessions import read_session
from shared.dataverse.values import ValueRules
from shared.errors import Unreadable
from shared.functions.log_reading import _bounded  # pyright: ignore[reportPrivateUsage]
from shared.publishing.arrow_file import write_arrow
from shared.publishing.parquet import rows_of
from shared.schema import FACT_AUDIT_EVENT, FACT_FLOW_ACTION

CORPUS = Path(__file__).parents[1] / "corpus"
NOW = datetime(2026, 5, 19, 12, tzinfo=UTC)
BLOB = ContentBlob("1", "Audit.General", "u", NOW, NOW)
PIECE_BYTES = 1024 * 1024
RULES = ValueRules("full", settings_with().redact_names, 4000)


def cases(folder: str) -> list[Path]:
    return sorted((CORPUS / folder).glob("*.bin"))


def decoded(data: bytes) -> int:
    """Decode a log and write its rows, to the letter first and repaired if that fails; return their number.

    Raises:
        Unreadable, TooLarge: the two ways in which a log may be refused.
    """
    try:
        return _written(data, repair=False)
    except Unreadable:
        return _written(data, repair=True)


def _written(data: bytes, *, repair: bool) -> int:
    row = {"flowsessionid": f"{1:08}-0000-0000-0000-{1:012}", "versionnumber": 1, "statuscode": 4}
    session = read_session({**row, "createdon": NOW.isoformat(), "modifiedon": NOW.isoformat()}, "e", {}, NOW)
    table = ActionTable(session, RULES)
    try:
        table.extend(_bounded(read_actions(_pieces(data), repair=repair)))
        table.finish()
        rows = write_arrow(FACT_FLOW_ACTION, table.rows(), io.BytesIO())
        assert rows == table.summary.action_count
        return rows
    finally:
        table.close()


def _pieces(data: bytes) -> Iterator[bytes]:
    return (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))


def read(body: bytes) -> list[dict[str, Any]]:
    """Read an audit blob and write its rows and its notes; each record is kept, left out or set aside.

    Raises:
        Unreadable: it is no list of records.
    """
    reading = read_blob(body, BLOB, WORKLOADS, NOW)
    assert len(reading.rows) == len(reading.kept)
    assert write_arrow(FACT_AUDIT_EVENT, [rows_of(FACT_AUDIT_EVENT, reading.rows)], io.BytesIO()) == len(
        reading.rows
    )
    json.dumps([dict(reading.dropped), dict(reading.unknown)])
    if reading.kept:
        again = read_blob(as_array(reading.kept), BLOB, WORKLOADS, NOW)
        assert again.rows == reading.rows
    return reading.rows
