"""A record of the audit log, read into a row of `fact_audit_event`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from shared.audit.blob import record_type
from shared.audit.feed import ContentBlob
from shared.audit.ids import address, whole_id
from shared.audit.operations import OTHER, named
from shared.audit.record import LONGEST_TEXT, Record, decode, encode, id_in, take, take_id, taken_apart, text_of
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

USER_TYPE: Mapping[int | str, str] = MappingProxyType(
    {**dict(enumerate(USER_TYPES)), **{name.lower(): name for name in USER_TYPES}}
)

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
IS_SUCCESSFUL = ANALYTICS + "operation.is_successful"
RESOURCE_TYPE = RESOURCE + "type"
CONNECTION = "Connection"
CONNECTOR = "Connector"
KIND_OF_GROUP: Mapping[str, str] = MappingProxyType(
    {
        "Connection": CONNECTION,
        "Connection sharing": CONNECTION,
        "Custom connector": CONNECTOR,
        "Custom connector sharing": CONNECTOR,
        "Gateway": "Gateway",
        "Gateway sharing": "Gateway",
    }
)
"""What the `ResourceId` of a connector event is the id of, by the event's operation group."""

DATA_POLICY = "Data policy"
OWN_CORRELATION = frozenset({*KIND_OF_GROUP, DATA_POLICY})
"""The groups in which the id of an older event is that of its request."""

DATAVERSE = "Dataverse"
DATAVERSE_TYPE = 21
DATAVERSE_WORKLOAD = "crm"
FLOW_URL = re.compile(r"/environments/([^/?#]+)/flows/([^/?#]+)", re.IGNORECASE)
CONNECTOR_PATH = re.compile(r"/apis/([^/?#]+)", re.IGNORECASE)
CONNECTION_PATH = "/connections/"


def read_event(raw: bytes, blob: ContentBlob, now: datetime) -> dict[str, Any]:
    """A row out of a record, with nothing of the record left out: what no column holds is in `details`.

    A record of an operation that is not known is in `details` as a whole.

    Raises:
        Unreadable: it is no JSON object.
    """
    record = taken_apart(raw)
    members, properties, more = record.members, record.properties, record.additional
    is_unified = any(properties)
    workload, number = take(members, "Workload"), _record_type(members)
    group, operation = _named(members, workload, number)
    event_id = (take(members, "Id") or _stand_in_id(raw)).lower()
    environment_id, flow_id = _flow(members)
    app_id = id_in(properties, APP_ID) or id_in(members, "AppName")
    connector_id, policy_id = _connector_id(record), take_id(more, "policyId")
    resource_type, resource_id, resource_name = _resource(record, flow_id, policy_id, group)
    is_success, result = _result(record)
    created = _created(members)
    flow_id = flow_id or take_id(properties, RESOURCE + "cloud_flow.id")
    is_no_policy = resource_type == CONNECTION or resource_id in (app_id, flow_id, connector_id)
    row: dict[str, Any] = {
        "event_id": event_id,
        "workload": workload,
        "record_type": number,
        "operation": operation,
        "operation_group": group,
        "is_success": is_success,
        "result": result,
        "user_id": _user_id(record),
        "user_key": take_id(members, "UserKey"),
        "user_type": _user_type(members),
        "client_ip": address(take(properties, "enduser.ip_address") or take(members, "ClientIP")),
        "environment_id": take_id(properties, RESOURCE + "environment.id")
        or take_id(members, "EnvironmentId")
        or environment_id
        or take_id(more, "environmentName")
        or take_id(more, "EnvironmentName"),
        "environment_name": take(properties, RESOURCE + "environment.name"),
        "resource_type": resource_type,
        "resource_id": resource_id,
        "resource_name": resource_name,
        "app_id": app_id,
        "flow_id": flow_id,
        "connector_id": connector_id or (resource_id if resource_type == CONNECTOR else None),
        "policy_id": policy_id or (resource_id if group == DATA_POLICY and not is_no_policy else None),
        "target_user": _target_user(record),
        "permission": take(properties, RESOURCE + "permission_type")
        or take(properties, RESOURCE + "role.name")
        or take(members, "SharingPermission")
        or take(more, "permissionType"),
        "correlation_id": take_id(properties, ANALYTICS + "correlation.id")
        or take_id(properties, RESOURCE + "telemetry_correlation.id")
        or take_id(members, "CorrelationId")
        or (event_id if group in OWN_CORRELATION and not is_unified else None),
        "content_id": blob.content_id,
    }
    row["details"] = encode(decode(raw)).decode() if group == OTHER else _details(record, row)
    row["created_utc"] = created or blob.created
    row["content_created_utc"] = blob.created
    row["ingested_utc"] = now
    return row


def _named(members: dict[str, Any], workload: str | None, number: int | None) -> tuple[str, str]:
    """Group and usual spelling of the operation; Dataverse calls its own after any message there is."""
    group, operation = named(take(members, "Operation") or "")
    is_dataverse = number == DATAVERSE_TYPE or (workload is not None and workload.lower() == DATAVERSE_WORKLOAD)
    return DATAVERSE if is_dataverse else group, operation


def _created(members: dict[str, Any]) -> datetime | None:
    created = parse_utc(members.get("CreationTime"))
    if created:
        del members["CreationTime"]
    return created


def _flow(members: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Ids of environment and flow, which a flow's record holds only inside an address."""
    url = members.get("FlowDetailsUrl")
    found = FLOW_URL.search(url) if isinstance(url, str) else None
    return (found[1][:LONGEST_TEXT].lower(), found[2][:LONGEST_TEXT].lower()) if found else (None, None)


def _record_type(members: dict[str, Any]) -> int | None:
    number = record_type(members.get("RecordType"))
    if not 0 <= number < 1 << 31:
        return None
    del members["RecordType"]
    return number


def _user_type(members: dict[str, Any]) -> str | None:
    told: Any = members.get("UserType")
    is_word = type(told) is str
    user_type = USER_TYPE.get(told.strip().lower() if is_word else told) if is_word or type(told) is int else None
    if user_type:
        del members["UserType"]
    return user_type


def _user_id(record: Record) -> str | None:
    return _lower(
        take(record.properties, "enduser.principal_name")
        or take(record.members, "UserUPN")
        or take(record.members, "UserUpn")
        or take(record.members, "UserId")
    )


def _target_user(record: Record) -> str | None:
    """Whom something was shared with."""
    return _lower(
        take(record.properties, "targetuser.id")
        or take(record.properties, RESOURCE + "principal.name")
        or take(record.properties, RESOURCE + "principal.id")
        or take(record.members, "RecipientUPN")
        or take(record.additional, "targetObjectId")
    )


def _result(record: Record) -> tuple[bool | None, str | None]:
    """Whether it succeeded, and in what words."""
    told = record.properties.get(IS_SUCCESSFUL)
    successful = take(record.properties, IS_SUCCESSFUL)
    result = take(record.members, "ResultStatus") or take(record.properties, API_POLICY + "operation_result")
    is_success = SUCCESS.get((successful or result or "").lower())
    if successful and is_success is None:
        record.properties[IS_SUCCESSFUL] = told
    return is_success, result


def _resource(
    record: Record, flow_id: str | None, policy_id: str | None, group: str
) -> tuple[str | None, str | None, str | None]:
    """Type, id and name of what was acted on, from whichever place this kind of record keeps them.

    What stands in the place of a connection is one, whatever the record calls it.
    """
    members, properties = record.members, record.properties
    name = take(properties, APP_NAME) or take(properties, RESOURCE + "display_name")
    for own_kind, own_id in _resources(record, flow_id, policy_id, group):
        if own_id:
            kind = own_kind if own_kind == CONNECTION else take(properties, RESOURCE_TYPE) or own_kind
            return kind, own_id, name or take(members, "BotSchemaName") or take(members, "PrimaryFieldValue")
    return take(properties, RESOURCE_TYPE), None, name


def _resources(
    record: Record, flow_id: str | None, policy_id: str | None, group: str
) -> Iterator[tuple[str | None, str | None]]:
    """Type and id by each kind of record in turn; what is not looked at stays in the details."""
    members, properties = record.members, record.properties
    yield None, take_id(properties, APP_ID)
    yield CONNECTION, take_id(properties, CONNECTION_ID)
    yield None, take_id(properties, RESOURCE + "id")
    yield "CloudFlow", flow_id
    yield "Bot", take_id(members, "BotId")
    yield "PowerApp", take_id(members, "AppName")
    if CONNECTION_PATH in str(members.get("ResourceId")).lower():
        yield CONNECTION, take_id(members, "ResourceId")
    yield "ApiPolicy", policy_id
    if entity_id := take_id(members, "EntityId"):
        yield None if text_of(properties.get(RESOURCE_TYPE)) else take(members, "EntityName"), entity_id
    yield KIND_OF_GROUP.get(group), take_id(members, "ResourceId")
    yield None, take_id(members, "ObjectId")


def _connector_id(record: Record) -> str | None:
    """The connector, where the record names it: by itself, or in the path of a connection, which is left there."""
    if named_one := take_id(record.properties, RESOURCE + "connector.id"):
        return named_one
    for place in (record.properties.get(CONNECTION_ID), record.members.get("ResourceId")):
        path = CONNECTOR_PATH.search(place) if type(place) is str and "/" in place else None
        if path:
            return path[1][:LONGEST_TEXT].lower()
    return None


def _lower(text: str | None) -> str | None:
    return text.lower() if text else None


def _stand_in_id(raw: bytes) -> str:
    """An id for a record without one, from its content whatever the order of its members."""
    return f"sha256-{hashlib.sha256(encode(decode(raw))).hexdigest()}"


def _spelling(operation: str) -> str:
    return named(operation)[1]


REPEATED: Mapping[str, tuple[Callable[[str], Any], tuple[str, ...]]] = MappingProxyType(
    {
        "event_id": (str.lower, (ANALYTICS + "activity.id",)),
        "operation": (_spelling, (ANALYTICS + "activity.name",)),
        "result": (str, (API_POLICY + "operation_result",)),
        "user_id": (str.lower, ("UserUPN", "UserUpn", "UserId")),
        "user_key": (whole_id, ("enduser.id",)),
        "client_ip": (address, ("ClientIP",)),
        "environment_id": (whole_id, ("EnvironmentId", "environmentName", "EnvironmentName")),
        "resource_type": (str, (RESOURCE_TYPE, "EntityName")),
        "resource_id": (
            whole_id,
            (CONNECTION_ID, RESOURCE + "id", "BotId", "EntityId", "ResourceId", "ObjectId"),
        ),
        "resource_name": (str, (RESOURCE + "display_name", "BotSchemaName", "PrimaryFieldValue")),
        "app_id": (whole_id, ("AppName",)),
        "flow_id": (whole_id, (RESOURCE + "cloud_flow.id",)),
        "target_user": (
            str.lower,
            (RESOURCE + "principal.name", RESOURCE + "principal.id", "RecipientUPN", "targetObjectId"),
        ),
        "permission": (str, (RESOURCE + "role.name", "SharingPermission", "permissionType")),
        "correlation_id": (whole_id, (RESOURCE + "telemetry_correlation.id", "CorrelationId")),
    }
)
"""How a column writes what it holds, and the other names under which records repeat that."""

_repeated = {name: (column, form) for column, (form, names) in REPEATED.items() for name in names}


def _details(record: Record, row: Mapping[str, Any]) -> str | None:
    """Everything that no column holds, under its own name, as JSON text."""
    rest = _untold(record.members, row)
    if record.properties and (properties := _untold(record.properties, row)):
        rest["PropertyCollection"] = properties
    if record.additional and _untold(record.additional, row):
        rest["AdditionalInfo"] = record.additional_info
    return encode(rest).decode() if rest else None


def _untold(values: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """The values that say something which the column of their own name does not say already."""
    rest: dict[str, Any] = {}
    for name, value in values.items():
        if type(value) is str:
            text = value.strip()
            same = _repeated.get(name)
            if not text or (same and same[1](text) == row[same[0]]):
                continue
        elif not _tells(value):
            continue
        rest[name] = value
    return rest


def _tells(value: Any) -> bool:
    """Whether a value that is no text says anything."""
    return bool(value) or value is False or type(value) in (int, float)
