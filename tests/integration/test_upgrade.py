"""State that an older version left is taken on, whatever happens on the way; that of a newer one is left alone."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from integration.crashing import Crash, CrashAt, let_leases_run_out
from integration.stage import Stage, a_log, a_run, bare_world, on_stage, with_runs
from integration.test_action_logs import log_of, played
from local.tenant import Session
from shared import entry
from shared.app import App
from shared.errors import Defer, Stop
from shared.publishing.parquet import write_rows
from shared.publishing.staging import ARROW, PARQUET
from shared.state.blobs import Lease
from shared.state.checkpoints import STATE_VERSION
from shared.state.entities import Operation, Write
from shared.state.names import Container, StateTable
from shared.state.version import KIND, LOCK, MIGRATIONS, ROW, Migration, ensure_current

MARK = "migrated"


def mark_runs(app: App, lease: Lease) -> None:
    """A migration as one may be written: it changes what is not changed yet, and guards each change."""
    table = app.storage.table(StateTable.FLOW_SESSIONS)
    for entity in table.all():
        lease.renew()
        if MARK not in entity.properties:
            changed = {**entity.properties, MARK: True}
            table.write(Operation(Write.REPLACE, entity.partition, entity.row, changed, entity.etag))


NEXT = (*MIGRATIONS, Migration(STATE_VERSION + 1, "runs are marked", mark_runs))


def version(stage: Stage) -> int | None:
    return stage.app.checkpoints.load(KIND, ROW).values.get("version")


def marked(stage: Stage) -> list[bool]:
    return [MARK in entity.properties for entity in stage.app.storage.table(StateTable.FLOW_SESSIONS).all()]


def some_runs() -> list[Session]:
    return [a_run(number, file=a_log(log_of())) for number in range(3)]


def test_the_migrations_lead_to_the_version_that_the_app_writes() -> None:
    assert [step.to_version for step in MIGRATIONS] == list(range(2, STATE_VERSION + 1))


def test_storage_of_the_first_version_is_taken_on(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """State without a version is what the first version wrote."""
    with on_stage(with_runs(bare_world(), *some_runs()), account) as stage:
        played(stage)
        before = stage.published()
        assert version(stage) is None
        stage.app = stage.new_app()
        monkeypatch.setattr(entry, "the_app", lambda: stage.app)
        for function in ("poll_flow_sessions", "publish"):
            entry.run_timer(function)
        assert version(stage) == STATE_VERSION
        played(stage)
        assert stage.published() == before


def test_a_migration_that_is_cut_short_is_repeated_until_it_is_done(account: str) -> None:
    with on_stage(with_runs(bare_world(), *some_runs()), account) as stage:
        stage.run("poll_flow_sessions")
        for writes in range(0, 12, 3):
            stage.transport.before = CrashAt(writes)
            with suppress(Crash):
                ensure_current(stage.app, NEXT)
            stage.transport.before = lambda _: None
            let_leases_run_out(account)
            assert version(stage) is None or all(marked(stage))
        ensure_current(stage.app, NEXT)
        assert version(stage) == STATE_VERSION + 1
        assert marked(stage) == [True] * 3


@pytest.mark.parametrize("also_anew", [False, True], ids=["by the older version", "by both versions"])
def test_rows_that_an_older_version_staged_are_published_once(account: str, also_anew: bool) -> None:
    """It staged Parquet files. Where it died behind that, the newer version stages the same rows once more."""
    with on_stage(with_runs(bare_world(), *some_runs()), account) as stage:
        stage.run("poll_flow_sessions")
        stage.decode()
        names = stage.staged()
        stage_as_before(stage, keep=also_anew)
        assert len(stage.staged()) == len(names) * (2 if also_anew else 1)
        stage.publish()
        assert not stage.staged()
        assert sorted(row["session_id"] for row in stage.rows("fact_flow_session")) == sorted(stage.by_id())
        actions = [(row["session_id"], row["seq"]) for row in stage.rows("fact_flow_action")]
        assert len(actions) == len(set(actions)) > 0
        assert not any(line.lost or line.duplicated for line in stage.reconciled().lines)


def stage_as_before(stage: Stage, *, keep: bool) -> None:
    """Write staged files as older versions did, under the names that they gave them."""
    blobs = stage.app.storage.blobs
    for place, items in stage.app.staging.waiting().items():
        for item in items:
            with io.BytesIO() as file:
                write_rows(place.table, stage.app.staging.read(place, [item]), file)
                blobs.put(Container.STAGING, item.name.replace(ARROW, PARQUET), file.getvalue())
            if not keep:
                blobs.delete(Container.STAGING, item.name)


def test_one_worker_migrates_at_a_time(account: str) -> None:
    with on_stage(with_runs(bare_world(), *some_runs()), account) as stage:
        stage.run("poll_flow_sessions")
        with stage.app.storage.blobs.leased(Container.STAGING, LOCK), pytest.raises(Defer):
            ensure_current(stage.app, NEXT)
        assert not any(marked(stage))


def test_workers_that_start_together_on_new_storage_all_work(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        apps = [stage.new_app() for _ in range(4)]
        with stage.app.storage.blobs.leased(Container.STAGING, LOCK), ThreadPoolExecutor(4) as pool:
            list(pool.map(ensure_current, apps))
        assert version(stage) == STATE_VERSION


def test_state_of_a_newer_app_is_refused_by_every_trigger(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_stage(with_runs(bare_world(), *some_runs()), account) as stage:
        stage.run("poll_flow_sessions")
        ensure_current(stage.app, NEXT)
        monkeypatch.setattr(entry, "the_app", lambda: stage.app)
        writes = CrashAt(0)  # whatever it writes to the account would kill it
        stage.transport.before = writes
        for function in ("poll_flow_sessions", "poll_audit_content", "sync_inventory", "publish", "reconcile"):
            with pytest.raises(Stop, match="a newer app wrote it"):
                entry.run_timer(function)
        for function in ("decode_additional_context", "publish_day"):
            with pytest.raises(Stop, match="a newer app wrote it"):
                entry.run_message(function, "{}", 1)
        answer = entry.run_request("health")
        status, body = answer.status, answer.body
        assert status == 503
        (reason,) = json.loads(body)["reasons"]
        assert f"state of version {STATE_VERSION + 1}, this app knows {STATE_VERSION}" in reason["problem"]
        answer = entry.run_request("status")
        status, page = answer.status, answer.body
        assert status == 503
        assert "Deploy that version again" in page
        assert writes.count == 0
