"""Made-up audit records of the Power Platform, with the quirks of real ones.

Shapes: RecordType 256 with PropertyCollection, 30 for cloud flows, 45 legacy apps; Microsoft's audit schema.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Any

from local.tenant.generation.estate import Estate
from local.tenant.generation.people import Person
from local.tenant.world import stable_id

_RESOURCE = "powerplatform.analytics.resource"
_OPERATION = "powerplatform.analytics.operation"
_POLICY = f"{_RESOURCE}.tenant.governance.api_policy"
_BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) simulated"
_REGULAR, _ADMIN = 0, 2

Record = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """Where audit events happen: the tenant with its environments and people."""

    seed: int
    tenant_id: str
    estates: tuple[Estate, ...]
    people: tuple[Person, ...]


@dataclass(frozen=True)
class Occasion:
    """One event to be told: its draws, time and who did it where."""

    scene: Scene
    rng: Random
    event_id: str
    created: datetime
    person: Person
    estate: Estate

    def guid(self, *parts: object) -> str:
        return stable_id(self.scene.seed, self.estate.organization_id, *parts)

    def app(self) -> tuple[str, str]:
        """Id and name of one of the environment's apps."""
        number = int(self.rng.random() * 9)
        return self.guid("app", number), f"Einsatzplanung {number}" if number % 2 else f"Field survey {number}"


def occasion(scene: Scene, rng: Random, created: datetime) -> Occasion:
    person = scene.people[int(rng.random() * len(scene.people))]
    estate = scene.estates[int(rng.random() * len(scene.estates))]
    event_id = stable_id(scene.seed, "event", rng.getrandbits(128))
    return Occasion(scene, rng, event_id, created, person, estate)


def _common(told: Occasion, operation: str, workload: str, record_type: int) -> Record:
    return {
        "CreationTime": f"{told.created:%Y-%m-%dT%H:%M:%S}",
        "Id": told.event_id,
        "Operation": operation,
        "OrganizationId": told.scene.tenant_id,
        "RecordType": record_type,
        "UserType": _REGULAR,
        "UserKey": told.person.object_id,
        "UserId": told.person.upn,
        "Workload": workload,
        "ResultStatus": "Succeeded",
        "Version": 1,
        "ClientIP": f"198.51.100.{int(told.rng.random() * 250)}",
    }


def unified(told: Occasion, operation: str, kind: str, properties: dict[str, str]) -> Record:
    """A RecordType 256 record; `kind` is the resource type, `properties` are named after `_RESOURCE`."""
    succeeded = told.rng.random() < 0.96  # noqa: PLR2004 - hardly anything fails
    named = {
        f"{_RESOURCE}.environment.id": told.estate.environment_id,
        f"{_RESOURCE}.environment.name": told.estate.name,
        f"{_RESOURCE}.tenant.id": told.scene.tenant_id,
        f"{_RESOURCE}.type": kind,
        f"{_OPERATION}.is_successful": str(succeeded),
        "powerplatform.analytics.activity.name": operation,
        "powerplatform.analytics.activity.id": told.event_id,
        "powerplatform.analytics.correlation.id": told.guid("correlation", told.event_id),
        "enduser.id": told.person.object_id,
        "enduser.principal_name": told.person.upn,
        "enduser.role": "Admin" if operation.startswith(("Admin", "Governance")) else "User",
        "enduser.ip_address": f"198.51.100.{int(told.rng.random() * 250)}",
        "user_agent.original": _BROWSER,
        "version": "1.0",
        "type": "PowerPlatformAdministratorActivityRecord",
        **properties,
    }
    record = _common(told, operation, "PowerPlatform", 256)
    return {
        "PropertyCollection": [{"Name": name, "Value": value} for name, value in named.items()],
        "EnvironmentId": told.estate.environment_id,
        "RequiresCustomerKeyEncryption": False,
        **record,
        "ResultStatus": "Succeeded" if succeeded else "Failed",
    }


def _app(operation: str) -> Callable[[Occasion], Record]:
    def tell(told: Occasion) -> Record:
        key, name = told.app()
        named = {f"{_RESOURCE}.power_app.id": key, f"{_RESOURCE}.power_app.display_name": name}
        return unified(told, operation, "PowerApp", named)

    return tell


def _shared_app(told: Occasion) -> Record:
    record = _app("PowerAppPermissionEdited")(told)
    target = told.scene.people[int(told.rng.random() * len(told.scene.people))]
    record["PropertyCollection"] += [
        {"Name": "targetuser.id", "Value": target.object_id},
        {"Name": f"{_RESOURCE}.permission_type", "Value": "CanView"},
    ]
    return record


def _connection(operation: str) -> Callable[[Occasion], Record]:
    def tell(told: Occasion) -> Record:
        number = int(told.rng.random() * 20)
        key = f"shared-{('sql', 'office365', 'sharepointonline')[number % 3]}-{told.guid(number)[:12]}"
        named = {f"{_RESOURCE}.connection.id": key, f"{_RESOURCE}.connection.action_name": operation}
        return unified(told, operation, "Connection", {**named, f"{_RESOURCE}.id": key})

    return tell


def _policy(told: Occasion) -> Record:
    number = int(told.rng.random() * 4)
    changes = [{"connector": "shared_sql", "from": "General", "to": "Confidential"}]
    named = {
        f"{_RESOURCE}.id": told.guid("policy", number),
        f"{_RESOURCE}.display_name": f"Policy {number} — Geschäftsdaten",
        f"{_POLICY}.operation_name": ("CreateDlpPolicy", "UpdateDlpPolicy", "DeleteDlpPolicy")[number % 3],
        f"{_POLICY}.operation_result": "Success",
        f"{_POLICY}.additional_resources": json.dumps(changes),
    }
    return {**unified(told, "GovernanceApiPolicyOperation", "ApiPolicy", named), "UserType": _ADMIN}


def _environment(operation: str) -> Callable[[Occasion], Record]:
    def tell(told: Occasion) -> Record:
        named = {f"{_RESOURCE}.id": told.estate.environment_id, f"{_RESOURCE}.display_name": told.estate.name}
        return {**unified(told, operation, "Environment", named), "UserType": _ADMIN}

    return tell


def _flow(operation: str) -> Callable[[Occasion], Record]:
    def tell(told: Occasion) -> Record:
        flow = told.guid("cloud flow", int(told.rng.random() * 25))
        record = {
            **_common(told, operation, "MicrosoftFlow", 30),
            "FlowDetailsUrl": "https://admin.powerplatform.microsoft.com/environments/"
            f"{told.estate.environment_id}/flows/{flow}/flowDetails",
            "FlowConnectorNames": "SQL Server, Office 365 Outlook",
            "UserUPN": told.person.upn,
            "UserTypeInitiated": 1,
        }
        if not operation.endswith("Permissions"):
            return record
        recipient = told.scene.people[int(told.rng.random() * len(told.scene.people))]
        return {**record, "RecipientUPN": recipient.upn, "SharingPermission": "3"}

    return tell


def _legacy_app(told: Occasion) -> Record:
    key, _ = told.app()
    info = {"environmentName": told.estate.environment_id, "permissionType": "CanEdit"}
    return {**_common(told, "LaunchPowerApp", "PowerApps", 45), "AppName": key, "AdditionalInfo": json.dumps(info)}


def _bot(told: Occasion) -> Record:
    bot = {"BotId": told.guid("bot", int(told.rng.random() * 3)), "BotSchemaName": "nw_helpdesk"}
    record = _common(told, "BotUpdateOperation-BotPublish", "MicrosoftCopilotStudio", 256)
    return {**record, **bot, "EnvironmentId": told.estate.environment_id}


# Each kind of event with its share.
_EVENTS: tuple[tuple[int, Callable[[Occasion], Record]], ...] = (
    (30, _app("LaunchPowerApp")),
    (6, _app("PublishPowerApp")),
    (3, _app("UpdatePowerApp")),
    (2, _app("AdminDeleteApp")),
    (5, _shared_app),
    (7, _connection("PutConnection")),
    (3, _connection("PatchApi")),
    (4, _policy),
    (2, _environment("EnvironmentPropertyChange")),
    (1, _environment("EnvironmentAddedToEnvironmentGroup")),
    (1, _environment("TrialProvision")),
    (6, _flow("CreateFlow")),
    (12, _flow("EditFlow")),
    (3, _flow("DeleteFlow")),
    (5, _flow("PutPermissions")),
    (2, _flow("DeletePermissions")),
    (3, _legacy_app),
    (2, _bot),
)
_DECK = tuple(tell for share, tell in _EVENTS for _ in range(share))


def event(told: Occasion) -> Record:
    """One wanted event, quirks included."""
    record = _DECK[int(told.rng.random() * len(_DECK))](told)
    quirk = _QUIRKS.get(int(told.rng.random() * 40))
    return quirk(told, record) if quirk else record


def twin(told: Occasion) -> Record:
    """Another event of the same request: a connector event that shares its Id with `PutConnection`."""
    return _connection("PutConnectionPermission")(told)


def _with_port(told: Occasion, record: Record) -> Record:
    return {**record, "ClientIP": f"{record['ClientIP']}:{40000 + int(told.rng.random() * 9000)}"}


def _mapped_address(_told: Occasion, record: Record) -> Record:
    return {**record, "ClientIP": f"::ffff:{record['ClientIP']}"}


def _upper_case(_told: Occasion, record: Record) -> Record:
    return {**record, "UserId": record["UserId"].upper(), "Id": record["Id"].upper()}


def _padded_object(_told: Occasion, record: Record) -> Record:
    return {**record, "ObjectId": f"{record['Operation']} "}


def _with_zone(_told: Occasion, record: Record) -> Record:
    return {**record, "CreationTime": f"{record['CreationTime']}Z"}


def _type_as_text(_told: Occasion, record: Record) -> Record:
    return {**record, "RecordType": str(record["RecordType"])}


_QUIRKS: dict[int, Callable[[Occasion, Record], Record]] = {
    0: _with_port,
    1: _mapped_address,
    2: _upper_case,
    3: _padded_object,
    4: _with_zone,
    5: _with_zone,
    6: _type_as_text,
}
