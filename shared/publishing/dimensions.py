"""Members that facts refer to and no inventory has told of yet, under the newest name that facts tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from shared.publishing.parquet import read_rows, rows_of
from shared.publishing.published import copy_of
from shared.publishing.staging import Destination, Staging
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

UNKNOWN = "(unknown)"
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Reference:
    """A column of a fact that names a member, and the columns that tell something about it.

    What is told of an environment may change, so that the newest counts: `told_at` is the instant that decides.
    """

    column: str
    dimension: Table
    told: Mapping[str, str] = field(default_factory=dict[str, str])
    told_at: str | None = None


IN_ENVIRONMENT = MappingProxyType({"environment_id": "environment_id"})
NAMED = MappingProxyType({"name": "environment_name"})
OF_INVENTORY = "url"
"""What only the inventory tells of an environment."""
OF_ITS_NAME = ("name", OF_INVENTORY, "updated_utc")
"""What tells whether facts know a newer name of an environment."""

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
            Reference("environment_id", DIM_ENVIRONMENT, NAMED, told_at="created_utc"),
            Reference("flow_id", DIM_FLOW, IN_ENVIRONMENT),
            Reference("user_id", DIM_USER),
            Reference("target_user", DIM_USER),
        ),
    }
)


def stage_unknown_members(
    blobs: Blobs, staging: Staging, table: Table, facts: Sequence[pa.Table]
) -> list[Destination]:
    """Stage a row for every member that facts name and its dimension lacks, or has under an older name of theirs.

    Returns what is to be published.
    """
    by_dimension: dict[str, dict[str, dict[str, Any]]] = {}
    for reference in REFERENCES.get(table.name, ()):
        members = by_dimension.setdefault(reference.dimension.name, {})
        for member_id, told in sorted(_members(reference, facts), key=_told_at):
            members.setdefault(member_id, {}).update(told)
    dimensions = {reference.dimension for reference in REFERENCES.get(table.name, ())}
    found = (_stage_members(blobs, staging, dimension, by_dimension[dimension.name]) for dimension in dimensions)
    return [destination for destination in found if destination]


def _members(reference: Reference, facts: Sequence[pa.Table]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Ids that a column holds, each once for each thing told about it."""
    named = list(dict.fromkeys([reference.column, *reference.told.values()]))
    for rows in facts:
        texts = rows.select(named).cast(pa.schema([pa.field(name, pa.string()) for name in named]))
        last: list[tuple[str, str]] = []
        if reference.told_at:
            texts, last = texts.append_column("at", rows.column(reference.told_at)), [("at", "max")]
        distinct = texts.group_by(named).aggregate(last)
        for row in distinct.to_pylist():
            if row[reference.column]:
                told = {name: row[source] for name, source in reference.told.items() if row[source]}
                yield row[reference.column], {**told, "updated_utc": row["at_max"]} if last and told else told


def _told_at(member: tuple[str, Mapping[str, Any]]) -> datetime:
    return member[1].get("updated_utc") or NEVER


def _stage_members(
    blobs: Blobs, staging: Staging, dimension: Table, members: Mapping[str, Mapping[str, Any]]
) -> Destination | None:
    key = dimension.key[0]
    columns = [key, *(OF_ITS_NAME if dimension is DIM_ENVIRONMENT else ())]
    known = published_members(blobs, dimension, columns) if members else {}
    rows = [
        _row(dimension, key, member_id, told)
        for member_id, told in members.items()
        if member_id not in known or _is_renamed(known[member_id], told)
    ]
    if not rows:
        return None
    destination = Destination(dimension, None)
    holds = (f"{row[key]} {row.get('name')} {row.get('updated_utc')}" for row in rows)
    staging.put(destination, [rows_of(dimension, rows)], holds)
    return destination


def _is_renamed(known: Mapping[str, Any], told: Mapping[str, Any]) -> bool:
    """Whether facts tell another name, and a newer one, of what no inventory has told of."""
    at = told.get("updated_utc")
    return bool(
        at
        and known[OF_INVENTORY] is None
        and told["name"] != known["name"]
        and at > (known["updated_utc"] or NEVER)
    )


def _row(dimension: Table, key: str, member_id: str, told: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {key: member_id, **told}
    if "name" in dimension.column_names:
        row.setdefault("name", UNKNOWN)
    return row


def published_members(
    blobs: Blobs, dimension: Table, columns: list[str] | None = None
) -> dict[str, dict[str, Any]]:
    """The rows of a dimension as published, by id: with all columns, or some."""
    with copy_of(blobs, f"{dimension.name}/{dimension.name}.parquet") as (file, etag):
        if etag is None:
            return {}
        rows = read_rows(dimension, file, columns)
    return {row[dimension.key[0]]: row for row in rows.to_pylist()}
