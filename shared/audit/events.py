"""A record of the audit log, read into a row of `fact_audit_event`."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
APP_ID = RESOURCE + "power_app.id"
APP_NAME = RESOURCE + "power_app.display_name"
CONNECTION_ID = RESOURCE + "connection.id"
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

    What a column takes leaves the record; what is left in the end is what no column holds.
    """

    members: dict[str, Any]
    properties: dict[str, Any]
    additional: dict[str, Any]
    additional_info: Any


def _take(values: dict[str, Any], name: str) -> str | None:
    """A value as text. One that has to be cut, and one of several under the same name, also stays where it was."""
    value = values.get(name)
    if value is None:
        return None
    text = value.strip() if type(value) is str else _text(value)
    if not text:
        return None
    if len(text) > LONGEST_TEXT:
        return text[:LONGEST_TEXT]
    if type(value) is not list:
        del values[name]
    return text


def read_event(raw: bytes, blob: ContentBlob, now: datetime) -> dict[str, Any]:
    """A row out of a record, with nothing of the record left out: what no column holds is in `details`.

    A record of an operation that is not known is in `details` as a whole.

    Raises:
        Unreadable: it is no JSON object.
    """
    record = _record(raw)
    members, properties, more = record.members, record.properties, record.additional
    is_unified = any(properties)
    group, operation = named(_take(members, "Operation") or "")
    event_id = (_take(members, "Id") or _stand_in_id(raw)).lower()
    environment_id, flow_id = _flow(members)
    app_id = _id(properties.get(APP_ID) or members.get("AppName"))
    connector_id, policy_id = _connector_id(record), _take(more, "policyId")
    resource_type, resource_id, resource_name = _resource(record, flow_id, policy_id, group)
    is_success, result = _result(record)
    created = _created(members)
    row: dict[str, Any] = {
        "event_id": event_id,
        "workload": _take(members, "Workload"),
        "record_type": _record_type(members),
        "operation": operation,
        "operation_group": group,
        "is_success": is_success,
        "result": result,
        "user_id": _user_id(record),
        "user_key": _id(_take(members, "UserKey")),
        "user_type": _user_type(members),
        "client_ip": address(_take(properties, "enduser.ip_address") or _take(members, "ClientIP")),
        "environment_id": _id(
            _take(properties, RESOURCE + "environment.id")
            or _take(members, "EnvironmentId")
            or environment_id
            or _take(more, "environmentName")
            or _take(more, "EnvironmentName")
        ),
        "environment_name": _take(properties, RESOURCE + "environment.name"),
        "resource_type": resource_type,
        "resource_id": resource_id,
        "resource_name": resource_name,
        "app_id": app_id,
        "flow_id": _id(flow_id or _take(properties, RESOURCE + "cloud_flow.id")),
        "connector_id": connector_id or (resource_id if resource_type == CONNECTOR else None),
        "policy_id": _id(policy_id) or (resource_id if group == DATA_POLICY else None),
        "target_user": _target_user(record),
        "permission": _take(properties, RESOURCE + "permission_type")
        or _take(properties, RESOURCE + "role.name")
        or _take(members, "SharingPermission")
        or _take(more, "permissionType"),
        "correlation_id": _id(
            _take(properties, ANALYTICS + "correlation.id")
            or _take(properties, RESOURCE + "telemetry_correlation.id")
            or _take(members, "CorrelationId")
        )
        or (event_id if group in KIND_OF_GROUP and not is_unified else None),
        "content_id": blob.content_id,
    }
    row["details"] = _encode(_decode(raw)).decode() if group == OTHER else _details(record, row)
    row["created_utc"] = created or blob.created
    row["content_created_utc"] = blob.created
    row["ingested_utc"] = now
    return row


def _record(raw: bytes) -> _Record:
    try:
        members = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the record is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise Unreadable("the record is no JSON object")
    known = cast("dict[str, Any]", members)
    collection, info = known.get("PropertyCollection"), known.get("AdditionalInfo")
    properties = _properties(collection) if collection else {}
    additional = _json_object(info) if info else {}
    if properties:
        del known["PropertyCollection"]
    if additional:
        del known["AdditionalInfo"]
    return _Record(known, properties, additional, info)


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
            name, value = "", cast("Any", item)
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


def _created(members: dict[str, Any]) -> datetime | None:
    created = parse_utc(members.get("CreationTime"))
    if created:
        del members["CreationTime"]
    return created


def _flow(members: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Ids of environment and flow, which a flow's record holds only inside an address."""
    url = members.get("FlowDetailsUrl")
    found = FLOW_URL.search(url) if isinstance(url, str) else None
    return (found[1], found[2]) if found else (None, None)


def _record_type(members: dict[str, Any]) -> int | None:
    number = record_type(members.get("RecordType"))
    if not 0 <= number < 1 << 31:
        return None
    del members["RecordType"]
    return number


def _user_type(members: dict[str, Any]) -> str | None:
    user_type = members.get("UserType")
    if type(user_type) is not int or not 0 <= user_type < len(USER_TYPES):
        return None
    del members["UserType"]
    return USER_TYPES[user_type]


def _user_id(record: _Record) -> str | None:
    return _lower(
        _take(record.properties, "enduser.principal_name")
        or _take(record.members, "UserUPN")
        or _take(record.members, "UserUpn")
        or _take(record.members, "UserId")
    )


def _target_user(record: _Record) -> str | None:
    """Whom something was shared with."""
    return _lower(
        _take(record.properties, "targetuser.id")
        or _take(record.properties, RESOURCE + "principal.name")
        or _take(record.properties, RESOURCE + "principal.id")
        or _take(record.members, "RecipientUPN")
        or _take(record.additional, "targetObjectId")
    )


def _result(record: _Record) -> tuple[bool | None, str | None]:
    """Whether it succeeded, and in what words."""
    successful = _take(record.properties, ANALYTICS + "operation.is_successful")
    result = _take(record.members, "ResultStatus") or _take(record.properties, API_POLICY + "operation_result")
    return SUCCESS.get((successful or result or "").lower()), result


def _resource(
    record: _Record, flow_id: str | None, policy_id: str | None, group: str
) -> tuple[str | None, str | None, str | None]:
    """Type, id and name of what was acted on, from whichever place this kind of record keeps them."""
    properties, members = record.properties, record.members
    kind = _take(properties, RESOURCE + "type")
    name = _take(properties, APP_NAME) or _take(properties, RESOURCE + "display_name")
    unified = _take(properties, APP_ID) or _take(properties, CONNECTION_ID) or _take(properties, RESOURCE + "id")
    if unified:
        return kind, _id(unified), name
    for own_kind, own_id in _own_resources(members, flow_id, policy_id, group):
        if own_id:
            name = name or _take(members, "BotSchemaName") or _take(members, "PrimaryFieldValue")
            return kind or own_kind, _id(own_id), name
    return kind, None, name


def _own_resources(
    members: dict[str, Any], flow_id: str | None, policy_id: str | None, group: str
) -> Iterator[tuple[str | None, str | None]]:
    """Type and id by each kind of older record in turn; what is not looked at stays in the details."""
    yield "CloudFlow", flow_id
    yield "Bot", _take(members, "BotId")
    yield "PowerApp", _take(members, "AppName")
    yield "ApiPolicy", policy_id
    if members.get("EntityId"):
        yield _take(members, "EntityName"), _take(members, "EntityId")
    yield KIND_OF_GROUP.get(group), _take(members, "ResourceId")
    yield None, _take(members, "ObjectId")


def _connector_id(record: _Record) -> str | None:
    """The connector, where the record names it: by itself, or in the path of a connection, which is left there."""
    if named_one := _take(record.properties, RESOURCE + "connector.id"):
        return _id(named_one)
    for place in (record.properties.get(CONNECTION_ID), record.members.get("ResourceId")):
        path = CONNECTOR_PATH.search(place) if type(place) is str and "/" in place else None
        if path:
            return path[1].lower()
    return None


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


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None


def _id(value: Any) -> str | None:
    """An id in lower case, freed from the path that some records write in front of it."""
    text = value if type(value) is str else _text(value)
    if not text:
        return None
    plain = text.rstrip("/").rpartition("/")[2] if "/" in text else text
    return plain.strip()[:LONGEST_TEXT].lower() or None


def _text(value: Any) -> str | None:
    """A value of any kind as text; of several under one name the last."""
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return _text(cast("list[Any]", value)[-1]) if value else None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.strip() or None


def _stand_in_id(raw: bytes) -> str:
    """An id for a record without one, from its content whatever the order of its members."""
    return f"sha256-{hashlib.sha256(_encode(_decode(raw))).hexdigest()}"


def _details(record: _Record, row: Mapping[str, Any]) -> str | None:
    """Everything that no column holds, under its own name, as JSON text."""
    held = set(row.values())
    rest = _untold(record.members, held)
    if record.properties and (properties := _untold(record.properties, held)):
        rest["PropertyCollection"] = properties
    if record.additional and _untold(record.additional, held):
        rest["AdditionalInfo"] = record.additional_info
    return _encode(rest).decode() if rest else None


def _untold(values: Mapping[str, Any], held: set[Any]) -> dict[str, Any]:
    """The values that say something which none of the columns' texts says already."""
    return {
        name: value
        for name, value in values.items()
        if (
            (text := value.strip()) and (len(text) < TELLING or (text not in held and text.lower() not in held))
            if type(value) is str
            else _tells(value)
        )
    }


def _tells(value: Any) -> bool:
    """Whether a value that is no text says anything."""
    return bool(value) or value is False or type(value) in (int, float)
