"""Run rows: what each column says, and which of two states of a run wins."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataverse.cursor import MOST_RECENT, OVERLAP, Cursor, Seen, digest, read_cursor
from shared.dataverse.sessions import (
    KEY_COLUMNS,
    STATUSES,
    WANTED_COLUMNS,
    LogStatus,
    Outcome,
    Session,
    Succession,
    amended,
    read_again,
    read_session,
    readable_columns,
    succeed,
)
from shared.schema import FACT_FLOW_SESSION
from shared.state.names import FORGOTTEN

NOW = datetime(2026, 5, 19, 12, tzinfo=UTC)
ROW = {
    "flowsessionid": "CE4D672C-672F-4ACF-BC28-5CBEE4CFA0BF",
    "_regardingobjectid_value": "F0000000-0000-0000-0000-00000000000A",
    "processversion": " 3 ",
    "_machineid_value": "A1",
    "_machinegroupid_value": "B1",
    "_ownerid_value": "U1",
    "parentdesktopflowrunguid": "P1",
    "parentworkflowid": "C1",
    "parentcloudflowrunsequenceid": "08584567",
    "correlationid": "K1",
    "runmode": 2,
    "triggertype": 0,
    "subcategory": 1,
    "statuscode": 8,
    "createdon": "2026-05-19T09:43:46Z",
    "startedon": "2026-05-19T09:44:00Z",
    "completedon": "2026-05-19T09:45:30Z",
    "modifiedon": "2026-05-19T09:45:31Z",
    "runduration": 1,
    "runwaitduration": 14000,
    "errorcode": "NoCandidateMachine",
    "errormessage": "\nNo machine was free.",
    "context": json.dumps({"hostName": "LAPTOP", "attendedMode": "Unattended", "agentVersion": "2.34"}),
    "additionalcontext": "15DBB513-622C-EE11-BDF4-0022482B6E98",
    "versionnumber": 42,
}


def session(**more: Any) -> Session:
    return read_session({**ROW, **more}, "e1", {"u1": "ada@contoso.example"}, NOW)


def test_every_column() -> None:
    run = session()
    assert run.session_id == "ce4d672c-672f-4acf-bc28-5cbee4cfa0bf"
    assert (run.environment_id, run.flow_id, run.flow_version) == (
        "e1",
        "f0000000-0000-0000-0000-00000000000a",
        "3",
    )
    assert (run.machine_id, run.machine_group_id, run.user_id) == ("a1", "b1", "ada@contoso.example")
    assert (run.parent_session_id, run.cloud_flow_id, run.cloud_run_id) == ("p1", "c1", "08584567")
    assert (run.run_mode, run.trigger_type, run.is_test) == ("Unattended", "ApiFlow", True)
    assert (run.status_code, run.status, run.outcome) == (8, "Failed", "Failed")
    assert (run.start_date, run.start_hour) == (date(2026, 5, 19), 9)
    assert (run.duration_ms, run.queue_ms) == (90_000, 14_000)
    assert (run.error_code, run.error_message) == ("NoCandidateMachine", "No machine was free.")
    assert (run.host_name, run.agent_version) == ("LAPTOP", "2.34")
    assert (run.version_number, run.log_file_id) == (42, "15dbb513-622c-ee11-bdf4-0022482b6e98")
    assert run.is_finished
    assert run.day == date(2026, 5, 19)


def test_the_columns_are_those_of_the_published_table() -> None:
    names = {field.name for field in fields(Session)}
    of_the_register = {"version_number", "log_file_id", "log_failing_utc"}
    assert names - of_the_register == set(FACT_FLOW_SESSION.column_names)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, "Waiting"),
        (1, "Waiting"),
        (2, "Running"),
        (3, "Waiting"),
        (4, "Succeeded"),
        (5, "Skipped"),
        (6, "Waiting"),
        (7, "Cancelled"),
        (8, "Failed"),
        (9, "Failed"),
        (10, "Failed"),
        (11, "Cancelled"),
        (12, "Skipped"),
        (13, "Cancelled"),
        (14, "Cancelled"),
        (99, "Failed"),
    ],
)
def test_status_to_outcome(code: int, outcome: str) -> None:
    assert session(statuscode=code).outcome == outcome


@pytest.mark.parametrize(
    ("row", "outcome"),
    [
        ({}, "Failed"),
        ({"errorcode": None}, "Failed"),
        ({"errorcode": None, "errormessage": None}, "Succeeded"),
        ({"completedon": None}, "Waiting"),
    ],
    ids=["error code", "error message", "complete", "open"],
)
def test_a_status_of_later_has_ended_where_the_run_is_complete(row: dict[str, Any], outcome: str) -> None:
    run = session(statuscode=15, **row)
    assert (run.status, run.outcome, run.status_code) == ("Unknown 15", outcome, 15)


def test_every_documented_status_is_known() -> None:
    assert set(STATUSES) == set(range(15))


def test_localised_labels_are_not_looked_at() -> None:
    label = {"statuscode@OData.Community.Display.V1.FormattedValue": "Erfolgreich"}
    assert session(**label).outcome == Outcome.FAILED


@pytest.mark.parametrize(
    ("context", "mode"),
    [
        ('{"attendedMode":"Attended"}', "Attended"),
        ('{"attendedMode":"Unattended"}', "Unattended"),
        ('{"attendedMode":"Local attended"}', "Local"),
        ('{"attendedMode":null}', None),
        ("no JSON", None),
        (None, None),
    ],
)
def test_the_run_mode_falls_back_to_the_context(context: str | None, mode: str | None) -> None:
    assert session(runmode=None, context=context).run_mode == mode


def test_a_run_that_nothing_else_is_known_of_is_a_local_one() -> None:
    told = session(runmode=None, context='{"hostName":"PC"}', parentcloudflowrunsequenceid=None)
    assert told.run_mode == "Local"


def test_a_parent_that_is_a_desktop_flow_is_no_cloud_flow() -> None:
    context = '{"parentWorkflowType":"DesktopFlow","parentWorkflowId":"D1","parentWorkflowRunId":"R1"}'
    run = session(context=context, parentcloudflowrunsequenceid=None)
    assert (run.cloud_flow_id, run.cloud_run_id) == (None, None)


@pytest.mark.parametrize(
    "row",
    [
        {"triggertype": 1},
        {"triggertype": None},
        {"triggertype": None, "parentdesktopflowrunguid": None, "_p": "P1"},
    ],
    ids=["trigger", "parent run", "parent run by lookup"],
)
def test_a_parent_that_is_a_desktop_flow_where_there_is_no_context(row: dict[str, Any]) -> None:
    row["_parentdesktopflowrunid_value"] = row.pop("_p", None)
    assert session(context=None, **row).cloud_flow_id is None


def test_a_parent_only_in_the_context() -> None:
    context = '{"parentWorkflowType":"ApiFlow","parentWorkflowId":"C9","parentWorkflowRunId":"R9"}'
    run = session(context=context, parentworkflowid=None, parentcloudflowrunsequenceid=None)
    assert (run.cloud_flow_id, run.cloud_run_id) == ("c9", "R9")


def test_an_owner_without_a_known_name_keeps_the_id() -> None:
    assert session(_ownerid_value="U2").user_id == "u2"
    assert session(_ownerid_value=None).user_id is None


def test_a_known_owner_keeps_the_name_while_only_ids_can_be_had() -> None:
    known = session()
    unnamed = session(_ownerid_value="U2", versionnumber=43)
    changed = succeed(known, unnamed, NOW)
    assert changed
    assert changed.user_id == "ada@contoso.example"
    other = succeed(changed, replace(session(versionnumber=44), user_id="eve@contoso.example"), NOW)
    assert other
    assert other.user_id == "eve@contoso.example"


def test_a_forgotten_owner_stays_forgotten_when_only_an_id_can_be_had() -> None:
    known = replace(session(), user_id=f"{FORGOTTEN}1234")
    by_id = session(_ownerid_value="U2")
    again = read_again(known, by_id, NOW)
    assert again is not None
    assert again.user_id == known.user_id
    changed = succeed(known, replace(by_id, version_number=known.version_number + 1), NOW)
    assert changed is not None
    assert changed.user_id == known.user_id


def test_a_run_that_has_not_started() -> None:
    run = session(statuscode=3, startedon=None, completedon=None)
    assert (run.start_date, run.start_hour, run.duration_ms) == (date(2026, 5, 19), 9, 1)
    assert not run.is_finished


@pytest.mark.parametrize("missing", ["flowsessionid", "createdon", "modifiedon", "versionnumber"])
def test_a_row_that_nothing_identifies_or_orders(missing: str) -> None:
    with pytest.raises(ValueError, match="flowsession"):
        session(**{missing: None})


@pytest.mark.parametrize("value", ["12", 12])
def test_numbers_may_come_as_text(value: object) -> None:
    assert session(versionnumber=value).version_number == 12


def test_numbers_beyond_64_bits_are_none() -> None:
    assert session(runwaitduration=10**30).queue_ms is None


def test_columns_that_an_environment_lacks_are_not_asked_for() -> None:
    columns = readable_columns(frozenset({"flowsessionid", "regardingobjectid", "startedon"}))
    assert set(columns) == {*KEY_COLUMNS, "_regardingobjectid_value", "startedon"}
    assert readable_columns(None) == WANTED_COLUMNS


def test_secrets_are_never_asked_for() -> None:
    assert not {"credentials", "callbackurl"} & set(WANTED_COLUMNS)


def taken(known: Session | None, newer: Session, now: datetime = NOW) -> Session | None:
    return succeed(known, newer, now)


def test_a_finished_run_awaits_its_log() -> None:
    run = taken(None, session())
    assert run is not None
    assert run.log_status == LogStatus.PENDING


def test_a_running_one_does_not() -> None:
    run = taken(None, session(statuscode=2))
    assert run is not None
    assert run.log_status is None


def test_an_older_state_never_replaces_a_newer_one() -> None:
    known = taken(None, session())
    assert taken(known, session(versionnumber=41)) is None


def test_the_same_state_stays_as_it_is() -> None:
    known = taken(None, session())
    assert taken(known, session(), NOW + timedelta(hours=1)) is known


def test_a_newer_state_is_ordered_behind_whatever_the_clock_says() -> None:
    known = taken(None, session())
    assert known is not None
    newer = taken(known, session(versionnumber=43), NOW - timedelta(hours=1))
    assert newer is not None
    assert newer.ingested_utc > known.ingested_utc


def test_what_is_known_of_the_log_stays() -> None:
    known = taken(None, session())
    assert known is not None
    loaded = amended(known, NOW, log_status=LogStatus.LOADED, action_count=3)
    newer = taken(loaded, session(versionnumber=43))
    assert newer is not None
    assert (newer.log_status, newer.action_count) == (LogStatus.LOADED, 3)


@pytest.mark.parametrize("succession", [succeed, read_again])
def test_a_machine_and_a_group_that_are_deleted_stay_known(succession: Succession) -> None:
    known = taken(None, session())
    unlinked = session(versionnumber=43, _machineid_value=None, _machinegroupid_value=None)
    newer = succession(known, unlinked, NOW)
    assert newer is not None
    assert (newer.version_number, newer.machine_id, newer.machine_group_id) == (43, "a1", "b1")
    moved = succession(newer, session(versionnumber=44, _machineid_value="A2"), NOW)
    assert moved is not None
    assert moved.machine_id == "a2"


def test_another_file_is_awaited_again() -> None:
    known = taken(None, session(additionalcontext=None))
    assert known is not None
    absent = amended(known, NOW, log_status=LogStatus.ABSENT)
    newer = taken(absent, session(versionnumber=43))
    assert newer is not None
    assert newer.log_status == LogStatus.PENDING


@pytest.mark.parametrize(
    ("statuscode", "is_awaited"), [(8, True), (4, False)], ids=["failed after all", "succeeded as before"]
)
def test_a_log_that_only_failed_runs_write_is_awaited_when_the_run_has_failed(
    statuscode: int, is_awaited: bool
) -> None:
    known = taken(None, session(statuscode=4, additionalcontext=None))
    assert known is not None
    disabled = amended(known, NOW, log_status=LogStatus.DISABLED)
    newer = taken(disabled, session(statuscode=statuscode, additionalcontext=None, versionnumber=43))
    assert newer is not None
    assert newer.log_status == (LogStatus.PENDING if is_awaited else LogStatus.DISABLED)


def test_after_a_restore_a_lower_version_with_a_later_change_is_newer() -> None:
    known = taken(None, session())
    newer = taken(known, session(versionnumber=7, modifiedon="2026-05-19T10:00:00Z"))
    assert newer is not None
    assert newer.version_number == 7


@given(st.permutations([1, 2, 3, 4, 5]))
def test_in_whatever_order_states_arrive_the_newest_stays(order: list[int]) -> None:
    known: Session | None = None
    for version in order:
        known = taken(known, session(versionnumber=version)) or known
    assert known is not None
    assert known.version_number == 5


def test_a_cursor_keeps_its_place() -> None:
    cursor = Cursor(
        NOW,
        NOW - timedelta(days=9),
        NOW - timedelta(minutes=1),
        NOW,
        frozenset({digest("a", 1, "m"), digest("b", 2, "m")}),
    )
    assert read_cursor(cursor.values(), NOW) == cursor
    assert cursor.start == NOW - timedelta(minutes=1)


def test_a_fresh_cursor_starts_with_history() -> None:
    history = NOW - timedelta(days=90)
    assert read_cursor({}, history).start == history


def test_what_is_remembered_fits_into_one_property() -> None:
    many = frozenset(digest(str(number), 1, "m") for number in range(MOST_RECENT + 5))
    assert len(Cursor(NOW, NOW, recent=many).values()["recent"]) <= 64 * 1024


def test_only_states_that_will_be_met_again_are_remembered() -> None:
    seen = Seen({digest("before", 1, "m")})
    seen.add(digest("old", 1, "m"), NOW - OVERLAP)
    seen.add(digest("new", 1, "m"), NOW)
    assert digest("old", 1, "m") in seen
    assert seen.met_since(NOW) == {digest("new", 1, "m")}
    assert seen.since(NOW) == {digest("new", 1, "m"), digest("before", 1, "m")}


def test_a_state_is_a_run_its_version_and_its_change() -> None:
    assert digest("a", 1, "m") == digest("A", 1, "m")
    assert digest("a", 1, "m") != digest("a", 1, "n")
    assert digest("a", 1, "m") != digest("a", 2, "m") != digest("b", 2, "m")


def test_replacing_a_field_keeps_the_record_frozen() -> None:
    assert replace(session(), log_status=None) == session()


SAMPLES = os.environ.get("FLOWTRAIL_SAMPLES", "")


@pytest.mark.skipif(not SAMPLES, reason="FLOWTRAIL_SAMPLES names no folder of real records")
def test_an_old_environment_is_read_by_its_own_columns() -> None:
    text = (Path(SAMPLES) / "flowsession" / "flowsession_entitymetadata_2023.json").read_text(encoding="utf-8-sig")
    attributes = frozenset(str(name).lower() for name in _logical_names(json.loads(text)))
    columns = readable_columns(attributes)
    assert set(KEY_COLUMNS) <= set(columns)
    assert not {"runmode", "triggertype", "subcategory", "parentcloudflowrunsequenceid"} & set(columns)


def _logical_names(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [value for name, value in node.items() if name.lower() in ("logicalname", "schemaname") and value]
        return [str(value) for value in own] + [name for value in node.values() for name in _logical_names(value)]
    return [name for item in node for name in _logical_names(item)] if isinstance(node, list) else []
