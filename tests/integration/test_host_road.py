"""The app as Azure would run it: indexed and invoked by Microsoft's worker library, on real timers and queues."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from test_requirements import production_python

from integration.stage import identity_of, small_world
from local.azurite import Azurite
from local.certificate import make_certificate
from local.desk import ROOT
from local.host.process import HostProcess, HostProcessError
from local.reconciliation import reconcile
from local.tenant import Tenant
from shared.app import App
from shared.settings import load_settings

TIMERS = {
    "poll_flow_sessions": "FLOW_SESSIONS_SCHEDULE",
    "poll_audit_content": "AUDIT_CONTENT_SCHEDULE",
    "sync_inventory": "INVENTORY_SCHEDULE",
    "publish": "PUBLISH_SCHEDULE",
    "reconcile": "RECONCILE_SCHEDULE",
}
QUEUES = {"decode_additional_context": "additional-context", "publish_day": "publish-day"}
PAGES = ("health", "status")
FUNCTIONS = {*TIMERS, *QUEUES, *PAGES}
EVERY_TWO_SECONDS = "*/2 * * * * *"
NEVER = "0 0 0 1 1 *"
SCHEDULES = {
    "FLOW_SESSIONS_SCHEDULE": EVERY_TWO_SECONDS,
    "AUDIT_CONTENT_SCHEDULE": EVERY_TWO_SECONDS,
    "INVENTORY_SCHEDULE": NEVER,
    "PUBLISH_SCHEDULE": EVERY_TWO_SECONDS,
    "RECONCILE_SCHEDULE": NEVER,
}
QUIET = {name: f"0 0 0 {day} 1 *" for day, name in enumerate(SCHEDULES, 1)}
BEFORE = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
WORLD = small_world(anchor=BEFORE, environments=2, sessions_per_environment=12, blobs=6)


@pytest.fixture
def tenant() -> Iterator[Tenant]:
    with Tenant(WORLD) as running:
        yield running


def settings_of(tenant: Tenant, **more: str) -> dict[str, str]:
    return {**tenant.app_settings(), **more}


def wait_until_reconciled(tenant: Tenant, app: App, timeout_s: float = 180) -> None:
    deadline = time.monotonic() + timeout_s
    while (result := reconcile(tenant.truth(), app)).lost and time.monotonic() < deadline:
        time.sleep(0.5)
    assert (result.lost, result.duplicated) == (0, 0), [(line.what, line.lost[:5]) for line in result.lines]
    assert all(line.published for line in result.lines)


def test_timers_and_queues_carry_everything_through(tenant: Tenant, account: str) -> None:
    settings = settings_of(tenant, DataStorage=account)
    with HostProcess(ROOT, {**settings, **SCHEDULES}, poll_s=0.2) as host:
        started = host.wait_started()
        assert {one["name"] for one in started["functions"]} == FUNCTIONS
        wait_until_reconciled(tenant, App(load_settings(settings)))
        for name in ("sync_inventory", "reconcile"):
            assert host.invoke(name)["ok"], host.logs
        failed = [event for event in host.events if event["event"] == "invoked" and not event["ok"]]
        assert not failed, failed
        status, body = fetch(f"{host.url}/api/health")
        assert status == 200, body
        assert json.loads(body)["status"] == "healthy"
        status, body = fetch(f"{host.url}/api/status")
        assert status == 200
        assert all(environment.name.split(" &")[0] in body for environment in WORLD.environments)


def test_bindings_are_those_of_the_contract(tenant: Tenant, account: str) -> None:
    with HostProcess(ROOT, {**settings_of(tenant, DataStorage=account), **QUIET}) as host:
        functions = {one["name"]: one for one in host.wait_started()["functions"]}
        for name, setting in TIMERS.items():
            assert functions[name]["schedule"] == QUIET[setting]
        for name, queue in QUEUES.items():
            assert functions[name]["queue"] == queue
        for name in PAGES:
            assert (functions[name]["route"], functions[name]["methods"]) == (name, ["GET"])


def test_wrong_settings_stop_every_function_and_are_told_at_once(account: str) -> None:
    wrong = {"ENVIRONMENTS": "ftp://x", "TENANT_ID": "me", "CLOUD": "moon", "DataStorage": account, **QUIET}
    with HostProcess(ROOT, wrong) as host:
        url = host.url
        critical = [line for line in host.logs if "CRITICAL" in line]
        assert len(critical) == 1
        outcome = host.invoke("poll_flow_sessions")
        assert not outcome["ok"]
        for name in ("ENVIRONMENTS", "TENANT_ID", "CLOUD"):
            assert name in outcome["error"]
            assert any(name in line for line in host.logs)
        for path in ("health", "status"):
            status, body = fetch(f"{url}/api/{path}")
            assert status == 503
            assert all(name in body for name in ("ENVIRONMENTS", "TENANT_ID", "CLOUD"))
            headers = headers_of(f"{url}/api/{path}")
            assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
            assert headers["Content-Type"].endswith("; charset=utf-8")
            assert headers["Cache-Control"] == "no-store"


def test_without_any_secret_through_managed_identity(
    tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage over https that takes Entra tokens only; the identity endpoint is the only way to get one."""
    certificate = make_certificate(tmp_path)
    for name, value in {**certificate.trust(), **identity_of(tenant)}.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        azurite = stack.enter_context(Azurite(certificate=certificate))
        settings = settings_of(tenant, **azurite.app_settings(), DataStorage__clientId=tenant.client_id)
        assert "AccountKey" not in str(settings)
        host = stack.enter_context(HostProcess(ROOT, {**settings, **SCHEDULES}, poll_s=0.2))
        host.wait_started()
        wait_until_reconciled(tenant, App(load_settings(settings)))


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Azure runs the app on Python 3.13")
def test_what_production_installs_is_enough_to_index_the_app(tenant: Tenant, account: str) -> None:
    settings = {**settings_of(tenant, DataStorage=account), **QUIET}
    with HostProcess(ROOT, settings, python=production_python()) as host:
        assert {one["name"] for one in host.wait_started()["functions"]} == FUNCTIONS
        for name in ("sync_inventory", "poll_flow_sessions", "poll_audit_content", "publish", "reconcile"):
            outcome = host.invoke(name)
            assert outcome["ok"], outcome


def test_a_schedule_that_is_not_set_is_named(tenant: Tenant, account: str) -> None:
    schedules = {name: value for name, value in QUIET.items() if name != "PUBLISH_SCHEDULE"}
    host = HostProcess(ROOT, settings_of(tenant, DataStorage=account, **schedules))
    host.start()
    with pytest.raises(HostProcessError, match="PUBLISH_SCHEDULE"):
        host.wait_started()
    host.stop()


def headers_of(url: str) -> Message:
    with pytest.raises(HTTPError) as refused:
        urlopen(url, timeout=30)  # noqa: S310 - the host's own loopback address
    return refused.value.headers


def fetch(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=30) as response:  # noqa: S310 - the host's own loopback address
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()
