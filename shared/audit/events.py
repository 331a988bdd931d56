"""A record of the audit log, read into a row of `fact_audit_event`."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, cast

import msgspec

from shared.audit.blob import record_type
from shared.audit.feed import ContentBlob
from shared.audit.operations import group_of
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
FLOW_URL = re.compile(r"/environments/([^/?#]+)/flows/([^/?#]+)", re.IGNORECASE)
PORT_BEHIND_V4 = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){3})(?::[0-9]+)?")
PORT_BEHIND_V6 = re.compile(r"\[([^\]]+)\](?::[0-9]+)?")
MAPPED_V4 = re.compile(r"^(?:::)?ffff:(?=[0-9]{1,3}\.)", re.IGNORECASE)
LONGEST_TEXT = 4000
TELLING = 8  # shorter texts are equal by chance


@dataclass
class _Record:
    """A record under hand: its members and its properties, each with the names that have been used."""

    members: dict[str, Any]
    properties: dict[str, Any] = field(default_factory=dict[str, Any])
    additional: dict[str, Any] = field(default_factory=dict[str, Any])
    used: set[str] = field(default_factory=set[str])

    def member(self, *names: str) -> str | None:
        return self._first("", self.members, names)

    def property(self, *names: str) -> str | None:
        return self._first("property ", self.properties, names)

    def more(self, *names: str) -> str | None:
        """Out of `AdditionalInfo`, JSON text in which older records keep what matters."""
        return self._first("additional ", self.additional, names)

    def _first(self, kind: str, values: dict[str, Any], names: tuple[str, ...]) -> str | None:
        """The first of those that holds something; all of them count as used once one is read."""
        found: str | None = None
        for name in names:
            text = _text(values.get(name))
            if text and (found is None or text.lower() == found.lower()):
                found = found or text
                if len(text) < LONGEST_TEXT:  # a text that was cut stays whole in the details
                    self.used.add(kind + name)
        return found

    def rest(self, held: frozenset[str]) -> dict[str, Any]:
        """Everything that has not been used, but for texts that are `held` elsewhere (in lower case)."""
        rest = self._unused("", self.members, held)
        if self.properties:
            rest["PropertyCollection"] = self._unused("property ", self.properties, held)
        if self.additional and not self._unused("additional ", self.additional, held):
            rest.pop("AdditionalInfo", None)
        return {name: value for name, value in rest.items() if value not in (None, "", {}, [])}

    def _unused(self, kind: str, values: dict[str, Any], held: frozenset[str]) -> dict[str, Any]:
        def is_held(value: Any) -> bool:
            return isinstance(value, str) and value.strip().lower() in held

        return {
            name: value for name, value in values.items() if kind + name not in self.used and not is_held(value)
        }


def read_event(raw: bytes, blob: ContentBlob, now: datetime) -> dict[str, Any]:
    """A row out of a record, with nothing of the record left out: what no column holds is in `details`.

    Raises:
        Unreadable: it is no JSON object.
    """
    record = _record(raw)
    operation = (record.member("Operation") or "").strip()
    flow = FLOW_URL.search(_text(record.members.get("FlowDetailsUrl")) or "")
    resource_type, resource_id, resource_name = _resource(record, flow[2] if flow else None)
    row: dict[str, Any] = {
        "event_id": (record.member("Id") or _stand_in_id(raw)).lower(),
        "created_utc": parse_utc(record.member("CreationTime")) or blob.created,
        "workload": record.member("Workload"),
        "record_type": _record_type(record),
        "operation": operation,
        "operation_group": group_of(operation),
        **_result(record),
        **_actor(record),
        "environment_id": _environment_id(record, flow[1] if flow else None),
        "environment_name": record.property(RESOURCE + "environment.name"),
        "resource_type": resource_type,
        "resource_id": resource_id,
        "resource_name": resource_name,
        "app_id": _id(record.properties.get(RESOURCE + "power_app.id")) or _legacy_app_id(record),
        "flow_id": _id(flow[2]) if flow else _id(record.property(RESOURCE + "cloud_flow.id")),
        "connector_id": _connector_id(record),
        "policy_id": _id(record.more("policyId")) or (resource_id if resource_type == "ApiPolicy" else None),
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
        ),
        "content_id": blob.content_id,
        "content_created_utc": blob.created,
        "ingested_utc": now,
    }
    row["details"] = _details(record, row)
    return row


def _record(raw: bytes) -> _Record:
    try:
        members = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the record is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise Unreadable("the record is no JSON object")
    record = _Record(cast("dict[str, Any]", members))
    record.properties = _properties(record.members.get("PropertyCollection"))
    record.additional = _json_object(record.members.get("AdditionalInfo"))
    record.used.add("PropertyCollection" if record.properties else "")
    return record


def _properties(collection: Any) -> dict[str, Any]:
    """Name to value, names in lower case; of a name that comes twice with other values, all values."""
    properties: dict[str, Any] = {}
    for item in cast("list[Any]", collection) if isinstance(collection, list) else []:
        pair = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        name, value = pair.get("Name"), pair.get("Value")
        if not isinstance(name, str):
            continue
        known = properties.get(name.lower())
        properties[name.lower()] = value if known in (None, value) else [*_list(known), value]
    return properties


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _json_object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _record_type(record: _Record) -> int | None:
    number = record_type(record.members.get("RecordType"))
    if number < 0:
        return None
    record.used.add("RecordType")
    return number


def _result(record: _Record) -> dict[str, Any]:
    successful = record.property(ANALYTICS + "operation.is_successful")
    result = record.member("ResultStatus") or record.property(API_POLICY + "operation_result")
    return {"is_success": SUCCESS.get((successful or result or "").lower()), "result": result}


def _actor(record: _Record) -> dict[str, Any]:
    user_type = record.members.get("UserType")
    known = isinstance(user_type, int) and 0 <= user_type < len(USER_TYPES)
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


def _environment_id(record: _Record, of_flow: str | None) -> str | None:
    return _id(
        record.property(RESOURCE + "environment.id")
        or record.member("EnvironmentId")
        or of_flow
        or record.more("environmentName", "EnvironmentName")
    )


def _resource(record: _Record, flow_id: str | None) -> tuple[str | None, str | None, str | None]:
    """Type, id and name of what was acted on, from whichever place this kind of record keeps them."""
    kind = record.property(RESOURCE + "type")
    name = record.property(RESOURCE + "power_app.display_name", RESOURCE + "display_name")
    unified = record.property(RESOURCE + "power_app.id", RESOURCE + "connection.id", RESOURCE + "id")
    if unified:
        return kind, _id(unified), name
    for own_kind, own_id in (
        ("CloudFlow", flow_id),
        ("Bot", record.member("BotId")),
        ("PowerApp", _legacy_app_id(record)),
        ("ApiPolicy", record.more("policyId")),
        (record.member("EntityName"), record.member("EntityId")),
        (record.more("ActionName"), record.member("ResourceId")),
        (None, record.member("ObjectId")),
    ):
        if own_id:
            return kind or own_kind, _id(own_id), name or record.member("BotSchemaName", "PrimaryFieldValue")
    return kind, None, name


def _legacy_app_id(record: _Record) -> str | None:
    """Records of type 45 and 46 carry the id of the app in `AppName`."""
    return _id(record.member("AppName"))


def _connector_id(record: _Record) -> str | None:
    return _id(
        record.properties.get(RESOURCE + "connector.id") or record.properties.get(RESOURCE + "connection.id")
    )


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
    text = _text(value)
    return text.rstrip("/").rpartition("/")[2].strip().lower() or None if text else None


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return _text(cast("list[Any]", value)[-1]) if value else None
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.strip()[:LONGEST_TEXT] or None


def _stand_in_id(raw: bytes) -> str:
    """An id for a record without one, from its content whatever the order of its members."""
    canonical = msgspec.json.encode(msgspec.json.decode(raw), order="deterministic")
    return f"sha256-{hashlib.sha256(canonical).hexdigest()}"


def _details(record: _Record, row: Mapping[str, Any]) -> str | None:
    """Everything that no column holds, under its own name, as JSON text."""
    held = frozenset(value.lower() for value in row.values() if isinstance(value, str) and len(value) >= TELLING)
    rest = record.rest(held)
    return msgspec.json.encode(rest, order="deterministic").decode() if rest else None
