"""The storage account as a folder, so that what is measured is the app and not a server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
        path = self._root / container / name
        there = self.etag(container, name)
        if (if_match is not None and if_match != there) or (if_absent and there is not None):
            raise Conflict(f"{name} was changed")
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(".new")
        with aside.open("wb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                shutil.copyfileobj(data, file, 1 << 20)
        aside.replace(path)
        return self.etag(container, name) or ""

    def get(self, container: Container, name: str) -> bytes | None:
        path = self._root / container / name
        return path.read_bytes() if path.is_file() else None

    def copy_into(self, container: Container, name: str, file: IO[bytes]) -> str | None:
        path = self._root / container / name
        if not path.is_file():
            return None
        with path.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
        return self.etag(container, name)

    def etag(self, container: Container, name: str) -> str | None:
        try:
            status = (self._root / container / name).stat()
        except FileNotFoundError:
            return None
        return f'"{status.st_ino}-{status.st_mtime_ns}"'

    def list(self, container: Container, prefix: str = "") -> Iterator[BlobItem]:
        root = self._root / container
        names = (
            Path(folder, name).relative_to(root).as_posix() for folder, _, found in os.walk(root) for name in found
        )
        for name in sorted(one for one in names if one.startswith(prefix)):
            status = (root / name).stat()
            changed = datetime.fromtimestamp(status.st_mtime, UTC)
            yield BlobItem(name, f'"{status.st_ino}-{status.st_mtime_ns}"', status.st_size, changed)

    def delete(self, container: Container, name: str) -> None:
        (self._root / container / name).unlink(missing_ok=True)

    def delete_unless_changed(self, container: Container, item: BlobItem) -> None:
        if self.etag(container, item.name) == item.etag:
            self.delete(container, item.name)

    @contextmanager
    def leased(self, _container: Container, _name: str) -> Generator[NoLease]:
        yield NoLease()


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
