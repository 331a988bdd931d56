"""Everything goes wrong at some rate for a while; then it is calm, and what is published is the truth."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from azure.core.pipeline.transport import HttpTransport
from integration.stage import Stage, on_stage, small_world
from storms import Host, StormyTransport, service_faults

from local.tenant import World
from local.tenant.faults import Storm
from shared.state.journal import HARMLESS

MOST_QUIET = 30
MAY_BE_MISSING = "action logs refused"  # told at once, and asked for again
SHORTEST_SECRET = 8
TIMERS = ("sync_inventory", "poll_flow_sessions", "poll_audit_content", "publish", "reconcile")


Weather = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How hard it storms, for how long, and over how much; rates are chances of a request to be hit."""

    rate: float
    storage_rate: float
    ticks: int = 3
    environments: int = 1
    sessions: int = 6
    blobs: int = 5


@pytest.fixture
def weather(account: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Weather:
    """A storm over a tenant of its own, in which the storage library waits by the clock of the stage."""
    caplog.set_level(logging.INFO)  # as in Azure; the app itself keeps the clients of storage quieter than that
    caplog.set_level(logging.WARNING, "azure")
    caplog.set_level(logging.DEBUG, "flowtrail")

    def blow(seed: int, sizes: Sizes) -> None:
        with on_stage(world_of(seed, sizes), account) as stage:
            monkeypatch.setattr(HttpTransport, "sleep", lambda _, seconds: stage.clock.sleep(seconds))
            storm_and_calm(stage, seed, sizes)
            told = "\n".join((caplog.text, stage.run("health")[1], stage.run("status")[1]))
            assert len(caplog.records) > MOST_QUIET
            assert [secret for secret in secrets_of(stage) if secret in told] == []

    return blow


def world_of(seed: int, sizes: Sizes) -> World:
    return small_world(
        seed=seed,
        environments=sizes.environments,
        sessions_per_environment=sizes.sessions,
        blobs=sizes.blobs,
        events_per_blob=20,
    )


def storm_and_calm(stage: Stage, seed: int, sizes: Sizes) -> None:
    """A storm of some ticks, then calm; nothing is lost, and nothing but what is bad is told as lost."""
    stage.run("poll_audit_content")  # an account and a subscription that are there
    stormy = StormyTransport(stage.transport, seed, sizes.storage_rate)
    stage.transport = stormy  # type: ignore[assignment] - it is one in all but name
    stage.app = stage.new_app()
    stage.tenant.faults.storm = Storm(seed, sizes.rate, service_faults())
    host, calm = Host(stage), Host(stage)
    for _ in range(sizes.ticks):
        host.tick(*TIMERS)
        stage.clock.advance(minutes=10)
    stormy.rate = 0.0
    stage.tenant.faults.clear()
    stage.tenant.revoke_tokens()
    for hours in (1, 5):
        stage.clock.advance(hours=hours)
        calm.tick(*TIMERS)
        calm.tick("publish")
    assert host.failures
    assert stormy.hits
    assert not calm.failures
    found = stage.reconciled()
    assert (found.lost, found.duplicated) == (0, 0), [line for line in found.lines if line.lost]
    gaps = [gap for gap in stage.app.journal.gaps() if gap.kind not in {*HARMLESS, MAY_BE_MISSING}]
    assert {gap.subject for gap in gaps} <= bad_logs(stage), gaps


def bad_logs(stage: Stage) -> set[str]:
    environments = stage.tenant.truth()["environments"]
    return {run["session_id"] for one in environments for run in one["sessions"] if run["log"] == "bad"}


def secrets_of(stage: Stage) -> set[str]:
    """Tokens, keys, names of people, and the values of actions."""
    tokens = {record.authorization.removeprefix("Bearer ") for record in stage.tenant.requests}
    people = {row["domainname"] for one in stage.tenant.world.environments for row in one.users}
    actions = stage.rows("fact_flow_action")
    values = {text for row in actions for text in (row["inputs"], row["outputs"]) if text}
    key = next(part for part in stage.account.split(";") if part.startswith("AccountKey=")).partition("=")[2]
    found = {*tokens, *people, *(name.lower() for name in people), *values, key, stage.tenant.identity_header}
    return {secret for secret in found if len(secret) >= SHORTEST_SECRET}


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_storm_nothing_is_missing_and_nothing_was_told_that_is_secret(weather: Weather, seed: int) -> None:
    weather(seed, Sizes(rate=0.2, storage_rate=0.01))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 130))
def test_after_a_long_storm_nothing_is_missing(weather: Weather, seed: int) -> None:
    rate, storage_rate = ((0.1, 0.02), (0.3, 0.01), (0.5, 0.005))[seed % 3]
    weather(seed, Sizes(rate=rate, storage_rate=storage_rate, ticks=8, environments=2, sessions=15, blobs=8))
