"""Storage connections by name: a connection string, or the settings of an identity-based connection."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from azure.core.credentials import TokenCredential
from azure.storage.queue import LinearRetry, QueueClient

DEFAULT_CONNECTION = "AzureWebJobsStorage"
HOST_PREFIX = "AzureWebJobs"


@dataclass(frozen=True)
class Connection:
    """Where a queue trigger connects: `connection_string`, or `service_uri` with an identity."""

    connection_string: str = ""
    service_uri: str = ""
    credential: str = ""
    client_id: str | None = None

    def queue(self, name: str) -> QueueClient:
        # the listener polls again anyway: long waits of the SDK's own would only delay a stop
        retry = LinearRetry(backoff=1, retry_total=2)
        if self.connection_string:
            return QueueClient.from_connection_string(self.connection_string, name, retry_policy=retry)
        token = _credential(self.credential, self.client_id)
        return QueueClient(self.service_uri, name, credential=token, retry_policy=retry)


def find_connection(name: str, settings: Mapping[str, str]) -> Connection | None:
    """The connection of that name, AzureWebJobs{name} before {name}, or None where no setting describes it."""
    for prefix in (HOST_PREFIX + name, name):
        if settings.get(prefix):
            return Connection(connection_string=settings[prefix])
        if service_uri := _service_uri(prefix, settings):
            return Connection(
                service_uri=service_uri,
                credential=settings.get(f"{prefix}__credential", ""),
                client_id=settings.get(f"{prefix}__clientId") or None,
            )
    return None


def _service_uri(prefix: str, settings: Mapping[str, str]) -> str:
    if uri := settings.get(f"{prefix}__queueServiceUri"):
        return uri
    account = settings.get(f"{prefix}__accountName")
    return f"https://{account}.queue.core.windows.net" if account else ""


@lru_cache  # one object per identity: each keeps its own tokens
def _credential(kind: str, client_id: str | None) -> TokenCredential:
    # importing it takes 0.2 s, which a start without identities is spared
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential  # noqa: PLC0415

    if kind.lower() == "managedidentity":
        return ManagedIdentityCredential(client_id=client_id)
    return DefaultAzureCredential(managed_identity_client_id=client_id)
