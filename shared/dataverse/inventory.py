"""Flows, machines, machine groups and users of an environment, read into rows of the dimensions."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from shared.dataverse.web_api import Row
from shared.schema import DIM_FLOW, DIM_MACHINE, DIM_MACHINE_GROUP, DIM_USER, Table
from shared.setting_values import GUID
from shared.times import MILLISECOND, happened_utc

LONGEST_TEXT = 4000
MODERN_FLOW, DESKTOP_FLOW = 5, 6
RECORDING = 101
CLOUD_FLOW = "Cloud flow"
FLOW_TYPES: Mapping[int, str] = MappingProxyType({0: "Windows recorder", 1: "Selenium IDE", 2: "Desktop flow"})
FLOW_STATES: Mapping[int, str] = MappingProxyType({0: "Draft", 1: "Activated", 2: "Suspended"})
HOSTING_TYPES: Mapping[int, str] = MappingProxyType({0: "Customer", 1: "Hosted", 2: "CloudPc"})
GROUP_TYPES: Mapping[int, str] = MappingProxyType(
    {545940000: "Keyless", 545940001: "Standard", 545940002: "Default"}
)
MACHINE_STATES: Mapping[int, str] = MappingProxyType(
    {
        1: "Active",
        2: "Inactive",
        3: "RequiresReconnection",
        4: "ManualMaintenance",
        5: "DrainMode",
        6: "ToDelete",
        7: "Temporary",
        8: "Error",
        9: "Disabled",
        10: "Provisioning",
        11: "RequiresGroupKey",
        12: "ProvisionedWithError",
    }
)
"""Choices by number; their labels are localised and never read. Source: Power Apps docs, table reference."""


@dataclass(frozen=True)
class Listing:
    """One kind of thing that an environment lists: where, which columns, and how a row is read, if it is wanted.

    Columns without which a row means nothing are `required`; others are asked for where the environment has them.
    Key columns of machine groups hold secrets, so nothing is ever read whole.
    """

    dimension: Table
    entity: str
    entity_set: str
    required: tuple[str, ...]
    wanted: tuple[str, ...]
    read: Callable[[Row, Mapping[str, str]], dict[str, Any] | None]
    filter: str = ""
    unpublished: bool = False

    def columns(self, attributes: frozenset[str] | None) -> tuple[str, ...]:
        def has(column: str) -> bool:
            return attributes is None or column.removeprefix("_").removesuffix("_value") in attributes

        return (*self.required, *(column for column in self.wanted if has(column)))


def _flow(row: Row, upns: Mapping[str, str]) -> dict[str, Any] | None:
    """A desktop flow or a cloud flow; what the recorder keeps in between is none."""
    if row.get("uiflowtype") == RECORDING:
        return None
    owner = _lower(row.get("_ownerid_value"))
    return {
        "flow_id": _guid(row.get("workflowid")),
        "name": _text(row.get("name")),
        "owner_user_id": upns.get(owner, owner) if owner else None,
        "flow_type": CLOUD_FLOW if row.get("category") == MODERN_FLOW else _desktop_flow_type(row),
        "state": _choice(FLOW_STATES, row.get("statecode")),
        "created_utc": happened_utc(row.get("createdon")),
        "modified_utc": happened_utc(row.get("modifiedon")),
        "is_deleted": False,
    }


def _desktop_flow_type(row: Row) -> str:
    return _choice(FLOW_TYPES, row.get("uiflowtype")) or FLOW_TYPES[2]


def _machine(row: Row, _: Mapping[str, str]) -> dict[str, Any]:
    return {
        "machine_id": _guid(row.get("flowmachineid")),
        "name": _text(row.get("name")),
        "machine_group_id": _lower(row.get("_flowmachinegroupid_value")),
        "hosting_type": _choice(HOSTING_TYPES, row.get("hostingtype")),
        "agent_version": _text(row.get("agentversion")),
        "session_capacity": _integer(row.get("sessioncapacity")),
        "state": _choice(MACHINE_STATES, row.get("statuscode")),
        "last_heartbeat_utc": happened_utc(row.get("lastheartbeatdate")),
        "is_deleted": False,
    }


def _machine_group(row: Row, _: Mapping[str, str]) -> dict[str, Any]:
    return {
        "machine_group_id": _guid(row.get("flowmachinegroupid")),
        "name": _text(row.get("name")),
        "group_type": _choice(GROUP_TYPES, row.get("flowgrouptype")),
        "is_deleted": False,
    }


def _user(row: Row, _: Mapping[str, str]) -> dict[str, Any]:
    return {
        "user_id": _lower(row.get("domainname")) or _lower(row.get("systemuserid")),
        "display_name": _text(row.get("fullname")),
        "entra_object_id": _lower(row.get("azureactivedirectoryobjectid")),
        "user_kind": "Application" if row.get("applicationid") else "Person",
    }


USERS = Listing(
    DIM_USER,
    "systemuser",
    "systemusers",
    ("systemuserid", "domainname"),
    ("fullname", "azureactivedirectoryobjectid", "applicationid"),
    _user,
)
FLOWS = Listing(
    DIM_FLOW,
    "workflow",
    "workflows",
    ("workflowid", "name", "category"),
    ("uiflowtype", "statecode", "createdon", "modifiedon", "_ownerid_value"),
    _flow,
    f"category eq {DESKTOP_FLOW} or category eq {MODERN_FLOW}",
    unpublished=True,
)
MACHINES = Listing(
    DIM_MACHINE,
    "flowmachine",
    "flowmachines",
    ("flowmachineid", "name"),
    (
        "agentversion",
        "hostingtype",
        "lastheartbeatdate",
        "sessioncapacity",
        "statuscode",
        "_flowmachinegroupid_value",
    ),
    _machine,
)
MACHINE_GROUPS = Listing(
    DIM_MACHINE_GROUP,
    "flowmachinegroup",
    "flowmachinegroups",
    ("flowmachinegroupid", "name"),
    ("flowgrouptype",),
    _machine_group,
)
LISTINGS = (USERS, FLOWS, MACHINES, MACHINE_GROUPS)
KEPT_WHEN_EMPTY = ("name", "display_name", "entra_object_id", "user_kind")
"""Names outlive their source; and a user is described by several environments, some of which know less."""


def changes(
    dimension: Table,
    found: list[dict[str, Any]],
    known: Mapping[str, dict[str, Any]],
    now: datetime,
) -> list[dict[str, Any]]:
    """The rows that are new or differ from what is known; a name that the source leaves empty stays as it was.

    Each is later than what it replaces, whatever the clock says.
    """
    changed: list[dict[str, Any]] = []
    for row in found:
        before = known.get(row[dimension.key[0]], {})
        kept = {name: before.get(name) for name in KEPT_WHEN_EMPTY if row.get(name) is None}
        merged = {**before, **row, **{name: value for name, value in kept.items() if value is not None}}
        if {**merged, "updated_utc": None} != {**before, "updated_utc": None} or not before.get("updated_utc"):
            changed.append({**merged, "updated_utc": _later(now, before)})
    return changed


def absent(
    dimension: Table,
    listed: Mapping[str, Container[str]],
    known: Mapping[str, dict[str, Any]],
    now: datetime,
) -> list[dict[str, Any]]:
    """The rows that their environment no longer has, of the environments in `listed`, which maps each to its ids.

    Where another environment has the same one, it is that one's from now on; else it stays as it was, marked.
    """
    if "is_deleted" not in dimension.column_names:
        return []
    rows: list[dict[str, Any]] = []
    for key, row in known.items():
        own = str(row.get("environment_id"))
        if own in listed and key not in listed[own] and row.get("updated_utc") and not row.get("is_deleted"):
            other = min((name for name, ids in listed.items() if key in ids), default=None)
            rows.append(
                {
                    **row,
                    "environment_id": other or own,
                    "is_deleted": other is None,
                    "updated_utc": _later(now, row),
                }
            )
    return rows


def _later(now: datetime, before: Mapping[str, Any]) -> datetime:
    """Now, or a moment after the row that is replaced, which may have been taken while the clock was ahead."""
    known: datetime | None = before.get("updated_utc")
    return max(now, known + MILLISECOND) if known else now


def _choice(names: Mapping[int, str], value: Any) -> str | None:
    return names.get(value, f"Unknown {value}") if isinstance(value, int) else None


def _text(value: Any) -> str | None:
    return value[:LONGEST_TEXT] if isinstance(value, str) else None


def _lower(value: Any) -> str | None:
    text = _text(value)
    return text.strip().lower() or None if text else None


def _guid(value: Any) -> str | None:
    """An id that can be a key; a row without one is left out."""
    text = _lower(value)
    return text if text and GUID.fullmatch(text) else None


def _integer(value: Any) -> int | None:
    return value if type(value) is int and abs(value) < 1 << 63 else None
