"""A deployment goes on in another storage account, as if nothing had happened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from integration.crashing import Crash, CrashAt
from integration.stage import (
    ANCHOR,
    Stage,
    WatchedTransport,
    a_log,
    a_run,
    bare_world,
    on_stage,
    run_id,
    with_runs,
)
from integration.test_action_logs import log_of, played
from integration.test_flow_logs import BOTH, V2, flow_log_row, logged
from integration.test_flow_logs import world_of as world_with_flow_logs
from integration.test_forget import forget, traces, world_with_traces
from local.azurite import Azurite
from local.desk import ROOT
from local.forget import data_storage
from local.move import copy_state, main
from local.tenant import Fault
from shared.publishing.staging import spool
from shared.schema import TABLES
from shared.state.names import Container, Queue, StateTable
from shared.state.storage import Storage

LATE = timedelta(hours=2)


@pytest.fixture
def other(azurite: Azurite, _unused_accounts: Iterator[str]) -> str:
    """A second account, in which a deployment has made what there is to be and nothing has run."""
    account = azurite.connection_string_of(next(_unused_accounts))
    Storage(data_storage(account), None).create_missing()
    return account


def state(account: str) -> dict[str, list[Any]]:
    storage = Storage(data_storage(account), None)
    return {
        str(name): [(one.partition, one.row, one.properties) for one in storage.table(name).all()]
        for name in StateTable
    }


def copy_containers(old: str, new: str) -> None:
    """As azcopy does."""
    source, target = (Storage(data_storage(account), None).blobs for account in (old, new))
    for container in Container:
        for item in source.list(container):
            with spool() as file:
                source.copy_into(container, item.name, file)
                file.seek(0)
                target.put(container, item.name, file, notes=item.notes)


def go_on_in(stage: Stage, account: str) -> None:
    stage.account = account
    stage.environ["DataStorage"] = account
    stage.transport = WatchedTransport(account)
    stage.app = stage.new_app()


def published(stage: Stage) -> dict[str, list[dict[str, Any]]]:
    """All rows, but for when the app last touched a member and for the app's own runs."""
    return {
        name: sorted(({**row, "updated_utc": None} for row in stage.rows(name)), key=repr)
        for name in TABLES
        if name != "fact_ingest"
    }


def test_a_moved_deployment_goes_on_where_the_old_one_stopped(account: str, other: str) -> None:
    world = world_with_traces()
    late = a_run(9, file=a_log(log_of(), ANCHOR + LATE))
    runs = (*world.environments[0].sessions, late)
    with on_stage(with_runs(world, *runs), account) as stage:
        assert stage.tick("sync_inventory")
        stage.round()
        forget(stage)
        before = published(stage)
        assert before["fact_gap"]
        copy_containers(account, other)
        assert main([account, other]) == 0
        assert state(other) == state(account)

        go_on_in(stage, other)
        assert stage.messages(Queue.ADDITIONAL_CONTEXT) == [], "messages stay behind"
        stage.round()
        assert published(stage) == before
        stage.clock.advance(hours=12)
        assert stage.tick("reconcile")
        stage.round()
        assert stage.by_id()[run_id(9)]["log_status"] == "loaded", "its message was lost"
        assert {(one["source"], one["from_utc"]) for one in before["fact_gap"]} <= {
            (one["source"], one["from_utc"]) for one in stage.rows("fact_gap")
        }
        assert traces(stage, state_only=True) == set()


@pytest.mark.parametrize(("version", "minutes"), [(V2, (-3, 30)), (BOTH, (30, 31))])
def test_rows_of_a_log_that_come_late_are_looked_for_though_the_queues_stay_behind(
    account: str, other: str, version: int, minutes: tuple[int, ...]
) -> None:
    ended = ANCHOR - timedelta(minutes=5)
    rows = [flow_log_row(number, at=ANCHOR + timedelta(minutes=at)) for number, at in enumerate(minutes)]
    file = a_log(log_of(1), ended) if version == BOTH else None
    with on_stage(world_with_flow_logs(logged(a_run(1, ended, file), *rows), version=version), account) as stage:
        assert stage.tick("poll_flow_sessions")
        assert played(stage)[run_id(1)]["action_count"] == 1
        copy_containers(account, other)
        assert main([account, other]) == 0
        go_on_in(stage, other)
        stage.clock.advance(hours=2)
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["action_count"] == 2


def test_a_log_that_failed_alone_is_asked_for_though_its_message_stays_behind(account: str, other: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(log_of(2)))), account) as stage:
        failing = Fault("dataverse", path_contains="additionalcontext/$value", times=None, status=500)
        stage.tenant.faults.add(failing)
        assert stage.tick("poll_flow_sessions")
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.clock.advance(days=2)
        assert stage.tick("poll_flow_sessions")
        copy_containers(account, other)
        assert main([account, other]) == 0
        go_on_in(stage, other)
        stage.tenant.faults.clear()
        stage.clock.advance(hours=2)
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "loaded"


def test_a_copy_that_broke_off_is_begun_anew(account: str, other: str) -> None:
    with on_stage(with_runs(bare_world(), *(a_run(number) for number in range(3))), account) as stage:
        assert stage.tick("poll_flow_sessions")
        for writes in range(4):
            transport = WatchedTransport(other)
            transport.after = CrashAt(writes)
            target = Storage(data_storage(other), None, lambda one=transport: one)  # type: ignore[arg-type,return-value]
            with suppress(Crash):
                list(copy_state(Storage(data_storage(account), None), target))
        assert main([account, other]) == 0
        assert state(other) == state(account)


def test_an_account_in_which_an_app_has_run_is_left_alone(
    account: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_stage(bare_world(), account) as stage:
        assert stage.app.storage
        assert main([account, other]) == 1
        assert "The old account holds no state" in capsys.readouterr().err
        assert stage.tick("publish")
        before = state(account)
        assert main([account, account]) == 1
        assert "The new account holds state already" in capsys.readouterr().err
        assert state(account) == before


def test_the_command_is_told() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text("utf-8")
    assert re.search(r"(?m)^\s*\$ python3 dev\.py move OLD NEW$", guide)
