"""Invocations: one execution of a function each, timed, logged, counted and told as an event."""

import asyncio
import logging
import time
import uuid
from dataclasses import dataclass
from typing import Any

from local.host.engines import Engine, Outcome
from local.host.events import EventStream
from local.host.functions import Function, HttpTrigger, QueueTrigger
from local.host.logs import failure_text
from local.host.trigger_data import HttpResponse, TriggerInput

log = logging.getLogger("host")


@dataclass(frozen=True)
class Invocation:
    """How an invocation ended; `response` only an HTTP function has."""

    ok: bool
    error: str | None
    duration_ms: float
    response: HttpResponse | None = None

    @property
    def result(self) -> dict[str, Any] | None:
        """JSON: status, headers and body of an HTTP function's response; None for other triggers."""
        if not self.response:
            return None
        body = self.response.body.decode("utf-8", "replace")
        return {"status": self.response.status, "headers": dict(self.response.headers), "body": body}


class Invoker:
    """Runs functions on the host's event loop."""

    def __init__(self, engine: Engine, events: EventStream, timeout_s: float | None) -> None:
        self._engine = engine
        self._events = events
        self._timeout_s = timeout_s
        self._running: dict[str, asyncio.Task[Invocation]] = {}

    async def invoke(
        self, function: Function, given: TriggerInput, *, dequeue_count: int | None = None
    ) -> Invocation:
        """Runs the function to its end: a thread cannot be ended where Azure would end the worker process."""
        invocation_id = str(uuid.uuid4())
        task = asyncio.create_task(self._run(function, given, invocation_id))
        self._running[f"{function.name} {invocation_id}"] = task
        try:
            invocation = await task
        finally:
            del self._running[f"{function.name} {invocation_id}"]
        self._tell(function, invocation, dequeue_count)
        return invocation

    def running(self) -> list[asyncio.Task[Invocation]]:
        return list(self._running.values())

    def running_functions(self) -> list[str]:
        return sorted(key.split()[0] for key in self._running)

    async def _run(self, function: Function, given: TriggerInput, invocation_id: str) -> Invocation:
        started = time.perf_counter()
        alarm = self._set_alarm(function)
        try:
            outcome = await self._engine.run(function, given, invocation_id)
        except SystemExit as error:  # would end the event loop, and all other functions with it
            outcome = Outcome(f"SystemExit: {error}")
        if alarm:
            alarm.cancel()
        duration_s = time.perf_counter() - started
        outcome = self._judged(function, outcome, duration_s)
        return Invocation(outcome.error is None, outcome.error, round(duration_s * 1000, 1), outcome.response)

    def _set_alarm(self, function: Function) -> asyncio.TimerHandle | None:
        if self._timeout_s is None:
            return None
        return asyncio.get_running_loop().call_later(self._timeout_s, self._report_overrun, function)

    def _report_overrun(self, function: Function) -> None:
        text = f"runs longer than the functionTimeout of {self._timeout_s:g} s; Azure would end it now"
        log.error(text, extra={"function": function.name})

    def _judged(self, function: Function, outcome: Outcome, duration_s: float) -> Outcome:
        if outcome.error:
            log.error(failure_text(outcome.error, outcome.stack_trace), extra={"function": function.name})
        elif self._timeout_s is not None and duration_s > self._timeout_s:
            return Outcome(f"ran longer than the functionTimeout of {self._timeout_s:g} s")
        else:
            log.info("ok in %.0f ms", duration_s * 1000, extra={"function": function.name})
        return outcome

    def _tell(self, function: Function, invocation: Invocation, dequeue_count: int | None) -> None:
        self._events.emit(
            "invoked",
            function=function.name,
            trigger=kind(function),
            ok=invocation.ok,
            duration_ms=invocation.duration_ms,
            error=invocation.error,
            dequeue_count=dequeue_count,
        )


def kind(function: Function) -> str:
    match function.trigger:
        case HttpTrigger():
            return "http"
        case QueueTrigger():
            return "queue"
        case _:
            return "timer"
