"""Action logs of the second generation over real HTTP, and the choice between the two."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.core.pipeline.transport import HttpRequest

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from integration.test_action_logs import log_of, played
from local.tenant import Access, Fault, Session, World
from shared.dataverse import flow_logs
from shared.state.names import Container

ENDED = ANCHOR - timedelta(hours=1)
ACTION, CUSTOM = 100000001, 100000000
ENABLED, ON_FAILURE, DISABLED = range(3)
V1, V2, BOTH = range(3)


def flow_log_row(number: int, run: int = 1, at: datetime = ENDED, **columns: Any) -> dict[str, Any]:
    action = {
        "name": f"Action {number}",
        "systemActionName": "SetVariable",
        "startTime": f"2026-05-19T12:00:{number % 60:02d}.1000000Z",
        "endTime": f"2026-05-19T12:00:{number % 60:02d}.9000000Z",
        "index": number,
        "status": "Succeeded",
        "inputs": {"value": {"localizedName": "Value", "value": f"{number}", "variableName": ""}},
    }
    return {
        "flowlogid": f"10000000-0000-0000-{run:04x}-{number:012x}",
        "createdon": at,
        "modifiedon": at,
        "type": ACTION,
        "level": 100000002,
        "logindex": number,
        "duration": 800,
        "data": json.dumps({**action, **columns.pop("action", {})}),
        "_parentobjectid_value": run_id(run),
        "_flowsessionid_value": run_id(run),
        **columns,
    }


def logged(run: Session, *rows: Mapping[str, Any]) -> Session:
    return replace(run, flowlogs=tuple(rows))


def world_of(*runs: Session, status: int = ENABLED, version: int = V2, **settings: Any) -> World:
    world = bare_world()
    organization = {
        **world.environments[0].organization,
        "desktopflowrunactionlogsstatus": status,
        "desktopflowrunactionlogversion": version,
        **settings,
    }
    return with_runs(
        replace(world, environments=(replace(world.environments[0], organization=organization),)), *runs
    )


def actions_of(stage: Stage) -> list[dict[str, Any]]:
    return sorted(stage.rows("fact_flow_action"), key=lambda row: row["seq"])


def asked(stage: Stage, part: str) -> int:
    return sum(part in request.path for request in stage.tenant.requests)


def test_a_log_in_the_table_is_read_whole_and_in_order(account: str) -> None:
    rows = [flow_log_row(number) for number in range(1300)]
    opening = flow_log_row(5000, type=CUSTOM, data='{"message":"Start"}', logindex=-1)
    with on_stage(world_of(logged(a_run(1), opening, *reversed(rows))), account) as stage:
        row = played(stage)[run_id(1)]
        assert (row["log_status"], row["log_version"], row["action_count"]) == ("loaded", "v2", 1300)
        actions = actions_of(stage)
        assert [action["seq"] for action in actions] == list(range(1300))
        assert [action["line"] for action in actions] == list(range(1300))
        assert actions[7]["inputs"] == '{"value":"7"}'
        assert actions[7]["duration_ms"] == 800
        assert asked(stage, "flowsession_flowlog_parentobjectid") == 3


def test_a_flat_error_and_the_failing_action(account: str) -> None:
    failed = flow_log_row(1, action={"status": "Failed", "errorCode": "E1", "errorMessage": "It broke."})
    run = logged(a_run(1, statuscode=8), flow_log_row(0), failed)
    with on_stage(world_of(run), account) as stage:
        row = played(stage)[run_id(1)]
        assert (row["failed_action_seq"], row["failed_action_name"]) == (1, "Action 1")
        assert actions_of(stage)[1]["error_code"] == "E1"
        assert actions_of(stage)[1]["error_message"] == "It broke."


def test_what_an_action_lacks_is_taken_from_its_row(account: str) -> None:
    endless = flow_log_row(0, action={"endTime": None})
    timeless = flow_log_row(1, action={"startTime": None, "endTime": None})
    broken = flow_log_row(2, data='{"name":"Broken","status":"Failed","index":22,"inputs":{"a":{"value":"cut } of')
    odd = flow_log_row(3, action={"index": "7", "name": 5, "status": None})
    with on_stage(world_of(logged(a_run(1), endless, timeless, broken, odd)), account) as stage:
        row = played(stage)[run_id(1)]
        assert (row["log_status"], row["action_count"]) == ("loaded", 4)
        first, second, third, fourth = actions_of(stage)
        assert (first["ended_utc"] - first["started_utc"]) == timedelta(milliseconds=800)
        assert (second["started_utc"], second["ended_utc"]) == (ENDED - timedelta(milliseconds=800), ENDED)
        assert third["error_message"] == "This row of the log can't be read."
        assert (third["action_name"], third["status"], third["line"]) == ("Broken", "Failed", 22)
        assert (fourth["line"], fourth["action_name"]) == (7, "5")
        (gap,) = stage.app.journal.gaps()
        assert (gap.kind, gap.subject) == ("action log partly unreadable", run_id(1))
        assert gap.reason.startswith("1 of 4 rows")
        (kept,) = stage.app.storage.blobs.list(Container.RAW, "unreadable/")
        assert json.loads(stage.app.storage.blobs.get(Container.RAW, kept.name) or b"")["data"] == broken["data"]


def test_a_row_that_comes_again_counts_once_and_its_good_state_is_kept() -> None:
    good, bad = flow_log_row(0), flow_log_row(0, data='{"name":"cut')
    for rows in ((good, bad), (bad, good)):
        with closing(flow_logs.FlowLog()) as log:
            for row in (*rows, flow_log_row(1), flow_log_row(2, data="")):
                log.add(json.loads(json.dumps(row, default=str)))
            assert (len(log), log.unreadable, len(list(log.unreadable_rows()))) == (3, 1, 1)
            assert [record.name for (*records,) in log.batches() for record in records] == [
                "Action 0", "Action 1", None
            ]  # fmt: skip


def test_without_an_index_the_times_give_the_order(account: str) -> None:
    rows = [flow_log_row(number, logindex=None, duration=None) for number in (2, 0, 1)]
    with on_stage(world_of(logged(a_run(1), *rows)), account) as stage:
        played(stage)
        assert [action["line"] for action in actions_of(stage)] == [0, 1, 2]


@pytest.mark.parametrize("index", [None, 0])
def test_rows_of_one_index_are_ordered_by_time_to_the_last_digit_then_by_id(index: int | None) -> None:
    starts = [
        *("2026-05-19T12:00:00Z", "2026-05-19T12:00:00.0000001Z", "2026-05-19T14:00:00.0000002+02:00"),
        *("2026-05-19T12:00:00.1Z", "2026-05-19T12:00:00.15Z", "2026-05-19T12:00:00.2", "2026-05-19T12:00:00.2Z"),
        *("2026-05-19T11:00:00.3-01:00", "2026-05-30T12:00:00.1234567Z", "2026-05-30T12:00:00.12345678Z"),
    ]
    rows = [
        flow_log_row(number, logindex=index, duration=None, createdon="", action={"startTime": start})
        for number, start in enumerate(starts)
    ]
    for arrived in (rows, rows[::-1], rows[5:] + rows[:5]):
        with closing(flow_logs.FlowLog()) as log:
            for row in arrived:
                log.add(row)
            assert [record.index for (*records,) in log.batches() for record in records] == [*range(len(starts))]


def padded(page: bytes) -> bytes:
    return gzip.compress(gzip.decompress(page) + b" " * (64 << 20), 1)


def test_a_page_that_is_longer_than_is_read_comes_in_smaller_ones(account: str) -> None:
    run = logged(a_run(1), *(flow_log_row(number) for number in range(700)))
    with on_stage(world_of(run), account) as stage:
        part = "flowsession_flowlog_parentobjectid"
        long = Fault("dataverse", path_contains=part, first_skip=1, garble=padded)
        stage.tenant.faults.add(long)
        row = played(stage)[run_id(1)]
        assert (row["log_status"], row["action_count"]) == ("loaded", 700)
        assert asked(stage, part) == 2 + 14
        assert not list(stage.app.journal.gaps())


@pytest.mark.parametrize(
    ("version", "mode", "file", "rows", "expected"),
    [
        (V1, 2, True, True, ("loaded", "v1", 2)),
        (V2, 2, True, True, ("loaded", "v2", 3)),
        (BOTH, 2, True, True, ("loaded", "v2", 3)),
        (BOTH, 2, True, False, ("loaded", "v1", 2)),
        (V2, 2, True, False, ("loaded", "v1", 2)),
        (V1, 2, False, True, ("loaded", "v2", 3)),
        (V2, 0, True, False, ("loaded", "v1", 2)),
    ],
    ids=["file", "table", "both, never the sum", "both, but no rows", "before it was switched to the table",
         "before it was switched to the file", "a local run"],
)  # fmt: skip
def test_one_generation_is_all_of_a_log(
    account: str, version: int, mode: int, *, file: bool, rows: bool, expected: tuple[str, str, int]
) -> None:
    run = a_run(1, file=a_log(log_of(2)) if file else None, runmode=mode)
    run = logged(run, *(flow_log_row(number) for number in range(3))) if rows else run
    with on_stage(world_of(run, version=version), account) as stage:
        row = played(stage)[run_id(1)]
        assert (row["log_status"], row["log_version"], row["action_count"]) == expected
        assert len(actions_of(stage)) == expected[2]


def test_a_local_run_is_never_looked_for_in_the_table(account: str) -> None:
    with on_stage(world_of(a_run(1, file=a_log(log_of()), runmode=0)), account) as stage:
        played(stage)
        assert not asked(stage, "flowsession_flowlog_parentobjectid")


def test_rows_of_a_young_run_are_waited_for(account: str) -> None:
    just_now = ANCHOR - timedelta(seconds=40)
    rows = [flow_log_row(0, at=just_now), flow_log_row(1, at=ANCHOR + timedelta(seconds=60))]
    with on_stage(world_of(logged(a_run(1, just_now - timedelta(seconds=21)), *rows)), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.clock.advance(minutes=2)
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["action_count"] == 2


@pytest.mark.parametrize(
    ("status", "mode", "statuscode", "expected"),
    [
        (DISABLED, 2, 4, "disabled"),
        (ON_FAILURE, 2, 4, "disabled"),
        (ON_FAILURE, 2, 8, "pending"),
        (DISABLED, 0, 4, "pending"),
        (ENABLED, 2, 4, "pending"),
    ],
)
def test_the_settings_tell_disabled_from_pending(
    account: str, status: int, mode: int, statuscode: int, expected: str
) -> None:
    run = a_run(1, runmode=mode, statuscode=statuscode)
    with on_stage(world_of(run, status=status, version=V1), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == expected


def test_a_log_from_before_it_was_disabled_is_loaded(account: str) -> None:
    with on_stage(world_of(a_run(1, file=a_log(log_of())), status=DISABLED, version=V1), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "loaded"


def test_a_log_that_the_service_threw_away_is_said_once_a_day(account: str) -> None:
    old = [a_run(number, ANCHOR - timedelta(days=1, hours=6, minutes=number)) for number in range(3)]
    with on_stage(world_of(*old, flowlogsttlinminutes=1440), account) as stage:
        rows = played(stage)
        assert {row["log_status"] for row in rows.values()} == {"absent"}
        (gap,) = stage.app.journal.gaps()
        assert (gap.kind, "1440 minutes" in gap.reason) == ("action logs expired", True)


def test_a_log_that_was_looked_for_in_time_has_not_expired(account: str) -> None:
    with on_stage(world_of(a_run(1), flowlogsttlinminutes=1440), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.clock.advance(hours=25)
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "absent"
        assert not list(stage.app.journal.gaps())


def test_rows_that_come_after_hours_are_looked_at_twice(account: str) -> None:
    rows = [
        flow_log_row(number, at=ANCHOR + timedelta(minutes=minutes)) for number, minutes in ((0, 170), (1, 190))
    ]
    with on_stage(world_of(logged(a_run(1), *rows)), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.clock.advance(hours=3)
        stage.decode()
        stage.clock.advance(hours=1)
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["action_count"] == 2
        stage.decode()
        assert stage.decode() == 0


def test_rows_that_come_after_the_file_win_where_both_are_written(account: str) -> None:
    ended = ANCHOR - timedelta(minutes=5)
    rows = [flow_log_row(number, at=ANCHOR + timedelta(minutes=6)) for number in range(5)]
    run = logged(a_run(1, ended, a_log(log_of(2), ended)), *rows)
    with on_stage(world_of(run, version=BOTH), account) as stage:
        assert played(stage)[run_id(1)]["log_version"] == "v1"
        stage.clock.advance(hours=1)
        stage.decode()
        stage.publish()
        row = stage.by_id()[run_id(1)]
        assert (row["log_version"], row["action_count"]) == ("v2", 5)
        assert len(actions_of(stage)) == 5


def test_settings_from_before_a_run_do_not_make_its_log_disabled(account: str) -> None:
    with on_stage(world_of(status=DISABLED), account) as stage:
        stage.run("poll_flow_sessions")
        stage.clock.advance(hours=2)
        ended = stage.clock.at - timedelta(minutes=10)
        run = logged(a_run(1, ended), flow_log_row(0, at=stage.clock.at + timedelta(minutes=4)))
        stage.tenant.world = world_of(run, status=ENABLED)
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.clock.advance(minutes=15)
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "loaded"


def test_settings_are_not_asked_for_again_for_each_run_while_something_is_refused(account: str) -> None:
    world = world_of(*(a_run(number) for number in range(1, 6)), status=DISABLED)
    access = Access(missing_privileges=frozenset({"prvReadUser"}))
    with on_stage(replace(world, environments=(replace(world.environments[0], access=access),)), account) as stage:
        stage.run("poll_flow_sessions")
        before = asked(stage, "/organizations?")
        stage.decode()
        assert asked(stage, "/organizations?") == before > 0
        stage.publish()
        assert {row["log_status"] for row in stage.by_id().values()} == {"disabled"}


def test_a_log_of_too_many_actions_is_said(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_logs, "MOST_ACTIONS", 2)
    run = logged(a_run(1), *(flow_log_row(number) for number in range(3)))
    with on_stage(world_of(run), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "too_large"
        (gap,) = stage.app.journal.gaps()
        assert gap.kind == "action log too_large"


@pytest.mark.parametrize(("version", "expected"), [(V2, "forbidden"), (BOTH, "forbidden"), (V1, "pending")])
def test_a_refused_table_is_forbidden_where_a_log_may_lie_in_it(account: str, version: int, expected: str) -> None:
    world = world_of(a_run(1), a_run(2, file=a_log(log_of()), runmode=0), version=version)
    access = Access(missing_privileges=frozenset({"prvReadflowlog"}))
    world = replace(world, environments=(replace(world.environments[0], access=access),))
    with on_stage(world, account) as stage:
        rows = played(stage)
        assert [rows[run_id(number)]["log_status"] for number in (1, 2)] == [expected, "loaded"]


def test_an_old_log_may_lie_in_a_table_that_is_no_longer_written_and_is_refused(account: str) -> None:
    world = world_of(a_run(1, ANCHOR - timedelta(days=2)), version=V1)
    access = Access(missing_privileges=frozenset({"prvReadflowlog"}))
    with on_stage(replace(world, environments=(replace(world.environments[0], access=access),)), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "forbidden"
        assert [gap.kind for gap in stage.app.journal.gaps()] == ["action logs refused"]


def test_an_environment_without_the_table(account: str) -> None:
    world = world_of(a_run(1, file=a_log(log_of())))
    world = replace(world, environments=(replace(world.environments[0], absent_tables=frozenset({"flowlog"})),))
    with on_stage(world, account) as stage:
        assert played(stage)[run_id(1)]["log_version"] == "v1"
        assert not asked(stage, "flowsession_flowlog_parentobjectid")


def test_throttled_in_the_middle_of_a_log_nothing_is_half_read(account: str) -> None:
    run = logged(a_run(1), *(flow_log_row(number) for number in range(1200)))
    with on_stage(world_of(run), account) as stage:
        part = "flowsession_flowlog_parentobjectid"
        later = Fault(
            "dataverse", path_contains=part, times=1, first_skip=1, status=429, headers={"Retry-After": "900"}
        )
        stage.tenant.faults.add(later)
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        assert 900 in stage.transport.delays_s
        stage.clock.advance(minutes=16)
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["action_count"] == 1200


def test_a_loaded_log_stays_so_when_the_second_look_finds_too_much(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [flow_log_row(number) for number in range(2)]
    late = flow_log_row(2, at=ANCHOR + timedelta(minutes=30))
    with on_stage(world_of(logged(a_run(1), *rows, late)), account) as stage:
        assert played(stage)[run_id(1)]["action_count"] == 2
        monkeypatch.setattr(flow_logs, "MOST_ACTIONS", 2)
        stage.clock.advance(hours=2)
        stage.decode()
        stage.publish()
        row = stage.by_id()[run_id(1)]
        assert (row["log_status"], row["action_count"]) == ("loaded", 2)
        assert [gap.kind for gap in stage.app.journal.gaps()] == ["action log partly unreadable"]


@pytest.mark.parametrize(("refused_for_h", "actions", "told"), [(1, 3, 0), (30, 2, 1)])
def test_a_second_look_that_is_refused_is_repeated_or_told(
    account: str, refused_for_h: int, actions: int, told: int
) -> None:
    rows = [flow_log_row(number) for number in range(2)]
    late = flow_log_row(2, at=ANCHOR + timedelta(minutes=30))
    with on_stage(world_of(logged(a_run(1), *rows, late)), account) as stage:
        assert played(stage)[run_id(1)]["action_count"] == 2
        refusal = Fault("dataverse", path_contains="/flowsession_flowlog", times=None, status=403)
        stage.tenant.faults.add(refusal)
        for _ in range(refused_for_h):
            stage.clock.advance(hours=1, minutes=10)
            stage.decode()
        stage.tenant.faults.clear()
        for _ in range(4):
            stage.clock.advance(hours=1, minutes=10)
            stage.decode()
        stage.publish()
        row = stage.by_id()[run_id(1)]
        assert (row["log_status"], row["action_count"]) == ("loaded", actions)
        assert [gap.kind for gap in stage.app.journal.gaps()] == ["action log partly unreadable"] * told


def test_a_copy_that_can_t_be_written_costs_neither_the_gap_nor_late_rows(account: str) -> None:
    broken = flow_log_row(1, data='{"name":"Half')
    late = flow_log_row(2, at=ANCHOR + timedelta(minutes=30))
    runs = logged(a_run(1), flow_log_row(0), broken, late), logged(a_run(2), flow_log_row(0, run=2))

    def lost(request: HttpRequest) -> None:
        if request.method == "PUT" and "/raw/unreadable" in request.url:
            raise ServiceResponseError("lost")

    with on_stage(world_of(*runs), account) as stage:
        stage.transport.before = lost
        assert played(stage)[run_id(2)]["action_count"] == 1
        stage.transport.before = lambda _: None
        for _ in range(3):
            stage.decode()
            stage.clock.advance(hours=1)
        stage.publish()
        assert stage.by_id()[run_id(1)]["action_count"] == 3
        assert [gap.kind for gap in stage.app.journal.gaps()] == ["action log partly unreadable"]
        assert len(stage.raw("unreadable/")) == 1
