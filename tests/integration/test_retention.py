"""What is older than `RETENTION_DAYS` keeps goes, with its state, and does not come back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support import settings_with

from integration.stage import ANCHOR, Stage, a_log, a_run, on_stage, run_id, with_runs
from integration.test_action_logs import log_of
from integration.test_audit_content import a_blob, an_event, ledger, world_of
from integration.test_audit_replay import restart
from integration.test_derived import hours, publish_runs, session
from local.tenant import Session
from shared.errors import SettingsError
from shared.functions import expiry
from shared.functions.sources import each_source
from shared.state.names import Container, StateTable

RULES = "fact_flow_session=40, fact_flow_action=30\nfact_audit_event=30;raw=30, fact_ingest=30"
HISTORY = f"{ANCHOR - timedelta(days=90):%Y-%m-%d}"


def run_aged(number: int, days: int, content: bytes | None = None) -> Session:
    return a_run(number, ANCHOR - timedelta(days=days), a_log(content or log_of()))


def days_of(stage: Stage, table: str) -> set[int]:
    """How many days ago the published days are."""
    names = (name.split("date=")[1][:10] for name in stage.published() if name.startswith(f"{table}/"))
    return {(ANCHOR.date() - type(ANCHOR).fromisoformat(day).date()).days for day in names}


def registered(stage: Stage) -> set[str]:
    return {entity.row for entity in stage.app.storage.table(StateTable.FLOW_SESSIONS).all(select=[])}


def expired(stage: Stage) -> None:
    each_source(stage.app, "reconcile", expiry.expiries(stage.app), stage.app.deadline(480))


def taken(stage: Stage) -> None:
    stage.run("poll_flow_sessions")
    stage.run("poll_audit_content")
    stage.decode()
    stage.publish()


def test_old_days_go_with_their_state_and_late_rows_do_not_bring_them_back(account: str) -> None:
    event = an_event(1, CreationTime=(ANCHOR - timedelta(days=60)).isoformat())
    runs = [run_aged(1, 60), run_aged(2, 35), run_aged(3, 1), run_aged(4, 60, b"damaged")]
    world = with_runs(world_of(a_blob(1, event, an_event(2))), *runs)
    with on_stage(world, account, HISTORY_START=HISTORY) as stage:
        taken(stage)
        assert days_of(stage, "fact_flow_session") == {60, 35, 1}
        assert days_of(stage, "fact_flow_action") == {60, 35, 1}
        assert days_of(stage, "fact_audit_event") == {60, 0}
        assert len(stage.raw("unreadable/")) == 1
        restart(stage, RETENTION_DAYS=RULES)
        stage.run("reconcile")
        stage.publish()
        assert days_of(stage, "fact_flow_session") == {35, 1}
        assert days_of(stage, "fact_flow_action") == {1}
        assert days_of(stage, "fact_audit_event") == {0}
        assert registered(stage) == {run_id(2), run_id(3)}
        assert stage.raw("audit/"), "a blob that became available lately was deleted"
        assert not stage.raw("unreadable/")

        day = f"{ANCHOR - timedelta(days=60):%Y-%m-%d}"
        restart(stage, RUNS_REPLAY=day, LOGS_REPLAY=f"{day}/{ANCHOR:%Y-%m-%d}", AUDIT_REPLAY=f"{ANCHOR:%Y-%m-%d}")
        stage.clock.advance(minutes=15)
        taken(stage)
        assert days_of(stage, "fact_flow_session") == {35, 1}
        assert days_of(stage, "fact_flow_action") == {1}
        assert days_of(stage, "fact_audit_event") == {0}
        assert not stage.staged()
        expired(stage)
        assert registered(stage) == {run_id(2), run_id(3)}


@pytest.mark.parametrize("days_ago", [None, 1, 50], ids=["notes", "young copy", "old copy"])
def test_what_somebody_else_puts_among_the_days_keeps_none_of_them(account: str, days_ago: int | None) -> None:
    with on_stage(with_runs(world_of(), run_aged(1, 50), run_aged(2, 1)), account, HISTORY_START=HISTORY) as stage:
        stage.run("poll_flow_sessions")
        stage.publish()
        copy = f"_copies/date={ANCHOR - timedelta(days=days_ago or 0):%Y-%m-%d}/part-0.parquet"
        notes = f"fact_flow_session/{copy if days_ago else '_notes.txt'}"
        stage.app.storage.blobs.put(Container.POWERBI, notes, b"ours")
        restart(stage, RETENTION_DAYS="fact_flow_session=30")
        expired(stage)
        assert set(stage.published()) >= {notes}
        stage.app.storage.blobs.delete(Container.POWERBI, notes)
        assert days_of(stage, "fact_flow_session") == {1}


def test_the_ledger_and_the_ingest_log_do_not_grow_for_ever(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account, RETENTION_DAYS=RULES) as stage:
        stage.run("poll_audit_content")
        assert len(ledger(stage)) == 1
        stage.clock.advance(days=29)
        expired(stage)
        assert len(ledger(stage)) == 1
        stage.clock.advance(days=3)
        expired(stage)
        assert not ledger(stage)
        assert stage.app.journal.first_day() == f"{ANCHOR + timedelta(days=29):%Y-%m-%d}"


def test_what_a_day_has_no_time_for_goes_on_the_next(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [run_aged(number, 50 + number) for number in range(3)]
    world = with_runs(world_of(), *runs)
    with on_stage(world, account, HISTORY_START=HISTORY) as stage:
        stage.run("poll_flow_sessions")
        stage.publish()
        restart(stage, RETENTION_DAYS="fact_flow_session=30")
        monkeypatch.setattr(expiry, "RESERVE_S", 10_000)
        for left in (2, 1, 0):
            expired(stage)
            assert len(days_of(stage, "fact_flow_session")) == left


@pytest.mark.parametrize("grain", ["day", "hour"])
def test_machine_hours_are_counted_though_runs_that_reach_into_them_are_over(account: str, grain: str) -> None:
    """A run that waited for a month, or whose machine has a wrong clock: what it gave stays."""
    with on_stage(world_of(), account) as stage:
        publish_runs(stage, session("month", -28 * 24, -2, 2), session("day", 1, 1, 1.5, "b"))
        restart(stage, RETENTION_DAYS="fact_flow_session=30", PUBLISH_GRAIN=grain)
        expired(stage)
        stage.publish()
        before = hours(stage)
        publish_runs(stage, session("new", 1, 1, 1.5, "c"), session("today", 70, 70, 70.5))
        publish_runs(stage, session("newer", 1.5, 1.5, 1.75, "c"))
        assert hours(stage) == {**before, ("c", 1): (2, 45, 1), ("a", 70): (1, 30, 1)}
        assert before[("a", 1)] == (1, 60, 1)
        assert stage.app.layout.misplaced() == []
        assert not stage.staged()


@pytest.mark.parametrize("rule", ["", "fact_flow_session=400"])
def test_machine_hours_of_deleted_runs_stay_when_runs_are_kept_for_longer_again(account: str, rule: str) -> None:
    """As where a replay brings back what the source still has of a day that was deleted."""
    with on_stage(world_of(), account, RETENTION_DAYS="fact_flow_session=30") as stage:
        stage.clock.advance(days=-20)
        publish_runs(stage, session("gone", -28 * 24, -28 * 24, -28 * 24 + 2))
        before = hours(stage)
        stage.clock.advance(days=20)
        expired(stage)
        assert not days_of(stage, "fact_flow_session")
        restart(stage, RETENTION_DAYS=rule)
        publish_runs(stage, session("brought back", -28 * 24, -28 * 24, -28 * 24 + 0.5))
        assert before == hours(stage) == {("a", -28 * 24): (1, 60, 1), ("a", -28 * 24 + 1): (1, 60, 1)}


def test_everything_is_kept_by_default() -> None:
    assert not settings_with().retention.days


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("fact_gap=400", "has 'fact_gap=400'; a rule looks like fact_flow_action=400"),
        ("raw", "has 'raw'; a rule looks like"),
        ("raw=7", "has 'raw=7'; a number of days is from 30"),
    ],
)
def test_rules_that_are_none_are_refused(text: str, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        settings_with(RETENTION_DAYS=f"fact_ingest=90, {text}")
    assert caught.value.problems[0].startswith(f"RETENTION_DAYS {problem}")
