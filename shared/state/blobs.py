"""Blobs: whole ones in and out, guarded by their ETags."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from time import monotonic
from typing import IO, Any

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import BlobClient, BlobLeaseClient, BlobServiceClient

from shared.errors import Conflict
from shared.state.names import Container

LEASE_S = 30
RENEW_AFTER_S = 5
RENEW_EVERY_S = 10
MOST_READS = 5


@dataclass(frozen=True)
class BlobItem:
    """A blob as a listing shows it."""

    name: str
    etag: str
    size: int
    modified_utc: datetime
    notes: Mapping[str, str] = field(default_factory=dict[str, str])


class Lease:
    """The lease of a lock blob; `kept` renews it in a thread of its own, however long a step of the work takes."""

    def __init__(self, client: BlobLeaseClient, name: str) -> None:
        self._client = client
        self._name = name
        self._renewed = monotonic()
        self._lock = threading.Lock()

    def renew(self) -> None:
        """Hold it for another `LEASE_S` seconds, unless most of them are still left.

        Raises:
            Conflict: it ran out, and somebody else has it, or had it since.
        """
        with self._lock:
            if monotonic() - self._renewed < RENEW_AFTER_S:
                return
            try:
                self._client.renew()
                self._renewed = monotonic()
            except HttpResponseError as error:
                raise _as_conflict(error, f"the lease of {self._name} was lost") from error

    @contextmanager
    def kept(self) -> Generator[None]:
        """Renew it again and again until the block ends; that it was lost is told by the next `renew`."""
        ended = threading.Event()
        threading.Thread(target=self._keep, args=(ended,), daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(RENEW_EVERY_S):
            try:
                self.renew()
            except Conflict:
                return
            except AzureError:  # storage may answer the next time
                continue

    def release(self) -> None:
        with suppress(HttpResponseError):  # it ran out already
            self._client.release()


class Blobs:
    def __init__(self, client: BlobServiceClient) -> None:
        self._client: Any = client  # the SDK leaves some of its arguments untyped

    def put(
        self,
        container: Container,
        name: str,
        data: bytes | IO[bytes],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        notes: Mapping[str, str] | None = None,
    ) -> str:
        """Write a whole blob, replacing what is there and its `notes` (metadata), and return its ETag.

        Raises:
            Conflict: it is no longer the one with `if_match`, or is there in spite of `if_absent`.
        """
        conditions: dict[str, Any] = {}
        if if_match is not None:
            conditions = {"etag": if_match, "match_condition": MatchConditions.IfNotModified}
        try:
            properties = self._blob(container, name).upload_blob(
                data, overwrite=not if_absent, metadata=dict(notes) if notes else None, **conditions
            )
        except (ResourceExistsError, ResourceModifiedError) as error:
            raise Conflict(f"{container}/{name} was changed by somebody else") from error
        return str(properties["etag"])

    def get(self, container: Container, name: str) -> bytes | None:
        try:
            return self._blob(container, name).download_blob().readall()
        except ResourceNotFoundError:
            return None

    def copy_into(self, container: Container, name: str, file: IO[bytes]) -> str | None:
        """Copy a blob into an empty local file and return its ETag; `None` if there is no such blob.

        Raises:
            Conflict: it was replaced again and again while it was read.
        """
        for _ in range(MOST_READS):
            try:
                downloader = self._blob(container, name).download_blob()
                downloader.readinto(file)
            except ResourceNotFoundError:
                return None
            except ResourceModifiedError:
                file.seek(0)
                file.truncate()
                continue
            return str(downloader.properties.etag)
        raise Conflict(f"{container}/{name} is replaced faster than it can be read")

    def etag(self, container: Container, name: str) -> str | None:
        try:
            return str(self._blob(container, name).get_blob_properties().etag)
        except ResourceNotFoundError:
            return None

    def list(self, container: Container, prefix: str = "", *, notes: bool = False) -> Iterator[BlobItem]:
        """The blobs whose names begin so, in the order of their names; with `notes` their metadata too."""
        include = ["metadata"] if notes else None
        for blob in self._client.get_container_client(container).list_blobs(prefix, include=include):
            yield BlobItem(blob.name, _quoted(blob.etag), blob.size, blob.last_modified, blob.metadata or {})

    def delete(self, container: Container, name: str) -> None:
        """Delete a blob; one that is gone already is fine."""
        self._delete(container, name, {})

    def delete_unless_changed(self, container: Container, item: BlobItem) -> None:
        """Delete a listed blob, unless it has been replaced since."""
        self._delete(container, item.name, {"etag": item.etag, "match_condition": MatchConditions.IfNotModified})

    def _delete(self, container: Container, name: str, conditions: dict[str, Any]) -> None:
        try:
            self._blob(container, name).delete_blob(**conditions)
        except (ResourceNotFoundError, ResourceModifiedError):
            return

    @contextmanager
    def leased(self, container: Container, name: str) -> Generator[Lease]:
        """Hold the lease of a lock blob, which is made if it is missing, until the block ends.

        Raises:
            Conflict: somebody else holds it.
        """
        lease = Lease(self._acquire(self._blob(container, name)), f"{container}/{name}")
        try:
            with lease.kept():
                yield lease
        finally:
            lease.release()

    def _acquire(self, blob: BlobClient) -> BlobLeaseClient:
        try:
            return blob.acquire_lease(lease_duration=LEASE_S)
        except ResourceNotFoundError:
            with suppress(ResourceExistsError):  # somebody else may make it, and hold it, in the same moment
                blob.upload_blob(b"", overwrite=False)
            return self._acquire(blob)
        except HttpResponseError as error:
            raise _as_conflict(error, f"{blob.blob_name} is locked") from error

    def create_missing(self, containers: tuple[Container, ...]) -> None:
        present = {container.name for container in self._client.list_containers()}
        for name in containers:
            if name not in present:
                self._create(name)

    def _create(self, name: Container) -> None:
        try:
            self._client.create_container(name)
        except ResourceExistsError:
            return

    def _blob(self, container: Container, name: str) -> BlobClient:
        return self._client.get_blob_client(container, name)


def _as_conflict(error: HttpResponseError, message: str) -> Exception:
    """A refusal for the state of the blob as a conflict; any other error as it is."""
    return (
        Conflict(message) if error.status_code in (HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED) else error
    )


def _quoted(etag: str) -> str:
    """An ETag as a condition wants it; listings leave the quotes out."""
    return etag if etag.startswith('"') else f'"{etag}"'
