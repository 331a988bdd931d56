"""Whatever a record of a documented kind holds is in the column that promises it, or in the details."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import NOON

from shared.audit.events import read_event
from shared.audit.feed import ContentBlob
from shared.audit.operations import named

BLOB = ContentBlob("c", "Audit.General", "", NOON, NOON)
CREATED = "2026-05-19T11:00:00"
ANALYTICS = "powerplatform.analytics."
RESOURCE = ANALYTICS + "resource."
LONG = "y" * 4000
ADDRESSES = {"10.0.0.1:80": "10.0.0.1", "::ffff:a00:1": "10.0.0.1", "[2001:DB8::1]:443": "2001:db8::1"}


def as_id(text: str) -> str | None:
    if "/" not in text or "://" in text:
        return text.lower()
    parts = text.removesuffix("/").split("/")
    return parts[4].lower() if parts[:2] == ["", "providers"] and len(parts) == 5 else None


def as_address(text: str) -> str:
    return ADDRESSES.get(text, text.lower())


def as_success(text: str) -> bool | None:
    return {"true": True, "false": False}.get(text.lower())


def as_user_type(text: str) -> str | None:
    return {"2": "Admin", "admin": "Admin"}.get(text.lower())


def as_operation(text: str) -> str:
    return named(text)[1]


def as_number(text: str) -> int | None:
    return int(text.removesuffix(".0")) if text.removesuffix(".0").isdecimal() else None


Form = Callable[[str], Any]
PROMISES: dict[str, tuple[Form, str]] = {
    "event_id": (str.lower, f"Id {ANALYTICS}activity.id"),
    "workload": (str, "Workload"),
    "record_type": (as_number, "RecordType"),
    "operation": (as_operation, f"Operation {ANALYTICS}activity.name"),
    "is_success": (as_success, f"{ANALYTICS}operation.is_successful"),
    "result": (str, f"ResultStatus {RESOURCE}tenant.governance.api_policy.operation_result"),
    "user_id": (str.lower, "enduser.principal_name UserUPN UserUpn UserId"),
    "user_key": (as_id, "UserKey enduser.id"),
    "user_type": (as_user_type, "UserType"),
    "client_ip": (as_address, "enduser.ip_address ClientIP"),
    "environment_id": (as_id, f"{RESOURCE}environment.id EnvironmentId environmentName EnvironmentName"),
    "environment_name": (str, f"{RESOURCE}environment.name"),
    "resource_type": (str, f"{RESOURCE}type EntityName"),
    "resource_id": (
        as_id,
        f"{RESOURCE}power_app.id {RESOURCE}connection.id {RESOURCE}id BotId EntityId ResourceId ObjectId",
    ),
    "resource_name": (
        str,
        f"{RESOURCE}power_app.display_name {RESOURCE}display_name BotSchemaName PrimaryFieldValue",
    ),
    "app_id": (as_id, f"AppName {RESOURCE}power_app.id"),
    "flow_id": (as_id, f"{RESOURCE}cloud_flow.id"),
    "connector_id": (as_id, f"{RESOURCE}connector.id"),
    "policy_id": (as_id, "policyId"),
    "target_user": (
        str.lower,
        f"targetuser.id {RESOURCE}principal.name {RESOURCE}principal.id RecipientUPN targetObjectId",
    ),
    "permission": (str, f"{RESOURCE}permission_type {RESOURCE}role.name SharingPermission permissionType"),
    "correlation_id": (
        as_id,
        f"{ANALYTICS}correlation.id {RESOURCE}telemetry_correlation.id CorrelationId",
    ),
}
"""How a column writes what it takes, and under which names records have that."""

COMMON = "Id UserId UserKey ClientIP ResultStatus ObjectId OrganizationId Version Surprise EnvironmentId"
UNIFIED = [name for _, names in PROMISES.values() for name in names.split() if "." in name]
OTHERS = [RESOURCE + "environment.old_name", RESOURCE + "previous_owner", "user_agent.original", "version"]
INFO = "environmentName EnvironmentName targetObjectId permissionType policyId ActionName changeSet"
KINDS: dict[str, tuple[dict[str, Any], str, list[str], str]] = {
    "unified": ({"Workload": "PowerPlatform", "RecordType": 256}, COMMON, [*UNIFIED, *OTHERS], ""),
    "flow": (
        {
            "Workload": "MicrosoftFlow",
            "RecordType": 30,
            "FlowDetailsUrl": "https://x/environments/E/flows/F/details",
        },
        f"{COMMON} UserUPN RecipientUPN SharingPermission FlowConnectorNames LicenseDisplayName",
        [],
        "",
    ),
    "app": ({"Workload": "PowerApps", "RecordType": "45"}, f"{COMMON} AppName", [], INFO),
    "connector": ({"Workload": "PowerApps", "RecordType": 79.0}, f"{COMMON} ResourceId", [], INFO),
    "policy": ({"Workload": "PowerPlatform", "RecordType": 187}, f"{COMMON} ResourceId", UNIFIED, INFO),
    "agent": ({"Workload": "MicrosoftCopilotStudio"}, f"{COMMON} BotId BotSchemaName", [RESOURCE + "type"], ""),
    "dataverse": (
        {"Workload": "CRM", "RecordType": 21},
        f"{COMMON} UserUpn EntityId EntityName PrimaryFieldValue CorrelationId Message Query ItemUrl",
        [RESOURCE + "type"],
        "",
    ),
}
OPERATIONS = {
    "unified": ["LaunchPowerApp", "EnvironmentPropertyChange", "putconnection"],
    "flow": ["EditFlow", "PutPermissions"],
    "app": ["PowerAppPermissionEdited"],
    "connector": ["Connection permission added or edited", "API edited"],
    "policy": ["Updated DLP Policy", "Added ConnectionDlpEvaluationResult"],
    "agent": ["BotCreate"],
    "dataverse": ["CrmDefaultActivity", "RetrieveMultiple"],
}
PATHS = [
    "/providers/A.b/c/Alpha",
    "/providers/A.b/apis/shared_sql/connections/C-1/permissions/P-1",
    "https://x.example/Alpha/",
    "Beta/Alpha",
    "/",
]
TEXTS = st.sampled_from(
    ["Alpha", "alpha", " Beta ", "7", "True", "Admin", "", " ", LONG + "y", *ADDRESSES, *PATHS]
)
VALUES = st.one_of(
    TEXTS,
    TEXTS,
    TEXTS,
    st.sampled_from([None, 0, 2, 1.5, False, True, {"deep": "Beta"}, {"deep": ["a/b"]}, {}]),
    st.lists(st.one_of(TEXTS, st.none()), max_size=2),
)


def pairs(names: list[str]) -> st.SearchStrategy[list[Any]]:
    """Properties as they should be, in lower case, with other members, without a value, and no pair at all."""
    name = st.sampled_from(names).flatmap(lambda one: st.sampled_from([one, one, one.upper()]))
    items = st.builds(lambda one, value: {"Name": one, "Value": value}, name, VALUES)
    odd = st.one_of(
        st.builds(lambda one, value: {"name": one, "value": value}, name, VALUES),
        st.builds(lambda item, extra: {**item, "Extra": extra}, items, TEXTS),
        st.builds(lambda one, old, new: {"Name": one, "OldValue": old, "NewValue": new}, name, VALUES, VALUES),
        TEXTS,
    )
    return st.lists(st.one_of(items, items, items, odd), max_size=12)


@st.composite
def records(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    fixed, members, properties, info = KINDS[kind]
    record = fixed | draw(st.dictionaries(st.sampled_from(members.split()), VALUES, max_size=10))
    record["Operation"] = draw(st.sampled_from(OPERATIONS[kind]))
    record["CreationTime"] = draw(st.sampled_from([CREATED, CREATED, "yesterday"]))
    record["UserType"] = draw(st.sampled_from([2, "admin ", "Martian", None]))
    if properties and draw(st.booleans()):
        record["PropertyCollection"] = draw(pairs(properties))
    if info and draw(st.booleans()):
        more = draw(st.dictionaries(st.sampled_from(info.split()), VALUES))
        record["AdditionalInfo"] = json.dumps(more) if draw(st.booleans()) else more
    return record


def says(value: Any) -> bool:
    if isinstance(value, (list, dict)):
        return any(map(says, value.values() if isinstance(value, dict) else value))
    return value is not None and str(value).strip() != ""


def is_in_a_column(name: str, value: Any, row: dict[str, Any]) -> bool:
    text = value.strip() if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    if name == "CreationTime":
        return value == CREATED
    return len(text) <= len(LONG) and any(
        name in names.split() and form(text) is not None and form(text) == row[column]
        for column, (form, names) in PROMISES.items()
    )


def is_kept(value: Any, kept: Any) -> bool:
    among = kept if isinstance(kept, list) else []
    return kept == value or value in among or (isinstance(value, list) and all(one in among for one in value))


def told(record: dict[str, Any], details: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Each name and value of a record, and what the details have under that name."""
    members = {**record}
    info, collection = members.pop("AdditionalInfo", {}), members.pop("PropertyCollection", [])
    yield from ((name, value, details.get(name)) for name, value in members.items())
    kept = details.get("AdditionalInfo", {})
    kept = json.loads(kept) if isinstance(kept, str) else kept
    more = json.loads(info) if isinstance(info, str) else info
    yield from ((name, value, kept.get(name)) for name, value in more.items())
    properties = details.get("PropertyCollection", {})
    for item in collection:
        pair = {key.lower(): value for key, value in item.items()} if isinstance(item, dict) else {}
        if pair.keys() == {"name", "value"}:
            name = pair["name"].lower()
            yield name, pair["value"], properties.get(name)
        else:
            yield "", item, properties.get("")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150)
@given(data=st.data())
def test_every_value_of_a_record_is_in_its_column_or_in_the_details(kind: str, data: st.DataObject) -> None:
    record = data.draw(records(kind))
    row = read_event(json.dumps(record).encode(), BLOB, NOON)
    details = json.loads(row["details"] or "{}")
    for name, value, kept in told(record, details):
        if says(value):
            assert is_in_a_column(name, value, row) or is_kept(value, kept), name
