"""Tables: entities as plain mappings, guarded by their ETags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from itertools import groupby
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, TableClient, TableTransactionError, UpdateMode

from shared.errors import Conflict

MOST_IN_BATCH = 100
MOST_BATCH_BYTES = 3_500_000
ENTITY_BYTES = 4_000  # names, types, numbers and headers of one entity, generously
CONFLICTS = (404, 409, 412)

Properties = Mapping[str, Any]


@dataclass(frozen=True)
class Entity:
    """An entity that was read: its keys, its properties, and the ETag that guards a change."""

    partition: str
    row: str
    properties: Properties
    etag: str

    def get(self, name: str, default: Any = None) -> Any:
        return self.properties.get(name, default)


class Write(StrEnum):
    CREATE = "create"
    REPLACE = "replace"
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True)
class Operation:
    """A write of one entity, without the properties that are `None`.

    `CREATE` wants no such entity to be there, `REPLACE` the one with `etag`.
    """

    write: Write
    partition: str
    row: str
    properties: Properties
    etag: str = ""


class Entities:
    """The entities of one table."""

    def __init__(self, client: TableClient) -> None:
        self._client: Any = client  # the SDK leaves its keyword arguments untyped

    def get(self, partition: str, row: str) -> Entity | None:
        try:
            return _read(self._client.get_entity(partition, row))
        except ResourceNotFoundError:
            return None

    def query(
        self,
        filter_: str,
        parameters: Mapping[str, Any] | None = None,
        select: Sequence[str] | None = None,
        page_entities: int | None = None,
    ) -> Iterator[Entity]:
        """The entities that match, in the order of their keys."""
        given = {"parameters": dict(parameters or {}), "select": _with_keys(select)}
        return map(_read, self._client.query_entities(filter_, results_per_page=page_entities, **given))

    def partition(self, partition: str, select: Sequence[str] | None = None) -> Iterator[Entity]:
        return self.query("PartitionKey eq @partition", {"partition": partition}, select)

    def all(self, select: Sequence[str] | None = None) -> Iterator[Entity]:
        return map(_read, self._client.list_entities(select=_with_keys(select)))

    def write(self, operation: Operation) -> str:
        """Write one entity and return its new ETag.

        Raises:
            Conflict: it is not as the operation wants it to be.
        """
        try:
            return self._write(operation)
        except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError) as error:
            raise Conflict(
                f"{self._client.table_name} {operation.partition} {operation.row} was changed"
            ) from error

    def _write(self, operation: Operation) -> str:
        entity = _entity(operation)
        if operation.write is Write.CREATE:
            result = self._client.create_entity(entity)
        elif operation.write is Write.UPSERT:
            result = self._client.upsert_entity(entity, mode=UpdateMode.REPLACE)
        elif operation.write is Write.DELETE:
            self._client.delete_entity(operation.partition, operation.row)
            return ""
        else:
            result = self._client.update_entity(entity, mode=UpdateMode.REPLACE, **_guard(operation.etag))
        return str(result["etag"])

    def write_all(self, operations: Sequence[Operation]) -> None:
        """Write entities of one partition, up to a hundred at a time, each such batch wholly or not at all.

        Raises:
            Conflict: one of them is not as its operation wants it to be.
        """
        for batch in _transactions(operations):
            try:
                self._client.submit_transaction([_batched(operation) for operation in batch])
            except TableTransactionError as error:
                if error.status_code not in CONFLICTS:
                    raise
                raise Conflict(f"{self._client.table_name} {batch[0].partition} was changed") from error

    def delete_between(self, first: str, behind: str) -> Iterator[int]:
        """Delete the partitions from `first` up to, not including, `behind`; tell the number after each."""
        filter_ = "PartitionKey ge @first and PartitionKey lt @behind"
        found = self.query(filter_, {"first": first, "behind": behind}, select=[])
        for partition, entities in groupby(found, lambda entity: entity.partition):
            doomed = [Operation(Write.DELETE, partition, entity.row, {}) for entity in entities]
            self.write_all(doomed)
            yield len(doomed)


def _transactions(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Batches within the limits of a transaction, 100 operations and 4 MiB; an escaped letter is twelve bytes."""
    batch: list[Operation] = []
    size = 0
    for operation in operations:
        texts = (value for value in operation.properties.values() if isinstance(value, str))
        own = ENTITY_BYTES + sum(12 * len(text) for text in texts)
        if batch and (len(batch) == MOST_IN_BATCH or size + own > MOST_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(operation)
        size += own
    if batch:
        yield batch


def _batched(operation: Operation) -> tuple[Any, ...]:
    entity = _entity(operation)
    if operation.write is Write.REPLACE:
        return ("update", entity, {"mode": UpdateMode.REPLACE, **_guard(operation.etag)})
    if operation.write is Write.UPSERT:
        return ("upsert", entity, {"mode": UpdateMode.REPLACE})
    return (str(operation.write), entity)


def _guard(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _with_keys(select: Sequence[str] | None) -> list[str] | None:
    return ["PartitionKey", "RowKey", *select] if select is not None else None


def _entity(operation: Operation) -> dict[str, Any]:
    properties = {name: _stored(value) for name, value in operation.properties.items() if value is not None}
    return {"PartitionKey": operation.partition, "RowKey": operation.row, **properties}


def _stored(value: Any) -> Any:
    """Whole numbers as 64 bits, dates as text; the rest as it is."""
    if isinstance(value, int) and not isinstance(value, bool):
        return EntityProperty(value, EdmType.INT64)
    if isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, StrEnum) else value


def _read(entity: Any) -> Entity:
    properties = {name: _plain(value) for name, value in entity.items()}
    return Entity(
        properties.pop("PartitionKey", ""),
        properties.pop("RowKey", ""),
        properties,
        entity.metadata.get("etag", ""),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, EntityProperty):
        return value.value
    if isinstance(value, datetime):
        return datetime.combine(value.date(), value.time(), value.tzinfo or UTC)
    return value
