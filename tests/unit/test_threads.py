"""Threads of a pool know for which invocation they work, as the Functions host wants of log records."""

from __future__ import annotations

import json
from contextvars import ContextVar

from local.desk import ROOT
from shared.app import CONNECTIONS_PER_HOST
from shared.audit import collector, replay
from shared.functions.sources import SIDE_BY_SIDE
from shared.publishing import staging
from shared.setting_values import CONTENT_TYPES
from shared.state import register, storage
from shared.threads import InvocationThreads

INVOCATION: ContextVar[str] = ContextVar("invocation", default="none")


def test_each_task_runs_in_the_context_that_it_was_given_in() -> None:
    with InvocationThreads(2) as pool:
        INVOCATION.set("first")
        first = [pool.submit(INVOCATION.get) for _ in range(4)]
        INVOCATION.set("second")
        second = list(pool.map(lambda _: INVOCATION.get(), range(4)))
    assert {one.result() for one in first} == {"first"}
    assert second == ["second"] * 4


def test_each_thread_finds_a_connection_that_is_kept() -> None:
    """What is opened beyond them is closed after each use, and the library warns of it each time."""
    readers = max(register.READERS, staging.READERS, replay.READERS)
    queues = json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]
    messages = 2 * (queues["batchSize"] + queues["newBatchThreshold"])
    assert SIDE_BY_SIDE * readers + messages <= storage.CONNECTIONS
    assert len(CONTENT_TYPES) * collector.THREADS <= CONNECTIONS_PER_HOST
