"""What a value chosen in the report leaves of the published tables, as the model's relationships carry it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from local.powerbi.model import (
    DATE_TABLE,
    HOUR_TABLE,
    PARTITION_DATE,
    RELATIONSHIPS,
    ModelTable,
    Relationship,
    table_named,
)

DATE_COLUMNS = {"Date": "{}", "Weekday": "strftime({}, '%a')"}


def left_by(table: str, column: str, parameter: str) -> Mapping[str, str]:
    """Conditions by published table for `Table[Column]` being a parameter, in each table that it filters."""
    if table in (DATE_TABLE, HOUR_TABLE):
        found: dict[str, str] = {}
        for one in _from(table):
            found.update(_carried(one.many, f"{expression(one, column)} = ${parameter}"))
        return found
    return _carried(table, f"{storage_column(table_named(table), column)} = ${parameter}")


def _carried(table: str, condition: str) -> dict[str, str]:
    source = table_named(table).source.name
    found = {source: condition}
    for one in _from(table):
        inner = f"{one.many_column} IN (SELECT {one.one_column} FROM all_{source} WHERE {condition})"
        found.update(_carried(one.many, inner))
    return found


def _from(table: str) -> Iterator[Relationship]:
    return (one for one in RELATIONSHIPS if one.one == table and one.is_active)


def expression(one: Relationship, column: str) -> str:
    """A column of the tables Date and Hour as computed from the many side."""
    many = table_named(one.many).source
    if one.many_column == PARTITION_DATE:
        return DATE_COLUMNS[column].format(f"{many.day_column}::DATE")
    return DATE_COLUMNS[column].format(one.many_column) if one.one == DATE_TABLE else one.many_column


def storage_column(table: ModelTable, name: str) -> str:
    return next(column for column in table.source.column_names if table.column_name(column) == name)
