"""The host, killed as by a power cut at moments that a seed decides: real processes, Azurite, real HTTP."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from integration.stage import small_world

from local.desk import ROOT
from local.host.process import HostProcess, HostProcessError
from local.reconciliation import reconcile
from local.tenant import Tenant
from shared.app import App
from shared.settings import load_settings
from shared.state.names import Queue

SCHEDULES = {
    "FLOW_SESSIONS_SCHEDULE": "*/2 * * * * *",
    "AUDIT_CONTENT_SCHEDULE": "*/2 * * * * *",
    "INVENTORY_SCHEDULE": "*/5 * * * * *",
    "PUBLISH_SCHEDULE": "1/2 * * * * *",
    "RECONCILE_SCHEDULE": "*/7 * * * * *",
}
MOST_INVOCATIONS = 8
LONGEST_LIFE_S = 20.0
PATIENCE_S = 240.0


@pytest.fixture
def tenant() -> Iterator[Tenant]:
    an_hour_ago = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    world = small_world(anchor=an_hour_ago, environments=2, sessions_per_environment=12, blobs=6)
    with Tenant(world) as running:
        yield running


def host_of(settings: dict[str, str]) -> HostProcess:
    return HostProcess(ROOT, {**settings, **SCHEDULES}, poll_s=0.1, lease_s=2)


def kill_one(settings: dict[str, str], random: Random) -> None:
    """Let a host work until so many functions have run, and then for part of a second more."""
    wanted, more_s = random.randrange(MOST_INVOCATIONS), random.uniform(0, 0.5)
    host = host_of(settings)
    host.start()
    try:
        host.wait_started()
        with suppress(HostProcessError):  # on a slow machine it is killed earlier in its work
            host.wait_for(lambda _: invoked(host) >= wanted, LONGEST_LIFE_S)
        time.sleep(more_s)
    finally:
        host.kill()


def invoked(host: HostProcess) -> int:
    return sum(event["event"] == "invoked" for event in host.events)


def survives(tenant: Tenant, account: str, kills: int, seed: int) -> None:
    settings = {**tenant.app_settings(), "DataStorage": account}
    random = Random(seed)
    for _ in range(kills):
        kill_one(settings, random)
    app = App(load_settings(settings))
    with host_of(settings) as host:
        host.wait_started()
        deadline = time.monotonic() + PATIENCE_S
        while (result := reconcile(tenant.truth(), app)).lost and time.monotonic() < deadline:
            time.sleep(0.5)
    assert (result.lost, result.duplicated) == (0, 0), [(line.what, line.lost[:5]) for line in result.lines]
    assert all(line.published for line in result.lines)
    assert not any(app.storage.queues.length(queue.poison) for queue in Queue)


def test_a_host_that_is_killed_again_and_again_loses_nothing(tenant: Tenant, account: str) -> None:
    survives(tenant, account, kills=3, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_a_host_that_is_killed_many_times(tenant: Tenant, account: str, seed: int) -> None:
    survives(tenant, account, kills=25, seed=seed)
