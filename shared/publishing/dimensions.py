"""Members that facts refer to and no inventory has told of yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from shared.publishing.parquet import read_rows, rows_of
from shared.publishing.staging import Destination, Staging, spool
from shared.schema import (
    DIM_ENVIRONMENT,
    DIM_FLOW,
    DIM_MACHINE,
    DIM_MACHINE_GROUP,
    DIM_USER,
    FACT_AUDIT_EVENT,
    FACT_FLOW_ACTION,
    FACT_FLOW_SESSION,
    Table,
)
from shared.state.blobs import Blobs
from shared.state.names import Container

UNKNOWN = "(unknown)"


@dataclass(frozen=True)
class Reference:
    """A column of a fact that names a member, and the columns that tell something about it."""

    column: str
    dimension: Table
    told: Mapping[str, str] = field(default_factory=dict[str, str])


IN_ENVIRONMENT = MappingProxyType({"environment_id": "environment_id"})

REFERENCES: Mapping[str, tuple[Reference, ...]] = MappingProxyType(
    {
        FACT_FLOW_SESSION.name: (
            Reference("environment_id", DIM_ENVIRONMENT),
            Reference("flow_id", DIM_FLOW, IN_ENVIRONMENT),
            Reference("cloud_flow_id", DIM_FLOW, IN_ENVIRONMENT),
            Reference("machine_id", DIM_MACHINE, IN_ENVIRONMENT),
            Reference("machine_group_id", DIM_MACHINE_GROUP, IN_ENVIRONMENT),
            Reference("user_id", DIM_USER),
        ),
        FACT_FLOW_ACTION.name: (
            Reference("environment_id", DIM_ENVIRONMENT),
            Reference("flow_id", DIM_FLOW, IN_ENVIRONMENT),
        ),
        FACT_AUDIT_EVENT.name: (
            Reference("environment_id", DIM_ENVIRONMENT, MappingProxyType({"name": "environment_name"})),
            Reference("flow_id", DIM_FLOW, IN_ENVIRONMENT),
            Reference("user_id", DIM_USER),
            Reference("target_user", DIM_USER),
        ),
    }
)


def stage_unknown_members(
    blobs: Blobs, staging: Staging, table: Table, facts: Sequence[pa.Table]
) -> list[Destination]:
    """Stage a row for every member that facts name and its dimension lacks; return what is to be published."""
    by_dimension: dict[str, dict[str, dict[str, Any]]] = {}
    for reference in REFERENCES.get(table.name, ()):
        members = by_dimension.setdefault(reference.dimension.name, {})
        for member_id, told in _members(reference, facts):
            members.setdefault(member_id, {}).update(told)
    dimensions = {reference.dimension for reference in REFERENCES.get(table.name, ())}
    found = (_stage_missing(blobs, staging, dimension, by_dimension[dimension.name]) for dimension in dimensions)
    return [destination for destination in found if destination]


def _members(reference: Reference, facts: Sequence[pa.Table]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Ids that a column holds, each once for each thing told about it."""
    named = list(dict.fromkeys([reference.column, *reference.told.values()]))
    for rows in facts:
        texts = rows.select(named).cast(pa.schema([pa.field(name, pa.string()) for name in named]))
        distinct = texts.group_by(named).aggregate([])
        for row in distinct.to_pylist():
            if row[reference.column]:
                told = {name: row[source] for name, source in reference.told.items() if row[source]}
                yield row[reference.column], told


def _stage_missing(
    blobs: Blobs, staging: Staging, dimension: Table, members: Mapping[str, Mapping[str, Any]]
) -> Destination | None:
    key = dimension.key[0]
    known = _known_ids(blobs, dimension) if members else set[str]()
    rows = [_row(dimension, key, member_id, told) for member_id, told in members.items() if member_id not in known]
    if not rows:
        return None
    destination = Destination(dimension, None)
    staging.put(destination, [rows_of(dimension, rows)], (f"{row[key]} {row.get('name')}" for row in rows))
    return destination


def _row(dimension: Table, key: str, member_id: str, told: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {key: member_id, **told}
    if "name" in dimension.column_names:
        row.setdefault("name", UNKNOWN)
    return row


def _known_ids(blobs: Blobs, dimension: Table) -> set[str]:
    key = dimension.key[0]
    with spool() as file:
        if blobs.copy_into(Container.POWERBI, f"{dimension.name}/{dimension.name}.parquet", file) is None:
            return set()
        file.seek(0)
        return set(read_rows(dimension, file, [key]).column(key).to_pylist())
