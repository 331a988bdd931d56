"""How fast content blobs are filtered and normalised, beside `json.loads` and a loop over the same bytes.

    python -m local.bench.audit [--blobs 120] [--events 500] [--rounds 7]

Both ways take the same made-up blobs (5 % wanted, about 1.2 KB a record, quirks and decoys among them) in
alternating rounds in one process, measured in CPU time, and must keep the same events. Memory is measured in a
process for each way.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from local.tenant.generation.audit_events import Scene, event, occasion
from local.tenant.generation.audit_noise import noise
from local.tenant.generation.estate import estate
from local.tenant.generation.people import people
from local.tenant.world import stable_id
from shared.audit.feed import ContentBlob
from shared.audit.reading import read_blob

NOON = datetime(2026, 5, 19, 12, tzinfo=UTC)
BLOB = ContentBlob("bench", "Audit.General", "", NOON, NOON + timedelta(days=7))
WORKLOADS = frozenset({"powerplatform", "microsoftflow", "powerapps", "microsoftcopilotstudio"})
RECORD_TYPES = frozenset({30, 45, 46, 80, 149, 150, 163, 186, 239, 256})
WANTED_SHARE = 0.05
RECORD_BYTES = 1200
REQUESTS_PER_SECOND = 2000 / 60
MEBIBYTE = 1024 * 1024

Way = Callable[[bytes], list[dict[str, Any]]]


@dataclass(frozen=True)
class Result:
    """Median seconds for all blobs, and the ratio to the naive way (which stands at 1) in each round."""

    name: str
    median_s: float
    ratios: tuple[float, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    blobs = list(made_up(options.blobs, options.events))
    size, events = sum(map(len, blobs)), options.blobs * options.events
    print(f"{len(blobs)} blobs, {events:,} records, {size / MEBIBYTE:.0f} MiB, Python {sys.version.split()[0]}")
    _check(blobs)
    for result in measured(blobs, options.rounds):
        low, middle, high = min(result.ratios), statistics.median(result.ratios), max(result.ratios)
        print(
            f"{result.name:32} {result.median_s * 1000:8.1f} ms {size / result.median_s / MEBIBYTE:7.0f} MiB/s "
            f"{events / result.median_s:10,.0f} records/s   {middle:5.2f} x naive ({low:.2f} to {high:.2f})"
        )
    ours_s = min(_seconds(ours, blobs) for _ in range(3)) / len(blobs)
    print(f"one blob takes {ours_s * 1000:.2f} ms: {1 / ours_s:,.0f} a second, the service gives 33 a second")
    for name, way in WAYS.items() if sys.platform == "linux" else ():
        print(f"peak memory over start, one 64 MiB blob, {name:32} {_peak(way):6.0f} MiB")
    return 0


def measured(blobs: Sequence[bytes], rounds: int) -> list[Result]:
    """Each way in turn, again and again, so that a busy moment of the machine hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for number in range(rounds):
        names = list(WAYS) if number % 2 else list(reversed(WAYS))
        for name in names:
            seconds[name].append(_seconds(WAYS[name], blobs))
    naive = seconds[next(iter(WAYS))]
    return [
        Result(name, statistics.median(own), tuple(one / other for one, other in zip(naive, own, strict=True)))
        for name, own in seconds.items()
    ]


def naive(body: bytes) -> list[dict[str, Any]]:
    """What one writes first: everything parsed, a loop, a dictionary for each wanted record."""
    return [_row(record) for record in json.loads(body) if _is_wanted(record)]


def naive_filter(body: bytes) -> list[dict[str, Any]]:
    """The same without making rows."""
    return [record for record in json.loads(body) if _is_wanted(record)]


def ours(body: bytes) -> list[dict[str, Any]]:
    return read_blob(body, BLOB, WORKLOADS, NOON).rows


WAYS: dict[str, Way] = {
    "json.loads, loop, rows": naive,
    "json.loads, loop, no rows": naive_filter,
    "ours": ours,
}


def _is_wanted(record: dict[str, Any]) -> bool:
    kind = record.get("RecordType")
    return (
        str(record.get("Workload", "")).lower() in WORKLOADS
        or (isinstance(kind, int) and kind in RECORD_TYPES)
        or any(str(pair["Name"]).startswith("powerplatform.") for pair in record.get("PropertyCollection", ()))
    )


def _row(record: dict[str, Any]) -> dict[str, Any]:
    named = {pair["Name"].lower(): pair["Value"] for pair in record.get("PropertyCollection", ())}
    resource_ = "powerplatform.analytics.resource."
    more = json.loads(record["AdditionalInfo"]) if "AdditionalInfo" in record else {}
    url = record.get("FlowDetailsUrl", "").split("/")
    flow = dict(pairwise(url))
    address = str(named.get("enduser.ip_address") or record.get("ClientIP")).removeprefix("::ffff:")
    app = named.get(f"{resource_}power_app.id") or record.get("AppName")
    return {
        "event_id": record["Id"].lower(),
        "created_utc": datetime.fromisoformat(record["CreationTime"]).replace(tzinfo=UTC),
        "workload": record["Workload"],
        "record_type": int(record["RecordType"]),
        "operation": record["Operation"],
        "operation_group": "Other",
        "is_success": named.get("powerplatform.analytics.operation.is_successful") == "True",
        "result": record.get("ResultStatus"),
        "user_id": (named.get("enduser.principal_name") or record.get("UserUPN") or record["UserId"]).lower(),
        "user_key": record["UserKey"].lower(),
        "user_type": record["UserType"],
        "client_ip": address.split(":")[0],
        "environment_id": named.get(f"{resource_}environment.id")
        or record.get("EnvironmentId")
        or flow.get("environments")
        or more.get("environmentName"),
        "environment_name": named.get(f"{resource_}environment.name"),
        "resource_type": named.get(f"{resource_}type"),
        "resource_id": app or named.get(f"{resource_}connection.id") or named.get(f"{resource_}id"),
        "resource_name": named.get(f"{resource_}power_app.display_name") or named.get(f"{resource_}display_name"),
        "app_id": app,
        "flow_id": flow.get("flows"),
        "connector_id": None,
        "policy_id": named.get(f"{resource_}id"),
        "target_user": named.get("targetuser.id") or record.get("RecipientUPN"),
        "permission": named.get(f"{resource_}permission_type") or record.get("SharingPermission"),
        "correlation_id": named.get("powerplatform.analytics.correlation.id"),
        "content_id": BLOB.content_id,
        "content_created_utc": BLOB.created,
        "ingested_utc": NOON,
        "details": json.dumps(record),
    }


def _check(blobs: Sequence[bytes]) -> None:
    for body in blobs:
        if {row["event_id"] for row in naive(body)} != {row["event_id"] for row in ours(body)}:
            raise SystemExit("the two ways keep different events")


def _seconds(way: Way, blobs: Sequence[bytes]) -> float:
    began = time.process_time()
    for body in blobs:
        way(body)
    return time.process_time() - began


def made_up(blobs: int, events: int) -> Iterator[bytes]:
    """Content blobs like those of a busy tenant; the same ones each time."""
    everybody = people(1)
    estates = tuple(estate(1, number, stable_id(1, "tenant"), everybody) for number in range(3))
    scene = Scene(1, stable_id(1, "tenant"), estates, everybody)
    for number in range(blobs):
        rng = Random(number)
        records = [_made_up(scene, rng) for _ in range(events)]
        yield json.dumps(records, ensure_ascii=False, separators=(",", ":")).encode()


def _made_up(scene: Scene, rng: Random) -> dict[str, Any]:
    created = NOON - timedelta(seconds=rng.random() * 7200)
    if rng.random() < WANTED_SHARE:
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


def _peak(way: Way) -> float:
    """Mebibytes that one large blob takes beyond what the process had."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_here, (way,))


def _peak_here(way: Way) -> float:
    one = next(made_up(1, 2000))
    body = b"[" + b",".join([one[1:-1]] * (64 * MEBIBYTE // len(one))) + b"]"
    way(one)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status_mebibytes("VmRSS")
    way(body)
    return _status_mebibytes("VmHWM") - before


def _status_mebibytes(name: str) -> float:
    found = re.search(rf"{name}:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blobs", type=int, default=120)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
