"""The app between a simulated tenant and a storage account of its own, all on one clock that tests move."""

from __future__ import annotations

import importlib
import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from unittest import mock
from urllib.parse import urlsplit

import pyarrow.parquet as pq
from azure.core.pipeline.transport import HttpRequest
from azure.storage.queue import QueueServiceClient, TextBase64DecodePolicy, TextBase64EncodePolicy

from local.reconciliation import PublishedTables, Reconciliation, reconcile
from local.tenant import Limits, LogFile, Session, SessionState, Tenant, World, generate
from shared.app import App
from shared.entry import tick
from shared.errors import FlowtrailError
from shared.schema import TABLES
from shared.settings import load_settings
from shared.state.names import Container, Queue
from shared.state.storage import Transport as StorageTransport
from shared.state.storage import pooled_transport

ANCHOR = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
DELAY = re.compile(r"visibilitytimeout=([0-9]+)")
FUNCTIONS = {
    Queue.ADDITIONAL_CONTEXT: "decode_additional_context",
    Queue.PUBLISH_DAY: "publish_day",
}


class StageClock:
    """Moves only when told to, or slept on."""

    def __init__(self, at: datetime = ANCHOR) -> None:
        self.at = at
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        return self.at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.advance(seconds=seconds)

    def advance(self, **delta: float) -> None:
        with self._lock:
            self.at += timedelta(**delta)


class WatchedTransport:
    """The storage transport with hooks: `before` and `after` see every request and may raise, as a crash would.

    A message that is sent to be seen later is noted and made visible at once, so that no test waits for it.
    """

    def __init__(self, account: str) -> None:
        self._inner = pooled_transport()
        self._queues = QueueServiceClient.from_connection_string(account)
        self.before: Callable[[HttpRequest], None] = lambda _: None
        self.after: Callable[[HttpRequest], None] = lambda _: None
        self.delays_s: list[int] = []

    def send(self, request: HttpRequest, **options: Any) -> Any:
        self.before(request)
        response = self._inner.send(request, **options)
        delay = DELAY.search(request.url)
        if request.method == "POST" and delay and int(delay[1]):
            self.delays_s.append(int(delay[1]))
            self._show(request.url, response.internal_response.text)
        self.after(request)
        return response

    def _show(self, url: str, answer: str) -> None:
        queue = self._queues.get_queue_client(urlsplit(url).path.split("/")[2])
        message_id, receipt = (re.findall(f"<{name}>([^<]+)<", answer)[0] for name in ("MessageId", "PopReceipt"))
        queue.update_message(message_id, receipt, visibility_timeout=0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """The pool stays open for the next use."""


class Stage:
    """A tenant, an account and the app; `new_app` is what a new instance of the worker would be."""

    def __init__(self, tenant: Tenant, account: str, clock: StageClock, **settings: str) -> None:
        self.tenant = tenant
        self.account = account
        self.clock = clock
        self.environ = {**tenant.app_settings(), "DataStorage": account, **settings}
        self.transport = WatchedTransport(account)
        self.app = self.new_app()

    def new_app(self) -> App:
        def transport() -> StorageTransport:
            return self.transport  # type: ignore[return-value] - it is one in all but name

        return App(load_settings(self.environ), clock=self.clock, storage_transport=transport)

    def run(self, function: str, *arguments: Any) -> Any:
        return importlib.import_module(f"shared.functions.{function}").run(self.app, *arguments)

    def tick(self, function: str) -> bool:
        """Run a timer function with all that the trigger does around it; whether it succeeded."""
        try:
            tick(self.app, function)
        except FlowtrailError:
            return False
        return True

    def messages(self, queue: Queue) -> list[tuple[str, int]]:
        """Take the messages that wait out of the queue, each with its dequeue count."""
        taken: list[tuple[str, int]] = []
        self._for_each(queue, lambda body, dequeue_count: taken.append((body, dequeue_count)))
        return taken

    def drain(self, queue: Queue) -> int:
        """Run the queue's function over every message that waits now; return how many there were.

        As the host does: a message is deleted when its function has succeeded, and visible again if it has not.
        """
        return self._for_each(queue, lambda *message: self.run(FUNCTIONS[queue], *message))

    def _for_each(self, queue: Queue, work: Callable[[str, int], object]) -> int:
        client = QueueServiceClient.from_connection_string(self.account).get_queue_client(
            queue, message_encode_policy=TextBase64EncodePolicy(), message_decode_policy=TextBase64DecodePolicy()
        )
        waiting = list(client.receive_messages(messages_per_page=32, visibility_timeout=600))
        for at, message in enumerate(waiting):
            try:
                work(message.content, message.dequeue_count or 1)
            except BaseException:
                for given_back in waiting[at:]:
                    client.update_message(given_back, visibility_timeout=0)
                raise
            client.delete_message(message)
        return len(waiting)

    def decode(self) -> int:
        return self.drain(Queue.ADDITIONAL_CONTEXT)

    def publish(self) -> None:
        """Publish until nothing is staged any more."""
        for _ in range(10):
            self.run("publish")
            if not self.drain(Queue.PUBLISH_DAY):
                return
        raise AssertionError("publishing never ends")

    def round(self) -> None:
        """Everything once, in the order in which the timers usually come."""
        self.run("sync_inventory")
        self.run("poll_flow_sessions")
        self.run("poll_audit_content")
        self.decode()
        self.publish()

    def rows(self, table: str) -> list[dict[str, Any]]:
        return PublishedTables(self.app).read(TABLES[table]).to_pylist()

    def by_id(self) -> dict[str, dict[str, Any]]:
        return {row["session_id"]: row for row in self.rows("fact_flow_session")}

    def published(self) -> dict[str, str]:
        """ETags of the published files: the same ones mean that nothing was written.

        The app's own runs are left out, for these come anew whatever they find.
        """
        items = self.app.storage.blobs.list(Container.POWERBI)
        return {item.name: item.etag for item in items if not item.name.startswith("fact_ingest/")}

    def raw(self, prefix: str = "") -> list[str]:
        return [item.name for item in self.app.storage.blobs.list(Container.RAW, prefix)]

    def staged(self) -> list[str]:
        return [item.name for items in self.app.staging.waiting().values() for item in items]

    def reconciled(self) -> Reconciliation:
        return reconcile(self.tenant.truth(), self.app)


@contextmanager
def on_stage(world: World, account: str, limits: Limits | None = None, **settings: str) -> Iterator[Stage]:
    clock = StageClock()
    with Tenant(world, clock=clock, limits=limits) as tenant, mock.patch.dict(os.environ, identity_of(tenant)):
        yield Stage(tenant, account, clock, **settings)


def identity_of(tenant: Tenant) -> dict[str, str]:
    """Where the identity library looks for tokens: the process environment, as App Service sets it."""
    return {name: value for name, value in tenant.app_settings().items() if name.startswith("IDENTITY_")}


def small_world(**sizes: Any) -> World:
    """A tenant with a bit of everything, all of it in the past."""
    return generate(
        **{
            "seed": 3,
            "anchor": ANCHOR,
            "environments": 2,
            "sessions_per_environment": 25,
            "blobs": 12,
            "events_per_blob": 40,
            "history_days": 2,
            "live_s": 1,
            **sizes,
        }
    )


def bare_world(environments: int = 1) -> World:
    """A tenant whose environments have no runs yet, and no audit events."""
    world = small_world(environments=environments, sessions_per_environment=1, blobs=1)
    return replace(world, environments=tuple(replace(one, sessions=()) for one in world.environments), blobs=())


def with_runs(world: World, *sessions: Session, at: int = 0) -> World:
    environments = list(world.environments)
    environments[at] = replace(environments[at], sessions=tuple(sessions))
    return replace(world, environments=tuple(environments))


def run_id(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012x}"


def a_run(
    number: int, at: datetime = ANCHOR - timedelta(hours=1), file: LogFile | None = None, **values: Any
) -> Session:
    """A finished run; its row changes once, when it ends."""
    row = {
        "createdon": at,
        "startedon": at,
        "completedon": at + timedelta(seconds=20),
        "statuscode": 4,
        "runmode": 2,
        **values,
    }
    state = SessionState(at + timedelta(seconds=21), at + timedelta(seconds=21), 1000 + number, row)
    return Session(run_id(number), (state,), file)


def a_log(content: bytes, at: datetime = ANCHOR - timedelta(minutes=59), *, chunkable: bool = True) -> LogFile:
    return LogFile(at, content, chunkable=chunkable)


def read_parquet(data: bytes) -> list[dict[str, Any]]:
    return pq.read_table(io.BytesIO(data)).to_pylist()
