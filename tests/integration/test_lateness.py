"""What counts as late: by the time since the app first met a source, and not by the age of what it has read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, time, timedelta

import pytest

from integration.failures import everything
from integration.stage import a_run, bare_world, on_stage, with_runs
from integration.test_health import beat, look, told
from shared.dataverse.cursor import CURSOR
from shared.health.codes import Code
from shared.health.lateness import overdue
from shared.state.sources import Faring

HOUR = timedelta(hours=1)


def test_a_first_load_is_late_only_when_it_has_lasted_for_long(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        name, (environment,) = stage.tenant.environments[0].name, stage.app.settings.environments
        stage.tick("poll_flow_sessions")
        environment_id = stage.app.profile(environment, stage.app.deadline(60)).environment_id
        place = stage.app.checkpoints.load(CURSOR, environment_id)
        long_ago = stage.clock.now() - timedelta(days=80)
        stage.app.checkpoints.save(place, {"watermark_utc": long_ago})
        stage.clock.advance(minutes=110)
        beat(stage)
        assert not told(stage)
        (source,) = [one for one in look(stage)[1]["sources"] if one["name"] == name]
        assert (source["lag_s"] > 80 * 86_400, source["late_s"]) == (True, 100 * 60)
        page = stage.run("status")[1]
        assert "1 first load is under way." in page
        assert "first load, read until" in page
        assert "is-bad" not in page.partition("<main>")[2]
        stage.clock.advance(minutes=25)
        assert told(stage) == {(Code.BEHIND, name)}


def test_an_environment_that_is_added_later_is_not_late_at_once(account: str) -> None:
    with on_stage(bare_world(environments=2), account) as stage:
        old, new = (environment.url for environment in stage.tenant.environments)
        names = [environment.name for environment in stage.tenant.environments]
        stage.environ["ENVIRONMENTS"] = json.dumps([{"url": old, "name": names[0]}])
        stage.app = stage.new_app()
        stage.tick("poll_flow_sessions")
        stage.clock.advance(days=30)
        everything(stage)
        stage.environ["ENVIRONMENTS"] = json.dumps(
            [{"url": old, "name": names[0]}, {"url": new, "name": names[1]}]
        )
        stage.app = stage.new_app()
        assert not told(stage)
        (source,) = [one for one in look(stage)[1]["sources"] if one["name"] == names[1]]
        assert (source["read_until_utc"], source["late_s"] <= 0) == (None, True)
        stage.clock.advance(hours=3)
        beat(stage)
        assert (Code.BEHIND, names[1]) in told(stage)


RARE = {
    "FLOW_SESSIONS_SCHEDULE": "0 0 */6 * * *",
    "AUDIT_CONTENT_SCHEDULE": "0 0 */8 * * *",
    "PUBLISH_SCHEDULE": "0 0 0 * * *",
}


def test_a_rare_schedule_is_not_late_between_its_ticks(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account, None, **RARE) as stage:
        look(stage)
        for hour in range(12):  # from noon
            if hour % 6 == 0:
                stage.tick("poll_flow_sessions")
            if hour % 8 == 4:
                stage.tick("poll_audit_content")
            beat(stage)
            stage.clock.advance(minutes=59)
            assert not told(stage), hour
            stage.clock.advance(minutes=1)
        stage.clock.advance(hours=2, minutes=30)
        beat(stage)
        assert (Code.BEHIND, stage.tenant.environments[0].name) in told(stage)


@pytest.mark.parametrize(
    ("since", "late"),
    [
        ("11:59:30", -6 * HOUR),  # read by the tick of noon
        ("12:00:10", -6 * HOUR),
        ("11:50:00", timedelta(0)),  # the tick of noon should have read on
        ("05:00:00", 6 * HOUR),
    ],
)
def test_what_a_tick_has_read_is_late_from_the_next_one_on(since: str, late: timedelta) -> None:
    noon = datetime(2026, 5, 19, 12, tzinfo=UTC)
    read_until = datetime.combine(noon.date(), time.fromisoformat(since), UTC)
    assert overdue(RARE["FLOW_SESSIONS_SCHEDULE"], read_until, noon) == late


def test_a_timer_whose_last_run_is_to_come_is_told(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.clock.advance(days=3)
        beat(stage)
        stage.clock.advance(days=-3)
        (reason, *_) = look(stage)[1]["reasons"]
        assert {code for code, _ in told(stage)} == {Code.TIMER_FROZEN}
        assert "the clock was wrong" in reason["problem"]
        beat(stage)
        assert not told(stage)


@pytest.mark.parametrize(("days", "is_told"), [(3, False), (5, True)])
def test_a_log_that_is_awaited_for_days_is_told(account: str, days: int, is_told: bool) -> None:
    with on_stage(bare_world(), account) as stage:
        name = stage.tenant.environments[0].name
        stage.run("poll_flow_sessions")
        stage.run("poll_audit_content")
        since = stage.clock.now()
        stage.clock.advance(days=days)
        stage.run("poll_flow_sessions")
        stage.run("poll_audit_content")
        faring = Faring(function="reconcile", source=name, waiting=1, waiting_utc=since)
        stage.app.sources.fared(faring, None, stage.clock.now())
        beat(stage)
        reasons = [reason for reason in look(stage)[1]["reasons"] if reason["code"] == Code.LOGS_PENDING]
        assert bool(reasons) is is_told
