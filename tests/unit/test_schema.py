"""The published tables are those of the contract, to the letter."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.publishing.dimensions import REFERENCES
from shared.publishing.merge import RULES
from shared.publishing.parquet import iter_rows, read_rows, rows_of, write_rows
from shared.schema import FACT_FLOW_SESSION, TABLES, Kind, arrow_schema, dictionary_columns

CONTRACT = {
    "fact_flow_session": (
        "session_id, environment_id, flow_id, flow_version, machine_id, machine_group_id, user_id, "
        "parent_session_id, cloud_flow_id, cloud_run_id, correlation_id, run_mode, trigger_type, is_test, "
        "status_code, status, outcome, created_utc, started_utc, completed_utc, modified_utc, start_date, "
        "start_hour, duration_ms, queue_ms, error_code, error_message, host_name, agent_version, log_version, "
        "log_status, action_count, failed_action_count, failed_action_seq, failed_action_name, "
        "deleted_at_source_utc, ingested_utc"
    ),
    "fact_flow_action": (
        "session_id, seq, environment_id, flow_id, action_name, system_action, module, subflow, line, "
        "inside_error_handling, parent_seq, depth, is_leaf, started_utc, ended_utc, duration_ms, self_ms, status, "
        "error_code, error_message, inputs, outputs, created_utc"
    ),
    "fact_audit_event": (
        "event_id, created_utc, workload, record_type, operation, operation_group, is_success, result, user_id, "
        "user_key, user_type, client_ip, environment_id, environment_name, resource_type, resource_id, "
        "resource_name, app_id, flow_id, connector_id, policy_id, target_user, permission, correlation_id, "
        "content_id, content_created_utc, details, ingested_utc"
    ),
    "fact_machine_hour": "machine_id, hour_utc, runs, busy_ms, max_concurrent",
    "fact_ingest": (
        "function, source, window_from_utc, window_to_utc, rows_read, rows_written, rows_failed, duration_ms, "
        "status, error, at_utc"
    ),
}
KEYS = {
    "fact_flow_session": ("session_id",),
    "fact_flow_action": ("session_id", "seq"),
    "fact_audit_event": ("event_id", "operation", "resource_id"),
    "fact_machine_hour": ("machine_id", "hour_utc"),
    "fact_gap": ("source", "from_utc", "to_utc"),
}
NAMES = {
    *CONTRACT,
    "fact_gap",
    "dim_flow",
    "dim_machine",
    "dim_machine_group",
    "dim_environment",
    "dim_user",
}


def test_the_tables_are_those_of_the_contract() -> None:
    assert set(TABLES) == NAMES


@pytest.mark.parametrize("name", CONTRACT)
def test_the_columns_are_those_of_the_contract_in_order(name: str) -> None:
    assert ", ".join(TABLES[name].column_names) == CONTRACT[name]


@pytest.mark.parametrize("name", KEYS)
def test_the_keys_are_those_of_the_contract(name: str) -> None:
    assert TABLES[name].key == KEYS[name]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_table_says_what_it_holds(name: str) -> None:
    table = TABLES[name]
    assert table.meaning
    assert all(column.meaning for column in table.columns)
    assert set(table.key) <= set(table.column_names)
    assert table.day_column is None or table.column(table.day_column).kind is Kind.INSTANT


def test_names_tell_units() -> None:
    for table in TABLES.values():
        for column in table.columns:
            assert (column.kind is Kind.INSTANT) == column.name.endswith("_utc"), column.name
            if column.name.endswith("_ms"):
                assert column.kind is Kind.INTEGER


def test_every_rule_and_reference_names_columns_that_exist() -> None:
    for name, rule in RULES.items():
        assert {*rule.identity, *rule.order} <= set(TABLES[name].column_names)
    for name, references in REFERENCES.items():
        for reference in references:
            assert {reference.column, *reference.told.values()} <= set(TABLES[name].column_names)
            assert set(reference.told) <= set(reference.dimension.column_names)


def test_a_file_is_one_that_power_bi_reads() -> None:
    buffer = io.BytesIO()
    write_rows(
        FACT_FLOW_SESSION, [rows_of(FACT_FLOW_SESSION, [{"session_id": "a", "status": "Failed"}] * 3)], buffer
    )
    metadata = pq.ParquetFile(buffer).metadata
    columns = [metadata.row_group(0).column(at) for at in range(metadata.num_columns)]
    for column in columns:
        assert column.compression == "SNAPPY"
        assert set(column.encodings) <= {"PLAIN", "RLE", "RLE_DICTIONARY"}
    by_name = {column.path_in_schema: column for column in columns}
    assert by_name["status"].has_dictionary_page
    assert not by_name["session_id"].has_dictionary_page
    assert "isAdjustedToUTC=true, timeUnit=milliseconds" in str(metadata.schema.column(17).logical_type)
    assert metadata.schema.column(17).converted_type == "TIMESTAMP_MILLIS"


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_types_survive_a_file_even_without_values(table: object) -> None:
    table = TABLES[table.name]  # type: ignore[attr-defined] - the ids need the mapping's values
    buffer = io.BytesIO()
    empty = dict.fromkeys(table.column_names)
    write_rows(table, [rows_of(table, [empty])], buffer)
    assert read_rows(table, buffer).schema == arrow_schema(table)
    assert set(dictionary_columns(table)) <= set(table.column_names)


def test_a_file_without_a_newer_column_is_read_with_an_empty_one() -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"session_id": ["a"], "gone": [1]}), buffer)
    rows = read_rows(FACT_FLOW_SESSION, buffer)
    assert rows.schema == arrow_schema(FACT_FLOW_SESSION)
    assert rows.column("status").to_pylist() == [None]
    assert [part.num_rows for part in iter_rows(FACT_FLOW_SESSION, buffer, ["session_id"])] == [1]
