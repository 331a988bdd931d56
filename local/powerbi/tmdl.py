"""The semantic model as TMDL files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

from local.powerbi.kpis import Kpi
from local.powerbi.m import FUNCTIONS, HOURS, PARAMETERS, WORK_BY_HAND, dates, source_of
from local.powerbi.model import (
    DATA_TYPES,
    DATE_TABLE,
    FORMATS,
    HOUR_TABLE,
    PARTITION_DATE,
    RELATIONSHIPS,
    TABLES,
    ModelTable,
    Relationship,
    table_named,
)
from local.powerbi.work import COLUMNS, WORK_TABLE
from shared.schema import Column, Kind

BARE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
REFRESHED_DAYS = 10
"""How many days are read again: more than the seven for which the audit feed can still bring something."""

MODEL = """model Model
	culture: en-US
	defaultPowerBIDataSourceVersion: powerBI_V3
	discourageImplicitMeasures
	sourceQueryCulture: en-US
	dataAccessOptions
		legacyRedirects
		returnErrorValuesAsNull

annotation __PBI_TimeIntelligenceEnabled = 0

annotation PBI_QueryOrder = {order}

"""

DATE_COLUMNS = (
    ("Date", "dateTime", "Short Date", "\t\tisKey\n"),
    ("Year", "int64", "0", ""),
    ("Month", "string", "", ""),
    ("Week Start", "dateTime", "Short Date", ""),
    ("Weekday Number", "int64", "0", "\t\tisHidden\n"),
    ("Weekday", "string", "", "\t\tsortByColumn: 'Weekday Number'\n"),
)
HOUR_COLUMNS = (("Hour", "int64", "0", "\t\tisKey\n"),)
WORK_COLUMNS = ((COLUMNS[0], "string", "", ""), *((name, "double", "", "") for name in COLUMNS[1:]))


def model_files() -> Mapping[str, str]:
    """Path below the definition's folder to text."""
    return {
        "database.tmdl": "database\n\tcompatibilityLevel: 1606\n\n",
        "model.tmdl": _model(),
        "expressions.tmdl": _expressions(),
        "relationships.tmdl": "".join(map(_relationship, RELATIONSHIPS)),
        **{f"tables/{table.name}.tmdl": _table(table) for table in TABLES},
        f"tables/{DATE_TABLE}.tmdl": _made(
            DATE_TABLE, "Days, in UTC.", "\tdataCategory: Time\n\n", DATE_COLUMNS, dates(TABLES)
        ),
        f"tables/{HOUR_TABLE}.tmdl": _made(HOUR_TABLE, "Hours of the day, in UTC.", "\n", HOUR_COLUMNS, HOURS),
        f"tables/{WORK_TABLE}.tmdl": _made(
            WORK_TABLE,
            "What a run is worth, as the parameters say: a row for each flow that differs, and * for all others.",
            "\n",
            WORK_COLUMNS,
            WORK_BY_HAND,
        ),
    }


def named(name: str) -> str:
    return name if BARE_NAME.fullmatch(name) else "'" + name.replace("'", "''") + "'"


def _model() -> str:
    names = [*(table.name for table in TABLES), DATE_TABLE, HOUR_TABLE, WORK_TABLE]
    order = ",".join(f'"{name}"' for name in [*PARAMETERS, *FUNCTIONS, *names])
    return MODEL.format(order=f"[{order}]") + "".join(f"ref table {named(name)}\n" for name in names) + "\n"


def _expressions() -> str:
    parameters = (f"/// {about}\nexpression {name} = {value}\n\n" for name, (about, value) in PARAMETERS.items())
    functions = (
        f"/// {about}\nexpression {name} =\n{_indented(body, 2)}\n\n" for name, (about, body) in FUNCTIONS.items()
    )
    return "".join([*parameters, *functions])


def _relationship(one: Relationship) -> str:
    many = f"{named(one.many)}.{named(_column_name(one.many, one.many_column))}"
    target = f"{named(one.one)}.{named(_column_name(one.one, one.one_column))}"
    name = _guid(f"relationship {many} {target}")
    inactive = "" if one.is_active else "\tisActive: false\n"
    return f"relationship {name}\n{inactive}\tfromColumn: {many}\n\ttoColumn: {target}\n\n"


def _column_name(table: str, column: str) -> str:
    return column if table in (DATE_TABLE, HOUR_TABLE) else table_named(table).column_name(column)


def _table(table: ModelTable) -> str:
    return "".join(
        [
            f"/// {table.source.meaning}\ntable {named(table.name)}\n\n",
            _refresh_policy(table),
            *map(_measure, table.kpis),
            *_columns(table),
            _partition(table.name, source_of(table)),
        ]
    )


def _refresh_policy(table: ModelTable) -> str:
    if table.source.day_column is None:
        return ""
    return (
        "\trefreshPolicy\n\t\tpolicyType: basic\n\t\trollingWindowGranularity: month\n"
        f"\t\trollingWindowPeriods: {table.months}\n\t\tincrementalGranularity: day\n"
        f"\t\tincrementalPeriods: {REFRESHED_DAYS}\n"
        f"\t\tsourceExpression =\n{_indented(source_of(table), 4)}\n\n"
    )


def _measure(kpi: Kpi) -> str:
    dax = f" {kpi.dax}" if "\n" not in kpi.dax else "\n" + _indented(kpi.dax, 3)
    return (
        f"\t/// {kpi.words}\n\tmeasure {named(kpi.name)} ={dax}\n\t\tformatString: {kpi.format}\n"
        f"\t\tdisplayFolder: {kpi.folder}\n\n"
    )


def _columns(table: ModelTable) -> Iterator[str]:
    relating = {column for one in RELATIONSHIPS for name, column in _ends(one) if name == table.name}
    for column in table.columns:
        is_key = (column.name,) == table.source.key and column.name in relating
        yield _column(table, column, is_key=is_key)
    if table.source.day_column is not None:
        yield _column(table, Column(PARTITION_DATE, Kind.DAY, "UTC day of the file"), is_key=False, is_hidden=True)


def _ends(one: Relationship) -> tuple[tuple[str, str], tuple[str, str]]:
    return (one.many, one.many_column), (one.one, one.one_column)


def _column(table: ModelTable, column: Column, *, is_key: bool, is_hidden: bool = False) -> str:
    properties = [f"dataType: {DATA_TYPES[column.kind]}"]
    properties += ["isHidden"] * (is_hidden or table.is_hidden(column))
    properties += ["isKey"] * is_key
    properties += [f"formatString: {format_}" for kind, format_ in FORMATS.items() if kind is column.kind]
    properties += ["summarizeBy: none", f"sourceColumn: {column.name}"]
    lines = "".join(f"\t\t{line}\n" for line in properties)
    meaning = column.meaning[0].upper() + column.meaning[1:] + "."
    return f"\t/// {meaning}\n\tcolumn {named(table.column_name(column.name))}\n{lines}\n"


def _made(name: str, about: str, head: str, columns: Iterable[tuple[str, str, str, str]], source: str) -> str:
    texts = [f"/// {about}\ntable {named(name)}\n{head}"]
    for column, data_type, format_, extra in columns:
        shown = f"\t\tformatString: {format_}\n" if format_ else ""
        texts.append(
            f"\tcolumn {named(column)}\n\t\tdataType: {data_type}\n{extra}{shown}"
            f"\t\tsummarizeBy: none\n\t\tsourceColumn: {column}\n\n"
        )
    return "".join([*texts, _partition(name, source)])


def _partition(name: str, source: str) -> str:
    return f"\tpartition {named(name)} = m\n\t\tmode: import\n\t\tsource =\n{_indented(source, 4)}\n\n"


def _indented(text: str, tabs: int) -> str:
    return "\n".join("\t" * tabs + line for line in text.splitlines())


def _guid(text: str) -> str:
    digits = hashlib.sha256(text.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"
