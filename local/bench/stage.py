"""The app between a simulated tenant and Azurite, processes of their own: CPU time is the app's alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from azure.core.pipeline.transport import HttpRequest
from azure.storage.queue import QueueServiceClient, TextBase64DecodePolicy

from local.azurite import Azurite
from shared.app import App
from shared.settings import load_settings
from shared.state.names import Queue
from shared.state.storage import Transport, pooled_transport

SIDE_BY_SIDE = 8  # one batch of host.json; of the next one the host starts up to `newBatchThreshold` more
SETTINGS = {
    "ENVIRONMENTS": "https://contoso.crm4.dynamics.com",
    "TENANT_ID": "11111111-1111-1111-1111-111111111111",
}


class CountingTransport:
    """The storage transport, with every request counted by service."""

    def __init__(self) -> None:
        self._inner = pooled_transport()
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()

    def send(self, request: HttpRequest, **options: Any) -> Any:
        with self._lock:
            self.requests[f"{request.method} {urlsplit(request.url).port}"] += 1
        return self._inner.send(request, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """The pool stays open for the next use."""


class Stage:
    """The app, and what counts its storage requests."""

    def __init__(self, stack: ExitStack, settings: dict[str, str]) -> None:
        azurite = stack.enter_context(Azurite(Path(stack.enter_context(tempfile.TemporaryDirectory()))))
        os.environ.update({name: value for name, value in settings.items() if name.startswith("IDENTITY_")})
        self.account = azurite.connection_string
        self.transport = CountingTransport()
        history = (datetime.now(UTC) - timedelta(days=30)).date().isoformat()
        values = {**SETTINGS, **settings, **azurite.app_settings(), "HISTORY_START": history}
        self.app = App(load_settings(values), storage_transport=self._shared_transport)
        self.app.storage.queues.length(
            Queue.ADDITIONAL_CONTEXT
        )  # the connections are open, what is missing is made

    def _shared_transport(self) -> Transport:
        return self.transport  # type: ignore[return-value] - it is one in all but name

    def drain(self, queue: Queue, work: Callable[[App, str, int], object]) -> int:
        """Run a queue's function over all that waits, as one instance does; return the number of messages."""
        client = QueueServiceClient.from_connection_string(self.account).get_queue_client(
            queue, message_decode_policy=TextBase64DecodePolicy()
        )
        waiting = list(client.receive_messages(messages_per_page=32, visibility_timeout=3600))
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(lambda message: work(self.app, message.content, 1), waiting))
        for message in waiting:
            client.delete_message(message)
        return len(waiting)


def tenant(stack: ExitStack, **sizes: float) -> dict[str, str]:
    """The settings of a simulated tenant that runs until the stack is left."""
    options = [part for name, value in sizes.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "local.tenant", "--live-s", "0", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stack.callback(process.communicate)
    assert process.stdout  # noqa: S101 - it is a pipe
    return json.loads(process.stdout.readline())["app_settings"]
