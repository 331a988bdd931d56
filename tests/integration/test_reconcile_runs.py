"""Both sides compared: what was missed is taken, what is gone is marked, and each difference is noted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from integration.test_action_logs import log_of
from integration.test_runs import FAILED, RUNNING, SUCCEEDED, states
from local.tenant import Access, Fault, Session, World
from local.tenant.world import resolved, stable_id
from shared.errors import SourcesFailed
from shared.functions import reconcile_runs
from shared.state.journal import DELETED_AT_SOURCE, HARMLESS, TAKEN_LATE

LONG_AGO = ANCHOR - timedelta(days=2)


def reconciled(stage: Stage) -> dict[str, dict[str, Any]]:
    stage.run("reconcile")
    stage.publish()
    return stage.by_id()


def polled(stage: Stage) -> dict[str, dict[str, Any]]:
    stage.run("poll_flow_sessions")
    stage.publish()
    return stage.by_id()


def kinds(stage: Stage) -> list[str]:
    return [gap.kind for gap in stage.app.journal.gaps()]


def without(world: World, *numbers: int) -> World:
    gone = {run_id(number) for number in numbers}
    return with_runs(world, *(run for run in world.environments[0].sessions if run.session_id not in gone))


def test_a_run_that_no_poll_saw_is_taken_and_told(account: str) -> None:
    """Its row was stamped an hour before it could be seen, beyond every overlap."""
    hidden = states(2, (ANCHOR + timedelta(hours=1), LONG_AGO, 5, SUCCEEDED), created=LONG_AGO)
    with on_stage(with_runs(bare_world(), a_run(1), hidden), account) as stage:
        assert set(polled(stage)) == {run_id(1)}
        stage.clock.advance(hours=2)
        assert set(polled(stage)) == {run_id(1)}
        assert set(reconciled(stage)) == {run_id(1), run_id(2)}
        (gap,) = stage.app.journal.gaps()
        assert (gap.kind, gap.subject) == (TAKEN_LATE, f"runs from {run_id(2)} on")
        assert gap.from_utc <= LONG_AGO < gap.to_utc
        reconciled(stage)
        assert kinds(stage) == [TAKEN_LATE]


def test_a_run_that_the_next_poll_reads_is_no_difference(account: str) -> None:
    late = a_run(2, ANCHOR + timedelta(minutes=10))
    with on_stage(with_runs(bare_world(), a_run(1), late), account) as stage:
        polled(stage)
        stage.clock.advance(minutes=15)
        assert set(reconciled(stage)) == {run_id(1)}
        assert not kinds(stage)


def test_what_is_older_than_history_is_no_difference(account: str) -> None:
    runs = [a_run(number, ANCHOR - timedelta(days=number)) for number in range(1, 6)]
    start = (ANCHOR - timedelta(days=3)).date().isoformat()
    with on_stage(with_runs(bare_world(), *runs), account, HISTORY_START=start) as stage:
        before = polled(stage)
        assert 0 < len(before) < 5
        assert reconciled(stage) == before
        assert not kinds(stage)


def test_runs_that_are_gone_are_marked_and_kept(account: str) -> None:
    runs = [a_run(number, LONG_AGO + timedelta(minutes=number), a_log(log_of(), LONG_AGO)) for number in range(4)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        polled(stage)
        stage.decode()
        stage.publish()
        stage.tenant.world = without(stage.tenant.world, 1, 2)
        rows = reconciled(stage)
        deleted = {key for key, row in rows.items() if row["deleted_at_source_utc"]}
        assert deleted == {run_id(1), run_id(2)}
        assert len(rows) == 4
        assert {row["log_status"] for row in rows.values()} == {"loaded"}
        assert len(stage.rows("fact_flow_action")) == 8
        assert kinds(stage) == [DELETED_AT_SOURCE]
        assert set(kinds(stage)) <= HARMLESS
        before = stage.published()
        reconciled(stage)
        assert stage.published() == before


@pytest.mark.parametrize("days_later", [1, 7], ids=["daily", "weekly"])
def test_a_crash_between_the_mark_and_its_staging(account: str, days_later: int) -> None:
    with on_stage(with_runs(bare_world(), a_run(1), a_run(2)), account) as stage:
        polled(stage)
        reconciled(stage)
        stage.tenant.world = without(stage.tenant.world, 1)

        def die(request: Any) -> None:
            if "/staging/" in request.url and request.method == "PUT":
                raise KeyboardInterrupt

        stage.transport.before = die
        with pytest.raises(KeyboardInterrupt):
            stage.run("reconcile")
        stage.transport.before = lambda _: None
        stage.app = stage.new_app()
        stage.clock.advance(days=days_later)
        assert reconciled(stage)[run_id(1)]["deleted_at_source_utc"]


def test_what_is_staged_again_goes_on_from_where_it_left_off(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconcile_runs, "STAGED_AT_ONCE", 2)
    with on_stage(with_runs(bare_world(), *(a_run(number) for number in range(1, 7))), account) as stage:
        polled(stage)
        staged: list[int] = []

        def slow(request: Any) -> None:
            if "/staging/fact_flow_session" in request.url and request.method == "PUT":
                staged.append(1)
                stage.clock.advance(seconds=250)

        stage.transport.before = slow
        for _ in range(2):
            stage.run("reconcile")
            stage.clock.advance(hours=12)
        assert len(staged) == 3
        stage.run("reconcile")
        assert len(staged) > 3, "what was taken within a day is staged each time"


@pytest.mark.parametrize("days", [6, 12])
def test_a_crash_between_the_mark_and_its_staging_of_a_day_that_has_had_its_turn(
    account: str, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """The last of the recent days, and one of which only a run that was left open is looked at."""
    monkeypatch.setattr(reconcile_runs, "OLDER_DAYS", 1)
    at = ANCHOR - timedelta(days=days)
    start = (ANCHOR - timedelta(days=20)).date().isoformat()
    runs = [a_run(0, ANCHOR - timedelta(days=19)), states(1, (at, at, 5, RUNNING), created=at)]
    with on_stage(with_runs(bare_world(), *runs), account, HISTORY_START=start) as stage:
        polled(stage)
        stage.clock.advance(hours=7)
        reconciled(stage)
        stage.tenant.world = without(stage.tenant.world, 1)

        def die(request: Any) -> None:
            if "/staging/" in request.url and str(at.date()) in request.url and request.method == "PUT":
                raise KeyboardInterrupt

        stage.transport.before = die
        with pytest.raises(KeyboardInterrupt):
            stage.run("reconcile")
        stage.transport.before = lambda _: None
        stage.app = stage.new_app()
        stage.clock.advance(hours=24)
        assert reconciled(stage)[run_id(1)]["deleted_at_source_utc"]


def test_a_run_that_comes_back_is_marked_no_longer(account: str) -> None:
    whole = with_runs(bare_world(), a_run(1), a_run(2))
    with on_stage(whole, account) as stage:
        polled(stage)
        stage.tenant.world = without(whole, 1)
        assert reconciled(stage)[run_id(1)]["deleted_at_source_utc"]
        stage.tenant.world = whole
        stage.clock.advance(hours=24)
        assert reconciled(stage)[run_id(1)]["deleted_at_source_utc"] is None


def test_rows_that_are_only_kept_from_us_are_not_gone(account: str) -> None:
    world = with_runs(bare_world(), a_run(1), a_run(2))
    with on_stage(world, account) as stage:
        polled(stage)
        shallow = Access(depths={"prvReadflowsession": "Basic"})
        stage.tenant.world = replace(world, environments=(replace(world.environments[0], access=shallow),))
        stage.clock.advance(hours=1)
        with pytest.raises(SourcesFailed, match="prvReadflowsession"):
            stage.run("reconcile")
        stage.clock.advance(minutes=5)
        stage.run("poll_flow_sessions")
        rows = reconciled(stage)
        assert not any(row["deleted_at_source_utc"] for row in rows.values())
        assert "depth Basic" in str(stage.app.environments.all()[0].get("access_problem"))
        assert DELETED_AT_SOURCE not in kinds(stage)


def test_a_run_that_is_kept_from_us_keeps_no_other_from_its_turn(account: str) -> None:
    """A team gives the role, so that its depth is not told; one of the runs it shows gets another owner."""
    old = ANCHOR - timedelta(days=12)
    started = states(3, (LONG_AGO, LONG_AGO, 5, RUNNING), created=LONG_AGO)
    ended = states(3, (LONG_AGO, LONG_AGO, 5, RUNNING), (ANCHOR, LONG_AGO, 6, FAILED), created=LONG_AGO)
    start = (ANCHOR - timedelta(days=20)).date().isoformat()
    with on_stage(bare_world(), account, HISTORY_START=start) as stage:
        (environment,) = stage.tenant.world.environments
        us = stable_id(environment.organization_id, stage.tenant.world.client_id)
        shallow = replace(environment, access=Access(depths={"prvReadflowsession": "Basic"}))
        world = replace(stage.tenant.world, environments=(shallow,))
        untold = Fault("dataverse", path_contains="RetrieveUserPrivileges", times=None, body=b"{}", status=200)
        stage.tenant.faults.add(untold)
        first = [a_run(1, LONG_AGO), a_run(2, LONG_AGO), started, a_run(4, old)]
        stage.tenant.world = with_runs(world, *(owned(run, us) for run in first))
        assert len(polled(stage)) == 4
        stage.tenant.world = with_runs(world, a_run(1, LONG_AGO), owned(ended, us))
        stage.clock.advance(hours=7)
        with pytest.raises(SourcesFailed, match="prvReadflowsession"):
            stage.run("reconcile")
        stage.publish()
        rows = stage.by_id()
        assert {key for key, row in rows.items() if row["deleted_at_source_utc"]} == {run_id(2), run_id(4)}
        assert rows[run_id(3)]["outcome"] == "Failed"


def owned(run: Session, owner: str) -> Session:
    states = (replace(one, values={**resolved(one.values), "_ownerid_value": owner}) for one in run.states)
    return replace(run, states=tuple(states))


def test_a_listing_that_lies_marks_nothing(account: str) -> None:
    """The list comes back empty for once; the runs themselves are there."""
    runs = [a_run(number) for number in range(30)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        polled(stage)
        empty = Fault("dataverse", path_contains="createdon asc", times=1, status=200, body=b'{"value":[]}')
        stage.tenant.faults.add(empty)
        assert not any(row["deleted_at_source_utc"] for row in reconciled(stage).values())


def test_one_that_is_there_keeps_none_that_is_gone_from_being_marked(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that moved to another day looks as if it were gone, and answers."""
    monkeypatch.setattr(reconcile_runs, "MOST_CONFIRMED", 4)
    monkeypatch.setattr(reconcile_runs, "MOST_ASKED", 4)
    runs = [a_run(number, LONG_AGO) for number in range(7)]
    moved = [a_run(number, ANCHOR - timedelta(days=30)) for number in range(4)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        polled(stage)
        stage.tenant.world = with_runs(stage.tenant.world, *moved)
        for _ in range(16):
            stage.run("reconcile")
            stage.clock.advance(hours=1)
        rows = reconciled(stage)
        assert {key for key, row in rows.items() if row["deleted_at_source_utc"]} == set(map(run_id, range(4, 7)))


@pytest.mark.parametrize("how", ["ended", "deleted", "still open"])
def test_runs_left_open_are_asked_for_again(account: str, how: str) -> None:
    open_ = states(1, (LONG_AGO, LONG_AGO, 5, RUNNING), created=LONG_AGO)
    stamp = LONG_AGO + timedelta(minutes=3)
    ended = states(1, (LONG_AGO, LONG_AGO, 5, RUNNING), (ANCHOR, stamp, 6, FAILED), created=LONG_AGO)
    with on_stage(with_runs(bare_world(), open_, a_run(2)), account) as stage:
        assert polled(stage)[run_id(1)]["outcome"] == "Running"
        later = {"ended": (ended, a_run(2)), "deleted": (a_run(2),), "still open": (open_, a_run(2))}[how]
        stage.tenant.world = with_runs(stage.tenant.world, *later)
        stage.clock.advance(hours=7)
        row = reconciled(stage)[run_id(1)]
        assert row["outcome"] == ("Failed" if how == "ended" else "Running")
        assert bool(row["deleted_at_source_utc"]) == (how == "deleted")
        assert row["log_status"] == ("pending" if how == "ended" else None)


def test_old_days_are_looked_at_in_turn(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile_runs, "OLDER_DAYS", 5)
    begin = ANCHOR - timedelta(days=20)
    runs = [a_run(day, begin + timedelta(days=day)) for day in range(20)]
    start = (begin - timedelta(days=1)).date().isoformat()
    with on_stage(with_runs(bare_world(), *runs), account, HISTORY_START=start) as stage:
        polled(stage)
        stage.tenant.world = without(stage.tenant.world, 0, 5, 19)
        marked: list[set[str]] = []
        for _ in range(3):
            rows = reconciled(stage)
            marked.append({key for key, row in rows.items() if row["deleted_at_source_utc"]})
            stage.clock.advance(days=1)
        assert marked[0] == {run_id(19)}
        assert marked[1] == {run_id(5), run_id(19)}
        assert marked[2] == {run_id(0), run_id(5), run_id(19)}
        day_queries = [request for request in stage.tenant.requests if "createdon%20lt" in request.path]
        assert len(day_queries) <= 3 * 12


def test_history_that_a_first_load_was_not_shown_is_taken_in_turn(account: str) -> None:
    runs = [a_run(number, ANCHOR - timedelta(days=12 * number, hours=1)) for number in range(5)]
    start = (ANCHOR - timedelta(days=90)).date().isoformat()
    with on_stage(with_runs(bare_world(), *runs), account, HISTORY_START=start) as stage:
        lie = Fault("dataverse", path_contains="modifiedon ge", status=200, body=b'{"value":[]}')
        stage.tenant.faults.add(lie)
        assert not polled(stage)
        for _ in range(3):
            stage.run("reconcile")
            stage.clock.advance(days=1)
        assert len(reconciled(stage)) == 5
        assert set(kinds(stage)) == {TAKEN_LATE}


def test_a_deadline_ends_the_comparison_and_it_goes_on_the_next_day(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        polled(stage)
        stage.tenant.world = without(stage.tenant.world, 1)
        monkeypatch.setattr(reconcile_runs, "RESERVE_S", 10_000)
        assert not reconciled(stage)[run_id(1)]["deleted_at_source_utc"]
        (record,) = [one for one in today(stage) if one.function == "reconcile" and one.source != "Audit.General"]
        assert record.status == "unfinished"
        monkeypatch.undo()
        assert reconciled(stage)[run_id(1)]["deleted_at_source_utc"]


def test_a_step_leaves_off_in_time(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer takes ten seconds, and forty runs are to be taken by ones."""
    monkeypatch.setattr(reconcile_runs, "IDS_PER_QUERY", 1)
    runs = [
        states(at, (ANCHOR + timedelta(hours=1), LONG_AGO, 5, SUCCEEDED), created=LONG_AGO) for at in range(40)
    ]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        polled(stage)
        stage.clock.advance(hours=2)
        polled(stage)
        began = stage.clock.now()
        stage.transport.after = lambda request: stage.clock.advance(seconds=20 * ("$batch" in request.url))
        taken: list[int] = []
        for _ in range(4):
            begin = stage.clock.now()
            stage.run("reconcile")
            assert stage.clock.now() - begin < timedelta(seconds=600)
            taken.append(sum(1 for _ in stage.app.register.day(environment_id(stage), LONG_AGO.date())))
        stage.transport.after = lambda _: None
        assert 0 < taken[0] < 40
        assert taken[-1] == 40
        assert stage.clock.now() > began + timedelta(seconds=600)
        assert kinds(stage) == [TAKEN_LATE]


def environment_id(stage: Stage) -> str:
    return stage.tenant.world.environments[0].environment_id.lower()


def test_a_run_that_changed_in_days_to_come_is_taken(account: str) -> None:
    run = states(1, (ANCHOR - timedelta(hours=1), ANCHOR + timedelta(days=30), 5, SUCCEEDED), created=LONG_AGO)
    with on_stage(with_runs(bare_world(), run), account) as stage:
        assert not polled(stage)
        for _ in range(2):
            assert set(reconciled(stage)) == {run_id(1)}
            stage.clock.advance(days=1)
        assert kinds(stage) == [TAKEN_LATE]


def test_what_was_counted_stays_where_the_deadline_comes_before_counting(
    account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waiting(stage: Stage) -> list[int | None]:
        (environment,) = stage.app.settings.environments
        found = stage.app.sources.all()
        return [one.waiting for one in found if (one.function, one.source) == ("reconcile", environment.name)]

    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        stage.run("poll_flow_sessions")
        stage.clock.advance(hours=8)
        stage.run("reconcile")
        assert waiting(stage) == [1]
        monkeypatch.setattr(reconcile_runs, "RESERVE_S", 10_000)
        stage.run("reconcile")
        assert waiting(stage) == [1]


def test_a_day_that_cannot_be_listed_keeps_no_other_step_waiting(account: str) -> None:
    """Tried by a recent day and by an older one; both are told."""
    old = ANCHOR - timedelta(days=12)
    open_ = states(3, (ANCHOR, LONG_AGO, 5, RUNNING), (ANCHOR, LONG_AGO, 6, FAILED), created=LONG_AGO)
    runs = [a_run(1, LONG_AGO), a_run(2, old), replace(open_, states=open_.states[:1])]
    start = (ANCHOR - timedelta(days=20)).date().isoformat()
    with on_stage(with_runs(bare_world(), *runs), account, HISTORY_START=start) as stage:
        polled(stage)
        stage.tenant.world = with_runs(stage.tenant.world, open_)
        stage.clock.advance(hours=7)
        for day in (ANCHOR, ANCHOR - timedelta(days=9)):
            path = f"createdon ge {day:%Y-%m-%d}T00:00:00Z and createdon lt"
            stage.tenant.faults.add(Fault("dataverse", path_contains=path, times=None, status=500))
        with pytest.raises(SourcesFailed, match="HTTP 500"):
            stage.run("reconcile")
        stage.publish()
        rows = stage.by_id()
        assert {key for key, row in rows.items() if row["deleted_at_source_utc"]} == {run_id(1), run_id(2)}
        assert rows[run_id(3)]["outcome"] == "Failed"


def today(stage: Stage) -> list[Any]:
    now: datetime = stage.clock.now()
    return list(stage.app.journal.day(now.date().isoformat()))
