"""Messages that failed too often: put back a few times, then settled for what they are, and never lost."""

from __future__ import annotations

import base64
import re
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.transport import HttpRequest
from azure.storage.queue import QueueClient, QueueServiceClient

from integration.crashing import Crash, CrashAt
from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from integration.test_action_logs import log_of
from integration.test_flow_logs import flow_log_row, logged, world_of
from local.tenant import Fault
from shared.dataverse.log_messages import read_request
from shared.functions.redrive import MOST_TIMES, redrives
from shared.functions.sources import each_source
from shared.publishing.requests import body_for
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_SESSION
from shared.state.names import Container, Queue

LOGS, DAYS = Queue.ADDITIONAL_CONTEXT, Queue.PUBLISH_DAY


def poison(stage: Stage, queue: Queue, *contents: str, encoded: bool = True) -> None:
    """What the Functions host does with messages that failed five times."""
    client = QueueServiceClient.from_connection_string(stage.account)
    if queue.poison not in {one.name for one in client.list_queues()}:
        client.create_queue(queue.poison)
    for content in contents:
        text = base64.b64encode(content.encode()).decode() if encoded else content
        client.get_queue_client(queue.poison).send_message(text, time_to_live=-1)


def poisoned(stage: Stage, queue: Queue) -> int:
    return stage.app.storage.queues.length(queue.poison)


def move_to_poison(stage: Stage, queue: Queue) -> None:
    poison(stage, queue, *(body for body, _ in stage.messages(queue)))


def redrive(stage: Stage) -> None:
    each_source(stage.app, "reconcile", redrives(stage.app), stage.app.deadline(480))


def states(stage: Stage) -> dict[str, str | None]:
    stage.publish()
    return {session_id: row["log_status"] for session_id, row in stage.by_id().items()}


def three_runs(**first: Any) -> Any:
    return with_runs(
        bare_world(), a_run(1, file=a_log(log_of()), **first), *(a_run(n, file=a_log(log_of())) for n in (2, 3))
    )


def test_logs_that_can_be_decoded_by_now_are_asked_for_again_each_alone(account: str) -> None:
    with on_stage(three_runs(), account) as stage:
        stage.run("poll_flow_sessions")
        move_to_poison(stage, LOGS)
        assert poisoned(stage, LOGS) == 1
        stage.run("reconcile")
        assert poisoned(stage, LOGS) == 0
        assert stage.decode() == 3
        assert set(states(stage).values()) == {"loaded"}
        assert len(stage.rows("fact_flow_action")) == 6


def test_a_log_that_fails_again_and_again_becomes_unreadable_and_is_kept(account: str) -> None:
    """Three times its message comes back; by then a run whose log was loaded another way asks for nothing."""
    with on_stage(three_runs(), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(LOGS)
        stage.run("decode_additional_context", read_request(body).only([run_id(2), run_id(3)]).body(), 1)
        poison(stage, LOGS, body)
        for times in range(1, MOST_TIMES + 1):
            redrive(stage)
            ((again, _),) = stage.messages(LOGS)
            request = read_request(again)
            assert (request.session_ids, request.redriven) == ((run_id(1),), times)
            poison(stage, LOGS, again, body)  # reconcile's own request for the same log failed as well
            assert states(stage)[run_id(1)] == "pending"
        redrive(stage)
        assert not stage.messages(LOGS)
        assert poisoned(stage, LOGS) == 0
        assert states(stage) == {run_id(1): "unreadable", run_id(2): "loaded", run_id(3): "loaded"}
        (name,) = stage.raw("unreadable/")
        assert stage.app.storage.blobs.get(Container.RAW, name) == log_of()
        (gap,) = stage.app.journal.gaps()
        assert (gap.kind, gap.subject) == ("action log unreadable", run_id(1))


def test_where_there_is_no_log_to_keep_the_run_is_told_all_the_same(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(LOGS)
        poison(stage, LOGS, given_up(body))
        redrive(stage)
        assert states(stage) == {run_id(1): "unreadable"}
        assert not stage.raw()
        assert [gap.subject for gap in stage.app.journal.gaps()] == [run_id(1)]


def test_a_second_look_that_fails_for_good_is_told_as_what_it_may_have_missed(account: str) -> None:
    with on_stage(world_of(logged(a_run(1), flow_log_row(0))), account) as stage:
        stage.run("poll_flow_sessions")
        stage.decode()
        ((body, _),) = stage.messages(LOGS)
        assert read_request(body).recheck
        poison(stage, LOGS, given_up(body))
        redrive(stage)
        assert states(stage) == {run_id(1): "loaded"}
        assert poisoned(stage, LOGS) == 0
        (gap,) = stage.app.journal.gaps()
        assert (gap.kind, gap.subject) == ("action log partly unreadable", run_id(1))


def given_up(body: str) -> str:
    return body[:-1] + f',"redriven":{MOST_TIMES}}}'


def test_a_source_that_does_not_answer_says_nothing_about_a_log(account: str) -> None:
    with on_stage(three_runs(), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(LOGS)
        poison(stage, LOGS, given_up(body))
        stage.tenant.faults.add(
            Fault("dataverse", path_contains="additionalcontext/$value", times=None, status=503)
        )
        redrive(stage)
        assert set(states(stage).values()) == {"pending"}
        assert poisoned(stage, LOGS) == 1


def test_a_log_that_is_refused_by_now_is_told_as_refused(account: str) -> None:
    with on_stage(three_runs(), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(LOGS)
        poison(stage, LOGS, given_up(body))
        refusal = Fault("dataverse", path_contains="additionalcontext/$value", times=None, status=403)
        stage.tenant.faults.add(refusal)
        redrive(stage)
        stage.decode()
        assert set(states(stage).values()) == {"forbidden"}
        assert poisoned(stage, LOGS) == 0


class Hands:
    """Sees which messages are taken, to put them down again: what a quarter of an hour does after a crash."""

    def __init__(self, stage: Stage) -> None:
        self._inner = stage.transport._inner
        self._taken: dict[str, str] = {}
        stage.transport._inner = self  # type: ignore[assignment] - it is one in all but name

    def send(self, request: HttpRequest, **options: Any) -> Any:
        response = self._inner.send(request, **options)
        if request.method == "GET" and "visibilitytimeout=" in request.url:
            text = response.internal_response.text
            ids, receipts = (re.findall(f"<{name}>([^<]+)<", text) for name in ("MessageId", "PopReceipt"))
            self._taken.update(zip(ids, receipts, strict=True))
        return response

    def put_down(self, client: QueueClient) -> None:
        while self._taken:
            with suppress(HttpResponseError):  # it was deleted
                client.update_message(*self._taken.popitem(), visibility_timeout=0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.parametrize("when", ["before", "after"])
def test_dying_at_any_write_loses_no_message_and_loads_no_log_twice(account: str, when: str) -> None:
    with on_stage(three_runs(), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(LOGS)
        request = read_request(body)
        poison(stage, LOGS, request.only([run_id(1), run_id(2)]).body())
        poison(stage, LOGS, given_up(request.only([run_id(3)]).body()))
        hands = Hands(stage)
        queue = QueueServiceClient.from_connection_string(account).get_queue_client(LOGS.poison)
        for writes in (1, 3, 5, 8):
            setattr(stage.transport, when, CrashAt(writes))
            with suppress(Crash):
                redrive(stage)
            setattr(stage.transport, when, lambda _: None)
            hands.put_down(queue)
        redrive(stage)
        assert poisoned(stage, LOGS) == 0
        stage.decode()
        assert states(stage) == {run_id(1): "loaded", run_id(2): "loaded", run_id(3): "unreadable"}
        assert len(stage.rows("fact_flow_action")) == 4
        assert [gap.subject for gap in stage.app.journal.gaps()] == [run_id(3)]


@pytest.mark.parametrize("queue", [LOGS, DAYS])
def test_a_message_that_says_nothing_is_kept_told_and_removed(account: str, queue: Queue) -> None:
    with on_stage(bare_world(), account) as stage:
        poison(stage, queue, '{"table":"no_such_table"}')
        poison(stage, queue, "no base64", encoded=False)
        redrive(stage)
        assert poisoned(stage, queue) == 0
        kept = stage.raw(f"unreadable/messages/{queue}/")
        assert b"no base64" in {stage.app.storage.blobs.get(Container.RAW, name) for name in kept}
        gaps = list(stage.app.journal.gaps())
        assert [(gap.source, gap.kind) for gap in gaps] == [(str(queue), "message unreadable")] * 2
        assert all(any(name in gap.reason for name in kept) for gap in gaps)


def test_a_message_that_somebody_put_without_base64_is_understood(account: str) -> None:
    with on_stage(three_runs(), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(LOGS)
        poison(stage, LOGS, body, encoded=False)
        redrive(stage)
        assert stage.decode() == 3


def test_messages_about_an_environment_that_was_taken_out_are_removed(account: str) -> None:
    with on_stage(three_runs(), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(LOGS)
        poison(stage, LOGS, body.replace(stage.app.settings.environments[0].url, "https://gone.example"))
        redrive(stage)
        assert poisoned(stage, LOGS) == 0
        assert not stage.messages(LOGS)


def test_a_day_that_was_published_since_is_quiet_and_one_that_was_not_stays_loud(account: str) -> None:
    day = Destination(FACT_FLOW_SESSION, (ANCHOR - timedelta(hours=1)).date())
    with on_stage(three_runs(), account) as stage:
        stage.run("poll_flow_sessions")
        poison(stage, DAYS, *[body_for(day)] * 3)
        redrive(stage)
        assert poisoned(stage, DAYS) == 1
        done = {record.source: record for record in stage.app.journal.day(f"{stage.clock.at:%Y-%m-%d}")}
        assert done["redrive of publish-day"].rows_failed == 1
        stage.publish()
        time.sleep(1)  # the service tells whole seconds
        stage.app.staging.mark(day, "a run that came this moment")
        redrive(stage)
        assert poisoned(stage, DAYS) == 0
