"""Rows as Dataverse writes them into JSON, with the annotations that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from local.tenant.columns import TABLES, Column, Kind, Table, choice_label
from local.tenant.world import Row, as_time

FORMATTED_VALUE = "OData.Community.Display.V1.FormattedValue"
LOOKUP_TABLE = "Microsoft.Dynamics.CRM.lookuplogicalname"
NAVIGATION_PROPERTY = "Microsoft.Dynamics.CRM.associatednavigationproperty"
TOTAL_COUNT = "Microsoft.Dynamics.CRM.totalrecordcount"
COUNT_EXCEEDED = "Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"


@dataclass(frozen=True)
class Annotations:
    """Which annotations to write; `patterns` is the value of odata.include-annotations."""

    patterns: str
    language: str
    label: Callable[[str, str], str | None]

    def includes(self, term: str) -> bool:
        patterns = [pattern.strip() for pattern in self.patterns.split(",") if pattern.strip()]
        denied = any(fnmatchcase(term, pattern[1:]) for pattern in patterns if pattern.startswith("-"))
        return not denied and any(fnmatchcase(term, pattern) for pattern in patterns)


def rendered(
    rows: Sequence[Row], table: Table, columns: Sequence[Column], annotations: Annotations
) -> list[dict[str, Any]]:
    """The rows with their tags, values and annotations."""
    writers = [_writer(table, column, annotations) for column in columns]
    return [_rendered(row, writers) for row in rows]


_Writer = Callable[[Row, dict[str, Any]], None]


def _rendered(row: Row, writers: Sequence[_Writer]) -> dict[str, Any]:
    out: dict[str, Any] = {"@odata.etag": f'W/"{row.get("versionnumber", 0)}"'}
    for write in writers:
        write(row, out)
    return out


def _writer(table: Table, column: Column, annotations: Annotations) -> _Writer:
    """What copies one column of a row, decided once for all rows."""
    name, plain = column.property_name, _PLAIN.get(column.kind)
    notes = _notes(table, column, annotations)

    def write(row: Row, out: dict[str, Any]) -> None:
        value = row.get(name)
        out[name] = plain(value) if plain and value is not None else value
        if value is not None and notes:
            out.update({f"{name}@{term}": note for term, make in notes if (note := make(value)) is not None})

    return write


def _notes(
    table: Table, column: Column, annotations: Annotations
) -> list[tuple[str, Callable[[Any], str | None]]]:
    """Annotation terms of a column with what makes their text from a value."""
    notes: list[tuple[str, Callable[[Any], str | None]]] = []
    formatted = _formatted(table, column, annotations)
    if formatted and annotations.includes(FORMATTED_VALUE):
        notes.append((FORMATTED_VALUE, formatted))
    if column.kind is Kind.LOOKUP:
        fixed = {LOOKUP_TABLE: column.target, NAVIGATION_PROPERTY: column.name}
        terms = [term for term in fixed if annotations.includes(term)]
        notes += [(term, lambda _value, text=fixed[term]: text) for term in terms]
    return notes


def _formatted(table: Table, column: Column, annotations: Annotations) -> Callable[[Any], str | None] | None:
    language = annotations.language
    match column.kind:
        case Kind.CHOICE:
            return lambda value: choice_label(table.name, column.name, value, language)
        case Kind.LOOKUP:
            return lambda value: annotations.label(column.target, str(value).lower())
        case Kind.TIME:
            return lambda value: _local_time(as_time(value), language)
        case Kind.BOOL:
            yes, no = ("Ja", "Nein") if language == "de" else ("Yes", "No")
            return lambda value: yes if value else no
        case Kind.INT | Kind.BIGINT:
            separator = "." if language == "de" else ","
            return lambda value: f"{value:,}".replace(",", separator)
        case _:
            return None


def _local_time(value: datetime, language: str) -> str:
    if language == "de":
        return f"{value:%d.%m.%Y %H:%M}"
    return f"{value.month}/{value.day}/{value.year} {value.hour % 12 or 12}:{value:%M %p}"


def utc_text(value: datetime | str) -> str:
    """A time as Dataverse writes it, to the second."""
    return as_time(value).isoformat(timespec="seconds")[:19] + "Z"


def _lower(value: str) -> str:
    return value.lower()


_PLAIN: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.TIME: utc_text,
    Kind.GUID: _lower,
    Kind.LOOKUP: _lower,
    Kind.FILE: _lower,
}


def title_of(table: str, row: Row | None) -> str | None:
    """The name that a lookup to the row shows."""
    return row.get(TABLES[table].title) if row is not None and table in TABLES else None
