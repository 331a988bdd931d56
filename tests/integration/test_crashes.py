"""Dying between any two writes, running twice at once: the published tables come out the same."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from azure.core.pipeline.transport import HttpRequest
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobLeaseClient, BlobServiceClient
from azure.storage.queue import QueueServiceClient

from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, small_world, with_runs
from integration.test_action_logs import log_of
from local.tenant import World
from shared.dataverse.sessions import LogStatus, amended, read_session, succeed
from shared.errors import Conflict
from shared.functions.intake import stage_sessions
from shared.publishing.publisher import lock_name
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_SESSION, TABLES
from shared.state.names import Container, Queue

POINTS = 6
OF_THE_CLOCK = {"noticed_utc", "ingested_utc", "updated_utc", "deleted_at_source_utc"}
OF_THE_APP = {"fact_ingest"}  # what ran, and how often


def delete_a_run(stage: Stage) -> None:
    """At the source, as a clean-up job does."""
    first, *others = stage.tenant.world.environments
    fewer = replace(first, sessions=tuple(first.sessions)[1:])
    stage.tenant.world = replace(stage.tenant.world, environments=(fewer, *others))


STEPS: tuple[Callable[[Stage], object], ...] = (
    lambda stage: stage.run("sync_inventory"),
    lambda stage: stage.run("poll_flow_sessions"),
    lambda stage: stage.run("poll_audit_content"),
    lambda stage: stage.decode(),
    lambda stage: stage.publish(),
    delete_a_run,
    lambda stage: stage.run("reconcile"),
    lambda stage: stage.decode(),
    lambda stage: stage.publish(),
)


class Crash(BaseException):
    """The process is gone; no handler of the app's may stop it."""


class CrashAt:
    """Lets so many writes through, then kills: before the next one, or after it with its answer lost."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        self.count = 0
        self.dead = False
        self._lock = threading.Lock()

    def __call__(self, request: HttpRequest) -> None:
        if request.method in ("GET", "HEAD"):
            return
        with self._lock:
            self.count += 1
            self.left -= 1
            self.dead = self.dead or self.left < 0
        if self.dead:
            raise Crash


def tiny_world() -> World:
    """An environment that logs into files and one that logs into the table."""
    world = small_world(environments=3, sessions_per_environment=5, blobs=3, events_per_blob=20, history_days=2)
    return replace(world, environments=(world.environments[0], world.environments[2]))


def play(stage: Stage, world: World) -> None:
    stage.tenant.world = world
    for step in STEPS:
        step(stage)


def tables(stage: Stage) -> dict[str, list[str]]:
    def told(row: dict[str, Any]) -> str:
        return repr(sorted((name, value) for name, value in row.items() if name not in OF_THE_CLOCK))

    return {name: sorted(map(told, stage.rows(name))) for name in TABLES.keys() - OF_THE_APP}


def wipe(account: str) -> None:
    blobs = BlobServiceClient.from_connection_string(account)
    for container in blobs.list_containers():
        blobs.delete_container(container.name)
    queues = QueueServiceClient.from_connection_string(account)
    for queue in queues.list_queues():
        queues.delete_queue(queue.name)
    entities = TableServiceClient.from_connection_string(account)
    for table in entities.list_tables():
        entities.delete_table(table.name)


def let_leases_run_out(account: str) -> None:
    """What two minutes do to the lease of a process that died."""
    container = BlobServiceClient.from_connection_string(account).get_container_client(Container.STAGING)
    if container.exists():
        for blob in container.list_blobs(name_starts_with="locks/"):
            if blob.lease.state == "leased":
                BlobLeaseClient(container.get_blob_client(blob.name)).break_lease(0)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_at_any_write_changes_nothing_in_the_end(account: str, when: str) -> None:
    """Tried at `POINTS` writes, spread evenly over all of them."""
    world = tiny_world()
    with on_stage(world, account) as stage:
        start = stage.clock.at + timedelta(minutes=5)
        stage.clock.at = start
        undisturbed = CrashAt(10**9)
        stage.transport.before = undisturbed
        play(stage, world)
        expected = tables(stage)
        assert {row["log_version"] for row in stage.rows("fact_flow_session")} >= {"v1", "v2"}
        assert any(row["deleted_at_source_utc"] for row in stage.rows("fact_flow_session"))
        assert all(expected[name] for name in ("fact_flow_session", "fact_flow_action", "fact_audit_event"))
        # an account that was wiped takes a write or so less than a new one: the very last is no point to die at
        for writes in range(0, undisturbed.count - POINTS, max(1, undisturbed.count // POINTS)):
            wipe(account)
            stage.clock.at = start
            again = Stage(stage.tenant, account, stage.clock)
            setattr(again.transport, when, CrashAt(writes))
            with pytest.raises(Crash):
                play(again, world)
            setattr(again.transport, when, lambda _: None)
            again.app = again.new_app()
            again.clock.advance(minutes=2)
            let_leases_run_out(account)
            play(again, world)
            again.publish()
            assert tables(again) == expected, f"died {when} write {writes}"
            assert not again.staged()


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
