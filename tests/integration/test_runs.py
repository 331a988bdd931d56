"""Reading changes: whatever order, clock or restore, every state that matters arrives, once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from integration.test_action_logs import log_of
from local.tenant import Fault, Session, SessionState
from local.tenant.world import FLOWSESSION_COLUMNS_2023
from shared.dataverse import web_api
from shared.errors import SourcesFailed
from shared.functions import poll_flow_sessions

RUNNING, SUCCEEDED, FAILED = 2, 4, 8
EARLIER = ANCHOR - timedelta(hours=1)


def states(number: int, *changes: tuple[datetime, datetime, int, int], created: datetime = EARLIER) -> Session:
    """A run by its states, each with when it is seen, its stamp, its version and its status."""
    row: dict[str, Any] = {"createdon": created, "startedon": created, "runmode": 2}
    found = [
        SessionState(seen, stamp, version, {**row, "statuscode": status})
        for seen, stamp, version, status in changes
    ]
    return Session(run_id(number), tuple(found))


def polled(stage: Stage) -> dict[str, dict[str, Any]]:
    stage.run("poll_flow_sessions")
    stage.publish()
    return stage.by_id()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pages of four rows; the tenant pages as it is asked to."""
    monkeypatch.setattr(web_api.WebApi.pages, "__defaults__", (4,))
    return 4


def test_equal_times_across_the_border_of_a_page(account: str, small_pages: int) -> None:
    same = [states(number, (EARLIER, EARLIER, 100, SUCCEEDED)) for number in range(3 * small_pages + 2)]
    with on_stage(with_runs(bare_world(), *same), account) as stage:
        assert len(polled(stage)) == len(same)


def test_equal_times_where_a_reading_leaves_off(
    account: str, monkeypatch: pytest.MonkeyPatch, small_pages: int
) -> None:
    """Each reading leaves off as soon as it may; one that begins in the midst of them gets past them."""
    same = [states(number, (EARLIER, EARLIER, 100, SUCCEEDED)) for number in range(6)]
    later = EARLIER + timedelta(seconds=1)
    rest = [states(number, (later, later, 100, SUCCEEDED)) for number in range(6, 20)]
    with on_stage(with_runs(bare_world(), *same, *rest), account) as stage:
        monkeypatch.setattr(poll_flow_sessions, "RESERVE_S", poll_flow_sessions.DEADLINE_S + 1)
        numbers: list[int] = []
        for _ in range(3):
            stage.app = stage.new_app()
            stage.run("poll_flow_sessions")
            stage.publish()
            numbers.append(len(stage.by_id()))
        assert numbers == [small_pages, 2 * small_pages, 20]


def test_a_row_that_changes_while_it_is_paged(account: str, small_pages: int) -> None:
    end = ANCHOR - timedelta(minutes=1)
    runs = [states(number, (EARLIER, EARLIER, 100 + number, SUCCEEDED)) for number in range(2 * small_pages)]
    moving = states(99, (EARLIER, EARLIER, 50, RUNNING), (ANCHOR + timedelta(seconds=1), end, 900, FAILED))
    with on_stage(with_runs(bare_world(), moving, *runs), account) as stage:
        slow = Fault("dataverse", path_contains="skiptoken", times=1, status=503, headers={"Retry-After": "2"})
        stage.tenant.faults.add(slow)
        polled(stage)
        stage.clock.advance(minutes=5)
        rows = polled(stage)
        assert len(rows) == 2 * small_pages + 1
        assert rows[run_id(99)]["outcome"] == "Failed"


def test_a_machine_that_is_deleted_keeps_its_runs_and_hours(account: str) -> None:
    run = a_run(1, _machineid_value=run_id(7), _machinegroupid_value=run_id(8))
    deleted = ANCHOR + timedelta(minutes=1)
    (unlinked,) = a_run(1).states
    unlinked = replace(unlinked, visible_at=deleted, modified_at=deleted, version_number=9000)
    run = replace(run, states=(*run.states, unlinked))
    with on_stage(with_runs(bare_world(), run), account) as stage:
        polled(stage)
        before = stage.rows("fact_machine_hour")
        stage.clock.advance(minutes=5)
        (row,) = polled(stage).values()
        assert row["modified_utc"] == deleted
        assert (row["machine_id"], row["machine_group_id"]) == (run_id(7), run_id(8))
        assert stage.rows("fact_machine_hour") == before != []


@pytest.mark.parametrize("late_min", [2, 9])
def test_a_row_stamped_before_it_can_be_seen(account: str, late_min: int) -> None:
    stamp = ANCHOR - timedelta(minutes=2)
    run = states(1, (stamp + timedelta(minutes=late_min), stamp, 100, SUCCEEDED), created=stamp)
    with on_stage(with_runs(bare_world(), run), account) as stage:
        for _ in range(4):
            polled(stage)
            stage.clock.advance(minutes=4)
        assert run_id(1) in stage.by_id()


@pytest.mark.parametrize("skew_min", [-10, 10])
def test_our_clock_may_be_wrong(account: str, skew_min: int) -> None:
    stamps = [ANCHOR + timedelta(minutes=minute) for minute in range(-20, 30, 3)]
    runs = [states(at, (stamp, stamp, 100 + at, SUCCEEDED), created=stamp) for at, stamp in enumerate(stamps)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        ours = SkewedClock(stage.clock.now, timedelta(minutes=skew_min))
        for _ in range(7):
            stage.app.clock = ours
            stage.run("poll_flow_sessions")
            stage.clock.advance(minutes=6)
        stage.publish()
        assert len(stage.by_id()) == len(runs)


@pytest.mark.parametrize("skew_h", [-30, 30])
def test_our_clock_may_be_wrong_by_more_than_a_day_for_once(account: str, skew_h: int) -> None:
    """It is told, every run that is there is read, and another instance with the right time goes on from there."""
    stamps = [ANCHOR + timedelta(hours=hour, minutes=-30) for hour in range(7)]
    runs = [states(at, (stamp, stamp, 100 + at, SUCCEEDED), created=stamp) for at, stamp in enumerate(stamps)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        right, stage.app.clock = stage.app.clock, SkewedClock(stage.clock.now, timedelta(hours=skew_h))
        stage.run("poll_flow_sessions")
        (environment,) = stage.app.settings.environments
        told = {one.clock_ahead_s for one in stage.app.sources.all() if one.source == environment.name}
        assert told == {skew_h * 3600}
        stage.app.clock = right
        stage.publish()
        assert len(stage.by_id()) == 1
        for number in range(2, 8):
            stage.clock.advance(hours=1, minutes=1)
            stage.run("poll_flow_sessions")
            stage.publish()
            assert len(stage.by_id()) == number


class SkewedClock:
    def __init__(self, right: Callable[[], datetime], by: timedelta) -> None:
        self._right = right
        self._by = by

    def now(self) -> datetime:
        return self._right() + self._by

    def monotonic(self) -> float:
        return self._right().timestamp()

    def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing here asks for a pause of {seconds} s")


def test_an_environment_restored_from_a_backup(account: str) -> None:
    """Its versions go back, its clock does not: what ends afterwards replaces what was known."""
    ended_at = EARLIER + timedelta(minutes=1)
    ended = states(1, (EARLIER, EARLIER, 5000, RUNNING), (ended_at, ended_at, 5100, SUCCEEDED))
    with on_stage(with_runs(bare_world(), ended), account) as stage:
        assert polled(stage)[run_id(1)]["outcome"] == "Succeeded"
        stage.clock.advance(minutes=30)
        now = stage.clock.now()
        again = states(1, (EARLIER, EARLIER, 5000, RUNNING), (now, now, 5001, FAILED))
        stage.tenant.world = with_runs(stage.tenant.world, again)
        assert polled(stage)[run_id(1)]["outcome"] == "Succeeded"
        stage.clock.advance(minutes=5)
        assert polled(stage)[run_id(1)]["outcome"] == "Failed"


def test_a_version_that_repeats_after_a_restore_is_another_state(account: str) -> None:
    run = states(1, (EARLIER, ANCHOR - timedelta(minutes=3), 5000, RUNNING))
    with on_stage(with_runs(bare_world(), run), account) as stage:
        assert polled(stage)[run_id(1)]["outcome"] == "Running"
        now = stage.clock.now()
        again = states(1, (now, now, 5000, SUCCEEDED))
        stage.tenant.world = with_runs(stage.tenant.world, again)
        stage.clock.advance(minutes=2)
        assert polled(stage)[run_id(1)]["outcome"] == "Succeeded"


def test_a_status_that_this_version_does_not_know_is_told_and_its_log_is_asked_for(account: str) -> None:
    run = a_run(1, file=a_log(log_of(3)), statuscode=15)
    with on_stage(with_runs(bare_world(), run), account) as stage:
        assert polled(stage)[run_id(1)]["status"] == "Unknown 15"
        stage.decode()
        stage.publish()
        row = stage.by_id()[run_id(1)]
        assert (row["outcome"], row["log_status"], row["action_count"]) == ("Succeeded", "loaded", 3)
        notes = [one.note for one in stage.app.journal.day(stage.clock.now().date().isoformat()) if one.note]
        assert len(notes) == 1
        assert "Unknown 15" in notes[0]


def test_a_run_that_is_opened_again(account: str) -> None:
    seen = [ANCHOR + timedelta(minutes=5 * step) for step in (1, 2)]
    run = states(
        1,
        (EARLIER, EARLIER, 100, SUCCEEDED),
        (seen[0], seen[0], 200, RUNNING),
        (seen[1], seen[1], 300, FAILED),
    )
    with on_stage(with_runs(bare_world(), replace(run, file=a_log(log_of(3), EARLIER))), account) as stage:
        assert polled(stage)[run_id(1)]["outcome"] == "Succeeded"
        stage.decode()
        stage.clock.advance(minutes=4)
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "loaded"
        stage.clock.advance(minutes=2)
        row = polled(stage)[run_id(1)]
        assert (row["outcome"], row["log_status"]) == ("Running", None)
        stage.clock.advance(minutes=6)
        assert polled(stage)[run_id(1)]["log_status"] == "pending"
        stage.decode()
        stage.publish()
        row = stage.by_id()[run_id(1)]
        assert (row["outcome"], row["log_status"], row["action_count"]) == ("Failed", "loaded", 3)


def test_an_environment_of_2023_is_read_by_what_it_has(account: str) -> None:
    context = '{"attendedMode":"Attended","hostName":"PC1","agentVersion":"2.30","parentWorkflowType":"ApiFlow","parentWorkflowId":"C1","parentWorkflowRunId":"R1"}'  # noqa: E501 - one value
    world = with_runs(bare_world(), a_run(1, context=context, runmode=None))
    world = replace(world, environments=(replace(world.environments[0], columns=FLOWSESSION_COLUMNS_2023),))
    with on_stage(world, account) as stage:
        row = polled(stage)[run_id(1)]
        assert (row["run_mode"], row["host_name"], row["agent_version"]) == ("Attended", "PC1", "2.30")
        assert (row["cloud_flow_id"], row["cloud_run_id"], row["trigger_type"]) == ("c1", "R1", None)


def test_text_that_breaks_off_inside_a_character_blocks_nothing(account: str) -> None:
    runs = [a_run(1, errormessage="cut \ud800"), a_run(2)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        rows = polled(stage)
        assert rows[run_id(1)]["error_message"] == "cut \ufffd"
        assert run_id(2) in rows


def test_an_answer_that_is_no_json_moves_no_cursor(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        html = Fault("dataverse", path_contains="flowsessions", times=1, status=200, body=b"<html>Sign in</html>")
        stage.tenant.faults.add(html)
        with pytest.raises(SourcesFailed, match="no JSON"):
            stage.run("poll_flow_sessions")
        assert run_id(1) in polled(stage)


def test_a_first_load_of_many_pages_takes_several_runs(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_api.WebApi.pages, "__defaults__", (50,))
    stamps = [ANCHOR - timedelta(days=80) + timedelta(minutes=5 * at) for at in range(600)]
    runs = [states(at, (stamp, stamp, 100 + at, SUCCEEDED), created=stamp) for at, stamp in enumerate(stamps)]
    start = (ANCHOR - timedelta(days=85)).date().isoformat()
    with on_stage(with_runs(bare_world(), *runs), account, HISTORY_START=start) as stage:
        slow = Fault("dataverse", path_contains="skiptoken", status=503, times=40, headers={"Retry-After": "50"})
        stage.tenant.faults.add(slow)
        invocations = 0
        while invocations < 30:
            invocations += 1
            stage.app = stage.new_app()
            with suppress(SourcesFailed):
                stage.run("poll_flow_sessions")
                break
        assert 3 < invocations < 30
        stage.publish()
        assert len(stage.by_id()) == len(runs)
