"""What counts as late: by the time since the app first met a source, and not by the age of what it has read."""

from __future__ import annotations

import json
from datetime import timedelta

from integration.failures import everything
from integration.stage import a_run, bare_world, on_stage, with_runs
from integration.test_health import beat, look, told
from shared.dataverse.cursor import CURSOR
from shared.health.codes import Code


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
        assert (source["lag_s"] > 80 * 86_400, source["late_s"]) == (True, 110 * 60)
        page = stage.run("status")[1]
        assert "1 first load is under way." in page
        assert "first load, read until" in page
        assert "is-bad" not in page.partition("<main>")[2]
        stage.clock.advance(minutes=20)
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
        assert (source["read_until_utc"], source["late_s"]) == (None, 0)
        stage.clock.advance(hours=3)
        beat(stage)
        assert (Code.BEHIND, names[1]) in told(stage)
