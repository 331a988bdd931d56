"""The data storage account: one connection pool and three clients, opened when first needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests
from azure.core.credentials import TokenCredential
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from requests.adapters import HTTPAdapter

from shared.settings import DataStorage
from shared.state.blobs import Blobs
from shared.state.entities import Entities
from shared.state.names import Container, Queue, StateTable
from shared.state.queues import Queues

CONNECTIONS = 128
"""Of each service, kept open: eight sources of a timer read with eight threads each, beside a dozen messages."""
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 20
LONGEST_PAUSE_S = 10
RETRIES = {
    "retry_total": 3,
    "retry_status": 3,
    "retry_connect": 2,
    "retry_read": 1,
    # blobs and queues: pauses of 3, 5 and 9 seconds, half a second more or less
    "initial_backoff": 1,
    "increment_base": 2,
    "random_jitter_range": 0.5,
    # tables: 0, 2 and 4 seconds
    "retry_backoff_factor": 1,
}
"""What the SDKs are told, for they know no deadline: by default the pauses of one operation come to 84 seconds."""
LONGEST_OPERATION_S = 80
"""Twice no answer, twice no connection, and the pauses between. `functionTimeout` leaves room for four of them
behind each deadline: for what is under way then, the note of it, the heartbeat and the report."""
PART_BYTES = 8 * 1024 * 1024
PARTS: dict[str, Any] = dict.fromkeys(
    ("max_single_put_size", "max_block_size", "max_single_get_size", "max_chunk_get_size"), PART_BYTES
)
"""A blob comes and goes in parts of this size: by default 64 MiB are read at once, for which publishing a day took
257 MiB beside what it has to hold, instead of 65 (measured)."""
PAUSES = {"retry-after": 1, "retry-after-ms": 1000, "x-ms-retry-after-ms": 1000}
"""Headers that ask for a pause, and their units a second."""
AUDIENCE = "https://storage.azure.com"

Transport = HttpTransport[Any, Any]


class Storage:
    """Blobs, tables and queues; a `credential` is used where there is no connection string.

    `new_transport` is the seam at which tests watch or break every operation.
    """

    def __init__(
        self,
        where: DataStorage,
        credential: TokenCredential | None,
        new_transport: Callable[[], Transport] | None = None,
    ) -> None:
        options: dict[str, Any] = {"transport": (new_transport or pooled_transport)(), **RETRIES}
        if where.connection_string:
            blob = BlobServiceClient.from_connection_string(where.connection_string, **options, **PARTS)
            queue = QueueServiceClient.from_connection_string(where.connection_string, **options)
            table = TableServiceClient.from_connection_string(where.connection_string, **options)
        else:
            blob = BlobServiceClient(where.blob_uri, credential, **options, **PARTS)
            queue = QueueServiceClient(where.queue_uri, credential, **options)
            table = TableServiceClient(where.table_uri, credential=credential, audience=AUDIENCE, **options)
        self.blobs = Blobs(blob)
        self.queues = Queues(queue)
        self._tables: Any = table  # the SDK leaves its keyword arguments untyped

    def table(self, name: StateTable) -> Entities:
        return Entities(self._tables.get_table_client(name))

    def create_missing(self) -> None:
        """Create the containers, tables and queues that are not there: three listings where nothing is missing."""
        self.blobs.create_missing(tuple(Container))
        self.queues.create_missing(tuple(Queue))
        present = {table.name for table in self._tables.list_tables()}
        for name in StateTable:
            if name not in present:
                self._tables.create_table_if_not_exists(name)


class BriefTransport(RequestsTransport):
    """Lets no service ask for a long pause, which the SDK of tables would sleep through."""

    def send(self, request: Any, **options: Any) -> Any:
        inner: Any = super()  # the SDK leaves it untyped
        response = inner.send(request, **options)
        for name, units_a_second in PAUSES.items():
            if name in response.headers:
                response.headers[name] = _brief(str(response.headers[name]), units_a_second)
        return response


def _brief(asked: str, units_a_second: int) -> str:
    longest = LONGEST_PAUSE_S * units_a_second
    return str(min(int(asked), longest) if asked.isdecimal() else longest)


def pooled_transport(read_timeout_s: float = READ_TIMEOUT_S) -> BriefTransport:
    """One pool for all three services, large enough for all threads of a worker.

    The timeouts belong here: the SDKs leave a transport that is given as it is.
    """
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS))
    return BriefTransport(
        session=session,
        session_owner=False,
        connection_timeout=CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
    )
