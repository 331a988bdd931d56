"""The health endpoint: it looks at what the storage says, and names what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integration.stage import Stage, a_run, bare_world, on_stage, with_runs
from local.tenant import Fault
from shared.entry import run_request, the_app
from shared.errors import SourcesFailed
from shared.functions.health import TIMERS
from shared.state.names import Queue


def look(stage: Stage) -> tuple[int, dict[str, Any]]:
    status, body = stage.run("health")
    return status, json.loads(body)


def beat(stage: Stage) -> None:
    for function in TIMERS:
        stage.app.journal.heartbeat(function, succeeded_utc=stage.clock.now(), error=None)


def test_a_fresh_app_is_healthy(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        status, body = look(stage)
        assert (status, body["status"], body["reasons"]) == (200, "healthy", [])
        assert {one["name"] for one in body["functions"]} == set(TIMERS)


def test_a_timer_that_never_ran_is_noticed(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        look(stage)
        stage.clock.advance(hours=1)
        status, body = look(stage)
        assert status == 503
        assert any(reason.startswith("poll_flow_sessions has not succeeded") for reason in body["reasons"])
        assert not any(reason.startswith("sync_inventory") for reason in body["reasons"])


def test_a_timer_that_froze_is_noticed(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        beat(stage)
        stage.clock.advance(minutes=20)
        assert look(stage)[0] == 200
        stage.clock.advance(minutes=20)
        reasons = " ".join(look(stage)[1]["reasons"])
        assert "poll_flow_sessions" in reasons
        assert "reconcile" not in reasons


def test_a_source_that_lags_and_a_gap_and_poison_are_named(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        stage.run("poll_flow_sessions")
        stage.clock.advance(hours=3)
        beat(stage)
        client = stage.app.storage.queues._client
        client.create_queue(Queue.ADDITIONAL_CONTEXT.poison)
        client.get_queue_client(Queue.ADDITIONAL_CONTEXT.poison).send_message("x")
        status, body = look(stage)
        assert status == 503
        reasons = " ".join(body["reasons"])
        assert "180 minutes behind" in reasons
        assert "additional-context-poison" in reasons


def test_an_environment_that_refuses_is_named_with_the_way_out(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.run("poll_flow_sessions")
        body = b'{"error":{"code":"0x80072560","message":"The user is not a member of the organization."}}'
        stage.tenant.faults.add(Fault("dataverse", times=None, status=403, body=body))
        with pytest.raises(SourcesFailed, match="application user"):
            stage.run("poll_flow_sessions")
        _, answer = look(stage)
        assert any("application user" in reason for reason in answer["reasons"])
        stage.tenant.faults.clear()
        stage.run("poll_flow_sessions")
        assert not [source for source in look(stage)[1]["sources"] if source["problem"]]


def test_names_from_the_tenant_are_escaped(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        url = stage.tenant.environments[0].url
        stage.environ["ENVIRONMENTS"] = json.dumps([{"url": url, "name": "<script>alert(1)</script>"}])
        stage.app = stage.new_app()
        _, page = stage.run("status")
        assert "<script>" not in page
        assert "&lt;script&gt;" in page


def test_wrong_settings_are_an_answer_too(monkeypatch: pytest.MonkeyPatch) -> None:
    the_app.cache_clear()
    for name in ("ENVIRONMENTS", "TENANT_ID", "DataStorage"):
        monkeypatch.delenv(name, raising=False)
    for page in ("health", "status"):
        status, body = run_request(page)
        assert status == 503
        assert "TENANT_ID is not set" in body
