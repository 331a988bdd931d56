"""Threads and instances in each other's way, on Azurite; `tests/crash` tries what can be tried in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from azure.core.pipeline.transport import HttpRequest

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, small_world, with_runs
from integration.test_action_logs import log_of
from shared.dataverse.sessions import LogStatus, amended, read_session, succeed
from shared.errors import Conflict, Damaged
from shared.functions.intake import stage_sessions
from shared.publishing.publisher import lock_name
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_SESSION
from shared.state.names import Container, Queue

RUNS_DAY = (ANCHOR - timedelta(hours=1)).date()


def test_two_polls_at_once_take_each_run_once(account: str) -> None:
    runs = [a_run(number, file=a_log(log_of())) for number in range(30)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        other = Stage(stage.tenant, account, stage.clock)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: one.run("poll_flow_sessions"), (stage, other)))
        stage.decode()
        stage.publish()
        assert sorted(stage.by_id()) == [run_id(number) for number in range(30)]
        assert len(stage.rows("fact_flow_session")) == 30
        assert len(stage.rows("fact_flow_action")) == 60


def test_a_message_delivered_twice_at_once(account: str) -> None:
    runs = [a_run(number, file=a_log(log_of(5))) for number in range(20)]
    with on_stage(with_runs(bare_world(), *runs), account) as stage:
        stage.run("poll_flow_sessions")
        ((body, _),) = stage.messages(Queue.ADDITIONAL_CONTEXT)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda count: stage.run("decode_additional_context", body, count), (1, 2)))
        stage.publish()
        assert len(stage.rows("fact_flow_action")) == 100
        assert {row["log_status"] for row in stage.by_id().values()} == {"loaded"}


def test_two_audit_polls_at_once(account: str) -> None:
    with on_stage(small_world(), account) as stage:
        stage.clock.advance(minutes=5)
        other = Stage(stage.tenant, account, stage.clock)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda one: one.run("poll_audit_content"), (stage, other)))
        stage.publish()
        result = stage.reconciled().lines[3]
        assert (result.lost, result.duplicated) == ((), 0)


def test_a_day_is_published_by_one_at_a_time(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        stage.run("poll_flow_sessions")
        destination = Destination(FACT_FLOW_SESSION, (ANCHOR - timedelta(hours=1)).date())
        with stage.app.storage.blobs.leased(Container.STAGING, lock_name(destination)), pytest.raises(Conflict):
            stage.app.publisher.publish(destination)
        assert stage.staged()
        stage.publish()
        assert stage.by_id()


def test_a_file_that_somebody_changed_meanwhile_is_merged_again(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        stage.run("poll_flow_sessions")
        stage.publish()
        (name,) = [name for name in stage.published() if name.startswith("fact_flow_session")]
        content = stage.app.storage.blobs.get(Container.POWERBI, name) or b""
        stage.tenant.world = with_runs(stage.tenant.world, a_run(1), a_run(2))
        stage.app.checkpoints.save(stage.app.checkpoints.load("flowsessions", _environment_id(stage)), {})
        stage.run("poll_flow_sessions")
        meddled: list[bool] = []

        def meddle(request: HttpRequest) -> None:
            if (
                request.method == "PUT"
                and "/powerbi/" in request.url
                and "fact_flow_session" in request.url
                and not meddled
            ):
                meddled.append(True)
                stage.app.storage.blobs.put(Container.POWERBI, name, content)

        stage.transport.before = meddle
        stage.publish()
        assert meddled
        assert sorted(stage.by_id()) == [run_id(1), run_id(2)]


@pytest.mark.parametrize(
    ("damaged", "told"),
    [
        (
            f"fact_flow_session/date={RUNS_DAY}/part-0.parquet",
            "powerbi/.*part-0.parquet can't be read.* move it away",
        ),
        ("dim_user/dim_user.parquet", "powerbi/dim_user/dim_user.parquet can't be read.* move it away"),
    ],
)
def test_a_published_file_that_is_damaged_is_named_and_nothing_is_given_up(
    account: str, damaged: str, told: str
) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, _ownerid_value=run_id(9))), account) as stage:
        stage.run("poll_flow_sessions")
        blobs = stage.app.storage.blobs
        blobs.put(Container.POWERBI, damaged, b"PAR1 written over")
        with pytest.raises(Damaged, match=told):
            stage.publish()
        stage.messages(Queue.PUBLISH_DAY)
        blobs.delete(Container.POWERBI, damaged)
        stage.publish()
        assert stage.by_id()


def _environment_id(stage: Stage) -> str:
    return stage.tenant.environments[0].environment_id.lower()


def test_a_slow_decoder_and_a_quick_poll_lose_neither_s_news(account: str) -> None:
    """The poll registers a newer row while a decoder holds the older one; the decoder's news goes on top of it."""
    with on_stage(bare_world(), account) as stage:
        row = {
            "flowsessionid": run_id(1),
            "createdon": "2026-05-19T11:00:00Z",
            "modifiedon": "2026-05-19T11:01:00Z",
            "versionnumber": 1,
            "statuscode": 4,
        }
        now = stage.clock.now()
        first = read_session(row, "e1", {}, now)
        newer = read_session({**row, "versionnumber": 2, "errorcode": "Late"}, "e1", {}, now)
        register = stage.app.register

        def taking(session: Any, known: Any) -> Any:
            return succeed(known, session, now)

        (held,) = register.update([first], taking)
        register.update([newer], taking)
        (kept,) = register.update(
            [held],
            lambda _, known: amended(known, now, log_status=LogStatus.LOADED, action_count=3) if known else None,
        )
        assert (kept.version_number, kept.error_code, kept.log_status) == (2, "Late", LogStatus.LOADED)
        stage_sessions(stage.app, [kept])
        stage_sessions(stage.app, [held])
        stage.publish()
        (published,) = stage.rows("fact_flow_session")
        assert (published["error_code"], published["log_status"], published["action_count"]) == (
            "Late",
            "loaded",
            3,
        )
