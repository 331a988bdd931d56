"""Everything goes wrong at some rate for a while; then it is calm, and what is published is the truth."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from azure.core.pipeline.transport import HttpTransport
from integration.stage import on_stage, small_world
from storms import Host, StormyTransport, service_faults

from local.tenant.faults import Storm
from shared.state.journal import HARMLESS

TICKS = 4
TIMERS = ("sync_inventory", "poll_flow_sessions", "poll_audit_content", "publish", "reconcile")


Weather = Callable[..., None]


@pytest.fixture
def weather(account: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Weather:
    """A storm over a tenant of its own, in which the storage library waits by the clock of the stage."""
    caplog.set_level(logging.CRITICAL)

    def blow(seed: int, **sizes: Any) -> None:
        storm_and_calm(account, monkeypatch, seed, **sizes)

    return blow


def storm_and_calm(
    account: str,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    *,
    rate: float,
    storage_rate: float,
    ticks: int,
    sessions: int,
) -> None:
    """A storm of some ticks over a small tenant, then calm; nothing is lost, and nothing is told as lost."""
    world = small_world(seed=seed, sessions_per_environment=sessions, blobs=8, events_per_blob=20)
    with on_stage(world, account) as stage:
        monkeypatch.setattr(HttpTransport, "sleep", lambda _, seconds: stage.clock.sleep(seconds))
        stage.run("poll_audit_content")  # an account and a subscription that are there
        stage.transport = StormyTransport(account, seed, storage_rate)
        stage.app = stage.new_app()
        stage.tenant.faults.storm = Storm(seed, rate, service_faults())
        host = Host(stage)
        for _ in range(ticks):
            host.tick(*TIMERS)
            stage.clock.advance(minutes=10)
        hits = stage.transport.hits.total()
        stage.transport.rate = 0.0
        stage.tenant.faults.clear()
        stage.tenant.revoke_tokens()
        calm = Host(stage)
        for hours in (1, 5, 1):
            stage.clock.advance(hours=hours)
            calm.tick(*TIMERS)
            calm.tick("publish")
        assert host.failures
        assert hits
        assert not calm.failures
        found = stage.reconciled()
        assert (found.lost, found.duplicated) == (0, 0), [line for line in found.lines if line.lost]
        bad = {
            run["session_id"]
            for environment in stage.tenant.truth()["environments"]
            for run in environment["sessions"]
            if run["log"] == "bad"
        }
        gaps = [gap for gap in stage.app.journal.gaps() if gap.kind not in HARMLESS]
        assert {gap.subject for gap in gaps} <= bad, gaps


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_storm_nothing_is_missing(weather: Weather, seed: int) -> None:
    weather(seed, rate=0.2, storage_rate=0.01, ticks=TICKS, sessions=10)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 130))
def test_after_a_long_storm_nothing_is_missing(weather: Weather, seed: int) -> None:
    rate, storage_rate = ((0.1, 0.02), (0.3, 0.01), (0.5, 0.005))[seed % 3]
    weather(seed, rate=rate, storage_rate=storage_rate, ticks=12, sessions=25)
