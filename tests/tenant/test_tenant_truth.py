"""A client that reads everything must find exactly what the tenant says exists."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import requests
from tenant_support import NOON, Client, Clock, blob, session, world

from local.tenant import LogFile, generate

Serve = Callable[..., Client]


def test_sessions_and_logs_reconcile(serve: Serve, clock: Clock) -> None:
    client = serve(generate(seed=3, anchor=NOON, environments=3, sessions_per_environment=60, blobs=0))
    clock.advance(minutes=10)
    read = 0
    for at, told in enumerate(client.tenant.truth()["environments"]):
        rows = client.rows("flowsessions?$select=statuscode,additionalcontext&$orderby=modifiedon", 17, at)
        statuses = {row["flowsessionid"]: row["statuscode"] for row in rows}
        assert statuses == {
            each["session_id"]: each["status_code"] for each in told["sessions"] if not each["deleted"]
        }
        for each in told["sessions"]:
            if not each["deleted"]:
                assert counted(client, at, each["session_id"]) == (
                    each["log"],
                    each["actions"],
                    each["failed_actions"],
                )
                read += 1
    assert client.tenant.truth()["served"]["sessions"] == read


def counted(client: Client, environment: int, key: str) -> tuple[str, int, int]:
    """Kind of log, actions and failed actions, as a careful reader finds them."""
    path = f"flowsessions({key})/flowsession_flowlog_parentobjectid?$filter=type eq 100000001"
    rows = client.rows(path, 500, environment)
    if rows:
        return ("v2", *_numbers([json.loads(row["data"]) for row in rows]))
    answer = client.get(f"flowsessions({key})/additionalcontext/$value", environment)
    if answer.status_code == 204:
        return ("none", 0, 0)
    try:
        return ("v1", *_numbers(json.loads(_plain(answer.content))["actions"]))
    except ValueError:
        return ("bad", 0, 0)


def _plain(content: bytes) -> bytes:
    content = content.removeprefix(b"\xef\xbb\xbf")
    return content if content[:1] in {b"{", b"<", b""} else base64.b64decode(content)


def _numbers(actions: list[dict[str, Any]]) -> tuple[int, int]:
    return len(actions), sum(action["status"] == "Failed" for action in actions)


def test_audit_events_reconcile(serve: Serve, clock: Clock) -> None:
    client = serve(generate(seed=3, anchor=NOON, environments=2, sessions_per_environment=1, history_days=6.5))
    client.subscribe()
    clock.advance(hours=2)
    found: set[tuple[str, str]] = set()
    for day in range(8):
        start = NOON - timedelta(days=6.6) + timedelta(days=day)
        for page in client.listing(start, start + timedelta(days=1)):
            for entry in page:
                records = client.follow(f"{entry['contentUri']}?PublisherIdentifier=x").json()
                found |= {(each["Id"].lower(), each["Operation"]) for each in records if is_wanted(each)}
    told = client.tenant.truth()["audit"]
    assert found == {(event["event_id"], event["operation"]) for event in told["events"]}
    assert {each["served"] for each in told["blobs"]} == {1}
    assert sum(each["records"] for each in told["blobs"]) == 60 * 200


def is_wanted(record: dict[str, Any]) -> bool:
    return record["Workload"] in {"PowerPlatform", "MicrosoftFlow", "PowerApps", "MicrosoftCopilotStudio"}


def test_truth_over_http_is_the_same(serve: Serve) -> None:
    client = serve(generate(anchor=NOON, environments=1, sessions_per_environment=10, blobs=2))
    told = requests.get(f"{client.tenant.control_url}/truth", timeout=10).json()
    mine = client.tenant.truth()
    assert told["environments"] == mine["environments"]
    assert told["audit"] == mine["audit"]
    assert mine["served"]["requests"] == {"control/truth": 1}
    assert requests.get(f"{client.tenant.control_url}/nothing", timeout=10).status_code == 404


def test_a_world_made_by_hand_needs_no_summaries(serve: Serve) -> None:
    actions = [{"status": "Succeeded"}, {"status": "Failed"}]
    good = LogFile(NOON, b"\xef\xbb\xbf" + json.dumps({"actions": actions}).encode())
    sessions = [session(number, NOON) for number in range(1, 4)]
    logged = [
        type(sessions[0])(sessions[0].session_id, sessions[0].states, good),
        type(sessions[1])(sessions[1].session_id, sessions[1].states, LogFile(NOON, b'{"actions":[')),
        sessions[2],
    ]
    record = {
        "Id": "AB",
        "Operation": "PutConnection",
        "Workload": "powerplatform",
        "CreationTime": "2025-11-19T10:00:00",
    }
    blobs = (blob(1, NOON, records=(record, {"Workload": "Exchange"})), blob(2, NOON, records=(record,)))
    told = serve(world(*logged, blobs=blobs)).tenant.truth()
    assert [
        (each["log"], each["actions"], each["failed_actions"]) for each in told["environments"][0]["sessions"]
    ] == [
        ("v1", 2, 1),
        ("bad", 0, 0),
        ("none", 0, 0),
    ]
    (event,) = told["audit"]["events"]
    assert event == {
        "event_id": "ab",
        "operation": "PutConnection",
        "workload": "PowerPlatform",
        "created_utc": "2025-11-19T10:00:00Z",
        "content_ids": [each.content_id for each in blobs],
    }
