"""Runs into the register and blobs into the ledger, in Azurite; and what a message of action logs costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from local.bench.measuring import APP, Case, Size, Way, Work, size_of

NOON = datetime(2026, 5, 19, 12, tzinfo=UTC)
COUNT = 1_000
RUNS = 200
LATENCY_S = 0.02


def _prepare(_folder: Path, quick: bool) -> Size:
    return Size(COUNT // 5 if quick else COUNT)


def _prepare_runs(_folder: Path, quick: bool) -> Size:
    return Size(RUNS // 5 if quick else RUNS)


def _sessions(count: int) -> list[Any]:
    from local.bench.cases.logs import _session  # noqa: PLC0415 - imported where it is used up

    one = _session()
    return [replace(one, session_id=f"00000000-0000-0000-0000-{number:012x}") for number in range(count)]


def _blobs(count: int) -> list[Any]:
    from shared.audit.feed import ContentBlob  # noqa: PLC0415 - as above

    ids = (f"20260519120000000{number:06d}$audit" for number in range(count))
    return [ContentBlob(one, "Audit.General", f"https://a/{one}", NOON, NOON + timedelta(days=7)) for one in ids]


def _batches(count: int) -> Iterator[slice]:
    yield from (slice(at, at + 100) for at in range(0, count, 100))


def register(batch: bool, folder: Path, stack: ExitStack) -> Work:
    from local.bench.stage import Stage  # noqa: PLC0415 - heavy

    app = Stage(stack, {}).app
    sessions = _sessions(size_of(folder).units)
    app.register.update(sessions[:1], lambda session, _: session)
    parts = list(_batches(len(sessions))) if batch else [slice(at, at + 1) for at in range(len(sessions))]

    def work() -> None:
        for part in parts:
            app.register.update(sessions[part], lambda session, _: session, lambda _: batch)

    return work


def ledger(batch: bool, folder: Path, stack: ExitStack) -> Work:
    from local.bench.stage import Stage  # noqa: PLC0415 - heavy

    app = Stage(stack, {}).app
    blobs = _blobs(size_of(folder).units)
    app.ledger.add(blobs[:1], NOON)
    parts = list(_batches(len(blobs))) if batch else [slice(at, at + 1) for at in range(len(blobs))]

    def work() -> None:
        for part in parts:
            app.ledger.add(blobs[part], NOON)

    return work


def messages(folder: Path, stack: ExitStack) -> Work:
    """Messages of twenty runs, fetched, decoded, staged and noted; the tenant answers after 20 ms."""
    from local.bench.stage import Stage, tenant  # noqa: PLC0415 - heavy
    from shared.functions import decode_additional_context, poll_flow_sessions  # noqa: PLC0415
    from shared.state.names import Queue  # noqa: PLC0415

    runs = size_of(folder).units
    stage = Stage(
        stack, tenant(stack, environments=1, sessions=runs, blobs=0, history_days=1, latency_s=LATENCY_S)
    )
    poll_flow_sessions.run(stage.app)

    def work() -> dict[str, Any]:
        stage.transport.requests.clear()
        count = stage.drain(Queue.ADDITIONAL_CONTEXT, decode_additional_context.run)
        return {"messages": count, "requests": stage.transport.requests.total()}

    return work


def _one(work: Any, *, batch: bool) -> Any:
    def start(folder: Path, stack: ExitStack) -> Work:
        return work(batch, folder, stack)

    return start


ONE_BY_ONE = "one by one"
CASES = (
    Case(
        "register",
        "New runs into the register, a hundred at a time",
        "entities",
        _prepare,
        (
            Way(APP, _one(register, batch=True), repeats=False),
            Way(ONE_BY_ONE, _one(register, batch=False), repeats=False),
        ),
        2,
    ),
    Case(
        "ledger",
        "Listed blobs into the ledger, a hundred at a time",
        "entities",
        _prepare,
        (
            Way(APP, _one(ledger, batch=True), repeats=False),
            Way(ONE_BY_ONE, _one(ledger, batch=False), repeats=False),
        ),
        2,
    ),
    Case(
        "messages",
        "Messages of action logs, twenty runs each, 20 ms latency",
        "runs",
        _prepare_runs,
        (Way(APP, messages, repeats=False),),
        2,
    ),
)
