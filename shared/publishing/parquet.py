"""Parquet files as Power BI reads them without surprises."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import IO, Any, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq

from shared.errors import Damaged
from shared.schema import Kind, Table, arrow_schema, dictionary_columns
from shared.threads import InvocationThreads

ROW_GROUP_ROWS = 32_768
ROW_GROUP_BYTES = 16 * 1024 * 1024
GROUPS_UNTIL_RELEASE = 5
END = object()
Item = TypeVar("Item")


def write_rows(table: Table, parts: Iterable[pa.Table], sink: IO[bytes]) -> int:
    """Write rows into one file and return their number.

    Snappy, data page v1, dictionary and plain encodings: newer encodings failed in the Power BI service while
    Desktop read them (polars issue 18819). Labels are written from the dictionaries that they were read with,
    and long texts get no statistics: both together halve the work of writing (`dev.py bench publish-100k`).
    """
    rows = 0
    with _writer(table, sink) as writer:
        for number, group in enumerate(_row_groups(table, parts), 1):
            writer.write_table(group)
            rows += group.num_rows
            if number % GROUPS_UNTIL_RELEASE == 0:
                pa.default_memory_pool().release_unused()  # each time costs time, never costs memory
    return rows


def read_rows(table: Table, source: IO[bytes], columns: list[str] | None = None) -> pa.Table:
    """All rows, with the exact types of the schema; a column that an older file lacks is empty.

    Raises:
        Damaged: it is no Parquet file, as with all that is read here.
    """
    with _damage_told(table), pq.ParquetFile(source) as file:
        return conformed(arrow_schema(table), file.read(columns), columns)


def iter_rows(table: Table, source: IO[bytes], columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The same, one row group at a time."""
    with _damage_told(table):
        file = pq.ParquetFile(source)
    for group in range(file.metadata.num_row_groups):
        with _damage_told(table):
            rows = conformed(arrow_schema(table), file.read_row_group(group, columns), columns)
        yield rows


def read_encoded(table: Table, source: IO[bytes]) -> pa.Table:
    """All rows, labels as dictionaries: a fraction of the memory, and nothing to decode and encode again."""
    with _damage_told(table), _encoded_file(table, source) as file:
        return encoded(table, file.read(use_threads=False))


class RowGroups:
    """The row groups of a file, labels as dictionaries, each read when it is asked for."""

    def __init__(self, table: Table, source: IO[bytes]) -> None:
        self._table = table
        with _damage_told(table):
            self._file = _encoded_file(table, source)

    def __len__(self) -> int:
        return self._file.metadata.num_row_groups

    def read(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        with _damage_told(self._table):
            found = self._file.read_row_group(number, columns and list(columns), use_threads=False)
            return conformed(_encoded_schema(self._table), found, columns)

    def is_full(self, number: int) -> bool:
        """Whether it holds enough to be left as it is."""
        group = self._file.metadata.row_group(number)
        return group.num_rows * 2 >= ROW_GROUP_ROWS or group.total_byte_size * 4 >= ROW_GROUP_BYTES

    @property
    def is_current(self) -> bool:
        """Whether the file has exactly the columns that would be written today."""
        return self._file.schema.equals(_written_schema(self._table))


@contextmanager
def _damage_told(table: Table) -> Generator[None]:
    """A lack of memory or of space says nothing about the file, and is left as it is."""
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise Damaged(f"A file of {table.name} can't be read, it is damaged or none of ours. ({error})") from error


def encoded(table: Table, rows: pa.Table) -> pa.Table:
    """Rows with their labels as dictionaries."""
    return conformed(_encoded_schema(table), rows, None)


def gathered(
    parts: Iterable[pa.Table], size_of: Callable[[pa.Table], int] = lambda part: part.nbytes
) -> Iterator[list[pa.Table]]:
    """The same tables in groups that are neither tiny nor, unless one alone is, too large for the memory."""
    held: list[pa.Table] = []
    rows = size = 0
    for part in parts:
        its_size = size_of(part)
        rows, size = rows + part.num_rows, size + its_size
        if held and (rows > ROW_GROUP_ROWS or size > ROW_GROUP_BYTES):
            yield held
            held, rows, size = [], part.num_rows, its_size
        held.append(part)
    if held:
        yield held


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, each made in another thread while the one before it is in use."""
    source = iter(items)
    with InvocationThreads(1) as pool:
        upcoming = pool.submit(next, source, END)
        while (item := upcoming.result()) is not END:
            upcoming = pool.submit(next, source, END)
            yield cast("Item", item)


def rows_of(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, arrow_schema(table))


@cache
def _written_schema(table: Table) -> Any:
    with io.BytesIO() as file:
        write_rows(table, [], file)
        return _encoded_file(table, file).schema


@cache
def _encoded_schema(table: Table) -> pa.Schema:
    labels = dictionary_columns(table)
    of_label = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [pa.field(field.name, of_label) if field.name in labels else field for field in arrow_schema(table)]
    )


def _encoded_file(table: Table, source: IO[bytes]) -> Any:
    """The file, labels as dictionaries; one that an older file lacks must not be asked for as such."""
    there = pq.read_schema(source).names
    source.seek(0)
    labels = [name for name in dictionary_columns(table) if name in there]
    return pq.ParquetFile(source, read_dictionary=labels, pre_buffer=False)


def _writer(table: Table, sink: IO[bytes]) -> Any:
    return pq.ParquetWriter(
        sink,
        _encoded_schema(table),
        compression="snappy",
        version="2.6",
        data_page_version="1.0",
        use_dictionary=dictionary_columns(table),
        write_statistics=[column.name for column in table.columns if column.kind is not Kind.TEXT],
        coerce_timestamps="ms",
        store_schema=False,
    )


def _row_groups(table: Table, parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    pieces = chain.from_iterable(_pieces(table, encoded(table, part)) for part in parts)
    for held in gathered(pieces):
        yield pa.concat_tables(held).unify_dictionaries()


def _pieces(table: Table, rows: pa.Table) -> Iterator[pa.Table]:
    """What rows consist of, and what such a part is cut into if it alone is more than a row group.

    A row group is written with the whole of each dictionary, so every piece gets its own.
    """
    for batch in rows.to_batches():
        yield from _cut(table, pa.Table.from_batches([batch]))


def _cut(table: Table, part: pa.Table) -> Iterator[pa.Table]:
    groups = max(-(-part.num_rows // ROW_GROUP_ROWS), -(-part.nbytes // ROW_GROUP_BYTES))
    if groups <= 1 or part.num_rows <= 1:
        yield part
        return
    rows = -(-part.num_rows // groups)
    for first in range(0, part.num_rows, rows):
        yield encoded(table, part.slice(first, rows).cast(arrow_schema(table)))


def conformed(schema: pa.Schema, found: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    """Rows in the columns of a schema; one that they lack is empty."""
    if columns is None and found.schema == schema:
        return found
    names = list(columns or schema.names)
    wanted = pa.schema([schema.field(name) for name in names])
    for name in names:
        if name not in found.column_names:
            found = found.append_column(name, pa.array([None] * found.num_rows, schema.field(name).type))
    return found.select(names).cast(wanted)
