"""Ten times a large tenant's day through the whole app, and an hour in bad weather.

`FLOWTRAIL_LOAD_SCALE` is the part of it that is run: 1 is half a million runs, two million events and forty
environments, which takes hours; the default is a hundredth. `FLOWTRAIL_SOAK_S` is how long the weather is bad.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, cast
from unittest import mock
from urllib.request import urlopen

import pytest
from azure.core.pipeline.transport import HttpTransport
from integration.stage import identity_of
from load import Load, Lot
from processes import tenant_of_its_own
from storage_server import storage_of_its_own
from storms import StormyTransport, service_faults

from local.desk import ROOT
from local.reconciliation import reconcile
from local.tenant import Tenant, generate
from local.tenant.faults import Storm
from shared.app import App
from shared.clock import SystemClock
from shared.settings import load_settings
from shared.state.storage import pooled_transport

pytestmark = [pytest.mark.soak, pytest.mark.timeout(24 * 3600)]

SCALE = float(os.environ.get("FLOWTRAIL_LOAD_SCALE", "0.01"))
SOAK_S = float(os.environ.get("FLOWTRAIL_SOAK_S", "3600"))
ENVIRONMENTS = 40
RUNS_OF_AN_ENVIRONMENT = 12_500
BLOBS, EVENTS_OF_A_BLOB = 10_000, 200
MOST_MIB = 1024
GROWTH = 1.25
WARM_UP_MIB = 64
RATE, STORAGE_RATE = 0.1, 0.003
RUNS_A_SECOND, BLOBS_A_SECOND = 1, 0.2
DAY_S = 86_400
TIMERS = ("sync_inventory", "poll_flow_sessions", "poll_audit_content", "publish", "reconcile")
CALM = timedelta(hours=7)
"""Longer than an action log waits before it is asked for anew."""
PATIENCE_S = 1800
SAMPLED_S = 10
LOAD = Path(__file__).with_name("load.py")


def test_ten_times_a_large_tenants_day(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two instances: one has all functions, the other takes messages of both queues beside it."""
    sizes = {
        "environments": ENVIRONMENTS,
        "sessions": round(RUNS_OF_AN_ENVIRONMENT * SCALE),
        "blobs": round(BLOBS * SCALE),
        "events": EVENTS_OF_A_BLOB,
    }
    with tenant_of_its_own(sizes) as tenant, storage_of_its_own() as account:
        environ = {**os.environ, **tenant["app_settings"], "DataStorage": account}
        with instance(environ, tmp_path / "beside", "beside"), instance(environ, tmp_path / "first") as first:
            assert first.wait() == 0
        with urlopen(f"{tenant['control_url']}/truth") as answer:  # noqa: S310 - our own server
            truth = json.load(answer)
        found = reconcile(truth, App(load_settings(environ)))
    lots, lots_beside = told_by(tmp_path / "first"), told_by(tmp_path / "beside")
    peaks_mib = [each[-1]["peak_mib"] for each in (lots, lots_beside)]
    with capsys.disabled():
        print(json.dumps({"scale": SCALE, "last": lots[-1], "peaks_mib": peaks_mib}))  # noqa: T201 - a report
        for lot in (lot for before, lot in pairwise(lots) if before["what"] != lot["what"]):
            print(lot)  # noqa: T201 - a report
        for line in found.lines:
            print(f"{line.what}: {line.served} there, {line.published} published")  # noqa: T201 - a report
    failures = [each[-1]["failures"] for each in (lots, lots_beside)]
    assert failures == [0, 0], [path.read_text() for path in tmp_path.glob("*.errors")]
    assert (found.lost, found.duplicated) == (0, 0)
    assert falls(lots, "additional-context")
    assert is_flat(lots, "additional-context")
    assert is_flat(lots_beside, "additional-context")
    assert max(peaks_mib) < MOST_MIB


@contextmanager
def instance(environ: Mapping[str, str], told: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the app, which writes what it tells into a file as it goes."""
    with (
        told.open("wb") as lines,
        told.with_suffix(".errors").open("wb") as errors,
        subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, LOAD, *arguments],
            stdin=subprocess.PIPE,
            stdout=lines,
            stderr=errors,
            env=dict(environ),
            cwd=ROOT,
        ) as process,
    ):
        assert process.stdin
        try:
            yield process
        finally:
            process.stdin.close()


def told_by(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def falls(lots: list[dict[str, Any]], what: str) -> bool:
    """Whether the backlog is smaller at the end of each phase of work than at its begin."""
    backlog = [lot["backlog"] for lot in lots if lot["what"] == what]
    return backlog[-1] < backlog[0]


def is_flat(lots: list[dict[str, Any]], what: str) -> bool:
    """Whether the second half of each phase of the work takes hardly more memory than its first half.

    Between two phases days are published; what allocators keep of that is bounded by the peak.
    """
    phases = (list(phase) for name, phase in groupby(lots, lambda lot: lot["what"]) if name == what)
    taken = ([lot["rss_mib"] for lot in phase] for phase in phases)
    return all(max(one) <= GROWTH * max(one[: -(-len(one) // 2)]) + WARM_UP_MIB for one in taken)


class ClockAhead(SystemClock):
    """The real clock, ahead of itself by as much as it is told."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead

    __call__ = now


def test_an_hour_of_bad_weather(account: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the real clock, with runs and blobs that come all the time; then it is calm, and all are there.

    It is calm for hours, as far as the clock says: what waits for a later attempt is asked for again then.
    """
    lasts_s = 0.9 * SOAK_S
    world = generate(
        anchor=datetime.now(UTC) + timedelta(seconds=lasts_s),
        history_days=lasts_s / DAY_S,
        environments=4,
        sessions_per_environment=round(SOAK_S * RUNS_A_SECOND / 4),
        blobs=round(SOAK_S * BLOBS_A_SECOND),
        events_per_blob=50,
    )
    clock, stormy = ClockAhead(), StormyTransport(pooled_transport(), 7, STORAGE_RATE)
    with Tenant(world, clock=clock) as tenant, weather_of(tenant):
        tenant.faults.storm = Storm(7, RATE, service_faults())
        settings = load_settings({**tenant.app_settings(), "DataStorage": account})
        storm = Load(App(settings, clock, storage_transport=lambda: cast("Any", stormy)), account)
        lots = list(lots_of(storm, until_s=time.monotonic() + SOAK_S))
        tenant.faults.clear()
        stormy.rate = 0.0
        clock.ahead = CALM
        calm = Load(App(settings, clock), account)
        with calm.side_by_side(*TIMERS):
            settled_s = time.monotonic() + PATIENCE_S
            while (found := reconcile(tenant.truth(), calm.app)).lost and time.monotonic() < settled_s:
                time.sleep(1)
    with capsys.disabled():
        print(json.dumps({"soak_s": SOAK_S, **asdict(lots[-1]), "storage": stormy.hits}))  # noqa: T201 - a report
        for line in found.lines:
            print(f"{line.what}: {line.served} there, {line.published} published")  # noqa: T201 - a report
    assert (found.lost, found.duplicated) == (0, 0), [line for line in found.lines if line.lost]
    assert calm.failures == []
    assert storm.failures
    assert stormy.hits
    assert max(lot.rss_mib for lot in lots) < MOST_MIB


@contextmanager
def weather_of(tenant: Tenant) -> Iterator[None]:
    """The app's process as the tenant's; the storage library waits a tenth of what it would."""
    with (
        mock.patch.dict(os.environ, identity_of(tenant)),
        mock.patch.object(HttpTransport, "sleep", lambda _, seconds: time.sleep(seconds / 10)),
    ):
        yield


def lots_of(load: Load, until_s: float) -> Iterator[Lot]:
    with load.side_by_side(*TIMERS):
        while time.monotonic() < until_s:
            time.sleep(min(SAMPLED_S, SOAK_S / 10))
            yield load.lot("weather")
