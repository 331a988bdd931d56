"""The KPIs computed a second time: their SQL over the published tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

import duckdb
import pyarrow as pa

from local.powerbi.kpi import Kpi
from local.powerbi.work import WorkByHand
from local.reconciliation import PublishedTables
from shared.schema import TABLES, Table, arrow_schema

PLACEHOLDER = re.compile(r"\$(\w+)")
WORK = (
    "work_by_hand (flow_id VARCHAR, minutes DOUBLE, hourly_rate DOUBLE, cost_of_run DOUBLE, "
    "cost_of_failure DOUBLE)"
)
TABLE_NAME = re.compile(r"\b(?:fact|dim)_\w+")


@dataclass(frozen=True)
class Numbers:
    """The published tables in DuckDB, instants as UTC without a zone; `now` is the moment of looking.

    `conditions` say which rows of a table are left.
    """

    connection: duckdb.DuckDBPyConnection
    now: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    conditions: Mapping[str, str] = field(default_factory=dict[str, str])

    def value(self, kpi: Kpi) -> Any:
        """What a KPI is over the rows that are left; `None` where it would divide by nothing."""
        ((value,),) = self.rows(kpi.sql)
        return None if isinstance(value, float) and not isfinite(value) else value

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        known = {"now": self.now.astimezone(UTC).replace(tzinfo=None), **self.parameters}
        query = TABLE_NAME.sub(lambda match: self._left(match[0]), sql)
        return self.connection.execute(
            query, {name: known[name] for name in PLACEHOLDER.findall(query)}
        ).fetchall()

    def only(self, conditions: Mapping[str, str], parameters: Mapping[str, Any]) -> Numbers:
        """The same over some of the rows: a condition for a table, and the values of its parameters."""
        return replace(self, conditions=conditions, parameters={**self.parameters, **parameters})

    def _left(self, table: str) -> str:
        condition = self.conditions.get(table)
        return f"(SELECT * FROM all_{table} WHERE {condition})" if condition else f"all_{table}"


def numbers(
    tables: PublishedTables,
    now: datetime,
    first: date | None = None,
    last: date | None = None,
    work: WorkByHand | None = None,
) -> Numbers:
    """The numbers over published tables; `first` and `last` are the first and the last day selected."""
    connection = duckdb.connect(config={"threads": 1})
    for name, table in TABLES.items():
        connection.register("rows", tables.read(table).cast(_without_zones(table)))
        connection.execute(f"CREATE TABLE all_{name} AS SELECT * FROM rows")
        connection.unregister("rows")
    connection.execute(f"CREATE TABLE {WORK}")
    connection.executemany("INSERT INTO work_by_hand VALUES (?, ?, ?, ?, ?)", list((work or WorkByHand()).rows()))
    return Numbers(connection, now, {"first": first, "last": last})


def _without_zones(table: Table) -> pa.Schema:
    naive = pa.timestamp("ms")
    fields = ((field.name, field.type) for field in arrow_schema(table))
    return pa.schema([pa.field(name, naive if name.endswith("_utc") else kind) for name, kind in fields])
