"""Writing a published file anew: the rows are those of a plain merge; what nothing touches is copied as it is."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.publishing import parquet
from shared.publishing.parquet import read_encoded, read_rows, rows_of, write_rows
from shared.publishing.rewriting import rewrite
from shared.publishing.splice import decode, encode, read_footer, splice
from shared.schema import FACT_AUDIT_EVENT, FACT_FLOW_ACTION, TABLES, Table

BEGIN = datetime(2026, 5, 19, tzinfo=UTC)
ACTIONS = 4
Log = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def small_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 2 * ACTIONS)


def log(run: int, version: int = 0) -> Log:
    return [
        {
            "session_id": f"run-{run:04}",
            "seq": seq,
            "action_name": ("Click", "Wait")[seq % 2],
            "inputs": f"{version} “{run}” {seq}" if seq else None,
            "created_utc": BEGIN,
        }
        for seq in range(ACTIONS)
    ]


def file_of(table: Table, parts: Iterable[pa.Table]) -> io.BytesIO:
    file = io.BytesIO()
    write_rows(table, parts, file)
    return file


def staged(logs: Sequence[Log]) -> list[pa.Table]:
    files = [file_of(FACT_FLOW_ACTION, [rows_of(FACT_FLOW_ACTION, one)]) for one in logs]
    return [read_encoded(FACT_FLOW_ACTION, file) for file in files]


def publish(old: io.BytesIO | None, logs: Sequence[Log]) -> io.BytesIO:
    new = io.BytesIO()
    assert rewrite(FACT_FLOW_ACTION, old, staged(logs), new) is not None
    return new


def rows(file: io.BytesIO) -> Log:
    found = read_rows(FACT_FLOW_ACTION, file).to_pylist()
    return sorted(found, key=lambda row: (row["session_id"], row["seq"]))


def expected(logs: dict[int, int]) -> Log:
    table = rows_of(FACT_FLOW_ACTION, [row for run in sorted(logs) for row in log(run, logs[run])])
    return table.to_pylist()


def group_bytes(file: io.BytesIO, number: int) -> bytes:
    group = pq.ParquetFile(file).metadata.row_group(number)
    columns = [group.column(at) for at in range(group.num_columns)]
    begin = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    return file.getvalue()[begin : begin + sum(column.total_compressed_size for column in columns)]


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=6), min_size=1, max_size=6))
def test_any_row_of_publishings_gives_the_newest_log_of_every_run(publishings: list[list[int]]) -> None:
    file, held = None, dict[int, int]()
    for version, runs in enumerate(publishings):
        file = publish(file, [log(run, version) for run in runs])
        held |= dict.fromkeys(runs, version)
        assert rows(file) == expected(held)


def test_what_no_row_replaces_is_copied_byte_for_byte() -> None:
    old = publish(None, [log(run) for run in range(10)])
    new = publish(old, [log(4, version=1), log(10)])
    assert rows(new) == expected({**dict.fromkeys(range(11), 0), 4: 1})
    kept = [group_bytes(old, number) for number in (0, 1, 3, 4)]
    assert [group_bytes(new, number) for number in range(4)] == kept
    assert pq.ParquetFile(new).metadata.num_row_groups == 6  # 44 rows, eight in each


def test_small_row_groups_do_not_pile_up() -> None:
    file = None
    for run in range(20):
        file = publish(file, [log(run)[:1]])
    assert file is not None
    assert len(rows(file)) == 20
    assert pq.ParquetFile(file).metadata.num_row_groups <= 5


def test_other_readers_read_it(tmp_path: Path) -> None:
    old = publish(None, [log(run) for run in range(10)])
    path = tmp_path / "part-0.parquet"
    path.write_bytes(publish(old, [log(4, version=1), log(10)]).getvalue())
    query = f"SELECT count(*), count(DISTINCT session_id), max(inputs) FROM '{path}'"  # noqa: S608 - our own path
    assert duckdb.execute(query).fetchall() == [(11 * ACTIONS, 11, "1 “4” 3")]


def test_the_places_in_the_footer_are_those_of_the_bytes() -> None:
    old = publish(None, [log(run) for run in range(10)])
    metadata = pq.ParquetFile(publish(old, [log(0, version=1)])).metadata
    chunks = [metadata.row_group(g).column(c) for g in range(metadata.num_row_groups) for c in range(23)]
    begins = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
    assert begins[0] == 4
    assert all(
        begin + chunk.total_compressed_size == following
        for (begin, following), chunk in zip(pairwise(begins), chunks, strict=False)
    )


def test_a_file_of_an_older_schema_is_written_anew_as_a_whole() -> None:
    old, table = io.BytesIO(), rows_of(FACT_FLOW_ACTION, [row for run in range(10) for row in log(run)])
    pq.write_table(table.drop_columns(["self_ms"]), old, row_group_size=8)
    new = publish(old, [log(10)])
    assert rows(new) == expected(dict.fromkeys(range(11), 0))
    assert pq.read_schema(new).names == pq.read_schema(publish(None, [log(1)])).names


def test_nothing_is_written_where_nothing_changes() -> None:
    event = {"event_id": "a", "operation": "b", "content_created_utc": BEGIN, "content_id": "c"}
    part, new = rows_of(FACT_AUDIT_EVENT, [event]), io.BytesIO()
    assert rewrite(FACT_AUDIT_EVENT, file_of(FACT_AUDIT_EVENT, [part]), [part], new) is None
    assert new.getvalue() == b""


def test_each_row_group_that_is_read_keeps_the_lease_alive() -> None:
    old, beats = publish(None, [log(run) for run in range(10)]), list[int]()
    rewrite(FACT_FLOW_ACTION, old, staged([log(10)]), io.BytesIO(), lambda: beats.append(1))
    assert len(beats) >= 5


@pytest.mark.parametrize("table", TABLES.values(), ids=str)
def test_the_footer_of_every_table_is_read_and_written_to_the_byte(table: Table) -> None:
    empty, full = {column.name: None for column in table.columns}, {}
    for column in table.columns:
        full[column.name] = {"text": "x", "label": "y", "id": "z"}.get(column.kind.value)
    file = file_of(table, [rows_of(table, [empty, full] * 20)])
    assert encode(read_footer(file).fields) == footer_bytes(file)


def test_footers_of_other_writers_are_read_and_written_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    duckdb.sql(f"COPY (SELECT range AS a, range % 7 = 0 AS b, 'x' AS c FROM range(9000)) TO '{path}'")  # noqa: S608 - our own path
    indexed = io.BytesIO()
    numbers = pa.table({"a": range(5000), "b": [True, None] * 2500, "c": [{"d": [1.5]}] * 5000})
    pq.write_table(numbers, indexed, row_group_size=100, write_page_index=True)
    for file in (io.BytesIO(path.read_bytes()), indexed):
        assert encode(read_footer(file).fields) == footer_bytes(file)


def test_indexes_beside_the_row_groups_are_not_referred_to() -> None:
    numbers = pa.table({"a": range(5000)})
    old, fresh, new = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(numbers, old, row_group_size=1000, write_page_index=True)
    pq.write_table(numbers.slice(0, 10), fresh)
    assert splice(old, [1, 3], fresh, new) == 2010
    assert not pq.ParquetFile(new).metadata.row_group(0).column(0).has_offset_index
    assert pq.read_table(new).column("a").to_pylist() == [*range(1000, 2000), *range(3000, 4000), *range(10)]


def test_a_file_that_ends_too_early_is_not_copied() -> None:
    old = publish(None, [log(run) for run in range(10)])
    cut = read_footer(old)
    for group in cut.row_groups:
        kind, value = group[1][1][1][-1][3][1][7]
        group[1][1][1][-1][3][1][7] = (kind, value + 1_000_000)
    text = encode(cut.fields)
    broken = io.BytesIO(old.getvalue()[:2000] + text + len(text).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(EOFError, match="before its row group does"):
        splice(broken, [4], old, io.BytesIO())


def test_what_is_no_footer_is_refused() -> None:
    with pytest.raises(ValueError, match="type 13"):
        decode(b"\x1d\x00")


def footer_bytes(file: io.BytesIO) -> bytes:
    content = file.getvalue()
    return content[-8 - int.from_bytes(content[-8:-4], "little") : -8]
