"""The storage account as a folder, so that what is measured is the app and not a server.

Paths are text here: making objects of them for a thousand files would be a good part of what is measured.
"""

# ruff: noqa: PTH103, PTH105, PTH108, PTH116, PTH120, PTH123

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from shared.errors import Conflict
from shared.state.blobs import BlobItem
from shared.state.entities import Entity, Operation, Write
from shared.state.names import Container, StateTable


class NoLease:
    def renew(self) -> None:
        """Nobody else is there."""


class FolderBlobs:
    """What the app asks of `Blobs`, over files; one is replaced whole, so that a hard link keeps the old one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(
        self,
        container: Container,
        name: str,
        data: bytes | IO[bytes],
        *,
        if_match: str | None = None,
        if_absent: bool = False,
        notes: Mapping[str, str] | None = None,  # noqa: ARG002 - a file has no place for them
    ) -> str:
        path = self._path(container, name)
        there = self.etag(container, name)
        if (if_match is not None and if_match != there) or (if_absent and there is not None):
            raise Conflict(f"{name} was changed")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        aside = f"{path}.new"
        with open(aside, "wb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                shutil.copyfileobj(data, file, 1 << 20)
        os.replace(aside, path)
        return self.etag(container, name) or ""

    def get(self, container: Container, name: str) -> bytes | None:
        try:
            with open(self._path(container, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def copy_into(self, container: Container, name: str, file: IO[bytes]) -> str | None:
        try:
            with open(self._path(container, name), "rb") as source:
                shutil.copyfileobj(source, file, 1 << 20)
        except FileNotFoundError:
            return None
        return self.etag(container, name)

    def etag(self, container: Container, name: str) -> str | None:
        try:
            return _etag(os.stat(self._path(container, name)))
        except FileNotFoundError:
            return None

    def list(self, container: Container, prefix: str = "") -> Iterator[BlobItem]:
        root = self._path(container, "")
        found = sorted(f"{folder}/{name}" for folder, _, names in os.walk(root) for name in names)
        for path in found:
            if (name := path[len(root) :].lstrip("/")).startswith(prefix):
                status = os.stat(path)
                changed = datetime.fromtimestamp(status.st_mtime, UTC)
                yield BlobItem(name, _etag(status), status.st_size, changed)

    def delete(self, container: Container, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._path(container, name))

    def delete_unless_changed(self, container: Container, item: BlobItem) -> None:
        if self.etag(container, item.name) == item.etag:
            self.delete(container, item.name)

    def _path(self, container: Container, name: str) -> str:
        return f"{self._root}/{container}/{name}"

    @contextmanager
    def leased(self, _container: Container, _name: str) -> Generator[NoLease]:
        yield NoLease()


def _etag(status: os.stat_result) -> str:
    return f'"{status.st_ino}-{status.st_mtime_ns}"'


class HeldEntities:
    """A state table in memory, as far as publishing asks for it."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Entity] = {}

    def get(self, partition: str, row: str) -> Entity | None:
        return self._held.get((partition, row))

    def partition(self, partition: str, _select: Sequence[str] | None = None) -> Iterator[Entity]:
        return (entity for (there, _), entity in sorted(self._held.items()) if there == partition)

    def write(self, operation: Operation) -> str:
        key = (operation.partition, operation.row)
        if operation.write is Write.CREATE and key in self._held:
            raise Conflict(f"{key} is there")
        self._held[key] = Entity(*key, operation.properties, "1")
        return "1"


class FolderStorage:
    def __init__(self, root: Path) -> None:
        self.blobs = FolderBlobs(root)
        self._tables: dict[StateTable, HeldEntities] = {}

    def table(self, name: StateTable) -> Any:
        return self._tables.setdefault(name, HeldEntities())
