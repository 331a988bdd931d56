"""Content blobs for the bench."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from local.tenant.generation.audit_events import Scene, event, occasion
from local.tenant.generation.audit_noise import noise
from local.tenant.generation.estate import estate
from local.tenant.generation.people import people
from local.tenant.world import stable_id

NOON = datetime(2026, 5, 19, 12, tzinfo=UTC)
RECORD_BYTES = 1200


def made_up(blobs: int, events: int, wanted: float) -> Iterator[bytes]:
    """Content blobs like those of a busy tenant, with a share of wanted records; the same ones each time."""
    everybody = people(1)
    estates = tuple(estate(1, number, stable_id(1, "tenant"), everybody) for number in range(3))
    scene = Scene(1, stable_id(1, "tenant"), estates, everybody)
    for number in range(blobs):
        rng = Random(number)
        records = [_made_up(scene, rng, wanted) for _ in range(events)]
        yield json.dumps(records, ensure_ascii=False, separators=(",", ":")).encode()


def _made_up(scene: Scene, rng: Random, wanted: float) -> dict[str, Any]:
    created = NOON - timedelta(seconds=rng.random() * 7200)
    if rng.random() < wanted:
        return event(occasion(scene, rng, created))
    record = {**noise(scene, rng, created), **_directory_members(scene, rng)}
    pairs: list[dict[str, str]] = []
    while len(json.dumps(record)) + 60 * len(pairs) < RECORD_BYTES:
        pairs.append(
            {"Name": rng.choice(("DisplayName", "Department", "City")), "OldValue": "[]", "NewValue": "[1]"}
        )
    return {**record, "ModifiedProperties": pairs}


def _directory_members(scene: Scene, rng: Random) -> dict[str, Any]:
    """What records of directory, files and mail carry beside the common members (documented shapes)."""
    ids = [stable_id(rng.getrandbits(64)) for _ in range(3)]
    return {
        "AzureActiveDirectoryEventType": 1,
        "ExtendedProperties": [
            {"Name": "additionalDetails", "Value": "{}"},
            {"Name": "category", "Value": "User"},
        ],
        "Actor": [{"ID": ids[0], "Type": 0}, {"ID": scene.people[0].upn, "Type": 5}, {"ID": ids[1], "Type": 3}],
        "ActorContextId": scene.tenant_id,
        "InterSystemsId": ids[2],
        "IsManagedDevice": False,
        "ItemType": "File",
        "EventSource": "SharePoint",
        "AuthenticationType": "OAuth",
        "BrowserName": "",
        "Platform": "WinDesktop",
        "Target": [{"ID": f"User_{ids[0]}", "Type": 2}, {"ID": "User", "Type": 2}],
        "TargetContextId": scene.tenant_id,
    }
