"""Made-up audit records of everything else in the tenant: most of what a blob holds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any

from local.tenant.generation.audit_events import Record, Scene
from local.tenant.world import stable_id


def noise(scene: Scene, rng: Random, created: datetime) -> Record:
    """One record that nobody wants here; about one in thirty is Dataverse's own, wanted on request only."""
    person = scene.people[int(rng.random() * len(scene.people))]
    tell = _DECK[int(rng.random() * len(_DECK))]
    record = {
        "CreationTime": f"{created:%Y-%m-%dT%H:%M:%S}",
        "Id": stable_id("noise", rng.getrandbits(128)),
        "OrganizationId": scene.tenant_id,
        "UserType": 0,
        "UserKey": person.object_id,
        "UserId": person.upn,
        "ClientIP": f"203.0.113.{int(rng.random() * 250)}",
        "ResultStatus": "Success",
        "Version": 1,
    }
    return {**record, **tell(scene, rng)}


def _teams(_scene: Scene, rng: Random) -> Record:
    chat = f"19:{rng.getrandbits(96):024x}@thread.v2"
    return {
        "Operation": rng.choice(("MessageSent", "ChatRetrieved", "MemberAdded", "ReactedToMessage")),
        "RecordType": 25,
        "Workload": "MicrosoftTeams",
        "ChatThreadId": chat,
        "CommunicationType": "GroupChat",
        "ExtraProperties": [{"Key": "ClientName", "Value": "teams"}],
        "ItemName": chat,
    }


def _defender(_scene: Scene, rng: Random) -> Record:
    return {
        "Operation": "AlertUpdated",
        "RecordType": 98,
        "Workload": "SecurityComplianceCenter",
        "AlertId": stable_id("alert", rng.getrandbits(64)),
        "Severity": rng.choice(("Low", "Medium", "High")),
        "Data": '{"etype":"User","tdc":"1","ts":"simulated"}',
    }


def _purview(_scene: Scene, rng: Random) -> Record:
    return {
        "Operation": "SensitivityLabelApplied",
        "RecordType": 83,
        "Workload": "PublicEndpoint",
        "ObjectId": f"C:\\Users\\x\\Angebot {rng.getrandbits(16)}.docx",
        "SensitivityLabelEventData": {"ActionSource": 3, "SensitivityLabelId": stable_id("label", 1)},
    }


def _copilot(scene: Scene, rng: Random) -> Record:
    return {
        "Operation": "CopilotInteraction",
        "RecordType": 261,
        "Workload": "Copilot",
        "CopilotEventData": {
            "AppHost": rng.choice(("Teams", "Word", "Office")),
            "Contexts": [{"Id": f"https://{scene.tenant_id[:8]}.example/doc", "Type": "docx"}],
            "Messages": [{"Id": str(rng.getrandbits(40)), "isPrompt": True}],
        },
    }


def _exchange(_scene: Scene, rng: Random) -> Record:
    return {
        "Operation": "MailboxLogin",
        "RecordType": 2,
        "Workload": "Exchange",
        "LogonType": 0,
        "MailboxGuid": stable_id("mailbox", rng.getrandbits(8)),
        "OriginatingServer": f"AM{rng.getrandbits(10):04d}MB (15.20.4200.000)",
    }


def _decoy(scene: Scene, rng: Random) -> Record:
    """A Teams message that quotes a Power Platform record, to fool who searches the text."""
    quoted = '{"Workload":"PowerPlatform","RecordType":256,"Operation":"LaunchPowerApp"}'
    record: dict[str, Any] = _teams(scene, rng)
    return {**record, "Operation": "MessageSent", "MessageText": f"look at this: {quoted} ,{{{rng.getrandbits(8)}"}


def _dataverse(scene: Scene, rng: Random) -> Record:
    estate = scene.estates[int(rng.random() * len(scene.estates))]
    return {
        "Operation": "CrmDefaultActivity",
        "RecordType": 21,
        "Workload": "CRM",
        "CrmOrganizationUniqueName": estate.unique_name,
        "InstanceUrl": f"https://{estate.unique_name[:12]}.crm4.dynamics.com/",
        "EntityName": rng.choice(("account", "workflow", "Unknown")),
        "EntityId": stable_id("row", rng.getrandbits(32)),
        "Message": rng.choice(("Retrieve", "Update", "ExecuteMultiple ")),
        "UserUpn": "Unknown",
        "Fields": [],
    }


_SHARES: tuple[tuple[int, Callable[[Scene, Random], Record]], ...] = (
    (14, _teams),
    (5, _defender),
    (4, _purview),
    (3, _copilot),
    (2, _exchange),
    (1, _decoy),
    (1, _dataverse),
)
_DECK = tuple(tell for share, tell in _SHARES for _ in range(share))
