"""Logs that are there and can't be had: none counts as absent, none holds others up, none is tried for ever."""

from __future__ import annotations

import importlib
import json
import time
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from azure.core.pipeline.transport import HttpRequest

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from integration.test_action_logs import log_of, played
from integration.test_flow_logs import DISABLED, ON_FAILURE, V1, flow_log_row, logged, world_of
from local.tenant import Fault, Session
from shared.dataverse import flow_logs
from shared.dataverse.log_messages import read_request
from shared.dataverse.log_settings import FAILING
from shared.functions import decode_additional_context
from shared.net.transport import Reply, Request
from shared.state.journal import HARMLESS
from shared.state.names import Container, Queue

LOGS = Queue.ADDITIONAL_CONTEXT
OLD = ANCHOR - timedelta(days=2)
HTML = {"Content-Type": "text/html"}
NOT_FOUND = b"<html>404 - Web app not found</html>"
NO_FILE = json.dumps({"error": {"code": "0x80040217", "message": "No file attachment found"}}).encode()
TABLE = "flowsession_flowlog_parentobjectid"


def file_of(number: int) -> str:
    return f"{run_id(number)})/additionalcontext/$value"


def statuses(stage: Stage) -> list[str]:
    stage.publish()
    return [row["log_status"] for _, row in sorted(stage.by_id().items())]


def kinds(stage: Stage) -> list[str]:
    return [gap.kind for gap in stage.app.journal.gaps()]


def a_day_later(stage: Stage) -> None:
    stage.clock.advance(days=1)
    stage.run("poll_flow_sessions")
    stage.run("reconcile")
    stage.decode()


@pytest.mark.parametrize("at", [OLD, ANCHOR - timedelta(hours=1)], ids=["old", "young"])
def test_a_404_of_something_in_between_is_no_answer(account: str, at: datetime) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, at, a_log(log_of(), at))), account) as stage:
        stage.tenant.faults.add(
            Fault("dataverse", path_contains=file_of(1), status=404, body=NOT_FOUND, headers=HTML)
        )
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.decode()
        assert statuses(stage) == ["loaded"]
        assert not kinds(stage)


@pytest.mark.parametrize(("page", "body"), [(0, NOT_FOUND), (1, NOT_FOUND), (1, NO_FILE)])
def test_a_404_amid_the_rows_of_a_log_throws_none_away(account: str, page: int, body: bytes) -> None:
    run = logged(a_run(1, OLD), *(flow_log_row(number, at=OLD) for number in range(1200)))
    with on_stage(world_of(run), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", path_contains=TABLE, first_skip=page, status=404, body=body))
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.decode()
        assert statuses(stage) == ["loaded"]
        assert len(stage.rows("fact_flow_action")) == 1200


def test_a_file_that_the_row_names_and_nobody_has_is_told_in_the_end(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, OLD, a_log(log_of(), OLD))), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", path_contains=file_of(1), times=None, status=404, body=NO_FILE))
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.clock.advance(seconds=FAILING.total_seconds())
        stage.decode()
        assert statuses(stage) == ["unreadable"]
        assert kinds(stage) == ["action log unreadable"]
        assert not stage.messages(LOGS)


def test_a_file_that_the_row_names_is_waited_for_though_logs_are_switched_off(account: str) -> None:
    with on_stage(world_of(a_run(1, file=a_log(log_of())), status=DISABLED, version=V1), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", path_contains=file_of(1), status=404, body=NO_FILE))
        assert played(stage)[run_id(1)]["log_status"] == "pending"
        stage.decode()
        assert statuses(stage) == ["loaded"]
        assert not kinds(stage)


FAILURES = {
    "an error": Fault("dataverse", status=500),
    "a web page": Fault("dataverse", status=200, body=b"<html>blocked</html>", headers=HTML),
    "another part": Fault("dataverse", status=206, body=b"x", headers={"Content-Range": "bytes 7-8/9"}),
    "an answer that breaks off": Fault("dataverse", cut_after_bytes=10),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_log_that_can_t_be_had_keeps_no_other_one_waiting(account: str, failure: Fault) -> None:
    runs = [a_run(number, file=a_log(log_of())) for number in (1, 2, 3)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.tenant.faults.add(replace(failure, path_contains=file_of(1), times=None))
        played(stage)
        assert statuses(stage) == ["pending", "loaded", "loaded"]
        for _ in range(3):
            stage.clock.advance(hours=3)
            stage.run("reconcile")
            ((body, _),) = stage.messages(LOGS)
            assert read_request(body).session_ids == (run_id(1),)
            stage.run("decode_additional_context", body, 1)
        delays = [delay for delay in stage.transport.delays_s if delay]
        assert delays == sorted(delays)
        assert delays[-1] > delays[0]


def test_a_log_that_fails_for_a_week_is_given_up_and_a_replay_brings_it(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(log_of()))), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", path_contains=file_of(1), times=None, status=500))
        played(stage)
        for _ in range(FAILING.days):
            assert statuses(stage) == ["pending"]
            assert not kinds(stage)
            a_day_later(stage)
        assert statuses(stage) == ["unreadable"]
        (gap,) = stage.app.journal.gaps()
        assert (gap.kind, gap.subject) == ("action log unreadable", run_id(1))
        assert gap.reason.startswith("It could not be had for 7 days")
        assert not stage.messages(LOGS)
        a_day_later(stage)
        assert not stage.messages(LOGS)
        stage.tenant.faults.clear()
        replay(stage)
        assert statuses(stage) == ["loaded"]


def test_a_failure_that_is_over_is_forgotten(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", path_contains=file_of(1), times=5, status=500))
        stage.run("poll_flow_sessions")
        stage.decode()
        (waiting,) = stage.app.register.day(*place_of(stage))
        assert waiting.session.log_failing_utc == stage.clock.at
        stage.decode()
        (waiting,) = stage.app.register.day(*place_of(stage))
        assert (waiting.session.log_status, waiting.session.log_failing_utc) == ("pending", None)


def place_of(stage: Stage) -> tuple[str, date]:
    known = stage.app.environments.known(stage.app.settings.environments[0])
    assert known
    return known.environment_id, (ANCHOR - timedelta(hours=1)).date()


def test_where_nothing_can_be_had_the_rest_waits_together(account: str) -> None:
    runs = [a_run(number, file=a_log(log_of())) for number in range(8)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.tenant.faults.add(
            Fault("dataverse", path_contains="additionalcontext/$value", times=None, status=500)
        )
        stage.run("poll_flow_sessions")
        stage.decode()
        together = sorted(len(read_request(body).session_ids) for body, _ in stage.messages(LOGS))
        most = decode_additional_context.MOST_FAILING
        assert together == [1] * most + [8 - most]


def test_where_nobody_answers_no_log_is_to_blame(account: str) -> None:
    runs = [a_run(number, file=a_log(log_of())) for number in (1, 2, 3)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.run("poll_flow_sessions")
        stage.tenant.faults.add(Fault("dataverse", times=None, cut_after_bytes=10))
        stage.decode()
        ((body, _),) = stage.messages(LOGS)
        assert len(read_request(body).session_ids) == 3
        known = stage.app.register.get_all(*place_of(stage), map(run_id, (1, 2, 3)))
        assert {registered.session.log_failing_utc for registered in known.values()} == {None}


def test_a_run_that_is_deleted_before_its_log_came_is_told(account: str) -> None:
    runs = [a_run(number, OLD, a_log(log_of(), OLD)) for number in (1, 2)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.run("poll_flow_sessions")
        stage.tenant.world = with_runs(stage.tenant.world, runs[1])
        stage.decode()
        assert statuses(stage) == ["absent", "loaded"]
        (gap,) = stage.app.journal.gaps()
        assert (gap.kind, gap.subject) == ("action logs deleted at the source", OLD.date().isoformat())
        assert gap.kind not in HARMLESS


@pytest.mark.parametrize("status", [400, 500, 501])
def test_a_file_that_can_t_be_had_in_parts_is_fetched_whole(account: str, status: int) -> None:
    refusal = json.dumps({"error": {"code": "0x80090017", "message": "Chunking is not supported."}}).encode()
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(log_of()))), account) as stage:
        stage.tenant.faults.add(Fault("dataverse", path_contains=file_of(1), status=status, body=refusal))
        assert played(stage)[run_id(1)]["log_status"] == "loaded"


def test_a_replay_keeps_the_copy_of_a_log_that_can_t_be_read(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(b"damaged"))), account) as stage:
        played(stage)
        (name,) = stage.raw("unreadable/")
        stage.tenant.faults.add(Fault("dataverse", path_contains=file_of(1), times=2, status=200, body=b"{}"))
        replay(stage)
        assert stage.app.storage.blobs.get(Container.RAW, name) == b"damaged"


def replay(stage: Stage) -> None:
    stage.environ["LOGS_REPLAY"] = (ANCHOR - timedelta(hours=1)).date().isoformat()
    stage.app = stage.new_app()
    stage.run("poll_flow_sessions")
    stage.decode()


def finished_anew(run: Session, content: bytes) -> Session:
    """The run with another file; the row names it."""
    (state,) = run.states
    assert not callable(state.values)
    later = ANCHOR + timedelta(minutes=1)
    values = {**state.values, "additionalcontext": "another"}
    return replace(run, states=(state, replace(state, visible_at=later, modified_at=later, version_number=9000,
                                               values=values)), file=a_log(content))  # fmt: skip


@pytest.mark.parametrize("grain", ["day", "hour"])
def test_a_log_that_is_replaced_by_an_empty_one_leaves_no_actions(account: str, grain: str) -> None:
    runs = [a_run(number, file=a_log(log_of())) for number in (1, 2)]
    with on_stage(with_runs(bare_world(), *runs), account, PUBLISH_GRAIN=grain) as stage:
        played(stage)
        stage.tenant.world = with_runs(bare_world(), finished_anew(runs[0], b'{"actions":[]}'), runs[1])
        stage.clock.advance(minutes=5)
        assert played(stage)[run_id(1)]["action_count"] == 0
        assert {action["session_id"] for action in stage.rows("fact_flow_action")} == {run_id(2)}


def test_a_replay_brings_a_log_that_is_shorter_than_the_one_before_it(account: str) -> None:
    run = a_run(1, file=a_log(log_of(5)))
    with on_stage(with_runs(bare_world(), run), account) as stage:
        played(stage)
        stage.tenant.world = with_runs(bare_world(), finished_anew(run, log_of(2)))
        stage.tenant.faults.add(
            Fault("dataverse", path_contains=file_of(1), times=2, status=200, body=b"damaged!")
        )
        stage.clock.advance(minutes=5)
        assert played(stage)[run_id(1)]["log_status"] == "unreadable"
        replay(stage)
        assert statuses(stage) == ["loaded"]
        assert stage.by_id()[run_id(1)]["action_count"] == len(stage.rows("fact_flow_action")) == 2


def test_a_worker_that_is_overtaken_does_not_have_the_last_word(account: str) -> None:
    run = a_run(1, file=a_log(log_of(2)))
    with on_stage(with_runs(bare_world(), run), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(LOGS)
        other = stage.new_app()

        def overtaken(request: HttpRequest) -> None:
            if request.method == "PUT" and "/staging/fact_flow_action" in request.url:
                stage.transport.before = lambda _: None
                stage.tenant.world = with_runs(bare_world(), finished_anew(run, log_of(5)))
                stage.clock.advance(minutes=5)
                importlib.import_module("shared.functions.poll_flow_sessions").run(other)
                ((newer, _),) = stage.messages(LOGS)
                importlib.import_module("shared.functions.decode_additional_context").run(other, newer, 1)

        stage.transport.before = overtaken
        stage.run("decode_additional_context", body, 1)
        time.sleep(1.1)  # staged files are ordered by whole seconds
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["action_count"] == 5
        assert len(stage.rows("fact_flow_action")) == 5


def test_a_log_that_another_message_loads_meanwhile_stays_loaded(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(log_of(2)))), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(LOGS)
        other = stage.new_app()
        stage.tenant.faults.add(
            Fault("dataverse", path_contains=file_of(1), times=2, status=200, body=b"garbage!")
        )

        def overtaken(request: HttpRequest) -> None:
            if request.method == "PUT" and "/raw/unreadable" in request.url:
                stage.transport.before = lambda _: None
                importlib.import_module("shared.functions.decode_additional_context").run(other, body, 1)

        stage.transport.before = overtaken
        stage.run("decode_additional_context", body, 1)
        assert statuses(stage) == ["loaded"]
        assert stage.by_id()[run_id(1)]["action_count"] == len(stage.rows("fact_flow_action")) == 2


def test_that_there_is_no_log_is_not_noted_of_a_run_that_has_changed_meanwhile(account: str) -> None:
    """Only failed runs write logs here, and this one is called failed while a worker finds that it has none."""
    run = a_run(1)
    (state,) = run.states
    assert not callable(state.values)
    later = ANCHOR + timedelta(minutes=1)
    failed = replace(state, visible_at=later, modified_at=later, version_number=9000,
                     values={**state.values, "statuscode": 8})  # fmt: skip
    after_all = logged(replace(run, states=(state, failed)), flow_log_row(0, at=later))
    with on_stage(world_of(run, status=ON_FAILURE), account) as stage:
        stage.run("poll_flow_sessions")
        stage.clock.advance(minutes=5)
        ((body, _),) = stage.messages(LOGS)
        other = stage.new_app()

        def overtaken(request: HttpRequest) -> None:
            if request.method == "POST" and "$batch" in request.url:
                stage.transport.before = lambda _: None
                stage.tenant.world = world_of(after_all, status=ON_FAILURE)
                importlib.import_module("shared.functions.poll_flow_sessions").run(other)

        stage.transport.before = overtaken
        stage.run("decode_additional_context", body, 1)
        assert stage.tenant.world.environments[0].sessions == (after_all,)
        stage.decode()
        assert statuses(stage) == ["loaded"]


@pytest.mark.parametrize(("page_s", "expected"), [(1, "loaded"), (30, "too_large")])
def test_a_log_that_takes_long_gets_more_time_alone(
    account: str, monkeypatch: pytest.MonkeyPatch, page_s: int, expected: str
) -> None:
    monkeypatch.setattr(flow_logs, "PAGE_ROWS", 1)
    slow = logged(a_run(1), *(flow_log_row(number) for number in range(300)))
    with on_stage(world_of(slow, logged(a_run(2), flow_log_row(0, run=2))), account) as stage:
        stage.run("poll_flow_sessions")
        transport = stage.app.transport

        def late(request: Request) -> Reply:
            if f"{run_id(1)})/{TABLE}" in request.url:
                stage.clock.advance(seconds=page_s)
            return transport(request)

        stage.app.transport = late
        stage.app._web_apis.clear()
        stage.decode()
        bodies = [body for body, _ in stage.messages(LOGS)]
        assert [(read_request(body).session_ids, read_request(body).slow) for body in bodies] == [
            ((run_id(1),), True),
            ((run_id(2),), False),
        ]
        assert 0 not in stage.transport.delays_s
        for body in bodies:
            stage.run("decode_additional_context", body, 1)
        assert statuses(stage) == [expected, "loaded"]
        assert [gap.kind for gap in stage.app.journal.gaps()] == ["action log too_large"] * (expected != "loaded")
