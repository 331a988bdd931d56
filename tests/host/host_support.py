"""Small apps, queues and patience for the tests of the host."""

import base64
import json
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from azure.storage.queue import QueueClient

from local.azurite import Azurite

HOST_JSON = {
    "version": "2.0",
    "functionTimeout": "00:05:00",
    "extensions": {"queues": {"maxDequeueCount": 2, "visibilityTimeout": "00:00:01"}},
}
ENGINES = [
    pytest.param(
        "worker",
        marks=pytest.mark.skipif(sys.version_info < (3, 13), reason="azure-functions-runtime needs Python 3.13"),
    ),
    "direct",
]


def write_app(directory: Path, source: str, host_json: object = HOST_JSON) -> Path:
    """Writes a function app; `source` is what follows the usual first lines of function_app.py."""
    directory.mkdir(parents=True, exist_ok=True)
    first_lines = "import azure.functions as func\n\napp = func.FunctionApp(func.AuthLevel.ANONYMOUS)\n\n\n"
    (directory / "function_app.py").write_text(first_lines + source, "utf-8")
    (directory / "host.json").write_text(json.dumps(host_json), "utf-8")
    return directory


def queue_of(azurite: Azurite, name: str) -> QueueClient:
    return QueueClient.from_connection_string(azurite.connection_string, name)


def send(queue: QueueClient, body: object) -> str:
    """Sends JSON as the host expects it, and returns the message's text."""
    text = base64.b64encode(json.dumps(body).encode()).decode()
    queue.send_message(text)
    return text


def eventually(condition: Callable[[], object], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)


def accepts(url: str) -> bool:
    """Whether somebody listens at the URL's port."""
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "", address.port or 0), 1).close()
    except OSError:
        return False
    return True
