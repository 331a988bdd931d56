"""Parquet files as Power BI reads them without surprises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from shared.schema import Table, arrow_schema, dictionary_columns

ROW_GROUP_ROWS = 100_000
ROW_GROUP_BYTES = 64 * 1024 * 1024


def write_rows(table: Table, parts: Iterable[pa.Table], sink: IO[bytes]) -> int:
    """Write rows into one file and return their number.

    Snappy, data page v1, dictionary and plain encodings: newer encodings failed in the Power BI service while
    Desktop read them (polars issue 18819).
    """
    rows = 0
    with _writer(table, sink) as writer:
        for group in _row_groups(parts):
            writer.write_table(group)
            rows += group.num_rows
    return rows


def read_rows(table: Table, source: IO[bytes], columns: list[str] | None = None) -> pa.Table:
    """All rows, with the exact types of the schema; a column that an older file lacks is empty."""
    with pq.ParquetFile(source) as file:
        return _conformed(table, file.read(columns), columns)


def iter_rows(table: Table, source: IO[bytes], columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The same, one row group at a time."""
    with pq.ParquetFile(source) as file:
        for group in range(file.metadata.num_row_groups):
            yield _conformed(table, file.read_row_group(group, columns), columns)


def rows_of(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, arrow_schema(table))


def _writer(table: Table, sink: IO[bytes]) -> Any:
    return pq.ParquetWriter(
        sink,
        arrow_schema(table),
        compression="snappy",
        version="2.6",
        data_page_version="1.0",
        use_dictionary=dictionary_columns(table),
        coerce_timestamps="ms",
        store_schema=False,
    )


def _row_groups(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in groups that are neither tiny nor too large for the memory."""
    held: list[pa.Table] = []
    rows = size = 0
    for part in parts:
        held.append(part)
        rows, size = rows + part.num_rows, size + part.nbytes
        if rows >= ROW_GROUP_ROWS or size >= ROW_GROUP_BYTES:
            yield pa.concat_tables(held)
            held, rows, size = [], 0, 0
    if rows:
        yield pa.concat_tables(held)


def _conformed(table: Table, found: pa.Table, columns: list[str] | None) -> pa.Table:
    schema = arrow_schema(table)
    names = columns or schema.names
    wanted = pa.schema([schema.field(name) for name in names])
    for name in names:
        if name not in found.column_names:
            found = found.append_column(name, pa.array([None] * found.num_rows, schema.field(name).type))
    return found.select(names).cast(wanted)
