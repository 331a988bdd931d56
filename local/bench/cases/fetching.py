"""Fetching blobs from a server that takes 20 ms for each, and polling forty environments of a simulated tenant."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from local.bench.measuring import APP, Case, Size, Way, Work, size_of

NOON = datetime(2026, 5, 19, 12, tzinfo=UTC)
TENANT_ID = "11111111-1111-1111-1111-111111111111"
LATENCY_S = 0.02
BODY_BYTES = 200_000
THREADS = (1, 2, 4, 8, 16, 32)
EACH = 60
ENVIRONMENTS = 40
RUNS = 10


def _prepare(threads: int, _folder: Path, quick: bool) -> Size:
    count = threads * (EACH // 4 if quick else EACH)
    return Size(count, count * BODY_BYTES)


def _server(stack: ExitStack) -> str:
    command = [sys.executable, "-m", "local.bench.slow_server", str(LATENCY_S), str(BODY_BYTES)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(process.communicate)
    assert process.stdout  # noqa: S101 - it is a pipe
    return f"http://127.0.0.1:{process.stdout.readline().strip()}"


class _Credential:
    """A token as the identity gives one, without a server to ask."""

    def get_token(self, *_scopes: str, **_options: Any) -> Any:
        from azure.core.credentials import AccessToken  # noqa: PLC0415 - heavy

        return AccessToken("token", 1 << 40)


def flowtrail(threads: int, folder: Path, stack: ExitStack) -> Work:
    """The app's feed, connections and token, without the pace that the service asks for."""
    from shared.app import CONNECTIONS_PER_HOST  # noqa: PLC0415 - a rival must not pay for it
    from shared.audit.feed import ActivityFeed, ContentBlob  # noqa: PLC0415
    from shared.clock import Deadline, SystemClock  # noqa: PLC0415
    from shared.net.api import Api  # noqa: PLC0415
    from shared.net.identity import Tokens  # noqa: PLC0415
    from shared.net.policy import ACTIVITY  # noqa: PLC0415
    from shared.net.throttle import Cooldown  # noqa: PLC0415
    from shared.net.transport import PooledTransport  # noqa: PLC0415

    root, clock = _server(stack), SystemClock()
    transport = PooledTransport(CONNECTIONS_PER_HOST)
    api = Api(root, ACTIVITY, Tokens(_Credential), transport, clock, Cooldown(clock))
    feed, deadline = ActivityFeed(api, TENANT_ID), Deadline.after(clock, 600)
    blob = ContentBlob("1", "Audit.General", f"{root}/api/1", NOON, NOON + timedelta(days=7))
    return _fetching(threads, size_of(folder).units, lambda: feed.fetch(blob, deadline), stack)


def with_requests(threads: int, folder: Path, stack: ExitStack) -> Work:
    """A session of `requests` for all threads, as one writes it first."""
    import requests  # noqa: PLC0415 - each way brings its own imports

    root, session = _server(stack), requests.Session()
    headers = {"Authorization": "Bearer token"}
    return _fetching(
        threads, size_of(folder).units, lambda: session.get(f"{root}/api/1", headers=headers).content, stack
    )


def _fetching(threads: int, count: int, fetch: Any, stack: ExitStack) -> Work:
    pool = stack.enter_context(ThreadPoolExecutor(threads))

    def work_off(number: int) -> int:
        return sum(len(body) for body in pool.map(lambda _: fetch(), range(number)))

    work_off(2 * threads)
    return lambda: {"threads": threads, "received": work_off(count)}


def _prepare_poll(_folder: Path, quick: bool) -> Size:
    return Size(ENVIRONMENTS // 4 if quick else ENVIRONMENTS)


def poll(folder: Path, stack: ExitStack) -> Work:
    """`poll_flow_sessions` over all environments, which have runs that are new."""
    from local.bench.stage import Stage, tenant  # noqa: PLC0415 - heavy
    from shared.functions import poll_flow_sessions  # noqa: PLC0415

    count = size_of(folder).units
    settings = tenant(stack, environments=count, sessions=RUNS, blobs=0, history_days=1, latency_s=LATENCY_S)
    stage = Stage(stack, settings)

    def work() -> dict[str, Any]:
        stage.transport.requests.clear()
        poll_flow_sessions.run(stage.app)
        return {"requests": stage.transport.requests.total()}

    return work


REQUESTS = "requests.Session"
CASES = (
    *(
        Case(
            f"fetch-{threads}",
            f"Blobs of 200 KB from a server that takes 20 ms, {threads} at a time",
            "blobs",
            partial(_prepare, threads),
            (
                Way(APP, partial(flowtrail, threads), repeats=False),
                Way(REQUESTS, partial(with_requests, threads), repeats=False),
            ),
        )
        for threads in THREADS
    ),
    Case(
        "poll-40",
        f"Polling environments of {RUNS} new runs each, 20 ms latency",
        "environments",
        _prepare_poll,
        (Way(APP, poll, repeats=False),),
        2,
    ),
)
