"""Threads that work on behalf of an invocation."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Result = TypeVar("Result")


class InvocationThreads(ThreadPoolExecutor):
    """A pool whose threads know which invocation they work for.

    The worker library keeps its id in a context variable, which threads don't inherit; the Functions host drops
    log records that belong to no invocation (azure-functions-python-worker issues 1158 and 1860).
    """

    def submit(self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs) -> Future[Result]:
        return super().submit(copy_context().run, fn, *args, **kwargs)
