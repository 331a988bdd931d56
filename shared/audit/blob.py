"""The records of a content blob that concern the Power Platform.

The service has no filter: a blob mixes the events of all its services, of which few are wanted. So the records are
read twice, first only what decides, then the wanted ones whole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from types import MappingProxyType
from typing import Any

import msgspec
import pyarrow as pa

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

WORKLOAD_OF_TYPE_NAME: Mapping[str, str] = MappingProxyType(
    {"powerappsresource": "powerapps", "powerplatformadmindlp": "powerplatform"}
)
"""Where a delivery writes the record type by name, the two that share the numbers 79 and 187 are told apart."""

CONTESTED_TYPES = frozenset({79, 187})
UNIFIED_MARK = b"powerplatform."
CONTESTED_MARKS = (b"environmentname", b"policyid")
CONTESTED_WORKLOADS = frozenset(WORKLOAD_OF_TYPE_NAME.values())
UNIFIED_WORKLOAD = "powerplatform"
FLOW_MARKS = (b"/flows/", rb"\/flows\/")
NO_TEXTS = (b"", b"null")
NO_WORKLOAD = "(none)"
NOTHING = msgspec.Raw(b"")
FEW = 8
"""Reading a whole blob again costs as much as reading the surroundings of one record in so many."""


class Head(msgspec.Struct, gc=False):
    """What decides whether a record is wanted, and its id, which tells where in the blob it stands."""

    id: msgspec.Raw = msgspec.field(default=NOTHING, name="Id")
    workload: Any = msgspec.field(default=None, name="Workload")
    record_type: Any = msgspec.field(default=None, name="RecordType")
    properties: msgspec.Raw = msgspec.field(default=NOTHING, name="PropertyCollection")
    additional: msgspec.Raw = msgspec.field(default=NOTHING, name="AdditionalInfo")
    flow_url: msgspec.Raw = msgspec.field(default=NOTHING, name="FlowDetailsUrl")
    bot_id: msgspec.Raw = msgspec.field(default=NOTHING, name="BotId")


CALL = attrgetter("workload", "record_type")


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

    A record is wanted by its workload, or its type, or its form: a property collection with names of the Power
    Platform, the address of a flow, the id of a bot.

    Raises:
        Unreadable: the blob is no JSON array.
    """
    try:
        heads = _heads.decode(body)
        by_call = _by_call(heads)
        named = {at for call, places in by_call.items() if _is_named(*call, workloads) for at in places}
    except (msgspec.ValidationError, TypeError):  # something in it is no object, or is called by a list
        return _one_by_one(body, workloads)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the content blob is no JSON array: {error}") from error
    wanted = sorted([*named, *_formed(heads, named, workloads)])
    counts = Counter({call: len(places) for call, places in by_call.items()})
    counts.subtract(map(CALL, (heads[at] for at in wanted)))
    return Selection(kept=_cut_out(body, heads, wanted), dropped=_by_workload(counts))


def _by_call(heads: list[Head]) -> dict[tuple[Any, Any], list[int]]:
    """The places of the records that are called alike, by workload and record type."""
    places: dict[tuple[Any, Any], list[int]] = defaultdict(list)
    for at, call in enumerate(map(CALL, heads)):
        places[call].append(at)
    return places


def _formed(heads: list[Head], named: set[int], workloads: frozenset[str]) -> list[int]:
    """The places of the other records whose form makes them wanted; most have nothing to be looked at."""
    return [
        at
        for at, head in enumerate(heads)
        if (
            head.properties is not NOTHING
            or head.flow_url is not NOTHING
            or head.bot_id is not NOTHING
            or head.additional is not NOTHING
        )
        and at not in named
        and _has_form(head, workloads)
    ]


def _cut_out(body: bytes, heads: list[Head], wanted: list[int]) -> list[bytes]:
    """The wanted records as received, each copied, for a slice would keep the whole blob alive.

    Where they are few, only what surrounds each of them is read a second time.
    """
    if len(wanted) * FEW <= len(heads) and all(head.id is not NOTHING for head in heads):
        start = pa.py_buffer(body).address
        return [_surrounded(body, start, heads, at) for at in wanted]
    raws = _raws.decode(body) if wanted else []
    return [bytes(raws[at]) for at in wanted]


def _surrounded(body: bytes, start: int, heads: list[Head], at: int) -> bytes:
    """A record, read with what stands between the ids of the record before it and of the one behind it.

    With a beginning for the one and an end for the other, that is an array of its own. `start` is the address of
    the blob in memory.
    """
    before, first = (b'[{"":', pa.py_buffer(heads[at - 1].id).address - start) if at else (b"", 0)
    behind, last = b"", len(body)
    if at + 1 < len(heads):
        behind, last = b"0}]", pa.py_buffer(heads[at + 1].id).address - start
    return bytes(_raws.decode(before + body[first:last] + behind)[1 if at else 0])


def _one_by_one(body: bytes, workloads: frozenset[str]) -> Selection:
    """The same where something in the array is no object: that alone is set aside."""
    selection = Selection()
    for raw in _array(body):
        record = bytes(raw)
        try:
            head = _head.decode(record)
            if _is_wanted(head, workloads):
                selection.kept.append(record)
            else:
                selection.dropped[_shown(head.workload)] += 1
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            selection.failed.append(record)
    return selection


def _array(body: bytes) -> list[msgspec.Raw]:
    try:
        return _raws.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the content blob is no JSON array: {error}") from error


def _by_workload(counts: Mapping[tuple[Any, Any], int]) -> Counter[str]:
    dropped: Counter[str] = Counter()
    for (workload, _), count in counts.items():
        if count:
            dropped[_shown(workload)] += count
    return dropped


def _shown(workload: Any) -> str:
    return str(workload or NO_WORKLOAD)


def _is_wanted(head: Head, workloads: frozenset[str]) -> bool:
    return _is_named(head.workload, head.record_type, workloads) or _has_form(head, workloads)


def _is_named(workload: Any, type_: Any, workloads: frozenset[str]) -> bool:
    """Whether workload or record type alone make a record wanted."""
    told = WORKLOAD_OF_RECORD_TYPE.get(record_type(type_)) or WORKLOAD_OF_TYPE_NAME.get(_plain(type_))
    return _plain(workload) in workloads or told in workloads


def _plain(name: Any) -> str:
    return str(name).strip().lower()


def _has_form(head: Head, workloads: frozenset[str]) -> bool:
    """Whether a record looks like one that is wanted, whatever it is called.

    The record types 79 and 187 are taken for what they are only together with what such records hold.
    """
    return (
        (head.properties is not NOTHING and UNIFIED_WORKLOAD in workloads and _says(head.properties, UNIFIED_MARK))
        or (head.flow_url is not NOTHING and "microsoftflow" in workloads and _says(head.flow_url, *FLOW_MARKS))
        or (head.bot_id is not NOTHING and "microsoftcopilotstudio" in workloads and _is_told(head.bot_id))
        or (
            head.additional is not NOTHING
            and not CONTESTED_WORKLOADS.isdisjoint(workloads)
            and _is_contested(head)
        )
    )


def _is_contested(head: Head) -> bool:
    return record_type(head.record_type) in CONTESTED_TYPES and _says(head.additional, *CONTESTED_MARKS)


def _is_told(raw: msgspec.Raw) -> bool:
    return bytes(raw).strip(b'" ') not in NO_TEXTS


def _says(raw: msgspec.Raw, *marks: bytes) -> bool:
    text = bytes(raw).lower()
    return any(mark in text for mark in marks)


def record_type(value: Any) -> int:
    """The number of a record type, which some deliveries write as text or as a float; -1 if it is none."""
    if isinstance(value, str):
        text = value.strip()
        is_number = text.isascii() and text.isdecimal() and len(text) < 10  # noqa: PLR2004
        return int(text) if is_number else RECORD_TYPE_NAMES.get(text.lower(), -1)
    if isinstance(value, float):
        return int(value) if value.is_integer() else -1
    return value if isinstance(value, int) and not isinstance(value, bool) else -1


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
