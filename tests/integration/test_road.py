"""The whole road: what the tenant has arrives in the published tables, once, and stays as it is."""

from __future__ import annotations

import gzip
import json
import time
from datetime import timedelta

import pytest

from integration.stage import ANCHOR, Stage, a_run, bare_world, on_stage, run_id, small_world, with_runs
from local.tenant import Fault, Session
from shared.errors import SourcesFailed
from shared.functions import poll_flow_sessions
from shared.publishing.requests import body_for
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_SESSION, FACT_GAP
from shared.state.names import Container, Queue, StateTable

DAY = timedelta(days=1)


def test_everything_arrives_and_a_second_round_adds_nothing(account: str) -> None:
    with on_stage(small_world(), account) as stage:
        stage.clock.advance(minutes=5)
        stage.round()
        result = stage.reconciled()
        assert (result.lost, result.duplicated) == (0, 0)
        assert all(line.published for line in result.lines)
        before = stage.published()
        stage.clock.advance(minutes=5)
        stage.round()
        stage.run("reconcile")
        stage.round()
        assert stage.published() == before
        assert not stage.staged()


def test_days_that_wait_to_be_published_are_not_asked_for_again_at_each_tick(account: str) -> None:
    days = [
        Destination(FACT_GAP, None),
        *(Destination(FACT_FLOW_SESSION, ANCHOR.date() - n * DAY) for n in range(40)),
    ]
    with on_stage(bare_world(), account) as stage:
        for day in days:
            stage.app.staging.mark(day, "a test")
        for _ in range(3):
            stage.run("publish")
        assert stage.app.storage.queues.length(Queue.PUBLISH_DAY) == len(days)
        late = Destination(FACT_FLOW_SESSION, ANCHOR.date() + DAY)
        time.sleep(1)  # the service tells whole seconds
        stage.app.staging.mark(late, "a test")
        stage.run("publish")
        assert [body for body, _ in stage.messages(Queue.PUBLISH_DAY)].count(body_for(late)) == 1


def test_a_new_instance_goes_on_where_the_last_one_was(account: str) -> None:
    with on_stage(small_world(), account) as stage:
        stage.clock.advance(minutes=5)
        stage.run("poll_flow_sessions")
        stage.run("poll_audit_content")
        stage.app = stage.new_app()
        stage.round()
        before = stage.published()
        stage.app = stage.new_app()
        stage.round()
        assert stage.published() == before
        assert stage.reconciled().lost == 0


def test_every_reference_finds_its_member(account: str) -> None:
    with on_stage(small_world(), account) as stage:
        stage.clock.advance(minutes=5)
        stage.round()
        members = {
            table: {row[key] for row in stage.rows(table)}
            for table, key in (
                ("dim_flow", "flow_id"),
                ("dim_machine", "machine_id"),
                ("dim_machine_group", "machine_group_id"),
                ("dim_environment", "environment_id"),
                ("dim_user", "user_id"),
            )
        }
        for table, column, dimension in (
            ("fact_flow_session", "environment_id", "dim_environment"),
            ("fact_flow_session", "flow_id", "dim_flow"),
            ("fact_flow_session", "cloud_flow_id", "dim_flow"),
            ("fact_flow_session", "machine_id", "dim_machine"),
            ("fact_flow_session", "machine_group_id", "dim_machine_group"),
            ("fact_flow_session", "user_id", "dim_user"),
            ("fact_flow_action", "flow_id", "dim_flow"),
            ("fact_flow_action", "environment_id", "dim_environment"),
            ("fact_machine_hour", "machine_id", "dim_machine"),
            ("fact_audit_event", "environment_id", "dim_environment"),
            ("fact_audit_event", "flow_id", "dim_flow"),
            ("fact_audit_event", "user_id", "dim_user"),
            ("fact_audit_event", "target_user", "dim_user"),
        ):
            named = {row[column] for row in stage.rows(table) if row[column]}
            assert named <= members[dimension], (table, column, named - members[dimension])


def test_the_inventory_knows_names(account: str) -> None:
    world = small_world()
    with on_stage(world, account) as stage:
        stage.run("sync_inventory")
        stage.publish()
        flows = {row["flow_id"]: row for row in stage.rows("dim_flow")}
        assert len(flows) == len(list(stage.app.storage.table(StateTable.FLOWS).all()))
        assert all(row["name"] and row["updated_utc"] for row in flows.values())
        assert {row["name"] for row in stage.rows("dim_environment")} == {one.name for one in world.environments}
        assert any("@" in row["user_id"] and row["display_name"] for row in stage.rows("dim_user"))
        assert any(row["hosting_type"] for row in stage.rows("dim_machine"))


def test_runs_and_events_meet_in_user_and_environment(account: str) -> None:
    with on_stage(small_world(), account) as stage:
        stage.clock.advance(minutes=5)
        stage.round()
        runs, events = stage.rows("fact_flow_session"), stage.rows("fact_audit_event")
        assert {row["environment_id"] for row in runs} & {row["environment_id"] for row in events}
        assert {row["user_id"] for row in runs} & {row["user_id"] for row in events}
        assert all(row["user_id"] == row["user_id"].lower() for row in [*runs, *events] if row["user_id"])


def test_secrets_stay_where_they_are(account: str) -> None:
    with on_stage(small_world(), account) as stage:
        stage.clock.advance(minutes=5)
        stage.round()
        asked = " ".join(request.path for request in stage.tenant.requests)
        assert "credentials" not in asked
        assert "callbackurl" not in asked
        published = json.dumps(
            [stage.rows(table) for table in ("fact_flow_session", "fact_flow_action")], default=str
        )
        assert "(hidden)" in published
        assert "SIMULATED-SECRET" not in published


def test_one_environment_that_fails_keeps_no_other_one_waiting(account: str) -> None:
    world = small_world(environments=3)
    broken = world.environments[1].name
    with on_stage(world, account) as stage:
        stage.clock.advance(minutes=5)
        stage.tenant.faults.add(Fault("dataverse", environment=broken, times=None, status=401))
        with pytest.raises(SourcesFailed) as caught:
            stage.run("poll_flow_sessions")
        assert list(caught.value.failures) == [broken]
        stage.decode()
        stage.publish()
        names = {one.environment_id.lower(): one.name for one in world.environments}
        assert {names[row["environment_id"]] for row in stage.rows("fact_flow_session")} == {
            one.name for one in world.environments if one.name != broken
        }
        stage.tenant.faults.clear()
        stage.run("poll_flow_sessions")
        stage.decode()
        stage.publish()
        assert stage.reconciled().lines[0].lost == ()


def test_what_went_wrong_is_written_down(account: str) -> None:
    world = small_world(environments=2)
    with on_stage(world, account) as stage:
        stage.tenant.faults.add(Fault("dataverse", environment=world.environments[0].name, times=None, status=403))
        with pytest.raises(SourcesFailed):
            stage.run("poll_flow_sessions")
        records = {record.source: record for record in stage.app.journal.day(ANCHOR.date().isoformat())}
        assert records[world.environments[0].name].status == "failed"
        assert "403" in (records[world.environments[0].name].error or "")
        assert records[world.environments[1].name].status == "succeeded"
        assert records[world.environments[1].name].rows_read > 0


def many(count: int) -> list[Session]:
    at = ANCHOR - timedelta(hours=2)
    return [a_run(number, at, statuscode=2, completedon=None) for number in range(count)]


def test_rows_with_the_same_time_are_read_over_the_border_of_a_page(account: str) -> None:
    world = with_runs(bare_world(), *many(2300))
    with on_stage(world, account) as stage:
        stage.run("poll_flow_sessions")
        stage.publish()
        assert len(stage.rows("fact_flow_session")) == 2300
        pages = [request for request in stage.tenant.requests if "skiptoken" in request.path]
        assert len(pages) == 2


def test_a_first_load_that_is_interrupted_goes_on(account: str) -> None:
    world = with_runs(bare_world(), *many(2300))
    with on_stage(world, account) as stage:
        environment = stage.app.settings.environments[0]
        tally = poll_flow_sessions.Tally()
        short = stage.app.deadline(poll_flow_sessions.RESERVE_S - 1)
        poll_flow_sessions.poll_environment(stage.app, environment, short, tally)
        assert not tally.finished
        assert tally.rows_read == 1000
        stage.app = stage.new_app()
        stage.run("poll_flow_sessions")
        stage.publish()
        assert len(stage.rows("fact_flow_session")) == 2300


def test_the_day_of_a_run_never_changes(account: str) -> None:
    late = ANCHOR.replace(hour=23, minute=59, second=50) - timedelta(days=1)
    world = with_runs(bare_world(), a_run(1, late))
    with on_stage(world, account) as stage:
        stage.run("poll_flow_sessions")
        stage.publish()
        names = [name for name in stage.published() if name.startswith("fact_flow_session")]
        assert names == [f"fact_flow_session/date={late.date()}/part-0.parquet"]


def test_hourly_grain_splits_a_day(account: str) -> None:
    runs = [a_run(number, ANCHOR - timedelta(hours=1 + number)) for number in range(3)]
    world = with_runs(bare_world(), *runs[:2])
    with on_stage(world, account, PUBLISH_GRAIN="hour") as stage:
        stage.run("poll_flow_sessions")
        stage.publish()
        folder = f"fact_flow_session/date={ANCHOR.date()}"
        hours = {name for name in stage.published() if name.startswith(folder)}
        assert hours == {f"{folder}/part-10.parquet", f"{folder}/part-11.parquet"}
        stage.tenant.world = with_runs(world, *runs)
        stage.clock.advance(minutes=5)
        stage.app.checkpoints.save(stage.app.checkpoints.load("flowsessions", _environment_id(stage)), {})
        stage.run("poll_flow_sessions")
        stage.publish()
        assert {name for name in stage.published() if name.startswith(folder)} == {
            *hours,
            f"{folder}/part-09.parquet",
        }
        assert len(stage.rows("fact_flow_session")) == 3


def _environment_id(stage: Stage) -> str:
    return stage.tenant.environments[0].environment_id.lower()


def test_messages_carry_several_runs_and_are_in_base64(account: str) -> None:
    world = with_runs(bare_world(), *[a_run(number) for number in range(45)])
    with on_stage(world, account) as stage:
        stage.run("poll_flow_sessions")
        bodies = [json.loads(body) for body, _ in stage.messages(Queue.ADDITIONAL_CONTEXT)]
        assert sorted(len(body["session_ids"]) for body in bodies) == [5, 20, 20]
        assert sorted(one for body in bodies for one in body["session_ids"]) == [
            run_id(number) for number in range(45)
        ]


def test_raw_audit_is_kept_as_the_setting_says(account: str) -> None:
    with on_stage(small_world(), account, RAW_AUDIT="off") as stage:
        stage.clock.advance(minutes=5)
        stage.run("poll_audit_content")
        assert not stage.raw("audit/")


@pytest.mark.parametrize("rule", ["kept", "all"])
def test_raw_records_are_under_their_day(account: str, rule: str) -> None:
    world = small_world()
    with on_stage(world, account, RAW_AUDIT=rule) as stage:
        stage.clock.advance(minutes=5)
        stage.run("poll_audit_content")
        names = stage.raw("audit/")
        blob = world.blobs[0]
        name = f"audit/Audit.General/date={blob.created.date()}/{blob.content_id}.json.gz"
        assert name in names
        content = stage.app.storage.blobs.get(Container.RAW, name)
        records = json.loads(gzip.decompress(content or b""))
        assert 0 < len(records) <= 40
        assert (len(records) == 40) == (rule == "all")
