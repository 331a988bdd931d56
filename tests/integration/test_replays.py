"""Days of runs and of action logs read once more, as app settings order it; nothing published is lost by it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from integration.test_action_logs import log_of, played
from integration.test_audit_replay import restart
from integration.test_flow_logs import flow_log_row, logged
from integration.test_flow_logs import world_of as logged_world_of
from shared.dataverse import web_api
from shared.functions import replays
from shared.state.names import Container

DAY = ANCHOR.date()
BEFORE = DAY - timedelta(days=1)
TODAY, BOTH = DAY.isoformat(), f"{BEFORE}/{DAY}"
SECRET = {"Value": {"localizedName": "Value", "value": "confidential", "variableName": "iban"}}


def poll(stage: Stage) -> None:
    stage.clock.advance(minutes=5)
    stage.run("poll_flow_sessions")
    stage.decode()
    stage.publish()


def inputs(stage: Stage) -> dict[str, set[str | None]]:
    found: dict[str, set[str | None]] = {}
    for row in stage.rows("fact_flow_action"):
        found.setdefault(row["session_id"], set()).add(row["inputs"])
    return found


def notes(stage: Stage) -> list[str]:
    day = f"{stage.clock.at:%Y-%m-%d}"
    return [record.note for record in stage.app.journal.day(day) if record.note and "replay" in record.source]


def wipe(stage: Stage, table: str) -> None:
    for name in list(stage.published()):
        if name.startswith(table):
            stage.app.storage.blobs.delete(Container.POWERBI, name)


def test_runs_of_some_days_are_published_again_and_read_as_this_version_reads_them(account: str) -> None:
    """A file that was deleted by mistake comes back, and a column that was read wrongly is put right."""
    old = [a_run(number, ANCHOR - timedelta(days=1, hours=number)) for number in (1, 2)]
    other = a_run(3, ANCHOR - timedelta(days=3))
    with on_stage(with_runs(bare_world(), *old, other), account) as stage:
        expected = played(stage)
        wipe(stage, "fact_flow_session")
        run = stage.app.register.get(*place_of(expected[run_id(1)]))
        assert run is not None
        stage.app.register.update([run.session], lambda _, known: replace(known or run.session, run_mode="wrong"))
        restart(stage, RUNS_REPLAY=str(BEFORE))
        poll(stage)
        after = stage.by_id()
        assert set(after) == {run_id(1), run_id(2)}, "a run of another day came too, or one came twice"
        assert [after[run_id(number)]["run_mode"] for number in (1, 2)] == ["Unattended"] * 2
        assert after[run_id(2)] == expected[run_id(2)]
        assert after[run_id(1)]["ingested_utc"] > expected[run_id(1)]["ingested_utc"]
        assert notes(stage)[0].startswith(f"{BEFORE} is done; RUNS_REPLAY can be emptied")


def place_of(row: dict[str, Any]) -> tuple[str, Any, str]:
    return row["environment_id"], row["created_utc"].date(), row["session_id"]


def test_an_order_is_carried_out_once(account: str) -> None:
    run = a_run(1, file=a_log(log_of()))
    with on_stage(with_runs(bare_world(), run), account, RUNS_REPLAY=BOTH, LOGS_REPLAY=BOTH) as stage:
        poll(stage)
        poll(stage)
        before, told = stage.published(), len(notes(stage))
        poll(stage)
        assert (stage.published(), len(notes(stage))) == (before, told)
        wipe(stage, "fact_flow")
        restart(stage, RUNS_REPLAY=f"{BOTH} again", LOGS_REPLAY=f"{BOTH} again")
        poll(stage)
        assert len(stage.rows("fact_flow_session")) == 1
        assert len(stage.rows("fact_flow_action")) == 2


def test_work_that_takes_longer_goes_on_at_the_next_tick(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replays, "MOST_WAITING", 1)
    monkeypatch.setattr(replays, "RUNS_PER_MESSAGE", 2)
    monkeypatch.setattr(replays, "RESERVE_S", 10_000)
    runs = [a_run(number, file=a_log(log_of())) for number in range(5)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        played(stage)
        wipe(stage, "fact_flow")
        restart(stage, RUNS_REPLAY=TODAY, LOGS_REPLAY=TODAY)
        seen = []
        for _ in range(3):
            poll(stage)
            seen.append((len(stage.rows("fact_flow_session")), len(stage.rows("fact_flow_action"))))
        assert [actions for _, actions in seen] == [4, 8, 10]
        assert {runs for runs, _ in seen} == {5}
        assert f"{TODAY} modifiedon of {TODAY} is under way" in notes(stage)
        assert sum("is done" in note for note in notes(stage)) == 2


def test_more_runs_of_one_time_than_an_invocation_reads(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading leaves off as soon as it may; one that begins in the midst of them gets past them."""
    monkeypatch.setattr(web_api.WebApi.pages, "__defaults__", (2,))
    monkeypatch.setattr(replays, "RESERVE_S", 10_000)
    runs = [a_run(number) for number in range(9)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        restart(stage, RUNS_REPLAY=TODAY)
        for _ in range(5):
            stage.run("poll_flow_sessions")
        assert sum("is done" in note for note in notes(stage)) == 1


def test_logs_are_decoded_again_by_the_rules_of_today(account: str) -> None:
    runs = [
        a_run(1, file=a_log(log_of(inputs=SECRET))),
        a_run(2, ANCHOR - timedelta(days=1), a_log(log_of(inputs=SECRET))),
    ]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        played(stage)
        (shown,) = inputs(stage)[run_id(1)]
        assert shown
        assert "confidential" in shown
        restart(stage, REDACT_NAMES="iban", LOGS_REPLAY=TODAY)
        poll(stage)
        (hidden,) = inputs(stage)[run_id(1)]
        assert hidden
        assert "confidential" not in hidden
        assert inputs(stage)[run_id(2)] == {shown}, "a day that was not ordered changed"
        assert len(stage.rows("fact_flow_action")) == 4


def test_a_log_that_can_no_longer_be_had_keeps_its_actions(account: str) -> None:
    """Gone, shorter, damaged, or with some of its rows thrown away by the service."""
    runs = [a_run(number, file=a_log(log_of(3))) for number in (1, 2, 3)]
    rows = [flow_log_row(number, 4) for number in range(3)]
    with on_stage(logged_world_of(*runs, logged(a_run(4), *rows)), account) as stage:
        before = played(stage)
        assert {row["log_status"] for row in before.values()} == {"loaded"}
        actions = stage.rows("fact_flow_action")
        assert len(actions) == 12
        stage.tenant.world = logged_world_of(
            a_run(1),
            a_run(2, file=a_log(log_of(1))),
            a_run(3, file=a_log(b"damaged")),
            logged(a_run(4, file=a_log(log_of(7))), rows[0]),
        )
        restart(stage, LOGS_REPLAY=TODAY, ACTION_VALUES="off")
        poll(stage)
        assert stage.rows("fact_flow_action") == actions
        assert stage.by_id() == before
        assert not stage.raw()
        assert not list(stage.app.journal.gaps())


def test_a_log_that_was_unreadable_is_decoded_from_the_copy_that_was_kept(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(b"damaged"))), account) as stage:
        assert played(stage)[run_id(1)]["log_status"] == "unreadable"
        (name,) = stage.raw("unreadable/")
        stage.app.storage.blobs.put(Container.RAW, name, log_of())  # as a mended decoder would see it
        stage.tenant.world = with_runs(stage.tenant.world, a_run(1))
        restart(stage, LOGS_REPLAY=TODAY)
        poll(stage)
        assert stage.by_id()[run_id(1)]["log_status"] == "loaded"
        assert len(stage.rows("fact_flow_action")) == 2


def test_an_owner_whose_name_can_no_longer_be_had_keeps_it(account: str) -> None:
    world = with_runs(bare_world(), a_run(1))
    owner = next(user for user in world.environments[0].users if "@" in str(user.get("domainname")))
    world = with_runs(world, a_run(1, _ownerid_value=owner["systemuserid"]))
    with on_stage(world, account) as stage:
        assert played(stage)[run_id(1)]["user_id"] == str(owner["domainname"]).lower()
        environment = replace(stage.tenant.world.environments[0], users=())
        stage.tenant.world = replace(stage.tenant.world, environments=(environment,))
        restart(stage, RUNS_REPLAY=TODAY)
        before = stage.by_id()
        poll(stage)
        assert stage.by_id() == before
