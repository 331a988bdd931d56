"""Tokens of the app's managed identity."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from shared.errors import AccessError, Defer

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

RETRY_S = 60.0
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 15
READ_RETRIES = 1
"""What the SDK is told, for it knows no deadline: by default it waits five minutes for an answer, four times.
The storage SDKs may ask for a token twice within one operation."""
PASSING = re.compile(r"\) (?:429|5\d\d|None),")
"""What `azure-identity` 1.x says of an answer of the endpoint that passes: it calls each one a wrong scope."""
ADVICE = "Check that the identity is assigned to the function app and that AZURE_CLIENT_ID is its client id."


class Tokens:
    """Access tokens by scope. The credential keeps each until shortly before it expires."""

    def __init__(self, new_credential: Callable[[], TokenCredential]) -> None:
        self._new_credential = new_credential
        self._credential: TokenCredential | None = None
        self._lock = threading.Lock()

    def get(self, scope: str) -> str:
        """A token for `scope`.

        Raises:
            AccessError: the identity endpoint knows no such identity.
            Defer: it does not answer.
        """
        return _token(self.credential, scope)

    def refreshed(self, scope: str, refused: str) -> str:
        """A token other than `refused`, if the identity endpoint has one.

        Only a new credential asks the endpoint again; the first thread to be refused makes it, for all.
        """
        with self._lock:
            if self._credential is not None and _token(self._credential, scope) == refused:
                self._credential = None
        return self.get(scope)

    @property
    def credential(self) -> TokenCredential:
        with self._lock:
            if self._credential is None:
                self._credential = self._new_credential()
            return self._credential


def _token(credential: TokenCredential, scope: str) -> str:
    from azure.core.exceptions import AzureError, ClientAuthenticationError  # noqa: PLC0415 - heavy

    try:
        return credential.get_token(scope).token
    except ClientAuthenticationError as error:
        if PASSING.search(error.message or ""):
            raise Defer(f"The identity endpoint gives no token for {scope}: {error.message}", RETRY_S) from error
        raise AccessError(f"No token for {scope}: {error.message}", ADVICE) from error
    except AzureError as error:
        raise Defer(f"The identity endpoint gives no token for {scope}: {error}", RETRY_S) from error


def managed_identity(client_id: str, read_timeout_s: float = READ_TIMEOUT_S) -> TokenCredential:
    """The user-assigned identity with that client id, or the system-assigned one if it is empty."""
    from azure.identity import ManagedIdentityCredential  # noqa: PLC0415 - heavy, needed once a worker

    return ManagedIdentityCredential(
        client_id=client_id or None,
        connection_timeout=CONNECT_TIMEOUT_S,
        read_timeout=read_timeout_s,
        retry_read=READ_RETRIES,
    )
