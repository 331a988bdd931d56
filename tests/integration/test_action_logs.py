"""Action logs over real HTTP: every state a log can have, and none that harms its neighbour."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from local.tenant import Fault, LogFile, Session
from shared.errors import Unreadable
from shared.state.names import Container, Queue


def log_of(count: int = 2, **more: Any) -> bytes:
    actions = [
        {
            "name": f"Action {number}",
            "systemActionName": "SetVariable",
            "systemModuleName": "Variables",
            "startTime": f"2026-05-19T12:00:{number % 60:02d}.1234567Z",
            "endTime": f"2026-05-19T12:00:{number % 60:02d}.7654321Z",
            "index": number,
            "functionName": "main",
            "status": "Succeeded",
            "inputs": {},
            "outputs": {},
            **more,
        }
        for number in range(count)
    ]
    return json.dumps({"actions": actions, "childFlowsLogStatus": "Default"}).encode()


def played(stage: Stage) -> dict[str, dict[str, Any]]:
    stage.run("poll_flow_sessions")
    stage.decode()
    stage.publish()
    return stage.by_id()


FORMS = {
    "raw": log_of(),
    "bom": b"\xef\xbb\xbf" + log_of(),
    "base64": base64.b64encode(log_of()),
    "envelope": json.dumps({"value": base64.b64encode(log_of()).decode()}).encode(),
    "half surrogate": log_of(name="\ud800"),
}
BROKEN = {
    "empty": b"",
    "html": b"<html><body>Service Unavailable</body></html>",
    "cut": log_of(40)[:-300],
    "no actions": b'{"childFlowsLogStatus":"Default"}',
    "garbage": bytes(range(256)),
}


def test_each_log_gets_its_own_state_and_no_neighbour_is_lost(account: str) -> None:
    contents = list({**FORMS, **BROKEN}.values())
    runs = [a_run(number, file=a_log(content)) for number, content in enumerate(contents)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        rows = played(stage)
        states = [rows[run_id(number)]["log_status"] for number in range(len(contents))]
        assert states == ["loaded"] * len(FORMS) + ["unreadable"] * len(BROKEN)
        assert [rows[run_id(number)]["action_count"] for number in range(len(FORMS))] == [2] * len(FORMS)
        assert len(stage.rows("fact_flow_action")) == 2 * len(FORMS)
        kept = stage.raw("unreadable/")
        assert {name.rpartition("/")[2] for name in kept} == {
            f"{run_id(number)}.bin" for number in range(len(FORMS), len(contents))
        }
        gaps = list(stage.app.journal.gaps())
        assert {gap.subject for gap in gaps} == {run_id(number) for number in range(len(FORMS), len(contents))}
        assert all(gap.kind == "action log unreadable" and gap.reason for gap in gaps)
        assert all(gap.from_utc <= gap.to_utc for gap in gaps)


def test_a_log_that_comes_late_is_waited_for(account: str) -> None:
    ended = ANCHOR - timedelta(minutes=1)
    run = a_run(1, ended, file=a_log(log_of(3), ANCHOR + timedelta(minutes=10)))
    with on_stage(with_runs(bare_world(), run), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.clock.advance(minutes=5)
        stage.decode()
        assert stage.by_id()[run_id(1)]["log_status"] == "pending"
        stage.clock.advance(minutes=6)
        stage.decode()
        stage.publish()
        row = stage.by_id()[run_id(1)]
        assert (row["log_status"], row["log_version"], row["action_count"]) == ("loaded", "v1", 3)
        delays = [delay for delay in stage.transport.delays_s if delay]
        assert delays == sorted(delays)
        assert len(delays) == 2


def test_after_a_day_without_a_log_there_is_none(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.clock.advance(hours=25)
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "absent"
        assert stage.decode() == 0


def test_an_old_run_without_a_log_is_not_waited_for(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, ANCHOR - timedelta(days=2))), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "absent"


def test_a_log_that_appears_after_all_is_loaded(account: str) -> None:
    run = a_run(1, ANCHOR - timedelta(days=2))
    with on_stage(with_runs(bare_world(), run), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "absent"
        state = run.states[0]
        values = {**(state.values() if callable(state.values) else state.values), "additionalcontext": "f-1"}
        later = type(state)(ANCHOR, ANCHOR, state.version_number + 5, values)
        changed = Session(run.session_id, (state, later), a_log(log_of(4), ANCHOR))
        stage.tenant.world = with_runs(stage.tenant.world, changed)
        stage.clock.advance(minutes=5)
        row = played(stage)[run_id(1)]
        assert (row["log_status"], row["action_count"]) == ("loaded", 4)


@pytest.mark.parametrize("chunkable", [True, False])
def test_a_long_log_is_read_in_parts_where_the_server_allows(account: str, *, chunkable: bool) -> None:
    content = log_of(45_000)
    assert len(content) > 8 * 1024 * 1024
    run = a_run(1, file=LogFile(ANCHOR - timedelta(minutes=59), content, chunkable=chunkable))
    with on_stage(with_runs(bare_world(), run), account) as stage:
        row = played(stage)[run_id(1)]
        assert (row["log_status"], row["action_count"]) == ("loaded", 45_000)
        seqs = [action["seq"] for action in stage.rows("fact_flow_action")]
        assert seqs == list(range(45_000))
        parts = [request for request in stage.tenant.requests if "additionalcontext/$value" in request.path]
        assert len(parts) == (len(content) // (4 * 1024 * 1024) + 1 if chunkable else 1)


def test_a_refused_log_is_forbidden_and_asked_for_again(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(log_of()))), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", path_contains="additionalcontext/$value", times=1, status=403))
        assert played(stage)[run_id(1)]["log_status"] == "forbidden"
        stage.clock.advance(hours=7)
        stage.run("reconcile")
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "loaded"


def test_a_throttled_environment_gets_its_work_back(account: str) -> None:
    runs = [a_run(number, file=a_log(log_of())) for number in range(5)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.run("poll_flow_sessions")
        throttled = Fault(
            "dataverse",
            path_contains="additionalcontext/$value",
            times=1,
            first_skip=2,
            status=429,
            headers={"Retry-After": "3000"},
        )
        stage.tenant.faults.add(throttled)
        stage.decode()
        assert 3000 in stage.transport.delays_s
        (body,) = [body for body, _ in stage.messages(Queue.ADDITIONAL_CONTEXT)]
        assert len(json.loads(body)["session_ids"]) == 3
        stage.clock.advance(hours=1)
        stage.run("decode_additional_context", body, 1)
        stage.publish()
        assert {row["log_status"] for row in stage.by_id().values()} == {"loaded"}


def test_a_connection_cut_inside_a_log_is_tried_again(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(log_of(500)))), account) as stage:
        stage.tenant.faults.add(
            Fault("dataverse", path_contains="additionalcontext/$value", times=2, cut_after_bytes=1000)
        )
        assert played(stage)[run_id(1)]["action_count"] == 500


def test_a_message_that_comes_twice_changes_nothing(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(log_of()))), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = list(stage.messages(Queue.ADDITIONAL_CONTEXT))
        stage.run("decode_additional_context", body, 1)
        stage.publish()
        before = stage.published()
        stage.run("decode_additional_context", body, 1)
        stage.run("decode_additional_context", body, 2)
        assert not any("fact_flow_action" in name for name in stage.staged())
        stage.publish()
        assert stage.published() == before


@pytest.mark.parametrize(
    "body", ["", "no JSON", "{}", '{"url":"x","environment_id":"e","day":"2026-05-19","session_ids":["../x"]}']
)
def test_a_message_of_somebody_else_is_refused(account: str, body: str) -> None:
    with on_stage(bare_world(), account) as stage, pytest.raises(Unreadable):
        stage.run("decode_additional_context", body, 1)


def test_a_message_for_an_environment_that_is_no_longer_configured_is_left(account: str) -> None:
    body = json.dumps(
        {
            "url": "https://gone.crm.dynamics.com",
            "environment_id": "e",
            "day": "2026-05-19",
            "session_ids": [run_id(1)],
        }
    )
    with on_stage(bare_world(), account) as stage:
        stage.run("decode_additional_context", body, 1)
        assert not any("additionalcontext/$value" in request.path for request in stage.tenant.requests)


def test_the_failing_action_of_a_failed_run(account: str) -> None:
    actions = json.loads(log_of(4))["actions"]
    for seq, status in enumerate(("Failed", "Succeeded", "Failed", "Succeeded")):
        actions[seq]["status"] = status
    content = json.dumps({"actions": actions}).encode()
    failed = a_run(1, file=a_log(content), statuscode=8, errorcode="Boom", errormessage="It broke.")
    handled = a_run(2, file=a_log(content))
    with on_stage(with_runs(bare_world(), failed, handled), account) as stage:
        rows = played(stage)
        assert (rows[run_id(1)]["failed_action_seq"], rows[run_id(1)]["failed_action_name"]) == (2, "Action 2")
        assert rows[run_id(1)]["failed_action_count"] == 2
        assert (rows[run_id(2)]["failed_action_seq"], rows[run_id(2)]["failed_action_count"]) == (None, 2)


@pytest.mark.parametrize(("before", "then", "named"), [(7, 8, "Action 1"), (8, 7, None)])
def test_an_outcome_that_changes_later_has_the_action_that_belongs_to_it(
    account: str, before: int, then: int, named: str | None
) -> None:
    actions = json.loads(log_of(3))["actions"]
    actions[1]["status"] = "Failed"
    file, later = a_log(json.dumps({"actions": actions}).encode()), ANCHOR + timedelta(hours=1)
    first, second = (a_run(1, file=file, statuscode=code) for code in (before, then))
    changed = replace(second.states[0], visible_at=later, modified_at=later, version_number=9000)
    run = replace(first, states=(*first.states, changed))
    with on_stage(with_runs(bare_world(), run), account) as stage:
        played(stage)
        stage.clock.advance(hours=2)
        row = played(stage)[run_id(1)]
        assert (row["status_code"], row["log_status"], row["failed_action_name"]) == (then, "loaded", named)


def test_no_values_are_kept_where_the_setting_says_so(account: str) -> None:
    content = log_of(1, inputs={"text": {"localizedName": "Text", "value": "private", "variableName": ""}})
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(content))), account, ACTION_VALUES="names") as stage:
        played(stage)
        assert json.loads(stage.rows("fact_flow_action")[0]["inputs"]) == {"text": None}


def test_no_copy_of_an_unreadable_log_is_kept_where_no_values_are(account: str) -> None:
    run = a_run(1, file=a_log(BROKEN["cut"]))
    with on_stage(with_runs(bare_world(), run), account, ACTION_VALUES="off") as stage:
        assert played(stage)[run_id(1)]["log_status"] == "unreadable"
        assert not list(stage.app.storage.blobs.list(Container.RAW, "unreadable/"))
        (gap,) = stage.app.journal.gaps()
        assert gap.reason.endswith("No copy of it is kept, because ACTION_VALUES is off.")


SAMPLES = os.environ.get("FLOWTRAIL_SAMPLES", "")


@pytest.mark.skipif(not SAMPLES, reason="FLOWTRAIL_SAMPLES names no folder of real records")
def test_a_real_log_over_the_whole_road(account: str) -> None:
    content = (Path(SAMPLES) / "flowsession" / "additionalcontext_v1_automationkit.json").read_bytes()
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(content))), account) as stage:
        assert played(stage)[run_id(1)]["action_count"] == 2
        first, second = stage.rows("fact_flow_action")
        assert first["started_utc"].isoformat() == "2023-02-20T10:44:35.788000+00:00"
        assert second["ended_utc"].isoformat() == "2023-02-20T11:01:20.047000+00:00"
        assert (first["module"], first["subflow"]) == ("Display", "main")
