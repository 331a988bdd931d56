"""What Dataverse says about itself: its organization and the definitions of its tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from local.tenant.columns import TABLES, Column, Kind, Table
from local.tenant.filters import QueryError
from local.tenant.query import expansions
from local.tenant.world import Environment, World, stable_id

_ACCESS_TYPE = re.compile(
    r"RetrieveCurrentOrganization\(AccessType=(?:@(?P<alias>\w+)|"
    r"(?:Microsoft\.Dynamics\.CRM\.EndpointAccessType)?'(?P<value>\w+)')\)"
)
_ACCESS_VALUE = re.compile(r"(?:Microsoft\.Dynamics\.CRM\.EndpointAccessType)?'(\w+)'")
_ACCESS_TYPES = {"Default", "Internet", "Intranet"}
_DEFINITION = re.compile(r"EntityDefinitions\(LogicalName='(\w+)'\)")
_ORGANIZATION_TYPE = "#Microsoft.Dynamics.CRM.RetrieveCurrentOrganizationResponse"


def current_organization(
    world: World, environment: Environment, origin: str, call: str, given: Mapping[str, str]
) -> dict[str, Any]:
    """The answer of RetrieveCurrentOrganization in each of its three spellings."""
    match = _ACCESS_TYPE.fullmatch(call)
    literal = _ACCESS_VALUE.fullmatch(given.get(f"@{match['alias']}", "")) if match else None
    access = (match["value"] or (literal and literal[1])) if match else None
    if access not in _ACCESS_TYPES or given.keys() - {f"@{match['alias']}" if match else ""}:
        raise QueryError("The parameter 'AccessType' of RetrieveCurrentOrganization is missing or invalid.")
    detail = {
        "OrganizationId": environment.organization_id,
        "FriendlyName": environment.name,
        "OrganizationVersion": "9.2.25104.00182",
        "EnvironmentId": environment.environment_id,
        "DatacenterId": stable_id("datacenter"),
        "Geo": "EMEA",
        "TenantId": world.tenant_id,
        "UrlName": environment.unique_name,
        "UniqueName": environment.unique_name,
        "State": "Enabled",
        "Endpoints": {
            "Count": 1,
            "IsReadOnly": False,
            "Keys": ["WebApplication"],
            "Values": [f"{origin}/"],
        },
    }
    return {"@odata.context": f"{origin}/api/data/v9.2/$metadata{_ORGANIZATION_TYPE}", "Detail": detail}


def entity_definition(
    environment: Environment, head: str, rest: list[str], given: Mapping[str, str]
) -> dict[str, Any]:
    """EntityDefinitions(LogicalName='x') or its /Attributes, with `$select` and `$expand=Attributes(...)`."""
    match = _DEFINITION.fullmatch(head)
    if match is None or match[1] not in TABLES or rest not in ([], ["Attributes"]):
        raise QueryError(f"Could not find an entity with the specified name: {head}.")
    known = {"$select"} if rest else {"$select", "$expand"}
    if given.keys() - known:
        raise QueryError(f"The query parameter {min(given.keys() - known)} is not supported")
    table = TABLES[match[1]]
    names = tuple(name.strip() for name in given["$select"].split(",")) if "$select" in given else ()
    if rest:
        return {"value": _attributes(table, environment, names)}
    return _selected(_definition(table), names) | _expanded(table, environment, given.get("$expand", ""))


def _expanded(table: Table, environment: Environment, text: str) -> dict[str, Any]:
    found = expansions(text)
    if any(expansion.name != "Attributes" for expansion in found):
        raise QueryError(f"Could not expand '{text}' on type 'Microsoft.Dynamics.CRM.EntityMetadata'.")
    return {each.name: _attributes(table, environment, each.select) for each in found}


def _definition(table: Table) -> dict[str, Any]:
    return {
        "MetadataId": stable_id("metadata", table.name),
        "LogicalName": table.name,
        "EntitySetName": table.entity_set,
        "PrimaryIdAttribute": table.key,
        "PrimaryNameAttribute": table.title,
        "ObjectTypeCode": table.type_code,
        "TableType": "Elastic" if table.name == "flowlog" else "Standard",
        "ChangeTrackingEnabled": True,
        "CanChangeTrackingBeEnabled": {"Value": True},
    }


def _attributes(table: Table, environment: Environment, names: tuple[str, ...]) -> list[dict[str, Any]]:
    columns = [
        column
        for column in table.columns.values()
        if table.name != "flowsession" or column.name in environment.columns
    ]
    derived = [_label_attribute(table, column) for column in columns if column.kind in _WITH_LABEL]
    return [_selected(each, names) for each in [*(_attribute(table, column) for column in columns), *derived]]


_WITH_LABEL = {Kind.CHOICE, Kind.LOOKUP}


def _attribute(table: Table, column: Column) -> dict[str, Any]:
    kind = {"statecode": "State", "statuscode": "Status"}.get(column.name, column.kind.value)
    return {
        "@odata.type": f"#Microsoft.Dynamics.CRM.{_ODATA_TYPES.get(column.kind, kind)}AttributeMetadata",
        "MetadataId": stable_id("metadata", table.name, column.name),
        "LogicalName": column.name,
        "SchemaName": column.name,
        "AttributeType": kind,
        "AttributeTypeName": {"Value": f"{_ODATA_TYPES.get(column.kind, kind)}Type"},
        "AttributeOf": None,
        "IsValidForRead": True,
        "IsValidODataAttribute": True,
    }


_ODATA_TYPES = {Kind.FILE: "File"}


def _label_attribute(table: Table, column: Column) -> dict[str, Any]:
    """The virtual name column beside a choice or lookup, which cannot be selected."""
    of = column.name
    name = f"{of}name"
    return _attribute(table, Column(name, Kind.STRING)) | {
        "AttributeType": "Virtual" if column.kind is Kind.CHOICE else "String",
        "AttributeOf": of,
        "IsValidODataAttribute": False,
    }


def _selected(content: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    for name in names:
        if name not in content:
            raise QueryError(
                f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.EntityMetadata'."
            )
    always: Callable[[str], bool] = {"MetadataId", "@odata.type", *names}.__contains__
    return {name: value for name, value in content.items() if not names or always(name)}
