"""A server that answers as it is told, to the byte, and keeps what it was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hostile_server import Conversation, HostileServer


@pytest.fixture
def serving() -> Iterator[Callable[[Conversation], HostileServer]]:
    """Starts servers, each with its own way of answering; they end with the test."""
    servers: list[HostileServer] = []

    def start(answer: Conversation) -> HostileServer:
        servers.append(HostileServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
