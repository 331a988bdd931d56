from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from tenant_support import NOON

from local.tenant import Environment, Session, Tenant, World, generate
from local.tenant.activity import blob_body
from local.tenant.truth import Served, Truth
from local.tenant.world import resolved

AFTER = NOON + timedelta(minutes=10)


@pytest.fixture(scope="module")
def made() -> World:
    return generate(seed=11, anchor=NOON, environments=7, sessions_per_environment=240)


def truth(world: World, now: datetime) -> dict[str, Any]:
    return Truth(world, Served()).at(now, {environment.name: "" for environment in world.environments})


def rendered(world: World) -> list[Any]:
    """Everything a world holds, in a form that can be compared."""
    rows = [
        (session.session_id, session.deleted_at, state.visible_at, state.version_number, resolved(state.values))
        for environment in world.environments
        for session in environment.sessions
        for state in session.states
    ]
    logs = [
        (resolved(session.file.content) if session.file else None, resolved(session.flowlogs))
        for environment in world.environments
        for session in list(environment.sessions)[::10]
    ]
    return [rows, logs, [(blob.content_id, blob.listed_at, blob_body(blob)) for blob in world.blobs]]


def test_a_world_depends_on_seed_and_sizes_alone() -> None:
    sizes: dict[str, Any] = {"anchor": NOON, "environments": 2, "sessions_per_environment": 40, "blobs": 6}
    assert rendered(generate(seed=5, **sizes)) == rendered(generate(seed=5, **sizes))
    assert rendered(generate(seed=5, **sizes)) != rendered(generate(seed=6, **sizes))


def completed(world: World) -> list[dict[str, Any]]:
    told = truth(world, AFTER)
    return [each for environment in told["environments"] for each in environment["sessions"] if each["completed"]]


def test_outcomes_are_plausible(made: World) -> None:
    shares = Counter(each["status_code"] for each in completed(made))
    assert 0.78 < shares[4] / shares.total() < 0.92
    assert 0.04 < shares[8] / shares.total() < 0.15
    assert {4, 5, 7, 8} <= set(shares)


def test_logs_come_in_every_kind(made: World) -> None:
    kinds = Counter(each["log"] for each in completed(made))
    assert set(kinds) == {"v1", "v2", "none", "bad"}
    sizes = sorted(each["actions"] for each in completed(made) if each["actions"])
    assert sizes[0] >= 3
    assert [size for size in sizes if size >= 3000]
    assert sizes[len(sizes) // 2] < 200


def sessions(world: World) -> list[tuple[Environment, Session]]:
    return [(environment, session) for environment in world.environments for session in environment.sessions]


def test_the_truth_of_a_log_is_what_its_content_says(made: World) -> None:
    """Summaries, which spare rendering, must agree with what a reader of the content finds."""
    bare = World(
        tuple(
            Environment(
                environment.name,
                environment.environment_id,
                environment.organization_id,
                environment.unique_name,
                tuple(_without_summary(session) for session in list(environment.sessions)[::3]),
            )
            for environment in made.environments
        ),
    )
    known = {each["session_id"]: each for each in completed(made)}
    read = completed(bare)
    assert len(read) > 400
    for each in read:
        expected = known[each["session_id"]]
        if each["log"] == "bad" and expected["log"] == "v1":  # base64: sound, but not plain JSON
            continue
        assert each == expected


def _without_summary(session: Session) -> Session:
    file = session.file and type(session.file)(session.file.visible_at, session.file.content)
    return Session(
        session.session_id, session.states, file, session.flowlogs, session.deleted_at, session.created_at
    )


def logs(world: World) -> list[tuple[Session, dict[str, Any]]]:
    return [
        (session, json.loads(resolved(session.file.content)))
        for _, session in sessions(world)[::5]
        if session.file and session.file.summary and session.file.summary.kind == "v1" and _is_plain(session)
    ]


def _is_plain(session: Session) -> bool:
    return bool(session.file) and resolved(session.file.content).startswith(b"{")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_actions_have_the_shape_of_real_ones(made: World) -> None:
    expected = {
        *("name", "systemActionName", "systemModuleName", "localizedModuleName", "startTime", "endTime"),
        *("index", "functionName", "insideErrorHandling", "status", "inputs", "outputs"),
    }
    for _, content in logs(made):
        assert set(content) == {"actions", "childFlowsLogStatus"}
        for action in content["actions"]:
            assert set(action) - {"error"} == expected
            assert ("error" in action) == (action["status"] == "Failed")
            assert len(action["startTime"]) == len("2025-11-19T12:00:00.1234567Z")
            for parameter in (*action["inputs"].values(), *action["outputs"].values()):
                assert set(parameter) == {"localizedName", "value", "variableName"}
                assert isinstance(parameter["value"], str)


def test_actions_nest_in_order_of_their_begin(made: World) -> None:
    for session, content in logs(made):
        begins = [moment(action["startTime"]) for action in content["actions"]]
        ends = [moment(action["endTime"]) for action in content["actions"]]
        assert begins == sorted(begins)
        final = resolved(session.states[-1].values)
        assert begins[0] >= final["startedon"]
        assert max(ends) <= final["completedon"] + timedelta(seconds=1)
        open_ends: list[datetime] = []
        for begin, end in zip(begins, ends, strict=True):
            while open_ends and open_ends[-1] <= begin:
                open_ends.pop()
            assert not open_ends or end <= open_ends[-1]
            open_ends.append(end)


def test_logs_carry_fake_secrets_foreign_letters_and_many_kinds(made: World) -> None:
    text = "".join(json.dumps(content, ensure_ascii=False) for _, content in logs(made))
    assert all(f'"{name}"' in text for name in ("password", "apiKey", "connectionString"))
    assert "SIMULATED-SECRET" in text
    assert "完了" in text
    actions = [action for _, content in logs(made) for action in content["actions"]]
    assert len({(action["systemModuleName"], action["systemActionName"]) for action in actions}) >= 25
    assert len({action["systemModuleName"] for action in actions}) >= 12
    assert {action["functionName"] for action in actions} == {"main", "Anmeldung"}
    assert any(action["insideErrorHandling"] and action["status"] == "Failed" for action in actions)


def test_local_runs_are_created_after_they_ended(made: World) -> None:
    local = [
        (session, values)
        for _, session in sessions(made)
        if (values := resolved(session.states[-1].values)).get("runmode") == 0
    ]
    assert local
    for session, values in local:
        assert values["startedon"] < values["completedon"] < session.created
        assert json.loads(values["context"])["attendedMode"] == "Local attended"


def test_launches_and_children_are_told_apart(made: World) -> None:
    rows = {session.session_id: resolved(session.states[-1].values) for _, session in sessions(made)}
    children = {key: row for key, row in rows.items() if row.get("_parentdesktopflowrunid_value")}
    assert children
    assert all(row["_parentdesktopflowrunid_value"] in rows for row in children.values())
    cloud = [row for row in rows.values() if row.get("parentworkflowid")]
    assert all("ApiFlow" in row["context"] and row["parentcloudflowrunsequenceid"] for row in cloud)
    assert {row["triggertype"] for row in rows.values()} == {0, 1, 2}


def test_failures_carry_codes_and_several_lines(made: World) -> None:
    rows = [resolved(session.states[-1].values) for _, session in sessions(made)]
    failed = [row for row in rows if row["statuscode"] == 8]
    assert len({row["errorcode"] for row in failed}) >= 8
    assert all(row["errormessage"].startswith("\n") for row in failed)


def test_stamps_are_whole_seconds_and_versions_grow_with_time(made: World) -> None:
    for environment in made.environments:
        states = [state for session in environment.sessions for state in session.states]
        assert all(state.modified_at.microsecond == 0 for state in states)
        assert all(state.visible_at >= state.modified_at for state in states)
        assert len({state.version_number for state in states}) == len(states)
        by_version = sorted(states, key=lambda state: state.version_number)
        stamps = [state.modified_at for state in by_version]
        assert stamps == sorted(stamps)


def test_history_fills_the_days_before_the_anchor(made: World) -> None:
    created = [session.created for _, session in sessions(made)]
    assert min(created) >= NOON - timedelta(days=5)
    assert len({time.date() for time in created}) >= 5
    hours = Counter(time.hour for time in created)
    assert sum(hours[hour] for hour in range(8, 17)) > sum(hours[hour] for hour in (22, 23, *range(6)))


def test_things_happen_while_it_is_live(made: World) -> None:
    before, after = truth(made, NOON), truth(made, NOON + timedelta(seconds=61))
    first = {each["session_id"]: each for told in before["environments"] for each in told["sessions"]}
    last = {each["session_id"]: each for told in after["environments"] for each in told["sessions"]}
    assert len(last) > len(first)
    assert any(each["completed"] and not first[key]["completed"] for key, each in last.items() if key in first)
    assert len(after["audit"]["blobs"]) > len(before["audit"]["blobs"])


def test_some_files_are_late_and_some_never_come(made: World) -> None:
    delays: list[float] = []
    missing = 0
    for environment, session in sessions(made):
        values = resolved(session.states[-1].values)
        if environment.name == "Finance Production" and values["statuscode"] == 4:
            missing += session.file is None
            if session.file:
                delays.append((session.file.visible_at - session.states[-1].modified_at).total_seconds())
    assert missing
    assert max(delays) > 3


def test_the_feed_is_mostly_noise_and_delivers_twice(made: World) -> None:
    told = truth(made, AFTER)["audit"]
    records = sum(blob["records"] for blob in told["blobs"])
    assert 0.03 < len(told["events"]) / records < 0.09
    assert [event for event in told["events"] if len(event["content_ids"]) > 1]
    assert told["crm"]
    by_id = Counter(event["event_id"] for event in told["events"])
    shared = {event["operation"] for event in told["events"] if by_id[event["event_id"]] > 1}
    assert shared == {"PutConnection", "PutConnectionPermission"}
    assert {event["workload"] for event in told["events"]} == {
        *("PowerPlatform", "MicrosoftFlow", "PowerApps", "MicrosoftCopilotStudio")
    }


def test_the_feed_has_the_quirks_of_the_real_one(made: World) -> None:
    records = [record for blob in made.blobs for record in json.loads(blob_body(blob))]
    text = json.dumps(records)
    addresses = [record["ClientIP"] for record in records]
    assert any(address.startswith("::ffff:") for address in addresses)
    assert any(":" in address and "." in address.split(":")[0] for address in addresses)
    assert any(isinstance(record["RecordType"], str) for record in records)
    assert any(record["CreationTime"].endswith("Z") for record in records)
    assert any(record.get("ObjectId", "").endswith(" ") for record in records)
    assert any(record["Id"].isupper() for record in records)
    assert '\\"Workload\\":\\"PowerPlatform\\"' in text
    ids = {environment.environment_id for environment in made.environments}
    assert {record["EnvironmentId"] for record in records if "EnvironmentId" in record} <= ids


def test_blobs_overlap_and_come_late(made: World) -> None:
    created = [blob.created for blob in made.blobs]
    assert len(set(created)) < len(created)
    late = [blob for blob in made.blobs if blob.listed_at > blob.created + timedelta(minutes=10)]
    assert any(
        other.created > blob.created and other.listed_at < blob.listed_at for blob in late for other in made.blobs
    )
    assert all(blob.created - blob.expires > timedelta(days=-7) for blob in made.blobs)
    assert min(created) > NOON - timedelta(days=6.5)


def test_app_settings_name_all_environments() -> None:
    with Tenant(generate(anchor=NOON, environments=2, sessions_per_environment=1, blobs=0)) as tenant:
        settings = tenant.app_settings()
        listed = [(each["name"], each["url"]) for each in json.loads(settings["ENVIRONMENTS"])]
        assert listed == [(name, url) for name, url, _ in tenant.environments]
        assert settings["HISTORY_START"] == "2025-11-14"
        assert settings["MANAGEMENT_API_URL"] == tenant.activity_url


def test_twenty_thousand_sessions_are_made_quickly() -> None:
    world = generate(anchor=NOON, environments=1, sessions_per_environment=20_000, history_days=30, blobs=0)
    assert len({session.session_id for session in world.environments[0].sessions}) == 20_000


@pytest.mark.parametrize(
    "sizes",
    [
        {"environments": 0},
        {"sessions_per_environment": 0, "blobs": 0},
        {"sessions_per_environment": 1, "blobs": 1, "events_per_blob": 0},
        {"sessions_per_environment": 30, "live_s": 0},
        {"sessions_per_environment": 30, "history_days": 0.01},
        {"sessions_per_environment": 30, "history_days": 400},
    ],
)
def test_odd_sizes_are_possible(sizes: dict[str, Any]) -> None:
    world = generate(anchor=NOON, **sizes)
    assert len(rendered(world)[0]) >= sum(len(environment.sessions) for environment in world.environments)
    assert truth(world, AFTER)["served"]["sessions"] == 0
