"""Arrow files, in which rows wait: a few hundred are written and read in a fraction of a Parquet file's time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import IO

import pyarrow as pa

from shared.publishing.parquet import conformed, gathered
from shared.schema import Table, arrow_schema

WRITTEN_AT_ONCE_BYTES = 64 * 1024
HOW_TO_WRITE = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
HOW_TO_READ = pa.ipc.IpcReadOptions(use_threads=False)


def write_arrow(table: Table, parts: Iterable[pa.Table], file: IO[bytes]) -> int:
    """Write rows into one file and return their number.

    Labels are written as text: making their dictionaries costs more than all else, and LZ4 makes repeats small.
    """
    rows = 0
    sink = pa.output_stream(file, buffer_size=WRITTEN_AT_ONCE_BYTES)  # Arrow writes every column in some pieces
    with pa.ipc.new_file(sink, arrow_schema(table), options=HOW_TO_WRITE) as writer:
        for held in gathered(parts):
            group = pa.concat_tables(held).combine_chunks()
            writer.write_table(conformed(arrow_schema(table), group, None))
            rows += group.num_rows
    sink.detach()  # writes what is left, and leaves the file open
    return rows


def read_arrow(table: Table, source: bytes | IO[bytes], if_large: Callable[[], object] = lambda: None) -> pa.Table:
    """All rows, with the exact types of the schema; a column that an older file lacks is empty.

    `if_large` is called before the rows of a file of several parts are read: its size tells little of theirs.
    """
    with pa.ipc.open_file(source, options=HOW_TO_READ) as file:
        if file.num_record_batches > 1:
            if_large()
        return conformed(arrow_schema(table), file.read_all(), None)
