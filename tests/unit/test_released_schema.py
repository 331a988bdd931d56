"""Reports are built on the published tables: they only ever gain columns, and older files are read as before."""

from __future__ import annotations

import copy
import io
import json
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from local.released_schema import PATH, broken, described
from shared.publishing.merge import RULES
from shared.publishing.parquet import read_rows, rows_of, write_rows
from shared.publishing.rewriting import rewrite
from shared.schema import TABLES, Kind, Table, arrow_schema

RELEASED = json.loads(PATH.read_text("utf-8"))


def test_nothing_that_was_released_is_gone_or_of_another_type() -> None:
    assert RELEASED
    assert broken(RELEASED, described()) == []


def test_what_would_break_a_report_is_noticed() -> None:
    now = copy.deepcopy(RELEASED)
    del now["dim_user"]
    del now["fact_gap"]["columns"]["reason"]
    now["fact_flow_action"]["columns"]["seq"] = "string"
    now["fact_audit_event"]["key"] = ["event_id"]
    now["fact_flow_session"]["columns"]["brand_new"] = "string"
    assert broken(RELEASED, now) == [
        "dim_user is gone",
        "fact_flow_action.seq was int64 and is string",
        "fact_audit_event: key changed",
        "fact_gap.reason was string and is gone",
    ]


@pytest.mark.parametrize("table", [TABLES[name] for name in RULES], ids=list(RULES))
def test_a_file_of_an_older_version_takes_new_rows_and_has_no_values_in_new_columns(table: Table) -> None:
    """The older version has the columns by which rows are told apart and ordered, and no others."""
    rule = RULES[table.name]
    needed = {*rule.identity, *rule.order, *table.key}
    older = replace(table, columns=tuple(column for column in table.columns if column.name in needed))
    file = io.BytesIO()
    write_rows(older, [pa.Table.from_pylist([row_of(older, 0), row_of(older, 1)], arrow_schema(older))], file)

    new = io.BytesIO()
    assert rewrite(table, file, [rows_of(table, [row_of(table, 2)])], new) is not None
    rows = read_rows(table, new)
    assert rows.schema == arrow_schema(table)
    old_one, other, new_one = rows.to_pylist()
    for row, number in ((old_one, 0), (other, 1)):
        assert row == {**dict.fromkeys(table.column_names), **row_of(older, number)}
    assert new_one == row_of(table, 2)


def row_of(table: Table, number: int) -> dict[str, object]:
    values = {
        Kind.TEXT: f"text {number}",
        Kind.LABEL: f"label {number}",
        Kind.INTEGER: number,
        Kind.FLAG: bool(number),
        Kind.INSTANT: datetime(2026, 1, 1, number, tzinfo=UTC),
        Kind.DAY: datetime(2026, 1, 1, tzinfo=UTC).date(),
    }
    return {column.name: values[column.kind] for column in table.columns}
