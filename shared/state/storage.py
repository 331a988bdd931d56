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
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
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
        options: dict[str, Any] = {
            "transport": (new_transport or pooled_transport)(),
            "connection_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
        }
        if where.connection_string:
            blob = BlobServiceClient.from_connection_string(where.connection_string, **options)
            queue = QueueServiceClient.from_connection_string(where.connection_string, **options)
            table = TableServiceClient.from_connection_string(where.connection_string, **options)
        else:
            blob = BlobServiceClient(where.blob_uri, credential, **options)
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


def pooled_transport() -> Transport:
    """One pool for all three services, large enough for all threads of a worker."""
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS))
    return RequestsTransport(session=session, session_owner=False)
