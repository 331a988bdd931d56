"""The app between a simulated tenant and an account, both in this process, and a host that gives it its turns."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, cast
from urllib.parse import urlencode, urlsplit

from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import AzureError, ResourceExistsError, ServiceResponseError
from azure.storage.queue import (
    QueueClient,
    QueueMessage,
    QueueServiceClient,
    TextBase64DecodePolicy,
    TextBase64EncodePolicy,
)
from integration.stage import StageClock

from crash.lives import Effect, Life
from crash.memory_blobs import MemoryBlobs
from crash.memory_queues import MemoryQueues
from crash.memory_tables import MemoryTables
from crash.wire import BLOB_PORT, CONNECTION_STRING, QUEUE_PORT, TABLE_PORT, transport_of
from local.tenant import Tenant, World
from local.tenant.wire import Request, Response
from shared import entry
from shared.app import App
from shared.net import transport as net
from shared.net.identity import Tokens
from shared.settings import Settings, load_settings
from shared.state.names import Container, Queue
from shared.state.storage import Transport as StorageTransport

SERVICES = {BLOB_PORT: "blob", QUEUE_PORT: "queue", TABLE_PORT: "table"}
FUNCTIONS = {Queue.ADDITIONAL_CONTEXT: "decode_additional_context", Queue.PUBLISH_DAY: "publish_day"}
HIDDEN_S = 600
AGAIN_S = 60
MOST_DEQUEUES = 5
"""The first as the Functions host has it, the others as host.json."""


class Account:
    """A storage account in memory, which can be put back to what it was."""

    def __init__(self, clock: StageClock) -> None:
        self.blobs, self.queues, self.tables = MemoryBlobs(clock), MemoryQueues(clock), MemoryTables()
        self.transport = transport_of({BLOB_PORT: self.blobs, QUEUE_PORT: self.queues, TABLE_PORT: self.tables})
        self.connection_string = CONNECTION_STRING

    def snapshot(self) -> tuple[Any, ...]:
        return self.blobs.snapshot(), self.queues.snapshot(), self.tables.snapshot()

    def published(self) -> dict[str, bytes]:
        """The files that Power BI reads."""
        return {name: blob.content for name, blob in self.blobs.containers[Container.POWERBI].items()}

    def let_time_pass(self) -> None:
        """What time does to the messages and leases of a process that died, without the time."""
        self.blobs.end_leases()
        self.queues.show_taken()

    def restore(self, kept: tuple[Any, ...]) -> None:
        for service, state in zip((self.blobs, self.queues, self.tables), kept, strict=True):
            service.restore(state)


class StillClock(StageClock):
    """Moves only when told to: waiting takes no time, so that what is done again happens at the same instant."""

    def sleep(self, seconds: float) -> None:
        """No time passes."""


class GatedStorage:
    """The storage transport of one life."""

    def __init__(self, inner: Any, life: Life) -> None:
        self._inner, self._life = inner, life

    def send(self, request: Any, **options: Any) -> Any:
        parts = urlsplit(request.url)
        service = SERVICES.get(parts.port or 0, "storage")
        effect = Effect(service, request.method, parts.path + (f"?{parts.query}" if parts.query else ""))
        lost = ServiceResponseError("the connection broke before the reply came")
        return self._life.effect(effect, partial(self._inner.send, request, **options), lost)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """It stays open for the next use."""


class TenantAtHand:
    """The tenant's services without a network in between."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self._services = dict(zip(tenant.ports, tenant._services(), strict=True))

    def ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        parts = urlsplit(url)
        named = {name.lower(): value for name, value in headers.items()}
        return self.tenant._answer(
            self._services[parts.port or 0], Request(method, below_origin(url), named, body)
        )


def below_origin(url: str) -> str:
    return urlsplit(url)._replace(scheme="", netloc="").geturl()


@dataclass
class GatedServices:
    """The transport to the tenant's services of one life."""

    tenant: TenantAtHand
    life: Life

    def __call__(self, request: net.Request) -> net.Reply:
        effect = Effect("tenant", request.method, below_origin(request.url))
        return self.life.effect(effect, partial(self._reply, request), net.NetworkError("the reply was lost"))

    def _reply(self, request: net.Request) -> net.Reply:
        answer = self.tenant.ask(request.method, request.url, request.headers, request.body)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        body = gzip.decompress(answer.body) if headers.get("content-encoding") == "gzip" else answer.body
        return net.Reply(int(answer.status), headers, body)


class TenantCredential:
    """Gives tokens as App Service does, out of the tenant's identity endpoint."""

    def __init__(self, at_hand: TenantAtHand, life: Life) -> None:
        self._at_hand, self._life = at_hand, life
        self._tokens: dict[str, AccessToken] = {}

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        resource = scopes[0].removesuffix("/.default")
        if resource not in self._tokens:
            lost = ServiceResponseError("the identity endpoint did not answer")
            effect = Effect("identity", "GET", resource)
            self._tokens[resource] = self._life.effect(effect, partial(self._issued, resource), lost)
        return self._tokens[resource]

    def _issued(self, resource: str) -> AccessToken:
        tenant = self._at_hand.tenant
        query = urlencode({"api-version": "2019-08-01", "resource": resource, "client_id": tenant.client_id})
        headers = {"x-identity-header": tenant.identity_header}
        answer = self._at_hand.ask("GET", f"{tenant.identity_endpoint}?{query}", headers)
        token = json.loads(answer.body)
        return AccessToken(token["access_token"], int(token["expires_on"]))


class Process:
    """One process of the host with the app in it, for as long as its life lasts."""

    def __init__(self, stand: Stand, life: Life, settings: Mapping[str, str]) -> None:
        self.stand, self.life = stand, life
        self.failures: list[str] = []
        storage = GatedStorage(stand.account.transport, life)
        self.app = App(
            stand.settings(settings),
            clock=stand.clock,
            transport=GatedServices(stand.at_hand, life),
            storage_transport=lambda: cast("StorageTransport", storage),
        )
        self.app.tokens = Tokens(lambda: cast("TokenCredential", TenantCredential(stand.at_hand, life)))
        self._queues = QueueServiceClient.from_connection_string(
            stand.account.connection_string, transport=cast("StorageTransport", storage)
        )

    def timer(self, function: str) -> None:
        self.attempt(partial(entry.run_timer, function, self.app))

    def message(self, queue: Queue) -> bool:
        """Run the queue's function over one message, if one can be seen.

        As the host does: a message is deleted when its function has succeeded, can be seen again a while after it
        has failed, and goes to the poison queue when it has failed too often.
        """
        client = self._queue(queue)
        with suppress(AzureError):  # the host logs it, and asks again
            taken = client.receive_message(visibility_timeout=HIDDEN_S)
            if taken is not None:
                self._settle(queue, client, taken)
            return taken is not None
        return True

    def _settle(self, queue: Queue, client: QueueClient, message: QueueMessage) -> None:
        count = message.dequeue_count or 1
        if self.attempt(partial(entry.run_message, FUNCTIONS[queue], message.content, count, self.app)):
            client.delete_message(message)
        elif count < MOST_DEQUEUES:
            client.update_message(message, visibility_timeout=AGAIN_S)
        else:
            self.poison(queue, message.content)
            client.delete_message(message)

    def poison(self, queue: Queue, content: str) -> None:
        """Put a message where the host puts those that failed too often."""
        client = self._queue(queue.poison)
        with suppress(ResourceExistsError):
            client.create_queue()
        client.send_message(content)

    def take_all(self, queue: Queue) -> list[str]:
        """Take the messages that can be seen out of a queue."""
        client = self._queue(queue)
        taken: list[str] = []
        while (message := client.receive_message(visibility_timeout=HIDDEN_S)) is not None:
            taken.append(message.content)
            client.delete_message(message)
        return taken

    def attempt(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the host survives what a function raises
            self.failures.append(f"{type(error).__name__}: {error}")
            return False
        return True

    def _queue(self, name: str) -> QueueClient:
        policies = {
            "message_encode_policy": TextBase64EncodePolicy(),
            "message_decode_policy": TextBase64DecodePolicy(),
        }
        return self._queues.get_queue_client(name, **policies)


class Stand:
    """A tenant, an account and a clock, and all that is needed to put them back to what they were."""

    def __init__(self, world: World, clock: StageClock, account: Any = None) -> None:
        self.clock = clock
        self.account = account or Account(clock)
        self.tenant = Tenant(world, clock=clock)
        self.at_hand = TenantAtHand(self.tenant)
        self._settings: dict[tuple[tuple[str, str], ...], Settings] = {}

    def settings(self, changed: Mapping[str, str]) -> Settings:
        """The usual settings with some changed, read once: thousands of processes have the same."""
        usual = {"DataStorage": self.account.connection_string, "AUDIT_WINDOW_HOURS": "24"}
        key = tuple(sorted({**usual, **changed}.items()))
        if key not in self._settings:
            self._settings[key] = load_settings({**self.tenant.app_settings(), **dict(key)})
        return self._settings[key]

    def process(self, life: Life | None = None, settings: Mapping[str, str] | None = None) -> Process:
        """A new process; what it leaves to chance is the same each time."""
        random.seed(1)
        return Process(self, life or Life(), settings or {})

    def snapshot(self) -> tuple[Any, ...]:
        subscriptions = self.tenant._subscriptions
        kept = dict(subscriptions._enabled), dict(subscriptions._stopped), list(subscriptions._gaps)
        return self.clock.at, self.account.snapshot(), kept

    def restore(self, kept: tuple[Any, ...]) -> None:
        self.clock.at, account, (enabled, stopped, gaps) = kept
        self.account.restore(account)
        subscriptions = self.tenant._subscriptions
        subscriptions._enabled, subscriptions._stopped, subscriptions._gaps = (
            dict(enabled),
            dict(stopped),
            list(gaps),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.tenant.stop()
