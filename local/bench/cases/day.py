"""A day of a tenant through the whole app, from the first poll to the last published file, at a reduced scale."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from local.bench.measuring import APP, Case, Size, Way, Work, size_of

ENVIRONMENTS = 10
RUNS_EACH = 60
BLOBS = 80
EVENTS = 250
STEPS_OF_RUNS = ("poll_flow_sessions", "decode_additional_context", "publish runs")
STEPS_OF_EVENTS = ("poll_audit_content", "publish events")


def _prepare(_folder: Path, quick: bool) -> Size:
    return Size(ENVIRONMENTS * RUNS_EACH // (10 if quick else 1))


def whole_app(folder: Path, stack: ExitStack) -> Work:
    """Each step on its own, in the order in which the timers come; queue messages eight at a time."""
    from local.bench.stage import Stage, tenant  # noqa: PLC0415 - heavy

    runs = size_of(folder).units
    environments = max(1, runs // RUNS_EACH)
    blobs = max(4, BLOBS * environments // ENVIRONMENTS)
    stage = Stage(
        stack,
        tenant(stack, environments=environments, sessions=RUNS_EACH, blobs=blobs, events=EVENTS, history_days=1),
    )

    def work() -> dict[str, Any]:
        stage.transport.requests.clear()
        steps = {name: _measured(step) for name, step in _steps(stage).items()}
        return {"steps": steps, "events": blobs * EVENTS, "requests": stage.transport.requests.total()}

    return work


def _steps(stage: Any) -> dict[str, Callable[[], object]]:
    from shared.functions import (  # noqa: PLC0415 - heavy
        decode_additional_context,
        poll_audit_content,
        poll_flow_sessions,
        publish,
        publish_day,
        sync_inventory,
    )
    from shared.state.names import Queue  # noqa: PLC0415

    def publish_all() -> None:
        publish.run(stage.app)
        while stage.drain(Queue.PUBLISH_DAY, publish_day.run):
            pass

    return {
        "sync_inventory": lambda: sync_inventory.run(stage.app),
        "poll_flow_sessions": lambda: poll_flow_sessions.run(stage.app),
        "decode_additional_context": lambda: stage.drain(Queue.ADDITIONAL_CONTEXT, decode_additional_context.run),
        "publish runs": publish_all,
        "poll_audit_content": lambda: poll_audit_content.run(stage.app),
        "publish events": publish_all,
    }


def _measured(step: Callable[[], object]) -> dict[str, Any]:
    from local.bench.sampling import Sampler  # noqa: PLC0415 - only here

    wall_s, cpu_s = time.perf_counter(), time.process_time()
    with Sampler() as sampler:
        step()
    return {
        "wall_s": time.perf_counter() - wall_s,
        "cpu_s": time.process_time() - cpu_s,
        "layers": dict(sampler.seen),
    }


CASES = (
    Case(
        "day",
        "The whole app, a day of a tenant",
        "runs",
        _prepare,
        (Way(APP, whole_app, repeats=False),),
        1,
    ),
)
