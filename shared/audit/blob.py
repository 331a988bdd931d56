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
BETWEEN_RECORDS = b", \t\r\n"
FEW = 8
"""Reading a whole blob again costs as much as looking for one record in so many."""


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
_raw = msgspec.json.Decoder(msgspec.Raw)


def select(body: bytes, workloads: frozenset[str]) -> Selection:
    """The records of a blob whose workload is wanted; `workloads` are in lower case.

    A record is wanted by its workload, or its type, or its form: a property collection with names of the Power
    Platform, the address of a flow, the id of a bot.

    Raises:
        Unreadable: the blob is no JSON array.
    """
    try:
        heads = _heads.decode(body)
        by_call, formed = _looked_at(heads)
        named = {call for call in by_call if _is_named(*call, workloads)}
    except (msgspec.ValidationError, TypeError):  # something in it is no object, or is called by a list
        return _one_by_one(body, workloads)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the content blob is no JSON array: {error}") from error
    others = [at for at in formed if CALL(heads[at]) not in named and _has_form(heads[at], workloads)]
    wanted = sorted([at for call in named for at in by_call[call]] + others)
    dropped: Counter[str] = Counter()
    for call in by_call.keys() - named:
        dropped[_shown(call[0])] += len(by_call[call])
    dropped.subtract(_shown(heads[at].workload) for at in others)
    return Selection(kept=_cut_out(body, heads, wanted), dropped=+dropped)


def _looked_at(heads: list[Head]) -> tuple[dict[tuple[Any, Any], list[int]], list[int]]:
    """The places of the records that are called alike, by workload and record type, and of those with a form."""
    by_call: dict[tuple[Any, Any], list[int]] = defaultdict(list)
    formed: list[int] = []
    for at, head in enumerate(heads):
        by_call[head.workload, head.record_type].append(at)
        if not (head.properties is head.additional is head.flow_url is head.bot_id):  # most have none of them
            formed.append(at)
    return by_call, formed


def _cut_out(body: bytes, heads: list[Head], wanted: list[int]) -> list[bytes]:
    """The wanted records as received, each copied, for a slice would keep the whole blob alive.

    Where they are few, each is looked for around its id; if one is not found so, the blob is read again.
    """
    if len(wanted) * FEW <= len(heads):
        start = pa.py_buffer(body).address
        try:
            return [_found(body, start, heads, at) for at in wanted]
        except (msgspec.DecodeError, ValueError):
            pass
    raws = _raws.decode(body) if wanted else []
    return [bytes(raws[at]) for at in wanted]


def _found(body: bytes, start: int, heads: list[Head], at: int) -> bytes:
    """A record, from the brace at which it seems to begin to that of the next one.

    A brace that is none of a record's leaves no JSON object between the two: if it belongs to a member, the
    object ends too early; if it stands in a text, what is a text and what is between texts change places, and the
    name of the member behind it is no JSON any more.
    """
    last = _begin(body, start, heads[at + 1]) if at + 1 < len(heads) else body.rindex(b"]")
    record = body[_begin(body, start, heads[at]) : last].rstrip(BETWEEN_RECORDS)
    _raw.decode(record)
    return record


def _begin(body: bytes, start: int, head: Head) -> int:
    """The last brace before the id, and before the properties where they come first, as in unified records."""
    if head.id is NOTHING:
        raise ValueError("without an id there is nothing to look for")
    first = pa.py_buffer(head.id).address
    if head.properties is not NOTHING:
        first = min(first, pa.py_buffer(head.properties).address)
    return body.rindex(b"{", 0, first - start)


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
