"""The KPIs computed a second time: their SQL over the published tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

import duckdb
import pyarrow as pa

from local.powerbi.kpi import Kpi
from local.reconciliation import PublishedTables
from shared.schema import TABLES, Table, arrow_schema

PLACEHOLDER = re.compile(r"\$(\w+)")


@dataclass(frozen=True)
class Numbers:
    """The published tables as DuckDB's, instants as UTC without a zone; `now` is the moment of looking."""

    connection: duckdb.DuckDBPyConnection
    now: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def value(self, kpi: Kpi) -> Any:
        """What a KPI is over all rows, or over those that `only` left; `None` where it would divide by nothing."""
        ((value,),) = self.rows(kpi.sql)
        return None if isinstance(value, float) and not isfinite(value) else value

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        known = {"now": self.now.astimezone(UTC).replace(tzinfo=None), **self.parameters}
        wanted = {name: known[name] for name in PLACEHOLDER.findall(sql)}
        return self.connection.execute(sql, wanted).fetchall()

    def only(self, conditions: Mapping[str, str], parameters: Mapping[str, Any]) -> Numbers:
        """Leave only some rows: a condition for a table, whose values are parameters."""
        for table in TABLES:
            condition = _with_values(conditions.get(table, "TRUE"), parameters)
            view = f"CREATE OR REPLACE VIEW {table} AS SELECT * FROM all_{table} WHERE {condition}"
            self.connection.execute(view)
        return self


def numbers(
    tables: PublishedTables, now: datetime, first: date | None = None, last: date | None = None
) -> Numbers:
    """The numbers over published tables; `first` and `last` are the first and the last day selected."""
    connection = duckdb.connect()
    for name, table in TABLES.items():
        connection.register(f"all_{name}", tables.read(table).cast(_without_zones(table)))
    return Numbers(connection, now, {"first": first, "last": last}).only({}, {})


def _without_zones(table: Table) -> pa.Schema:
    naive = pa.timestamp("ms")
    fields = ((field.name, field.type) for field in arrow_schema(table))
    return pa.schema([pa.field(name, naive if name.endswith("_utc") else kind) for name, kind in fields])


def _with_values(condition: str, parameters: Mapping[str, Any]) -> str:
    """A view takes no parameters: their values become literals."""
    return PLACEHOLDER.sub(lambda match: _literal(parameters[match[1]]), condition)


def _literal(value: Any) -> str:
    return "'" + str(value).replace("'", "''") + "'"
