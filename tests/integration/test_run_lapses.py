"""What a hostile reader found: each way in which a run, its log or its newest state could have been lost."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, small_world, with_runs
from integration.test_action_logs import log_of, played
from integration.test_flow_logs import flow_log_row, logged, world_of
from integration.test_inventory import FLOW, flow
from integration.test_runs import RUNNING, SUCCEEDED, polled, states
from local.tenant import Access, Fault, Session, World
from shared.errors import SourcesFailed
from shared.functions import sources
from shared.state.names import Container, Queue
from shared.state.register import partition_of

HOUR_AGO = ANCHOR - timedelta(hours=1)


def message(stage: Stage) -> str:
    ((body, _),) = stage.messages(Queue.ADDITIONAL_CONTEXT)
    return body


def test_what_a_crash_left_unstaged_is_staged_when_the_message_comes_again(account: str) -> None:
    runs = [a_run(number, file=a_log(log_of())) for number in range(2)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.run("poll_flow_sessions")
        stage.publish()
        body = message(stage)

        def die(request: Any) -> None:
            if request.method == "PUT" and "/staging/fact_flow_session" in request.url:
                raise KeyboardInterrupt

        stage.transport.before = die
        with pytest.raises(KeyboardInterrupt):
            stage.run("decode_additional_context", body, 1)
        stage.transport.before = lambda _: None
        stage.app = stage.new_app()
        busy = {"Retry-After": "3000"}
        stage.tenant.faults.add(Fault("dataverse", path_contains="additionalcontext", status=429, headers=busy))
        stage.run("decode_additional_context", body, 2)
        while stage.decode():
            stage.clock.advance(hours=1)
        stage.publish()
        assert {row["log_status"] for row in stage.by_id().values()} == {"loaded"}


def test_what_is_registered_and_was_never_staged_is_staged_by_reconciling(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(log_of()))), account) as stage:
        played(stage)
        for name in (*stage.published(),):
            if name.startswith("fact_flow_session"):
                stage.app.storage.blobs.delete(Container.POWERBI, name)
        assert not stage.by_id()
        stage.run("reconcile")
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "loaded"


def test_a_decoding_never_overrules_a_newer_state(account: str) -> None:
    """While its log is decoded, the run is opened again; when it ends again it has another log."""
    run = a_run(1, file=a_log(log_of(2)))
    with on_stage(with_runs(bare_world(), run), account) as stage:
        stage.run("poll_flow_sessions")
        body = message(stage)
        other = Stage(stage.tenant, account, stage.clock)
        again, end = ANCHOR + timedelta(minutes=1), ANCHOR + timedelta(minutes=10)
        reopened = states(1, (again, again, 9000, RUNNING), (end, end, 9001, SUCCEEDED), created=HOUR_AGO)
        newer = replace(reopened, states=(*run.states, *reopened.states), file=a_log(log_of(5)))

        def poll_meanwhile(request: Any) -> None:
            if request.method == "PUT" and "/staging/fact_flow_action" in request.url:
                stage.transport.before = lambda _: None
                stage.tenant.world = with_runs(stage.tenant.world, newer)
                stage.clock.advance(minutes=5)
                other.run("poll_flow_sessions")

        stage.transport.before = poll_meanwhile
        stage.run("decode_additional_context", body, 1)
        (registered,) = stage.app.register.day(*place(stage))
        assert (registered.session.outcome, registered.session.log_status) == ("Running", None)
        stage.clock.advance(minutes=10)
        row = played(stage)[run_id(1)]
        assert (row["log_status"], row["action_count"]) == ("loaded", 5)


def place(stage: Stage) -> tuple[str, Any]:
    return stage.tenant.world.environments[0].environment_id.lower(), HOUR_AGO.date()


def test_a_log_with_an_endless_name_harms_nobody(account: str) -> None:
    endless = log_of(1, status="Failed", name="x" * 40_000)
    runs = [a_run(1, file=a_log(endless), statuscode=8), a_run(2, file=a_log(log_of()))]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        rows = played(stage)
        assert [row["log_status"] for row in rows.values()] == ["loaded", "loaded"]
        assert len(rows[run_id(1)]["failed_action_name"]) == 1000


def test_logs_that_cannot_be_kept_together_are_kept_one_by_one(account: str) -> None:
    runs = [a_run(number, file=a_log(log_of())) for number in range(4)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.run("poll_flow_sessions")
        kept = stage.app.register.update
        broken = run_id(2)

        def refusing(sessions: Any, *rest: Any, **options: Any) -> Any:
            if broken in {session.session_id for session in sessions}:
                raise ValueError("the store refuses one of them")
            return kept(sessions, *rest, **options)

        stage.app.register.update = refusing  # type: ignore[method-assign]
        stage.decode()
        with pytest.raises(ValueError, match="refuses"):
            stage.decode()
        del stage.app.register.update
        stage.decode()
        stage.publish()
        assert {row["log_status"] for row in stage.by_id().values()} == {"loaded"}


@pytest.mark.parametrize(
    "action",
    [
        {"endTime": "0001-01-01T00:00:00"},
        {"startTime": "9999-12-31T23:59:59.9999999Z", "endTime": None},
        {"index": "3", "status": 7},
        {"inputs": json.loads("[" * 900 + "]" * 900)},
        {"outputs": {"deep": {"value": json.loads('{"a":' * 900 + "1" + "}" * 900), "variableName": ""}}},
    ],
    ids=["empty date", "last date", "other types", "nested lists", "nested objects"],
)
def test_odd_rows_of_a_log_are_rows_of_a_log(account: str, action: dict[str, Any]) -> None:
    run = logged(a_run(1), flow_log_row(0), flow_log_row(1, action=action), flow_log_row(2))
    with on_stage(world_of(run), account) as stage:
        row = played(stage)[run_id(1)]
        assert (row["log_status"], row["action_count"]) == ("loaded", 3)


def test_rows_that_come_late_are_taken_an_hour_later(account: str) -> None:
    ended = ANCHOR - timedelta(minutes=5)
    late = flow_log_row(2, at=ANCHOR + timedelta(minutes=20))
    run = logged(a_run(1, ended), flow_log_row(0, at=ended), flow_log_row(1, at=ended), late)
    with on_stage(world_of(run), account) as stage:
        assert played(stage)[run_id(1)]["action_count"] == 2
        stage.clock.advance(hours=1)
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["action_count"] == 3
        assert [row["seq"] for row in stage.rows("fact_flow_action")] == [0, 1, 2]
        assert stage.decode() == 1, "where some came late, more may"
        assert stage.decode() == 0


def test_a_refused_log_is_told_once_a_day_and_makes_no_new_states(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, HOUR_AGO), a_run(2, HOUR_AGO)), account) as stage:
        stage.tenant.faults.add(
            Fault("dataverse", path_contains="additionalcontext/$value", times=None, status=403)
        )
        assert {row["log_status"] for row in played(stage).values()} == {"forbidden"}
        before = stage.published()
        stage.clock.advance(hours=7)
        stage.run("reconcile")
        stage.decode()
        stage.publish()
        names = [name for name in before if name.startswith("fact_flow_session")]
        assert [stage.published()[name] for name in names] == [before[name] for name in names]
        assert [gap.kind for gap in stage.app.journal.gaps()] == ["action logs refused"]


def test_a_change_that_no_poll_saw_is_taken_by_reconciling(account: str) -> None:
    """The run is known; the row of its end was stamped an hour before it could be seen."""
    ended = HOUR_AGO + timedelta(minutes=2)
    run = states(
        1, (HOUR_AGO, HOUR_AGO, 5, SUCCEEDED), (ANCHOR + timedelta(hours=1), ended, 6, 8), created=HOUR_AGO
    )
    with on_stage(with_runs(bare_world(), run), account) as stage:
        assert polled(stage)[run_id(1)]["outcome"] == "Succeeded"
        stage.clock.advance(hours=2)
        assert polled(stage)[run_id(1)]["outcome"] == "Succeeded"
        stage.run("reconcile")
        stage.publish()
        assert stage.by_id()[run_id(1)]["outcome"] == "Failed"
        assert [gap.kind for gap in stage.app.journal.gaps()] == ["runs taken late"]


def test_a_row_that_nothing_identifies_is_a_gap(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        broken = {"flowsessionid": run_id(7), "modifiedon": "2026-05-19T12:00:00Z"}
        page = json.dumps({"value": [broken]}).encode()
        stage.tenant.faults.add(Fault("dataverse", path_contains="modifiedon asc", status=200, body=page))
        stage.run("poll_flow_sessions")
        (gap,) = stage.app.journal.gaps()
        assert (gap.kind, gap.subject) == ("run not taken", run_id(7))


def test_slow_environments_keep_the_same_others_from_nothing(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time, four that take all the time they get, four that are quick: every quick one gets its turn."""
    monkeypatch.setattr(sources, "SIDE_BY_SIDE", 2)
    turns: list[str] = []
    with on_stage(bare_world(), account) as stage:
        lock = threading.Lock()

        def slow(deadline: Any, tally: sources.Tally) -> None:
            tally.finished = False
            with lock:
                stage.clock.sleep(max(0.0, deadline.remaining_s))

        def quick(name: str, _deadline: Any, _tally: sources.Tally) -> None:
            turns.append(name)

        def work(name: str) -> Any:
            return slow if name.startswith("slow") else lambda *given: quick(name, *given)

        names = [*(f"slow {number}" for number in range(4)), *(f"quick {number}" for number in range(4))]
        for _ in range(12):
            sources.each_source(stage.app, "test", {name: work(name) for name in names}, stage.app.deadline(240))
        assert set(turns) == {f"quick {number}" for number in range(4)}
        statuses = {record.status for record in stage.app.journal.day(stage.clock.now().date().isoformat())}
        assert "failed" not in statuses


def test_two_environments_of_one_name_are_both_read(account: str) -> None:
    world = small_world(environments=2, sessions_per_environment=4, blobs=1)
    with on_stage(world, account) as stage:
        urls = ",".join(environment.url for environment in stage.tenant.environments)
        stage.environ["ENVIRONMENTS"] = urls
        stage.app = stage.new_app()
        assert len({environment.name for environment in stage.app.settings.environments}) == 2
        stage.clock.advance(minutes=5)
        polled(stage)
        assert {row["environment_id"] for row in stage.by_id().values()} == {
            environment.environment_id.lower() for environment in world.environments
        }


def test_an_environment_keeps_its_id_when_it_does_not_tell_it(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        before = polled(stage)[run_id(1)]["environment_id"]
        stage.clock.advance(days=2)
        missing = Fault("dataverse", path_contains="RetrieveCurrentOrganization", times=None, status=404)
        stage.tenant.faults.add(missing)
        stage.run("poll_flow_sessions")
        stage.publish()
        assert stage.by_id()[run_id(1)]["environment_id"] == before
        assert stage.app.environments.all()[0].get("environment_id") == before


def test_names_of_people_come_back_with_the_privilege(account: str) -> None:
    world = small_world(environments=1, sessions_per_environment=3, blobs=1)
    access = Access(missing_privileges=frozenset({"prvReadUser"}))
    whole, others = world.environments[0], world.environments[1:]
    first, *rest = whole.sessions
    shut = replace(whole, access=access, sessions=(first,))
    with on_stage(replace(world, environments=(shut, *others)), account) as stage:
        stage.clock.advance(minutes=5)
        polled(stage)
        stage.tenant.world = replace(world, environments=(replace(whole, sessions=(first, *rest)), *others))
        stage.run("sync_inventory")
        stage.clock.advance(minutes=5)
        now = stage.clock.now() - timedelta(minutes=1)
        owner = whole.users[0]["systemuserid"]
        late = states(77, (now, now, 10**12, SUCCEEDED), created=now)
        state = late.states[0]
        owned = replace(late, states=(replace(state, values={**state.values, "_ownerid_value": owner}),))  # type: ignore[dict-item]
        stage.tenant.world = with_runs(stage.tenant.world, owned)
        stage.clock.advance(minutes=2)
        assert "@" in polled(stage)[run_id(77)]["user_id"]


def test_names_of_people_come_back_with_the_depth_of_the_privilege(account: str) -> None:
    """Below organization depth other people are left out without an error; the worker goes on."""
    world = small_world(environments=1, sessions_per_environment=3, blobs=1)
    (whole,) = world.environments
    shut = replace(whole, access=Access(depths={"prvReadUser": "Basic"}))
    with on_stage(replace(world, environments=(shut,)), account) as stage:
        stage.clock.advance(minutes=5)
        owner, *others = (row["user_id"] for row in polled(stage).values())
        assert not any("@" in user_id for user_id in (owner, *others))
        stage.clock.advance(hours=2)
        at = stage.clock.now() - timedelta(minutes=2)
        state = states(77, (at, at, 10**12, SUCCEEDED), created=at).states[0]
        late = replace(state, values={**state.values, "_ownerid_value": owner})  # type: ignore[dict-item]
        stage.tenant.world = with_runs(replace(world, environments=(whole,)), Session(run_id(77), (late,)))
        assert "@" in polled(stage)[run_id(77)]["user_id"]


def test_a_flow_that_several_environments_have(account: str) -> None:
    """A solution keeps the ids of its flows wherever it is imported; deleting it in one place is no deletion."""

    def with_flow(world: World, *where: int) -> World:
        environments = tuple(
            replace(environment, workflows=(flow(name=f"Flow of {number}"),) if number in where else ())
            for number, environment in enumerate(world.environments)
        )
        return replace(world, environments=environments)

    world = small_world(environments=2, sessions_per_environment=1, blobs=1)
    with on_stage(with_flow(world, 0, 1), account) as stage:
        told: list[tuple[Any, Any]] = []
        for where in ((0, 1), (0, 1), (1,), (1,), ()):
            stage.tenant.world = with_flow(world, *where)
            stage.run("sync_inventory")
            stage.publish()
            row = next(row for row in stage.rows("dim_flow") if row["flow_id"] == FLOW)
            told.append((row["environment_id"], row["is_deleted"]))
            stage.clock.advance(days=1)
        assert told[0] == told[1]
        second = world.environments[1].environment_id.lower()
        assert told[2:] == [(second, False), (second, False), (second, True)]


def test_a_flow_of_an_environment_that_is_taken_out_is_kept_up_to_date_by_another(account: str) -> None:
    world = small_world(environments=2, sessions_per_environment=1, blobs=1)
    both = tuple(
        replace(environment, workflows=(flow(name=f"Flow of {number}"),))
        for number, environment in enumerate(world.environments)
    )
    with on_stage(replace(world, environments=both), account) as stage:
        stage.run("sync_inventory")
        stage.publish()
        (first,) = (row["environment_id"] for row in stage.rows("dim_flow") if row["flow_id"] == FLOW)
        stays = next(one for one in both if one.environment_id.lower() != first)
        at = both.index(stays)
        urls = json.loads(stage.environ["ENVIRONMENTS"])
        stage.environ["ENVIRONMENTS"] = json.dumps([urls[at]])
        stage.app = stage.new_app()
        stage.clock.advance(days=1)
        stage.run("sync_inventory")
        stage.publish()
        (row,) = (row for row in stage.rows("dim_flow") if row["flow_id"] == FLOW)
        assert (row["environment_id"], row["name"]) == (stays.environment_id.lower(), f"Flow of {at}")


def test_a_file_whose_parts_are_empty_is_not_asked_for_without_end(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(log_of()))), account) as stage:
        parts = Fault(
            "dataverse",
            path_contains="additionalcontext/$value",
            times=None,
            status=206,
            headers={"Content-Range": "bytes 0-0/100"},
            body=b"",
        )
        stage.tenant.faults.add(parts)
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        asked = [request for request in stage.tenant.requests if "additionalcontext/$value" in request.path]
        assert len(asked) < 5


def test_a_batch_of_long_texts_fits_into_its_transactions(account: str) -> None:
    runs = [a_run(number, errormessage="😀" * 3990, errorcode="x" * 900) for number in range(100)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        sizes: list[int] = []

        def measure(request: Any) -> None:
            if request.url.endswith("$batch"):
                sizes.append(int(request.headers.get("Content-Length", 0)) or len(request.body or b""))

        stage.transport.before = measure
        assert len(polled(stage)) == 100
        assert sizes
        assert max(sizes) < 4 * 1024 * 1024


def test_two_that_publish_for_the_first_time_at_once(account: str) -> None:
    runs = [a_run(number) for number in range(10)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.run("poll_flow_sessions")
        stage.run("publish")
        bodies = [body for body, _ in stage.messages(Queue.PUBLISH_DAY)]
        meeting = threading.Barrier(8)

        def publish(body: str) -> None:
            meeting.wait()
            stage.run("publish_day", body, 1)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(publish, [bodies[0]] * 8))
        stage.publish()
        assert len(stage.by_id()) == 10


def test_partitions_of_one_environment_are_not_those_of_another(account: str) -> None:
    """An id that begins like another one is another one."""
    with on_stage(bare_world(), account) as stage:
        assert partition_of("a", HOUR_AGO.date()) < "a`" < partition_of("a`b", HOUR_AGO.date())
        assert stage.app.register.first_day("a") is None


def test_a_failing_source_is_still_a_failing_source(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", times=None, status=500))
        with pytest.raises(SourcesFailed):
            stage.run("poll_flow_sessions")
