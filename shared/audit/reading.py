"""A content blob read: its wanted records as rows, and what was left out."""

from __future__ import annotations

import codecs
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.audit.blob import Selection, select
from shared.audit.events import read_event
from shared.audit.feed import ContentBlob
from shared.audit.operations import OTHER
from shared.errors import Unreadable
from shared.json_text import sanitized

LONGEST_NAME = 100


@dataclass
class Reading:
    """What a blob gave: rows of `fact_audit_event`, the same records as received, and counts.

    `dropped` counts by workload the records that nobody wants, `unknown` by name the operations of no group;
    `failed` are the records that can't be understood, as received.
    """

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    kept: list[bytes] = field(default_factory=list[bytes])
    dropped: Counter[str] = field(default_factory=Counter[str])
    unknown: Counter[str] = field(default_factory=Counter[str])
    failed: list[bytes] = field(default_factory=list[bytes])

    @property
    def records(self) -> int:
        return len(self.kept) + self.dropped.total() + len(self.failed)


def read_blob(body: bytes, blob: ContentBlob, workloads: frozenset[str], now: datetime) -> Reading:
    """The wanted records of a blob; `workloads` are in lower case.

    Raises:
        Unreadable: the blob is no JSON array.
    """
    selection = _selection(body, workloads)
    reading = Reading(dropped=selection.dropped, failed=selection.failed)
    for record in selection.kept:
        try:
            row = _row(record, blob, now)
        except (Unreadable, RecursionError):
            reading.failed.append(record)
            continue
        reading.kept.append(record)
        reading.rows.append(row)
        if row["operation_group"] == OTHER:
            reading.unknown[row["operation"] or "(none)"] += 1
    return reading


def _selection(body: bytes, workloads: frozenset[str]) -> Selection:
    """The wanted records; one text that breaks off inside a character must not cost all others in the blob."""
    try:
        return select(body, workloads)
    except Unreadable:
        return select(mended(body), workloads)


def _row(record: bytes, blob: ContentBlob, now: datetime) -> dict[str, Any]:
    try:
        return read_event(record, blob, now)
    except Unreadable:
        return read_event(mended(record), blob, now)


def mended(text: bytes) -> bytes:
    """JSON text that can be read though characters in it are broken off."""
    return b"".join(sanitized([text.removeprefix(codecs.BOM_UTF8)]))


def as_array(records: Iterable[bytes]) -> bytes:
    """Records as one JSON array, each as received."""
    return b"[" + b",\n".join(records) + b"]"


def told(counts: Mapping[str, int], most: int) -> str:
    """Counts for a person, the greatest first: `Teams 40, Exchange 3 and 2 others`."""
    ordered = Counter(counts).most_common()
    text = ", ".join(f"{name[:LONGEST_NAME]} {count}" for name, count in ordered[:most])
    return f"{text} and {len(ordered) - most} others" if len(ordered) > most else text
