"""Mistakes that readers of desktop-flow runs are known to make: each is a test that this app passes."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from integration.stage import ANCHOR, a_log, a_run, bare_world, on_stage, run_id, small_world, with_runs
from integration.test_action_logs import log_of, played
from integration.test_runs import FAILED, RUNNING, polled, states
from local.tenant import Fault
from shared.dataverse import web_api
from shared.dataverse.sessions import STATUSES

HOUR_AGO = ANCHOR - timedelta(hours=1)


def test_a_run_that_ends_days_after_it_began_is_followed_to_its_end(account: str) -> None:
    """A window over the creation date freezes it in its first state."""
    ended = HOUR_AGO
    began = ANCHOR - timedelta(days=2, hours=12)
    run = states(1, (began, began, 5, RUNNING), (ended, ended, 9, FAILED), created=began)
    with on_stage(with_runs(bare_world(), run), account) as stage:
        stage.clock.at = began + timedelta(hours=1)
        assert polled(stage)[run_id(1)]["outcome"] == "Running"
        stage.clock.at = ANCHOR
        assert polled(stage)[run_id(1)]["outcome"] == "Failed"


def test_every_status_and_every_mode_is_taken(account: str) -> None:
    """Not only codes 4 and 8, not only runs that a cloud flow started; and state 0 does not mean running."""
    runs = [
        a_run(code, statuscode=code, statecode=int(code in (0, 13, 14)), runmode=code % 3) for code in STATUSES
    ]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        rows = polled(stage)
        told = {code: (rows[run_id(code)]["status"], rows[run_id(code)]["outcome"]) for code in STATUSES}
        assert told == {code: (name, outcome.value) for code, (name, outcome) in STATUSES.items()}
        assert {row["run_mode"] for row in rows.values()} == {"Local", "Attended", "Unattended"}


def test_the_language_of_the_environment_decides_nothing(account: str) -> None:
    """Its labels are German; outcomes and modes are read by their numbers."""
    world = with_runs(bare_world(), a_run(1, statuscode=8), a_run(2))
    world = replace(world, environments=(replace(world.environments[0], language="de"),))
    with on_stage(world, account) as stage:
        assert [row["outcome"] for _, row in sorted(polled(stage).items())] == ["Failed", "Succeeded"]


def test_no_page_is_skipped(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_api.WebApi.pages, "__defaults__", (3,))
    runs = [a_run(number) for number in range(20)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        assert len(polled(stage)) == 20
        pages = [request for request in stage.tenant.requests if "skiptoken" in request.path]
        assert len(pages) == 6


def test_a_run_of_a_flow_that_nobody_knows_is_taken(account: str) -> None:
    unknown = "abcdef00-0000-0000-0000-000000000001"
    with on_stage(with_runs(bare_world(), a_run(1, _regardingobjectid_value=unknown)), account) as stage:
        assert polled(stage)[run_id(1)]["flow_id"] == unknown
        assert unknown in {row["flow_id"] for row in stage.rows("dim_flow")}


def test_a_log_that_cannot_be_read_is_not_an_empty_one(account: str) -> None:
    with on_stage(
        with_runs(bare_world(), a_run(1, file=a_log(b"oops")), a_run(2, file=a_log(log_of(0)))), account
    ) as stage:
        rows = played(stage)
        told = [(rows[run_id(number)]["log_status"], rows[run_id(number)]["action_count"]) for number in (1, 2)]
        assert told == [("unreadable", None), ("loaded", 0)]


def test_several_actions_fail_and_the_last_one_is_to_blame(account: str) -> None:
    content = log_of(4, status="Failed")
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(content), statuscode=8)), account) as stage:
        row = played(stage)[run_id(1)]
        assert (row["failed_action_count"], row["failed_action_seq"]) == (4, 3)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_waited_for(account: str, status: int) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        stage.tenant.faults.add(
            Fault("dataverse", path_contains="flowsessions", times=2, status=status, headers={"Retry-After": "3"})
        )
        assert run_id(1) in polled(stage)
        assert stage.clock.now() >= ANCHOR + timedelta(seconds=6)


def test_a_run_read_twice_is_one_run(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, ANCHOR - timedelta(minutes=5))), account) as stage:
        for _ in range(4):
            polled(stage)
            stage.clock.advance(minutes=3)
        assert len(stage.rows("fact_flow_session")) == 1


def test_no_token_and_no_value_of_an_action_is_logged(account: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with on_stage(small_world(), account) as stage:
        stage.clock.advance(minutes=5)
        stage.round()
        stage.run("reconcile")
        token = stage.app.tokens.get(f"{stage.tenant.environments[0].url}/.default")
        values = [row["inputs"] for row in stage.rows("fact_flow_action") if row["inputs"]]
        told = "\n".join(record.getMessage() for record in caplog.records)
        assert len(caplog.records) > 50
        assert token not in told
        assert "Bearer " not in told
        assert not [value for value in values if value in told]
