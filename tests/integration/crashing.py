"""Killing the app between two writes to storage."""

from __future__ import annotations

import threading

from azure.core.pipeline.transport import HttpRequest
from azure.storage.blob import BlobLeaseClient, BlobServiceClient

from shared.state.names import Container


class Crash(BaseException):
    """The process is gone; no handler of the app's may stop it."""


class CrashAt:
    """Lets so many writes through, then kills: before the next one, or after it with its answer lost."""

    def __init__(self, writes: int) -> None:
        self.left = writes
        self.count = 0
        self.dead = False
        self._lock = threading.Lock()

    def __call__(self, request: HttpRequest) -> None:
        if request.method in ("GET", "HEAD"):
            return
        with self._lock:
            self.count += 1
            self.left -= 1
            self.dead = self.dead or self.left < 0
        if self.dead:
            raise Crash


def let_leases_run_out(account: str) -> None:
    """What two minutes do to the lease of a process that died."""
    container = BlobServiceClient.from_connection_string(account).get_container_client(Container.STAGING)
    if container.exists():
        for blob in container.list_blobs(name_starts_with="locks/"):
            if blob.lease.state == "leased":
                BlobLeaseClient(container.get_blob_client(blob.name)).break_lease(0)
