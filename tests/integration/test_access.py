"""What an environment keeps from us: said in sentences, in the right places, and harming no other one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from integration.stage import ANCHOR, Stage, a_run, bare_world, on_stage, run_id, small_world, with_runs
from integration.test_action_logs import played
from integration.test_flow_logs import flow_log_row, logged
from local.tenant import Access, Environment, Fault, World
from local.tenant.world import FLOWSESSION_COLUMNS_2023
from shared.errors import SourcesFailed
from shared.state.journal import REFUSED_FOR_A_WHILE, REFUSES

NO_ROLE = Access(roles=())
STRANGER = Access(member=False)


def first(world: World, **changes: Any) -> World:
    return replace(world, environments=(replace(world.environments[0], **changes), *world.environments[1:]))


def with_settings(world: World, **settings: Any) -> World:
    return first(world, organization={**world.environments[0].organization, **settings})


def synced(stage: Stage) -> dict[str, Any]:
    """What the table of environments says after the inventory, whether or not that failed."""
    with suppress(SourcesFailed):
        stage.run("sync_inventory")
    stage.publish()
    (entity,) = stage.app.environments.all()
    return dict(entity.properties)


@pytest.mark.parametrize(
    ("access", "told", "advised"),
    [
        (STRANGER, "not a member", "Application users"),
        (NO_ROLE, "any roles", "reader role"),
        (Access(missing_privileges=frozenset({"prvReadflowsession"})), "prvReadflowsession", "no run can be read"),
        (Access(missing_privileges=frozenset({"prvReadUser"})), "prvReadUser", "ids of their owners"),
        (Access(missing_privileges=frozenset({"prvReadOrganization"})), "prvReadOrganization", "settings"),
        (Access(depths={"prvReadflowsession": "Local"}), "depth Local", "organization depth"),
        (
            Access(depths={"prvReadWorkflow": "Basic"}),
            "prvReadWorkflow has depth Basic",
            "left out without an error",
        ),
    ],
    ids=["no member", "no role", "no runs", "no users", "no settings", "too shallow for runs", "for flows"],
)
def test_a_problem_is_told_by_inventory_health_and_status(
    account: str, access: Access, told: str, advised: str
) -> None:
    with on_stage(first(bare_world(), access=access), account) as stage:
        problem = synced(stage)["access_problem"]
        assert told in problem
        assert advised in problem
        code, body = stage.run("health")
        health = json.loads(body)
        assert code == 503
        assert any(told in reason["problem"] for reason in health["reasons"])
        assert told in health["sources"][0]["problem"]
        assert told in stage.run("status")[1]


def test_a_problem_that_is_solved_is_forgotten_at_the_next_poll(account: str) -> None:
    world = with_runs(bare_world(), a_run(1))
    with on_stage(first(world, access=STRANGER), account) as stage:
        with pytest.raises(SourcesFailed, match="not a member"):
            stage.run("poll_flow_sessions")
        (entity,) = stage.app.environments.all()
        assert entity.get("problem_since_utc") == ANCHOR
        stage.clock.advance(minutes=5)
        with pytest.raises(SourcesFailed):
            stage.run("poll_flow_sessions")
        (entity,) = stage.app.environments.all()
        assert entity.get("problem_since_utc") == ANCHOR
        stage.tenant.world = world
        stage.clock.advance(minutes=5)
        stage.run("poll_flow_sessions")
        (entity,) = stage.app.environments.all()
        assert not entity.get("access_problem")
        stage.publish()
        assert run_id(1) in stage.by_id()


def test_the_report_shows_the_problem_of_an_environment_that_is_known(account: str) -> None:
    world = bare_world()
    with on_stage(world, account) as stage:
        synced(stage)
        assert stage.rows("dim_environment")[0]["access_problem"] is None
        stage.tenant.world = first(world, access=NO_ROLE)
        stage.clock.advance(days=1)
        synced(stage)
        (row,) = stage.rows("dim_environment")
        assert "any roles" in row["access_problem"]
        assert row["name"] == world.environments[0].name
        stage.tenant.world = world
        stage.clock.advance(days=1)
        synced(stage)
        assert stage.rows("dim_environment")[0]["access_problem"] is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"desktopflowrunactionlogsstatus": 2}, "write no action logs"),
        ({"desktopflowrunactionlogsstatus": 1}, "Only failed runs"),
        ({"desktopflowrunactionlogscustomurlenabled": True}, "address of your own"),
        ({"desktopflowrunactionlogversion": 1, "flowlogsttlinminutes": 1440}, "after 24 hours"),
    ],
    ids=["disabled", "on failure", "custom address", "thrown away soon"],
)
def test_settings_that_keep_logs_from_being_there_are_remarked(
    account: str, settings: dict[str, Any], told: str
) -> None:
    with on_stage(with_settings(bare_world(), **settings), account) as stage:
        stage.run("poll_flow_sessions")
        entity = synced(stage)
        assert told in entity["remarks"]
        assert not entity.get("access_problem")
        assert told in stage.rows("dim_environment")[0]["remarks"]
        assert told in json.loads(stage.run("health")[1])["sources"][0]["remark"]
        assert told.replace("'", "&#x27;") in stage.run("status")[1]


def test_nothing_is_remarked_where_all_is_well(account: str) -> None:
    with on_stage(
        with_settings(bare_world(), desktopflowrunactionlogsstatus=0, flowlogsttlinminutes=0), account
    ) as stage:
        entity = synced(stage)
        assert not entity.get("remarks")
        assert not entity.get("access_problem")


def test_an_environment_without_desktop_flows(account: str) -> None:
    world = first(bare_world(), absent_tables=frozenset({"flowsession", "flowlog"}))
    told = pytest.raises(SourcesFailed, match="open Power Automate once in this environment")
    with on_stage(world, account) as stage, told:
        stage.run("poll_flow_sessions")


def test_what_is_refused_keeps_nothing_else_from_the_inventory(account: str) -> None:
    access = Access(missing_privileges=frozenset({"prvReadUser", "prvReadflowmachine"}))
    with on_stage(first(bare_world(), access=access), account) as stage:
        with pytest.raises(SourcesFailed, match="prvReadflowmachine"):
            stage.run("sync_inventory")
        stage.publish()
        assert stage.rows("dim_flow")
        assert not stage.rows("dim_machine")


def broken(environments: Iterable[Environment]) -> Iterable[Environment]:
    """The first without a role; the others are broken by faults."""
    for number, environment in enumerate(environments):
        yield replace(environment, access=NO_ROLE) if number == 0 else environment


def test_forty_environments_of_which_three_are_broken(account: str) -> None:
    world = small_world(environments=40, sessions_per_environment=6, blobs=1)
    world = replace(world, environments=tuple(broken(world.environments)))
    no_role, refused, silent = (world.environments[number].name for number in (0, 1, 2))
    with on_stage(world, account) as stage:
        stage.tenant.faults.add(Fault("dataverse", environment=refused, times=None, status=401))
        stage.tenant.faults.add(Fault("dataverse", environment=silent, times=None, cut_after_bytes=0))
        stage.clock.advance(minutes=5)
        for function in ("sync_inventory", "poll_flow_sessions"):
            with pytest.raises(SourcesFailed) as failed:
                stage.run(function)
            assert set(failed.value.failures) == {no_role, refused, silent}
        while stage.decode():
            stage.clock.advance(hours=2)
        stage.publish()
        wanted = {
            session.session_id
            for environment in world.environments[3:]
            for session in environment.sessions
            if session.exists(stage.clock.now() - timedelta(minutes=1)) and session.created >= world.history_start
        }
        assert set(stage.by_id()) >= wanted
        assert len(wanted) > 150
        problems = {entity.get("name"): entity.get("access_problem") for entity in stage.app.environments.all()}
        assert {name for name, problem in problems.items() if problem} == {no_role, refused}
        stage.run("health")
        stage.clock.advance(hours=3)
        reasons = json.loads(stage.run("health")[1])["reasons"]
        assert {no_role, refused, silent} <= {reason["where"] for reason in reasons}


SHALLOW = Access(depths={"prvReadflowsession": "Basic"})


def refusals(stage: Stage) -> list[tuple[str, datetime, datetime]]:
    stage.publish()
    return [(gap["kind"], gap["from_utc"], gap["to_utc"]) for gap in stage.rows("fact_gap")]


@pytest.mark.parametrize("access", [STRANGER, SHALLOW], ids=["refused", "shallow"])
@pytest.mark.parametrize("known", [True, False], ids=["later", "from the start"])
def test_a_refusal_is_one_gap_from_its_begin_to_its_end(account: str, access: Access, known: bool) -> None:
    whole = with_runs(bare_world(), a_run(1))
    with on_stage(whole if known else first(whole, access=access), account) as stage:
        stage.tick("poll_flow_sessions")
        stage.tenant.world = first(whole, access=access)
        if known:
            stage.clock.advance(hours=25)
        begin = stage.clock.now()
        for _ in range(9):
            stage.tick("poll_flow_sessions")
            stage.clock.advance(hours=6)
        (gap,) = refusals(stage)
        assert gap[:2] == (REFUSES, begin)
        assert gap[2] > begin + timedelta(days=1)
        assert json.loads(stage.run("health")[1])["gaps_last_day"] == 1
        stage.tenant.world = whole
        for _ in range(2):
            stage.tick("poll_flow_sessions")
            stage.clock.advance(minutes=5)
        (gap,) = refusals(stage)
        assert gap[:2] == (REFUSED_FOR_A_WHILE, begin)
        assert timedelta(0) < stage.clock.now() - gap[2] < timedelta(minutes=11)
        assert json.loads(stage.run("health")[1])["gaps_last_day"] == 0
        before = stage.published()
        stage.clock.advance(hours=25)
        stage.tick("poll_flow_sessions")
        stage.publish()
        assert stage.published() == before
        stage.tenant.world = first(whole, access=access)
        stage.clock.advance(hours=25)
        stage.tick("poll_flow_sessions")
        assert [kind for kind, *_ in refusals(stage)] == [REFUSED_FOR_A_WHILE, REFUSES]


@pytest.mark.parametrize("tick", ["sync_inventory", "poll_flow_sessions"])
def test_what_two_timers_note_at_once_is_both_kept(account: str, tick: str) -> None:
    """The inventory and a poll come at the same second, and each writes what it knows of the environment."""
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        stage.run("poll_flow_sessions")
        stage.clock.advance(hours=25)
        (environment,) = stage.app.settings.environments
        other, since = stage.new_app(), stage.clock.now()

        def first_of_all(request: Any) -> None:
            if "/environments(" in request.url and request.method in ("PUT", "PATCH"):
                stage.transport.before = lambda _: None
                other.environments.refuses(environment, since)

        stage.transport.before = first_of_all
        stage.run(tick)
        known = stage.app.environments.known(environment)
        assert known is not None
        assert (known.refused_utc, known.checked_utc) == (since, since)


NO_DEPTHS = b'{"RolePrivileges":[]}'
UNTOLD = b'{"error":{"code":"0x80040220","message":"no"}}'


@pytest.mark.parametrize("answer", [None, (200, NO_DEPTHS), (403, UNTOLD)], ids=["told", "no list", "refused"])
def test_what_a_shallow_role_left_out_is_read_as_soon_as_it_is_deep(
    account: str, answer: tuple[int, bytes] | None
) -> None:
    """Runs of two months, and one that ends meanwhile."""
    runs = [a_run(number, ANCHOR - timedelta(days=5 * number, hours=1)) for number in range(13)]
    during = a_run(20, ANCHOR + timedelta(minutes=30))
    whole = with_runs(bare_world(), *runs, during)
    shallow = first(whole, access=SHALLOW)
    with on_stage(shallow, account, HISTORY_START=f"{ANCHOR - timedelta(days=90):%Y-%m-%d}") as stage:
        if answer:
            stage.tenant.faults.add(
                Fault(
                    "dataverse",
                    path_contains="RetrieveUserPrivileges",
                    times=None,
                    status=answer[0],
                    body=answer[1],
                )
            )
        stage.run("poll_flow_sessions")
        (entity,) = stage.app.environments.all()
        assert "prvReadflowsession" in (entity.get("remarks") if answer else entity.get("access_problem"))
        stage.clock.advance(hours=3)
        stage.run("poll_flow_sessions")
        stage.publish()
        assert not stage.by_id()
        stage.tenant.faults.clear()
        stage.tenant.world = whole
        stage.run("poll_flow_sessions")
        stage.clock.advance(hours=1)
        stage.run("poll_flow_sessions")
        stage.publish()
        assert len(stage.by_id()) == 14
        (entity,) = stage.app.environments.all()
        assert not entity.get("remarks")
        queries = [request.path for request in stage.tenant.requests if "modifiedon%20ge" in request.path]
        assert f"{ANCHOR:%Y-%m-%d}" in queries[-1], "it does not start again once more"


def test_a_role_that_was_made_shallow_is_noticed_with_the_next_profile(account: str) -> None:
    """A run of before it was noticed is read too, once the role is deep again."""
    whole = with_runs(bare_world(), a_run(1), a_run(2, ANCHOR + timedelta(hours=2)))
    with on_stage(whole, account) as stage:
        stage.run("poll_flow_sessions")
        stage.tenant.world = first(whole, access=Access(depths={"prvReadflowsession": "Local"}))
        for _ in range(9):
            stage.clock.advance(hours=3)
            stage.run("poll_flow_sessions")
        assert "depth Local" in stage.app.environments.all()[0].get("access_problem")
        stage.tenant.world = whole
        stage.run("poll_flow_sessions")
        stage.publish()
        assert set(stage.by_id()) == {run_id(1), run_id(2)}


@pytest.mark.parametrize("names", [(), ("createdon", "errorcode")], ids=["empty", "others"])
def test_a_list_of_columns_without_the_key_ones_is_none(account: str, names: tuple[str, ...]) -> None:
    """Else columns would stay empty for a day; those of before are asked for, which an old environment has."""
    errors: Any = {"errorcode": "E1", "errormessage": "It failed"}
    world = with_runs(bare_world(), a_run(1, **errors), a_run(2, ANCHOR + timedelta(hours=23), **errors))
    with on_stage(first(world, columns=FLOWSESSION_COLUMNS_2023), account) as stage:
        stage.run("poll_flow_sessions")
        (environment,) = stage.app.settings.environments
        before = stage.app.profile(environment, stage.app.deadline(60))
        body = json.dumps({"value": [{"LogicalName": name} for name in names]}).encode()
        stage.tenant.faults.add(
            Fault("dataverse", path_contains="'flowsession')/Attributes", status=200, body=body)
        )
        stage.clock.advance(hours=25)
        stage.run("poll_flow_sessions")
        stage.publish()
        assert stage.by_id()[run_id(2)]["error_message"] == "It failed"
        now = stage.app.profile(environment, stage.app.deadline(60))
        assert (now.session_columns, now.described) == (before.session_columns, False)


@pytest.mark.parametrize(("status", "body"), [(403, None), (404, None), (200, b'{"value":[]}')])
def test_columns_that_are_not_told_for_once_keep_no_log_from_being_read(
    account: str, status: int, body: bytes | None
) -> None:
    two_days_ago = ANCHOR - timedelta(days=2)
    run = logged(a_run(1, two_days_ago), flow_log_row(0, at=two_days_ago))
    world = with_settings(bare_world(), desktopflowrunactionlogversion=1)
    with on_stage(with_runs(world, run), account) as stage:
        not_told = Fault("dataverse", path_contains="'flowlog')/Attributes", status=status, body=body)
        stage.tenant.faults.add(not_told)
        assert played(stage)[run_id(1)]["log_status"] == "loaded"
        (entity,) = stage.app.environments.all()
        assert "columns of the table flowlogs" in entity.get("access_problem")
        assert "logindex" not in entity.get("log_columns")
        stage.clock.advance(minutes=5)
        stage.run("poll_flow_sessions")
        (entity,) = stage.app.environments.all()
        assert not entity.get("access_problem")
        assert "logindex" in entity.get("log_columns")
        (environment,) = stage.app.settings.environments
        asked = len(stage.tenant.requests)
        stage.clock.advance(hours=20)
        stage.app.profile(environment, stage.app.deadline(60))
        assert len(stage.tenant.requests) == asked
