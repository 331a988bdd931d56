"""A person is forgotten: nowhere in the storage account afterwards, and not brought back by what comes later."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from integration.crashing import Crash, CrashAt, let_leases_run_out
from integration.stage import ANCHOR, Stage, a_log, a_run, on_stage, run_id, with_runs
from integration.test_action_logs import log_of
from integration.test_audit_content import a_blob, an_event, world_of
from integration.test_audit_replay import restart
from local import forgetting
from local.forget import data_storage, main
from local.forgetting import Forgetting
from local.tenant import World
from shared.errors import Damaged
from shared.publishing.publisher import lock_name
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_SESSION, TABLES
from shared.state.names import FORGOTTEN, Container, StateTable
from shared.state.storage import Storage

USER_KEY = "10032001ABCDEF12"
CAME_FROM = "10.9.8.7"
DAYS = f"{ANCHOR - timedelta(days=2):%Y-%m-%d}/{ANCHOR:%Y-%m-%d}"


def person(world: World) -> dict[str, Any]:
    users = world.environments[0].users
    return dict(next(user for user in users if "@" in str(user.get("domainname")) and user.get("fullname")))


def world_with_traces() -> World:
    """A person who owns a run, is named in other people's, in a log that can't be read, and in three events."""
    world = world_of()
    theirs = person(world)
    upn = theirs["domainname"]
    mentioned = {"Value": {"localizedName": "Value", "value": f"Dear\n{upn.upper()}", "variableName": "to"}}
    runs = (
        a_run(1, file=a_log(log_of(inputs=mentioned)), _ownerid_value=theirs["systemuserid"]),
        a_run(2, file=a_log(log_of(inputs=mentioned)), errormessage=f"{upn} has no access"),
        a_run(3, file=a_log(f"{upn} damaged".encode())),
    )
    by_them = {"UserId": upn, "UserKey": USER_KEY, "ClientIP": f"{CAME_FROM}:5000"}
    other = {"PropertyCollection": [{"Name": "targetuser.id", "Value": upn}], "Comment": f"for {USER_KEY.lower()}"}
    events = (an_event(1, **by_them), an_event(2, Operation="BrandNew", **by_them), an_event(3, **other))
    return with_runs(world_of(a_blob(1, *events)), *runs)


def traces(stage: Stage, *, state_only: bool = False) -> set[str]:
    """Where something of the person is found, by looking at everything that is stored."""
    theirs = person(stage.tenant.world)
    names = [theirs["domainname"], theirs["azureactivedirectoryobjectid"], theirs["fullname"], USER_KEY, CAME_FROM]
    lower = [str(name).lower() for name in names]
    return {
        where for where, text in stored(stage, raw=not state_only) if any(name in text.lower() for name in lower)
    }


def stored(stage: Stage, *, raw: bool) -> Iterator[tuple[str, str]]:
    for name in TABLES:
        yield name, repr(stage.rows(name))
    for table in StateTable:
        yield str(table), repr([entity.properties for entity in stage.app.storage.table(table).all()])
    for name in stage.raw() if raw else ():
        content = stage.app.storage.blobs.get(Container.RAW, name) or b""
        yield name, (gzip.decompress(content) if name.endswith(".gz") else content).decode("utf-8", "replace")


def forget(stage: Stage, *, apply: bool = True) -> Counter[str]:
    storage = Storage(data_storage(stage.account), None, lambda: stage.transport)  # type: ignore[arg-type,return-value]
    return Forgetting(storage, person(stage.tenant.world)["domainname"], apply=apply).run().counts


def numbers(stage: Stage) -> dict[str, int]:
    return {name: len(stage.rows(name)) for name in TABLES if name != "fact_ingest"}


def test_a_person_is_forgotten_and_what_comes_later_does_not_bring_them_back(account: str) -> None:
    with on_stage(world_with_traces(), account, RAW_AUDIT="all") as stage:
        stage.round()
        before, files = numbers(stage), stage.published()
        assert traces(stage) >= {
            "fact_flow_session",
            "fact_flow_action",
            "fact_audit_event",
            "dim_user",
            "flowsessions",
        }
        expected = {
            "published dim_user": 1,
            "published fact_audit_event": 3,
            "published fact_flow_action": 4,
            "published fact_flow_session": 2,
            "records in raw": 3,
            "table flowsessions": 1,
            "unreadable files in raw": 1,
        }
        assert expected.items() <= forget(stage, apply=False).items()
        assert stage.published() == files, "counting changed something"

        forget(stage)
        assert traces(stage) == set()
        assert numbers(stage) == before
        (known,) = {row["user_id"] for row in stage.rows("dim_user") if row["user_id"].startswith(FORGOTTEN)}
        assert stage.by_id()[run_id(1)]["user_id"] == known
        assert {row["user_id"] for row in stage.rows("fact_audit_event")} == {known, "ada@contoso.example"}

        restart(stage, RUNS_REPLAY=DAYS, LOGS_REPLAY=DAYS, AUDIT_REPLAY=DAYS)
        stage.clock.advance(minutes=15)
        stage.round()
        assert traces(stage, state_only=True) == set()
        assert numbers(stage) == before
        assert {row["user_id"] for row in stage.rows("fact_audit_event")} == {known, "ada@contoso.example"}


@pytest.mark.parametrize("table", ["fact_flow_session", "fact_audit_event", "dim_user"])
def test_a_published_file_that_can_not_be_read_is_named(account: str, table: str) -> None:
    with on_stage(world_with_traces(), account) as stage:
        stage.round()
        name = next(name for name in stage.published() if name.startswith(table))
        stage.app.storage.blobs.put(Container.POWERBI, name, b"PAR1 written over")
        with pytest.raises(Damaged, match=f"powerbi/{name} can't be read.* move it away"):
            forget(stage)


def test_rows_that_wait_to_be_published_arrive_without_the_name(account: str) -> None:
    with on_stage(world_with_traces(), account, RAW_AUDIT="off") as stage:
        stage.run("poll_flow_sessions")
        stage.run("poll_audit_content")
        assert forget(stage)["staged fact_flow_session"] == 2
        stage.run("sync_inventory")
        stage.decode()
        stage.publish()
        found = traces(stage, state_only=True)
        assert found == {"fact_audit_event"}, "the alternative id could not be known yet"
        forget(stage)
        assert traces(stage, state_only=True) == set()
        assert sum(row["user_id"].startswith(FORGOTTEN) for row in stage.rows("dim_user")) == 1


def test_dying_on_the_way_and_beginning_again_ends_the_same(account: str) -> None:
    with on_stage(world_with_traces(), account) as stage:
        stage.round()
        before = numbers(stage)
        for writes in (4, 11):
            stage.transport.after = CrashAt(writes)
            with suppress(Crash):
                forget(stage)
            stage.transport.after = lambda _: None
            let_leases_run_out(account)
        forget(stage)
        assert traces(stage) == set()
        assert numbers(stage) == before
        assert sum(row["user_id"].startswith(FORGOTTEN) for row in stage.rows("dim_user")) == 1


def test_it_waits_for_a_day_that_is_being_published(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgetting, "PATIENCE_S", 0)
    monkeypatch.setattr(forgetting, "PAUSE_S", 0)
    with on_stage(world_with_traces(), account) as stage:
        stage.run("poll_flow_sessions")
        upn = person(stage.tenant.world)["domainname"]
        command = [upn, "--storage", account, "--apply"]
        day = Destination(FACT_FLOW_SESSION, (ANCHOR - timedelta(hours=1)).date())
        with stage.app.storage.blobs.leased(Container.STAGING, lock_name(day)):
            assert main(command) == 1
        assert main(command) == 0


def test_the_command_counts_first_and_tells_what_to_add(account: str, capsys: pytest.CaptureFixture[str]) -> None:
    with on_stage(world_with_traces(), account) as stage:
        stage.run("poll_flow_sessions")
        stage.publish()
        upn = person(stage.tenant.world)["domainname"]
        assert main([upn, "--storage", account]) == 0
        told = capsys.readouterr().out
        assert "2  published fact_flow_session" in told
        assert "Add --apply" in told
        assert main([upn, "--storage", account, "--also", "two words"]) == 1
        assert "is not a name of one word" in capsys.readouterr().err
        assert main(["nobody@contoso.com", "--storage", account]) == 0
        assert "Nothing was found." in capsys.readouterr().out


def test_an_account_is_given_by_name_by_endpoint_or_by_connection_string() -> None:
    by_name = data_storage("contosodata")
    assert by_name.table_uri == "https://contosodata.table.core.windows.net"
    elsewhere = data_storage("https://contosodata.blob.core.usgovcloudapi.net/")
    assert elsewhere.queue_uri == "https://contosodata.queue.core.usgovcloudapi.net"
    assert data_storage("AccountName=a").connection_string == "AccountName=a"
    with pytest.raises(ValueError, match="is no blob endpoint"):
        data_storage("https://contosodata.example")
