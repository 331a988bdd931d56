"""Threads of a pool know for which invocation they work, as the Functions host wants of log records."""

from __future__ import annotations

from contextvars import ContextVar

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
