"""The documents that are made from the same descriptions: the KPIs and the data dictionary."""

from __future__ import annotations

from collections.abc import Iterator

from local.powerbi.kpis import KPIS, Kpi
from local.powerbi.model import PARTITION_DATE, TABLES, ModelTable
from shared.batches import grouped

MADE = "<!-- Written by `python3 dev.py powerbi`; change the descriptions it is made from, not this file. -->\n\n"
KPIS_INTRODUCTION = """# KPIs

Each number that the report shows, defined once: in words, and as the measure of the model in DAX. The tests
compute every one of them a second time, in SQL over the published files, against answers that were worked out by
hand.

*Finished* runs are those that succeeded, failed or were cancelled. All times are UTC. A measure is empty where
there is nothing to count or to divide by: a table then leaves the row out. Machine hours count a run once it has
ended, and none that claims more than 31 days.

"""
DICTIONARY_INTRODUCTION = """# Data dictionary

The published tables, as files in the container `powerbi` and as tables of the model. Dated tables are
`{table}/date=YYYY-MM-DD/part-0.parquet` (`part-00` to `part-23` with hourly grain), the others
`{table}/{table}.parquet`.

Instants are UTC milliseconds, durations whole milliseconds; ids and UPNs are in lower case. Columns in italics are
hidden in the model: keys, and milliseconds that measures show as seconds.

"""


def kpis() -> str:
    folders = grouped(KPIS, lambda kpi: (kpi.table, kpi.folder))
    parts = (_folder(*place, found) for place, found in folders.items())
    return MADE + KPIS_INTRODUCTION + "\n".join(parts)


def _folder(table: str, folder: str, found: list[Kpi]) -> str:
    title = folder if table in ("Runs", folder) else f"{table}: {folder}"
    return f"## {title}\n\n" + "\n".join(map(_kpi, found))


def _kpi(kpi: Kpi) -> str:
    return f"### {kpi.name}\n\n{kpi.words}\n\n```dax\n{kpi.dax.expandtabs(4)}\n```\n"


def data_dictionary() -> str:
    return MADE + DICTIONARY_INTRODUCTION + "\n".join("".join(_table(table)) for table in TABLES)


def _table(table: ModelTable) -> Iterator[str]:
    source = table.source
    yield f"## {source.name}: {table.name}\n\n{source.meaning} Key: {', '.join(source.key)}.\n\n"
    if source.day_column:
        yield f"A row stands in the file of the UTC day of its `{source.day_column}`, which never changes.\n\n"
    yield "| column | type | in the model | meaning |\n|---|---|---|---|\n"
    for column in source.columns:
        name = table.column_name(column.name)
        shown = f"*{name}*" if table.is_hidden(column) else name
        yield f"| {column.name} | {column.kind} | {shown} | {column.meaning} |\n"
    if source.day_column:
        name = table.column_name(PARTITION_DATE)
        yield f"| {PARTITION_DATE} | day | *{name}* | UTC day of the file, out of its path |\n"
