"""One made-up environment without its runs: flows, machines, groups, users and settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from random import Random
from typing import Literal

from local.tenant.generation.people import Person, user_rows
from local.tenant.world import (
    FLOWSESSION_COLUMNS,
    FLOWSESSION_COLUMNS_2023,
    Environment,
    Row,
    stable_id,
)

Language = Literal["en", "de"]

LOG_ENABLED, LOG_ON_FAILURE, LOG_DISABLED = 0, 1, 2
LOG_V1, LOG_V2, LOG_BOTH = 0, 1, 2
KEYLESS, STANDARD, IMPLICIT = 545940000, 545940001, 545940002


@dataclass(frozen=True, slots=True)
class Profile:
    """How an environment is set up; `log_status` and `log_version` as in the organization row."""

    name: str
    language: Language = "en"
    log_status: int = LOG_ENABLED
    log_version: int = LOG_V1
    columns: frozenset[str] = FLOWSESSION_COLUMNS


PROFILES = (
    Profile("Finance Production"),
    Profile("Einkauf & Logistik Süd", "de"),
    Profile("Customer Care", log_version=LOG_V2),
    Profile("HR Shared Services", log_status=LOG_ON_FAILURE),
    Profile("Legacy Plant (2023)", columns=FLOWSESSION_COLUMNS_2023),
    Profile("Insurance Claims", log_version=LOG_BOTH),
    Profile("Sandbox", log_status=LOG_DISABLED),
)

_FLOW_NAMES = (
    "Invoice entry SAP",
    "Rechnungsprüfung Ausland",
    "Bank statement download",
    "Monthly closing — accruals",
    "Kundenstammdaten pflegen",
    "Web portal order status",
    "Citrix legacy lookup",
    "Payroll export",
    "Mahnlauf (wöchentlich)",
    "Vendor onboarding",
    "Exchange rates EUR→USD",
    "Archive PDF reports",
    "Stock count upload",
    "Test harness",
)
_CLOUD_FLOW_NAMES = ("Orchestrate invoices", "Nightly batch", "Ticket to robot")
_MACHINE_NAMES = ("RPA-PRD-01", "RPA-PRD-02", "RPA-PRD-03", "VM-ATT-07", "HOSTED-A1")


@dataclass(frozen=True, slots=True)
class Flow:
    """One desktop flow."""

    flow_id: str
    unique_id: str
    name: str
    ui_type: int
    is_draft: bool
    owner: Person


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine with its group, which a stand-alone machine has implicitly."""

    machine_id: str
    name: str
    group_id: str
    is_hosted: bool


@dataclass(frozen=True)
class Estate:
    """What the runs of one environment refer to."""

    seed: int
    number: int
    profile: Profile
    name: str
    environment_id: str
    organization_id: str
    unique_name: str
    flows: tuple[Flow, ...]
    cloud_flow_ids: tuple[str, ...]
    machines: tuple[Machine, ...]
    people: tuple[Person, ...]
    unit_id: str

    @cached_property
    def persons(self) -> tuple[Person, ...]:
        return tuple(person for person in self.people if not person.is_robot)

    @cached_property
    def robots(self) -> tuple[Person, ...]:
        return tuple(person for person in self.people if person.is_robot)


def estate(seed: int, number: int, tenant_id: str, everybody: tuple[Person, ...]) -> Estate:
    """The environment `number`; the second is the tenant's default one, whose id is no GUID."""
    profile = PROFILES[number % len(PROFILES)]
    organization = stable_id(seed, "organization", number)
    ordinal = number // len(PROFILES)
    return Estate(
        seed,
        number,
        profile,
        f"{profile.name} {ordinal + 1}" if ordinal else profile.name,
        f"Default-{tenant_id}" if number == 1 else stable_id(seed, "environment", number),
        organization,
        f"unq{organization.replace('-', '')[:24]}",
        _flows(organization, everybody),
        tuple(stable_id(organization, name) for name in _CLOUD_FLOW_NAMES),
        _machines(organization),
        everybody,
        stable_id(organization, "root unit"),
    )


def _flows(organization: str, everybody: tuple[Person, ...]) -> tuple[Flow, ...]:
    rng = Random(organization)
    return tuple(
        Flow(
            stable_id(organization, name),
            stable_id(organization, name, "unique"),
            name,
            {6: 0, 5: 1}.get(at, 2),
            is_draft=at == len(_FLOW_NAMES) - 1,
            owner=rng.choice(everybody),
        )
        for at, name in enumerate(_FLOW_NAMES)
    )


def _machines(organization: str) -> tuple[Machine, ...]:
    """The first three form a group, the last is hosted, the other stands alone."""
    names = ("production", "production", "production", "implicit", "hosted")
    return tuple(
        Machine(stable_id(organization, name), name, stable_id(organization, "group", group), group == "hosted")
        for name, group in zip(_MACHINE_NAMES, names, strict=True)
    )


def environment(estate: Estate, client_id: str, anchor: datetime) -> Environment:
    """The environment as it is before any run is added."""
    created = (anchor - timedelta(days=200)).replace(microsecond=0)
    stamps = {"createdon": created, "modifiedon": created, "versionnumber": 5000}
    return Environment(
        estate.name,
        estate.environment_id,
        estate.organization_id,
        estate.unique_name,
        workflows=tuple({**row, **stamps} for row in _workflow_rows(estate)),
        machines=tuple({**row, **stamps} for row in _machine_rows(estate, anchor)),
        machine_groups=tuple({**row, **stamps} for row in _group_rows(estate)),
        users=user_rows(estate.people, estate.organization_id, client_id, estate.unit_id, anchor),
        business_units=({"businessunitid": estate.unit_id, "name": estate.unique_name, **stamps},),
        organization={**_settings(estate.profile), **stamps},
        columns=estate.profile.columns,
        language=estate.profile.language,
    )


def _settings(profile: Profile) -> Row:
    return {
        "desktopflowrunactionlogsstatus": profile.log_status,
        "desktopflowrunactionlogversion": profile.log_version,
        "desktopflowrunactionlogverbosity": 0,
        "desktopflowrunactionlogscustomurlenabled": False,
        "flowlogsttlinminutes": 40_320,
        "desktopflowqueuelogsttlinminutes": 10_080,
        "flowruntimetoliveinseconds": 2_419_200,
        "expirechangetrackingindays": 7,
        "languagecode": 1031 if profile.language == "de" else 1033,
        "isauditenabled": True,
    }


def _workflow_rows(estate: Estate) -> list[Row]:
    owners = {flow.flow_id: flow.owner.user_id(estate.organization_id) for flow in estate.flows}
    desktop = [
        {
            "workflowid": flow.flow_id,
            "workflowidunique": flow.unique_id,
            "name": flow.name,
            "category": 6,
            "uiflowtype": flow.ui_type,
            "type": 1,
            "statecode": 0 if flow.is_draft else 1,
            "statuscode": 1 if flow.is_draft else 2,
            "componentstate": int(flow.is_draft),
            "ismanaged": False,
            "_ownerid_value": owners[flow.flow_id],
            "_owninguser_value": owners[flow.flow_id],
        }
        for flow in estate.flows
    ]
    cloud = [
        {
            "workflowid": key,
            "workflowidunique": stable_id(key),
            "name": name,
            "category": 5,
            "type": 1,
            "statecode": 1,
        }
        for key, name in zip(estate.cloud_flow_ids, _CLOUD_FLOW_NAMES, strict=True)
    ]
    return [*desktop, *cloud]


def _machine_rows(estate: Estate, anchor: datetime) -> list[Row]:
    return [
        {
            "flowmachineid": machine.machine_id,
            "name": machine.name,
            "agentversion": "2.61.144.25282",
            "hostingtype": int(machine.is_hosted),
            "sessioncapacity": 1,
            "lastheartbeatdate": anchor.replace(microsecond=0),
            "statecode": 0,
            "statuscode": 1,
            "_flowmachinegroupid_value": machine.group_id,
        }
        for machine in estate.machines
    ]


def _group_rows(estate: Estate) -> list[Row]:
    kinds = {"production": STANDARD, "implicit": IMPLICIT, "hosted": KEYLESS}
    names = {"production": "Production pool", "implicit": _MACHINE_NAMES[3], "hosted": "Hosted pool"}
    return [
        {
            "flowmachinegroupid": stable_id(estate.organization_id, "group", kind),
            "name": names[kind],
            "flowgrouptype": number,
            "managementtype": int(kind == "hosted"),
            "maxmanagedmachinecount": 2 if kind == "hosted" else None,
            "statecode": 0,
            "statuscode": 1,
        }
        for kind, number in kinds.items()
    ]
