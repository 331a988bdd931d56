"""Every KPI, from its definition, over runs made by hand whose right answers are written down here."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from integration.stage import Stage, bare_world, on_stage, small_world

from local.powerbi.kpis import KPIS
from local.powerbi.model import DATE_TABLE, HOUR_TABLE, PARTITION_DATE, RELATIONSHIPS, table_named
from local.powerbi.numbers import numbers
from local.powerbi.work import WorkByHand
from local.reconciliation import PublishedTables
from shared.audit.operations import GROUPS
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_AUDIT_EVENT, FACT_FLOW_ACTION, FACT_FLOW_SESSION, Table
from shared.state.journal import DELETED_AT_SOURCE, Gap, IngestRecord

MONDAY, TUESDAY, SATURDAY = date(2026, 5, 18), date(2026, 5, 19), date(2026, 5, 16)


def at(day: date, time: str) -> datetime:
    return datetime.fromisoformat(f"{day}T{time}+00:00")


NOON = at(TUESDAY, "12:00")


def run(number: int, day: date, time: str, outcome: str, mode: str, **values: Any) -> dict[str, Any]:
    created = at(day, time)
    return {
        "session_id": f"run-{number}",
        "environment_id": "env",
        "run_mode": mode,
        "outcome": outcome,
        "created_utc": created,
        "start_date": day,
        "start_hour": created.hour,
        "ingested_utc": NOON,
        **values,
    }


def took(day: date, start: str, end: str) -> dict[str, Any]:
    started, completed = at(day, start), at(day, end)
    return {
        "started_utc": started,
        "completed_utc": completed,
        "duration_ms": (completed - started) // timedelta(milliseconds=1),
    }


A = {"flow_id": "a", "machine_id": "m1", "user_id": "ada"}
B = {"flow_id": "b", "machine_id": "m2", "user_id": "ben"}
C = {"flow_id": "c", "machine_id": "m1", "user_id": "ada"}
RUNS = [
    run(1, MONDAY, "08:00", "Succeeded", "Unattended", **A, **took(MONDAY, "08:00:10", "08:01:50"),
        queue_ms=10_000, log_status="loaded"),
    run(2, MONDAY, "09:00", "Failed", "Unattended", **A, **took(MONDAY, "09:00:30", "09:03:50"), queue_ms=30_000,
        log_status="loaded"),
    run(3, TUESDAY, "10:00", "Succeeded", "Attended", **B, **took(TUESDAY, "10:00", "10:05"), queue_ms=99_000,
        log_status="absent"),
    run(4, TUESDAY, "10:04", "Cancelled", "Attended", **B, **took(TUESDAY, "10:04", "10:10:40"),
        log_status="disabled"),
    run(5, TUESDAY, "11:00", "Skipped", "Local", **C, log_status="pending"),
    run(6, MONDAY, "06:00", "Waiting", "Unattended", **C),
    run(7, TUESDAY, "11:30", "Running", "Local", **C, started_utc=at(TUESDAY, "11:30"),
        log_status="unreadable"),
    run(8, MONDAY, "05:00", "Waiting", "Local", **C, deleted_at_source_utc=NOON),
]  # fmt: skip


def action(number: int, seq: int, depth: int, start: str, end: str, status: str = "Succeeded") -> dict[str, Any]:
    return {
        "session_id": f"run-{number}",
        "seq": seq,
        "depth": depth,
        "is_leaf": (number, seq) != (1, 0),
        "status": status,
        "started_utc": at(MONDAY, start),
        "ended_utc": at(MONDAY, end),
        "duration_ms": (at(MONDAY, end) - at(MONDAY, start)) // timedelta(milliseconds=1),
        "created_utc": at(MONDAY, "08:00"),
    }


ACTIONS = [
    action(1, 0, 0, "08:00:10", "08:01:10"),  # holds the next two
    action(1, 1, 1, "08:00:10", "08:00:30"),
    action(1, 2, 1, "08:00:35", "08:01:05"),
    action(1, 3, 0, "08:01:20", "08:01:50"),  # ten seconds after the first ended
    action(2, 0, 0, "09:00:30", "09:02:10", "Failed"),
]


def event(number: int, day: date, time: str, operation: str, group: str, user: str | None, **values: Any) -> Any:
    return {
        "event_id": f"event-{number}",
        "operation": operation,
        "operation_group": group,
        "user_id": user,
        "created_utc": at(day, time),
        **values,
    }


EVENTS = [
    event(1, MONDAY, "09:00", "LaunchPowerApp", "App use", "ada", app_id="one", client_ip="10.0.0.1"),
    event(2, TUESDAY, "09:00", "launchpowerapp", "App use", "ben", app_id="one", client_ip="10.0.0.2"),
    event(3, TUESDAY, "10:00", "LaunchPowerApp", "App use", "ada", app_id="two", client_ip="10.0.0.1"),
    event(15, TUESDAY, "10:00", "LaunchPowerApp", "App use", "ada", app_id="two", client_ip="10.0.0.1"),
    event(4, TUESDAY, "10:00", "CreateFlow", "Flow change", "ada"),
    event(5, TUESDAY, "11:00", "EditFlow", "Flow change", "ada"),
    event(6, MONDAY, "11:00", "DeleteFlow", "Flow deletion", "ben"),
    event(7, MONDAY, "11:00", "PutConnection", "Connection", "ben"),
    event(8, MONDAY, "11:00", "CreateApi", "Custom connector", "ben"),
    event(9, MONDAY, "11:00", "PutPermissions", "Flow sharing", "ben"),
    event(10, MONDAY, "11:00", "PutGateway", "Gateway", "ben"),
    event(11, MONDAY, "22:00", "UpdateDlpPolicy", "Data policy", "cleo"),
    event(12, TUESDAY, "12:00", "ConnectionDlpEvaluationResult", "Data policy", "dora"),
    event(13, SATURDAY, "12:00", "BackupEnvironment", "Environment", "cleo"),
    event(14, MONDAY, "12:00", "Strange", "Other", None),
]
WORK = WorkByHand(10, hourly_rate=60, cost_of_run=1, cost_of_failure=5, minutes_of_flows={"a": 30})
RIGHT_ANSWERS: dict[str, Any] = {
    "Run Count": 8,
    "Finished Runs": 4,
    "Succeeded Runs": 2,
    "Failed Runs": 1,
    "Cancelled Runs": 1,
    "Success Rate": 2 / 3,
    "Error Rate": 1 / 3,
    "Average Run Time (s)": 250,  # of 100, 200, 300 and 400
    "Median Run Time (s)": 250,
    "P95 Run Time (s)": 385,  # 85 % of the way from the third to the fourth
    "Longest Run Time (s)": 400,
    "Average Queue Wait (s)": 20,  # the attended run's 99 does not count
    "P95 Queue Wait (s)": 29,
    "Hours Between Failures": 1000 / 3600,
    "Days Since Last Failure": 96_970 / 86_400,  # 26 h 56 min 10 s
    "Flaky Flow Days": 1,
    "Stuck Runs": 1,  # the one that waits since Monday 06:00; that of 05:00 is deleted
    "Average of Daily Run Times (s)": 250,  # of 150 and 350
    "Upper Control Limit (s)": 550,
    "Lower Control Limit (s)": 0,
    "Runs per Day, 7 Days": 8 / 7,
    "Runs Before": 4,  # Monday's, for Tuesday is selected
    "Change of Runs": 0,
    "Attended Runs": 2,
    "Unattended Runs": 3,
    "Local Runs": 3,
    "Flows That Ran": 3,
    "Machines That Ran": 2,
    "Users That Ran": 2,
    "Pending Logs": 1,
    "Missing Logs": 1,
    "Unreadable Logs": 1,  # the one that still runs; it is not finished, so none of the missing ones
    "Hours Saved": 40 / 60,  # 30 minutes for the run of a, 10 for that of b
    "Time Efficiency": (2400 - 400) / 2400,  # 100 and 300 seconds instead
    "Money Saved": (30 - 1)
    + (10 - 1)
    - (1 + 5),  # two succeeded, one failed; the cancelled one counts for nothing
    "Action Executions": 5,
    "Failed Actions": 1,
    "Action Error Rate": 0.2,
    "Action Time (s)": 180,  # 20 + 30 + 30 + 100
    "Average Action Time (s)": 45,
    "P95 Action Time (s)": 89.5,
    "Share of Run Time": 180 / 300,  # of the two runs with a log, one of 100 seconds and one of 200
    "Average Gap Between Actions (s)": 10,
    "Busy Hours": 940 / 3600,  # 100 + 200, and 640 in which two runs overlap
    "Machine Utilisation": 940 / (2 * 86_400 * 2),
    "Machine Idle Share": 1 - 940 / (2 * 86_400 * 2),
    "Most Concurrent Runs": 2,
    "Audit Event Count": 15,
    "Active Users": 4,
    "App Launches": 4,
    "App Starts": 3,  # two records of ada's start at ten
    "App Users": 2,
    "Apps in Use": 2,
    "Flows Created": 1,
    "Flows Edited": 1,
    "Flows Deleted": 1,
    "Connections Created": 1,
    "Custom Connectors Created": 1,
    "Sharing Changes": 1,
    "Gateway Changes": 1,
    "Policy Changes": 1,
    "Policy Evaluations": 1,
    "Admin Operations After Hours": 2,  # Monday 22:00 and Saturday noon
    "First-Seen Users": 1,  # dora, on Tuesday
    "First-Seen Addresses": 1,
    "Unknown Operations": 1,
    "Last Success (UTC)": at(TUESDAY, "11:00"),
    "Lag (min)": 60,
    "Rows per Run": 5,
    "Failed Rows": 2,
    "Failed Ingest Runs": 1,
    "Gap Count": 1,  # that of x; what y tells of is kept
}


DAYS_ARE_COUNTED_FROM = datetime.fromisoformat("1899-12-30T00:00:00+00:00")
CREATED = "'Audit Events'[Created (UTC)]"
AS_DAX = {"INT": math.floor, "ROUND": round, "CONVERT": lambda value, kind: kind(value), "DOUBLE": float}


def instants_of_minutes() -> Iterator[datetime]:
    """The first and the last millisecond of each minute of a day in each week of a year."""
    for minute in (
        at(MONDAY, "00:00") + timedelta(weeks=week, minutes=at_) for week in range(52) for at_ in range(1440)
    ):
        yield minute
        yield minute + timedelta(milliseconds=59_999)


def test_a_start_of_an_app_is_counted_in_the_minute_in_which_it_was() -> None:
    """Power BI has instants as numbers of days, of which few are exact."""
    dax = next(kpi.dax for kpi in KPIS if kpi.name == "App Starts")
    (minute,) = re.findall(r'"Minute", (.+) \) \) \)$', dax)
    minute_of = eval(f"lambda days: {minute.replace(CREATED, 'days')}", AS_DAX)  # noqa: S307 - the project's own text
    for instant in instants_of_minutes():
        since = instant - DAYS_ARE_COUNTED_FROM
        days = since.days + (since.seconds + since.microseconds / 1e6) / 86400
        assert minute_of(days) == since // timedelta(minutes=1), instant


def stage_rows(stage: Stage, table: Table, rows: list[dict[str, Any]]) -> None:
    for day in {row["created_utc"].date() for row in rows}:
        mine = [row for row in rows if row["created_utc"].date() == day]
        stage.app.staging.put(Destination(table, day), [rows_of(table, mine)], [str(day)])


def journal(stage: Stage) -> None:
    for time, status, written, failed in (("11:00", "succeeded", 10, 0), ("11:30", "failed", 0, 2)):
        moment = at(TUESDAY, time)
        stage.app.journal.ingested(
            IngestRecord(
                function="poll",
                source="env",
                at_utc=moment,
                window_to_utc=moment,
                duration_ms=1,
                status=status,
                rows_written=written,
                rows_failed=failed,
            )
        )
    for kind, source in (("k", "x"), (DELETED_AT_SOURCE, "x"), (DELETED_AT_SOURCE, "y")):
        stage.app.journal.lost(
            Gap(source=source, from_utc=NOON, to_utc=NOON, kind=kind, subject="s", reason="r", noticed_utc=NOON)
        )


@pytest.mark.parametrize("grain", ["day", "hour"])
def test_every_kpi_is_what_was_worked_out_by_hand(account: str, grain: str) -> None:
    assert {kpi.name for kpi in KPIS} == set(RIGHT_ANSWERS)
    with on_stage(bare_world(), account, PUBLISH_GRAIN=grain) as stage:
        stage.clock.at = NOON
        for table, rows in ((FACT_FLOW_SESSION, RUNS), (FACT_FLOW_ACTION, ACTIONS), (FACT_AUDIT_EVENT, EVENTS)):
            stage_rows(stage, table, rows)
        journal(stage)
        stage.publish()
        found = numbers(PublishedTables(stage.app), NOON, TUESDAY, TUESDAY, WORK)
        computed = {kpi.name: found.value(kpi) for kpi in KPIS}
    wrong = {
        name: (computed[name], right) for name, right in RIGHT_ANSWERS.items() if not same(computed[name], right)
    }
    assert not wrong


@pytest.mark.parametrize("last", [TUESDAY, date(2026, 12, 31)])
def test_days_to_come_are_compared_with_nothing(account: str, last: date) -> None:
    """The table of days ends with the year, and so does a selection of which only the begin was chosen."""
    days = (SATURDAY, SATURDAY, MONDAY, TUESDAY, TUESDAY)
    runs = [run(number, day, "08:00", "Succeeded", "Local") for number, day in enumerate(days)]
    with on_stage(bare_world(), account) as stage:
        stage_rows(stage, FACT_FLOW_SESSION, runs)
        stage.publish()
        found = numbers(PublishedTables(stage.app), NOON, TUESDAY, last)
        values = {kpi.name: found.value(kpi) for kpi in KPIS if kpi.folder == "Trend"}
    assert values == {"Runs per Day, 7 Days": 5 / 7, "Runs Before": 1, "Change of Runs": 1}


def same(computed: Any, right: Any) -> bool:
    if isinstance(right, datetime):
        return computed == right.replace(tzinfo=None)
    return computed is not None and float(computed) == pytest.approx(float(right), abs=1e-9)


def test_kpis_without_any_row(account: str) -> None:
    """Counts are 0, and what would divide by nothing is empty; nothing fails."""
    with on_stage(bare_world(), account) as stage:
        found = numbers(PublishedTables(stage.app), NOON, TUESDAY, TUESDAY)
        values = {kpi.name: found.value(kpi) for kpi in KPIS}
    assert values["Run Count"] == values["Gap Count"] == 0
    assert {name for name, value in values.items() if value is None} >= {
        "Success Rate",
        "Lag (min)",
        "Change of Runs",
    }


def test_relationships_hold_over_what_is_published(account: str) -> None:
    """The one side is unique, without regard to case as Power BI compares, and has every key of the many side."""
    with on_stage(small_world(), account) as stage:
        stage.clock.advance(minutes=5)
        stage.round()
        for one in RELATIONSHIPS:
            if one.many_column == PARTITION_DATE or one.one in (DATE_TABLE, HOUR_TABLE):
                continue
            keys = [row[one.one_column] for row in stage.rows(table_named(one.one).source.name)]
            assert all(key and key == key.strip() for key in keys), one
            assert len({key.lower() for key in keys}) == len(keys), one
            table = table_named(one.many)
            lookup = table.lookup
            source = lookup.source if lookup and one.many_column in lookup.columns else table.source
            many = {row[one.many_column] for row in stage.rows(source.name)} - {None}
            assert many <= set(keys), (one, many - set(keys))
        dates = {row["start_date"] for row in stage.rows("fact_flow_session")}
        assert None not in dates
        assert {row["start_hour"] for row in stage.rows("fact_flow_session")} <= set(range(24))


def test_groups_of_operations_are_those_that_events_get() -> None:
    named = set(re.findall(r"operation_group IN \(([^)]*)\)", " ".join(kpi.sql for kpi in KPIS)))
    groups = {group.strip("' ") for text in named for group in text.split(",")}
    assert groups
    assert groups <= {*GROUPS, "Other"}
