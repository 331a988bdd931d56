"""How far each source has been read: small versioned records, each guarded by its ETag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.errors import Stop
from shared.state.entities import Entities, Operation, Write

STATE_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """The place of one source; `etag` is empty while none is stored."""

    kind: str
    source: str
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    etag: str = ""


class Checkpoints:
    def __init__(self, table: Entities) -> None:
        self._table = table

    def load(self, kind: str, source: str) -> Checkpoint:
        """The stored place, or an empty one.

        Raises:
            Stop: a newer version of the app wrote it.
        """
        entity = self._table.get(kind, source)
        if entity is None:
            return Checkpoint(kind, source)
        if (version := entity.get("state_version", 0)) > STATE_VERSION:
            raise Stop(
                f"The checkpoint {kind}/{source} has version {version}, this app knows {STATE_VERSION}: "
                "a newer app wrote it. Deploy that version again."
            )
        return Checkpoint(kind, source, entity.properties, entity.etag)

    def save(self, checkpoint: Checkpoint, values: Mapping[str, Any]) -> Checkpoint:
        """Store a place in succession of `checkpoint`; nothing is written where nothing changed.

        Raises:
            Conflict: another run has moved the place since.
        """
        new = {**values, "state_version": STATE_VERSION}
        if new == {name: value for name, value in checkpoint.values.items() if value is not None}:
            return checkpoint
        write = Write.REPLACE if checkpoint.etag else Write.CREATE
        etag = self._table.write(Operation(write, checkpoint.kind, checkpoint.source, new, checkpoint.etag))
        return Checkpoint(checkpoint.kind, checkpoint.source, new, etag)

    def all(self, kind: str, select: Sequence[str] | None = None) -> dict[str, Checkpoint]:
        """The places of one kind by source; with `select` only those of their values."""
        found = self._table.partition(kind, select)
        return {entity.row: Checkpoint(kind, entity.row, entity.properties, entity.etag) for entity in found}

    def between(self, first: str, last: str, instant: str, since: datetime) -> Iterator[Checkpoint]:
        """The places of all kinds from `first` to `last` with a later `instant`, in the order of their kinds."""
        found = self._table.query(
            f"PartitionKey ge @first and PartitionKey le @last and {instant} gt @since",
            {"first": first, "last": last, "since": since},
        )
        for entity in found:
            yield Checkpoint(entity.partition, entity.row, entity.properties, entity.etag)
