from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tenant_support import Client, Clock

from local.tenant import Tenant, World


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def serve(clock: Clock) -> Iterator[Callable[..., Client]]:
    """Serves a world until the test ends and gives a client for it."""
    with ExitStack() as stack:

        def start(world: World, **options: Any) -> Client:
            client = Client(stack.enter_context(Tenant(world, clock=clock, **options)))
            stack.enter_context(client.http)
            return client

        yield start
