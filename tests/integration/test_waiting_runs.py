"""What reconcile does about runs whose logs are awaited for long: bounded in number, in messages and in time."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from integration.test_action_logs import log_of
from local.tenant import Fault
from shared.dataverse.log_messages import read_request
from shared.functions import reconcile_runs
from shared.state.journal import GIVEN_UP
from shared.state.names import Queue

REFUSED = Fault("dataverse", path_contains="additionalcontext/$value", times=None, status=403)


def asked_for(stage: Stage) -> set[str]:
    """The runs that the messages in the queue of action logs ask for; they are taken out."""
    bodies = (body for body, _ in stage.messages(Queue.ADDITIONAL_CONTEXT))
    return {session_id for body in bodies for session_id in read_request(body).session_ids}


def kinds(stage: Stage) -> list[str]:
    return sorted(gap.kind for gap in stage.app.journal.gaps())


def test_very_many_waiting_runs_have_their_turns_day_by_day(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile_runs, "MOST_AT_ONCE", 2)
    runs = [a_run(number, ANCHOR - timedelta(days=number % 2, hours=1)) for number in range(5)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.run("poll_flow_sessions")
        asked_for(stage)
        stage.clock.advance(hours=7)
        turns: list[set[str]] = []
        for _ in range(5):
            stage.run("reconcile")
            turns.append(asked_for(stage))
        assert [len(turn) for turn in turns] == [2] * 5
        assert set().union(*turns[:3]) == {run_id(number) for number in range(5)}  # the third goes round
        assert all(before != after for before, after in pairwise(turns))
        (waiting,) = [
            one.waiting for one in stage.app.sources.all() if one.waiting and one.function == "reconcile"
        ]
        assert waiting == 2


def test_a_queue_that_is_full_gets_nothing_more(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile_runs, "MOST_QUEUED", 40)
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        stage.run("poll_flow_sessions")
        asked_for(stage)
        stage.clock.advance(hours=7)
        for sent in range(40):
            stage.app.storage.queues.send(Queue.ADDITIONAL_CONTEXT, str(sent))
        stage.run("reconcile")
        assert stage.app.storage.queues.length(Queue.ADDITIONAL_CONTEXT) == 40
        notes = [one.note for one in stage.app.journal.day(stage.clock.now().date().isoformat()) if one.note]
        assert notes == ["the queue additional-context is full; not all logs were asked for again"]
        stage.messages(Queue.ADDITIONAL_CONTEXT)  # there is room again
        stage.messages(Queue.ADDITIONAL_CONTEXT)
        stage.run("reconcile")
        assert asked_for(stage) == {run_id(1)}


def test_messages_that_wait_for_later_take_no_room(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        queues = stage.app.storage.queues
        assert queues.room(Queue.ADDITIONAL_CONTEXT, 50) == 50
        for sent in range(31):
            queues.send(Queue.ADDITIONAL_CONTEXT, str(sent))
        assert queues.room(Queue.ADDITIONAL_CONTEXT, 50) == 50
        queues.send(Queue.ADDITIONAL_CONTEXT, "one more")
        assert queues.room(Queue.ADDITIONAL_CONTEXT, 50) == 18


@pytest.mark.parametrize("age", [timedelta(hours=1), timedelta(days=70)], ids=["new", "old"])
def test_a_log_that_stays_refused_is_given_up_and_told(account: str, age: timedelta) -> None:
    run = a_run(1, ANCHOR - age, a_log(log_of(), ANCHOR - age))
    history = (ANCHOR - timedelta(days=71)).date().isoformat()
    with on_stage(with_runs(bare_world(), run), account, HISTORY_START=history) as stage:
        stage.tenant.faults.add(REFUSED)
        stage.run("poll_flow_sessions")
        stage.decode()
        stage.clock.advance(days=reconcile_runs.FORBIDDEN_DAYS)
        asked_for(stage)
        stage.run("reconcile")
        assert asked_for(stage) == {run_id(1)}
        assert kinds(stage) == ["action logs refused"]
        for _ in range(2):
            stage.clock.advance(days=1)
            stage.run("reconcile")
            assert asked_for(stage) == set()
            assert kinds(stage) == [GIVEN_UP, "action logs refused"]
        (gap,) = [one for one in stage.app.journal.gaps() if one.kind == GIVEN_UP]
        assert (gap.subject, gap.to_utc - gap.from_utc) == (run.created.date().isoformat(), timedelta(days=1))
        assert gap.reason.startswith("1 action logs have been refused for 60 days")
        stage.tenant.faults.clear()
        stage.environ["LOGS_REPLAY"] = gap.subject
        stage.app = stage.new_app()
        stage.run("poll_flow_sessions")
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "loaded"
