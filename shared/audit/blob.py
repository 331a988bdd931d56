"""The records of a content blob that concern the Power Platform.

The service has no filter: a blob mixes the events of all its services, of which few are wanted. So the records are
read twice, first only what decides, then the wanted ones whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from shared.errors import Unreadable

WORKLOAD_OF_RECORD_TYPE: Mapping[int, str] = MappingProxyType(
    {
        21: "crm",
        30: "microsoftflow",
        45: "powerapps",
        46: "powerapps",
        80: "powerplatform",
        149: "powerplatform",
        150: "powerplatform",
        163: "powerplatform",
        186: "powerplatform",
        239: "powerplatform",
        256: "powerplatform",
    }
)
"""Record types that tell the workload whatever the record calls it. 79 and 187 are left out: Microsoft's sources
contradict each other on which of them are connectors and which data policies.
"""

UNIFIED_MARK = b"powerplatform."
UNIFIED_WORKLOAD = "powerplatform"
NO_WORKLOAD = "(none)"


class Head(msgspec.Struct, gc=False):
    """What decides whether a record is wanted."""

    workload: Any = msgspec.field(default=None, name="Workload")
    record_type: Any = msgspec.field(default=None, name="RecordType")
    properties: msgspec.Raw = msgspec.field(default=msgspec.Raw(b""), name="PropertyCollection")


@dataclass
class Selection:
    """The wanted records as received, and what was left out: by workload, and what is no record at all."""

    kept: list[bytes] = field(default_factory=list[bytes])
    dropped: Counter[str] = field(default_factory=Counter[str])
    failed: list[bytes] = field(default_factory=list[bytes])

    @property
    def records(self) -> int:
        return len(self.kept) + self.dropped.total() + len(self.failed)


_heads = msgspec.json.Decoder(list[Head])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_head = msgspec.json.Decoder(Head)


def select(body: bytes, workloads: frozenset[str]) -> Selection:
    """The records of a blob whose workload is wanted; `workloads` are in lower case.

    A record is wanted by its workload, or its type, or its unified form (a property collection with names of the
    Power Platform).

    Raises:
        Unreadable: the blob is no JSON array.
    """
    selection = Selection()
    try:
        heads = _heads.decode(body)
    except msgspec.ValidationError:
        return _one_by_one(body, workloads)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the content blob is no JSON array: {error}") from error
    wanted = [at for at, head in enumerate(heads) if _is_wanted(head, workloads, selection.dropped)]
    if wanted:
        raws = _raws.decode(body)
        selection.kept = [bytes(raws[at]) for at in wanted]  # a copy: a slice would keep the whole blob alive
    return selection


def _one_by_one(body: bytes, workloads: frozenset[str]) -> Selection:
    """The same where something in the array is no object: that alone is set aside."""
    selection = Selection()
    for raw in _array(body):
        record = bytes(raw)
        try:
            if _is_wanted(_head.decode(record), workloads, selection.dropped):
                selection.kept.append(record)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            selection.failed.append(record)
    return selection


def _array(body: bytes) -> list[msgspec.Raw]:
    try:
        return _raws.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the content blob is no JSON array: {error}") from error


def _is_wanted(head: Head, workloads: frozenset[str], dropped: Counter[str]) -> bool:
    workload = head.workload.lower() if isinstance(head.workload, str) else NO_WORKLOAD
    if workload in workloads or WORKLOAD_OF_RECORD_TYPE.get(record_type(head.record_type)) in workloads:
        return True
    if UNIFIED_WORKLOAD in workloads and UNIFIED_MARK in bytes(head.properties).lower():
        return True
    dropped[str(head.workload or NO_WORKLOAD)] += 1
    return False


def record_type(value: Any) -> int:
    """The number of a record type, which some deliveries write as text; -1 if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:  # noqa: PLR2004
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return RECORD_TYPE_NAMES.get(value.lower(), -1) if isinstance(value, str) else -1


RECORD_TYPE_NAMES: Mapping[str, int] = MappingProxyType(
    {
        "crm": 21,
        "microsoftflow": 30,
        "powerappsapp": 45,
        "powerappsplan": 46,
        "powerplatformadminenvironment": 80,
        "powerplatformlockboxresourceaccessrequest": 149,
        "powerplatformlockboxresourcecommand": 150,
        "powerplatformserviceactivity": 163,
        "powerpagessite": 186,
        "hostedrpa": 239,
        "powerplatformadministratoractivity": 256,
    }
)
"""Record types that exports of the audit log write by name."""
