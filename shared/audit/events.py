"""A record of the audit log, read into a row of `fact_audit_event`."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, cast

import msgspec

from shared.audit.blob import record_type
from shared.audit.feed import ContentBlob
from shared.audit.operations import OTHER, named
from shared.errors import Unreadable
from shared.times import parse_utc

USER_TYPES = (
    "Regular",
    "Reserved",
    "Admin",
    "DCAdmin",
    "System",
    "Application",
    "ServicePrincipal",
    "CustomPolicy",
    "SystemPolicy",
    "PartnerTechnician",
    "Guest",
)
"""Source: Office 365 Management Activity API schema, "User Type"."""

SUCCESS: Mapping[str, bool] = MappingProxyType(
    {
        "success": True,
        "succeeded": True,
        "true": True,
        "failed": False,
        "failure": False,
        "false": False,
    }
)

ANALYTICS = "powerplatform.analytics."
RESOURCE = ANALYTICS + "resource."
API_POLICY = RESOURCE + "tenant.governance.api_policy."
KIND_OF_GROUP: Mapping[str, str] = MappingProxyType(
    {
        "Connection": "Connection",
        "Connection sharing": "Connection",
        "Custom connector": "Connector",
        "Custom connector sharing": "Connector",
        "Gateway": "Gateway",
        "Gateway sharing": "Gateway",
    }
)
"""What the `ResourceId` of a connector event is the id of, by the event's operation group."""

DATA_POLICY = "Data policy"
CONNECTOR = "Connector"
FLOW_URL = re.compile(r"/environments/([^/?#]+)/flows/([^/?#]+)", re.IGNORECASE)
CONNECTOR_PATH = re.compile(r"/apis/([^/?#]+)", re.IGNORECASE)
PORT_BEHIND_V4 = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?::[0-9]+)?")
PORT_BEHIND_V6 = re.compile(r"\[([^\]]+)\](?::[0-9]+)?")
MAPPED_V4 = re.compile(r"^(?:::)?ffff:(?=[0-9]{1,3}\.)", re.IGNORECASE)
LONGEST_TEXT = 4000
TELLING = 8  # shorter texts are equal by chance

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode


@dataclass
class _Record:
    """A record under hand: its members, its properties and the JSON text that older records keep beside them.

    `used` are the names whose values a column holds.
    """

    members: dict[str, Any]
    properties: dict[str, Any]
    additional: dict[str, Any]
    used: set[str] = field(default_factory=set[str])

    def member(self, *names: str) -> str | None:
        return _first(self.members, names, self.used)

    def property(self, *names: str) -> str | None:
        return _first(self.properties, names, self.used) if self.properties else None

    def more(self, *names: str) -> str | None:
        return _first(self.additional, names, self.used) if self.additional else None

    def rest(self, held: set[str]) -> dict[str, Any]:
        """Everything that no column holds, under its own name; `held` are the columns' texts, in lower case."""
        rest = _unused(self.members, self.used, held)
        if self.properties:
            del rest["PropertyCollection"]
            if properties := _unused(self.properties, self.used, held):
                rest["PropertyCollection"] = properties
        if self.additional and not _unused(self.additional, self.used, held):
            rest.pop("AdditionalInfo", None)
        return rest


def _unused(values: dict[str, Any], used: set[str], held: set[str]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if name not in used and (value.strip().lower() not in held if type(value) is str else _tells(value))
    }


def _first(values: dict[str, Any], names: tuple[str, ...], used: set[str]) -> str | None:
    """The first of some values that holds something, as text; one that has to be cut does not count as used."""
    for name in names:
        if value := values.get(name):
            text = value.strip() if type(value) is str else _text(value)
        elif value is None or value == "":
            continue
        else:
            text = _text(value)
        if text:
            if len(text) > LONGEST_TEXT:
                return text[:LONGEST_TEXT]
            used.add(name)
            return text
    return None


def _tells(value: Any) -> bool:
    """Whether a value that is no text says anything."""
    return bool(value) or value is False or type(value) in (int, float)


def read_event(raw: bytes, blob: ContentBlob, now: datetime) -> dict[str, Any]:
    """A row out of a record, with nothing of the record left out: what no column holds is in `details`.

    A record of an operation that is not known is in `details` as a whole.

    Raises:
        Unreadable: it is no JSON object.
    """
    record = _record(raw)
    group, operation = named(record.member("Operation") or "")
    event_id = (record.member("Id") or _stand_in_id(raw)).lower()
    flow = _flow(record)
    resource_type, resource_id, resource_name = _resource(record, flow[1], group)
    row: dict[str, Any] = {
        "event_id": event_id,
        "created_utc": parse_utc(record.member("CreationTime")) or blob.created,
        "workload": record.member("Workload"),
        "record_type": _record_type(record),
        "operation": operation,
        "operation_group": group,
        **_result(record),
        **_actor(record),
        "environment_id": _id(
            record.property(RESOURCE + "environment.id")
            or record.member("EnvironmentId")
            or flow[0]
            or record.more("environmentName", "EnvironmentName")
        ),
        "environment_name": record.property(RESOURCE + "environment.name"),
        "resource_type": resource_type,
        "resource_id": resource_id,
        "resource_name": resource_name,
        "app_id": _id(record.properties.get(RESOURCE + "power_app.id") or record.members.get("AppName")),
        "flow_id": _id(flow[1] or record.property(RESOURCE + "cloud_flow.id")),
        "connector_id": _connector_id(record, resource_type, resource_id),
        "policy_id": _id(record.more("policyId")) or (resource_id if group == DATA_POLICY else None),
        "target_user": _user(
            record.property("targetuser.id", RESOURCE + "principal.name", RESOURCE + "principal.id")
            or record.member("RecipientUPN")
            or record.more("targetObjectId")
        ),
        "permission": record.property(RESOURCE + "permission_type", RESOURCE + "role.name")
        or record.member("SharingPermission")
        or record.more("permissionType"),
        "correlation_id": _id(
            record.property(ANALYTICS + "correlation.id", RESOURCE + "telemetry_correlation.id")
            or record.member("CorrelationId")
        )
        or (event_id if group in KIND_OF_GROUP and not record.properties else None),
        "content_id": blob.content_id,
        "content_created_utc": blob.created,
        "ingested_utc": now,
    }
    row["details"] = _encode(record.members).decode() if group == OTHER else _details(record, row)
    return row


def _record(raw: bytes) -> _Record:
    try:
        members = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the record is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise Unreadable("the record is no JSON object")
    known = cast("dict[str, Any]", members)
    collection, additional = known.get("PropertyCollection"), known.get("AdditionalInfo")
    return _Record(
        known,
        _properties(collection) if collection else {},
        _json_object(additional) if additional else {},
    )


def _properties(collection: Any) -> dict[str, Any]:
    """Name to value, names in lower case; of a name that comes twice with other values, all values."""
    try:
        properties = {pair["Name"].lower(): pair["Value"] for pair in collection}
    except (TypeError, KeyError, AttributeError):
        return _odd_properties(collection)
    return properties if len(properties) == len(collection) else _odd_properties(collection)


def _odd_properties(collection: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for item in cast("list[Any]", collection) if isinstance(collection, list) else []:
        pair = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        name, value = pair.get("Name"), pair.get("Value")
        if not isinstance(name, str):
            continue
        name = name.lower()
        known = properties.get(name)
        properties[name] = value if known is None or known == value else [*_list(known), value]
    return properties


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _json_object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = _decode(value)
        except (msgspec.DecodeError, RecursionError):
            return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _flow(record: _Record) -> tuple[str | None, str | None]:
    """Ids of environment and flow, which a flow's record holds only inside an address."""
    url = record.members.get("FlowDetailsUrl")
    found = FLOW_URL.search(url) if isinstance(url, str) else None
    return (found[1], found[2]) if found else (None, None)


def _record_type(record: _Record) -> int | None:
    number = record_type(record.members.get("RecordType"))
    if not 0 <= number < 1 << 31:
        return None
    record.used.add("RecordType")
    return number


def _result(record: _Record) -> dict[str, Any]:
    successful = record.property(ANALYTICS + "operation.is_successful")
    result = record.member("ResultStatus") or record.property(API_POLICY + "operation_result")
    return {"is_success": SUCCESS.get((successful or result or "").lower()), "result": result}


def _actor(record: _Record) -> dict[str, Any]:
    user_type = record.members.get("UserType")
    known = type(user_type) is int and 0 <= user_type < len(USER_TYPES)
    if known:
        record.used.add("UserType")
    return {
        "user_id": _user(
            record.property("enduser.principal_name")
            or record.member("UserUPN", "UserUpn")
            or record.member("UserId")
        ),
        "user_key": _id(record.member("UserKey")),
        "user_type": USER_TYPES[cast("int", user_type)] if known else None,
        "client_ip": address(record.property("enduser.ip_address") or record.member("ClientIP")),
    }


def _resource(record: _Record, flow_id: str | None, group: str) -> tuple[str | None, str | None, str | None]:
    """Type, id and name of what was acted on, from whichever place this kind of record keeps them."""
    kind = record.property(RESOURCE + "type")
    name = record.property(RESOURCE + "power_app.display_name", RESOURCE + "display_name")
    unified = record.property(RESOURCE + "power_app.id", RESOURCE + "connection.id", RESOURCE + "id")
    if unified:
        return kind, _id(unified), name
    for own_kind, own_id in _own_resources(record, flow_id, group):
        if own_id:
            return kind or own_kind, _id(own_id), name or record.member("BotSchemaName", "PrimaryFieldValue")
    return kind, None, name


def _own_resources(record: _Record, flow_id: str | None, group: str) -> Iterator[tuple[str | None, str | None]]:
    """Type and id by each kind of older record in turn; what is not looked at stays in the details."""
    yield "CloudFlow", flow_id
    yield "Bot", record.member("BotId")
    yield "PowerApp", record.member("AppName")
    yield "ApiPolicy", record.more("policyId")
    if record.members.get("EntityId"):
        yield record.member("EntityName"), record.member("EntityId")
    yield KIND_OF_GROUP.get(group), record.member("ResourceId")
    yield None, record.member("ObjectId")


def _connector_id(record: _Record, resource_type: str | None, resource_id: str | None) -> str | None:
    """The connector, where the record names it: by itself, or in the path of a connection."""
    if named_one := record.property(RESOURCE + "connector.id"):
        return _id(named_one)
    for place in (record.properties.get(RESOURCE + "connection.id"), record.members.get("ResourceId")):
        path = CONNECTOR_PATH.search(place) if isinstance(place, str) else None
        if path:
            return path[1].lower()
    return resource_id if resource_type == CONNECTOR else None


@lru_cache(maxsize=4096)
def address(text: str | None) -> str | None:
    """An IP address without port, and an IPv4 address without the prefix that maps it into IPv6."""
    if not text:
        return None
    plain = MAPPED_V4.sub("", text.strip())
    match = PORT_BEHIND_V4.fullmatch(plain) or PORT_BEHIND_V6.fullmatch(plain)
    plain = MAPPED_V4.sub("", match[1]) if match else plain
    try:
        return str(ipaddress.ip_address(plain))
    except ValueError:
        return plain[:LONGEST_TEXT].lower()


def _user(text: str | None) -> str | None:
    return text.strip().lower() or None if text else None


def _id(value: Any) -> str | None:
    """An id in lower case, freed from the path that some records write in front of it."""
    text = value if type(value) is str else _text(value)
    if not text:
        return None
    plain = text.rstrip("/").rpartition("/")[2] if "/" in text else text
    return plain.strip()[:LONGEST_TEXT].lower() or None


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return _text(cast("list[Any]", value)[-1]) if value else None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.strip()[:LONGEST_TEXT] or None


def _stand_in_id(raw: bytes) -> str:
    """An id for a record without one, from its content whatever the order of its members."""
    return f"sha256-{hashlib.sha256(_encode(_decode(raw))).hexdigest()}"


def _details(record: _Record, row: Mapping[str, Any]) -> str | None:
    """Everything that no column holds, under its own name, as JSON text."""
    held = {value.lower() for value in row.values() if type(value) is str and len(value) >= TELLING}
    held.add("")
    rest = record.rest(held)
    return _encode(rest).decode() if rest else None
