"""Rows of actions: times to the millisecond, nesting from the times, values under the rules."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import settings_with

from shared.dataverse import actions as actions_module
from shared.dataverse.action_log import ActionError, ActionRecord, read_actions
from shared.dataverse.actions import ActionTable, LogSummary
from shared.dataverse.nesting import nest
from shared.dataverse.sessions import Session, read_session
from shared.dataverse.values import HIDDEN, ValueRules
from shared.schema import FACT_FLOW_ACTION, arrow_schema

NOW = datetime(2026, 5, 19, 12, tzinfo=UTC)
RULES = ValueRules("full", settings_with().redact_names, 4000)


def session(**more: Any) -> Session:
    row = {
        "flowsessionid": "AAAAAAAA-0000-0000-0000-000000000001",
        "createdon": "2026-05-19T11:00:00Z",
        "modifiedon": "2026-05-19T11:01:00Z",
        "versionnumber": 5,
        "statuscode": 4,
        "_regardingobjectid_value": "F1",
        **more,
    }
    return read_session(row, "e1", {}, NOW)


def rows_of(*batches: list[ActionRecord], rules: ValueRules = RULES) -> list[dict[str, Any]]:
    table = ActionTable(session(), rules)
    table.extend(batches)
    table.finish()
    parts = list(table.rows())
    table.close()
    assert all(part.schema == arrow_schema(FACT_FLOW_ACTION) for part in parts)
    return pa.concat_tables(parts).to_pylist() if parts else []


def record(start: str | None = None, end: str | None = None, **more: Any) -> ActionRecord:
    at = "2026-05-19T11:00:{}Z"
    return ActionRecord(start_time=start and at.format(start), end_time=end and at.format(end), **more)


def test_times_are_cut_to_the_millisecond_and_durations_come_from_the_full_ones() -> None:
    (row,) = rows_of([record("00.7885613", "02.9636296")])
    assert row["started_utc"] == datetime(2026, 5, 19, 11, 0, 0, 788000, tzinfo=UTC)
    assert row["ended_utc"] == datetime(2026, 5, 19, 11, 0, 2, 963000, tzinfo=UTC)
    assert row["duration_ms"] == 2175


def test_the_seventh_digit_before_midnight_stays_in_its_day() -> None:
    last = ActionRecord(start_time="2026-05-19T23:59:59.9999999Z", end_time="2026-05-19T23:59:59.9999999Z")
    assert rows_of([last])[0]["started_utc"].day == 19


def test_a_time_that_is_none_empties_only_itself() -> None:
    odd = [
        ActionRecord(start_time="soon", end_time="2026-05-19T11:00:01Z"),
        ActionRecord(start_time="2026-05-19T11:00:02", end_time=None),
        ActionRecord(start_time="0000-01-01T00:00:00Z", end_time="9999-12-31T00:00:00Z"),
        record("05", "04"),
    ]
    rows = rows_of(odd)
    assert [row["started_utc"] is None for row in rows] == [True, False, True, False]
    assert [row["duration_ms"] for row in rows] == [None, None, None, None]


def test_positions_go_on_over_batches_and_the_run_is_named() -> None:
    rows = rows_of([record("00", "01"), record("01", "02")], [], [record("02", "03")])
    assert [row["seq"] for row in rows] == [0, 1, 2]
    assert {row["session_id"] for row in rows} == {"aaaaaaaa-0000-0000-0000-000000000001"}
    assert {(row["environment_id"], row["flow_id"]) for row in rows} == {("e1", "f1")}
    assert rows[0]["created_utc"] == datetime(2026, 5, 19, 11, tzinfo=UTC)


def test_a_log_larger_than_the_memory_goes_through_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions_module, "IN_MEMORY_BYTES", 1000)
    batches = [
        [record(f"{at % 60:02d}", None, name=f"a{at}") for at in range(first, first + 50)] for first in (0, 50)
    ]
    assert [row["action_name"] for row in rows_of(*batches)] == [f"a{at}" for at in range(100)]


def test_nesting_in_rows() -> None:
    rows = rows_of(
        [record("00", "10"), record("01", "04"), record("02", "03")], [record("05", "06"), record("20", "21")]
    )
    assert [row["parent_seq"] for row in rows] == [None, 0, 1, 0, None]
    assert [row["depth"] for row in rows] == [0, 1, 2, 1, 0]
    assert [row["is_leaf"] for row in rows] == [False, False, True, True, True]
    assert [row["self_ms"] for row in rows] == [6000, 2000, 1000, 1000, 1000]


@dataclass(frozen=True)
class Nested:
    parent_seq: list[int | None]
    depth: list[int]
    is_leaf: list[bool]
    self_ms: list[int | None]


def nested(starts: list[int | None], ends: list[int | None]) -> Nested:
    found = nest(pa.array(starts, pa.int64()), pa.array(ends, pa.int64()))
    return Nested(*(getattr(found, field.name).to_pylist() for field in fields(Nested)))


def test_actions_that_touch_do_not_contain_each_other() -> None:
    nesting = nested([0, 10, 10, 20], [10, 10, 20, 20])
    assert nesting.parent_seq == [None, 2, None, None]


def test_equal_times_are_neighbours() -> None:
    assert nested([0, 0], [10, 10]).parent_seq == [None, None]


def test_an_action_without_an_end_contains_nothing_and_one_without_a_start_stands_alone() -> None:
    nesting = nested([0, 5, None, 6], [20, None, 7, 8])
    assert nesting.parent_seq == [None, 0, None, 0]
    assert nesting.self_ms == [0, None, None, 0]


def test_a_container_may_come_after_what_it_contains() -> None:
    assert nested([1, 3, 0], [2, 4, 9]).parent_seq == [2, 2, None]


spans = st.tuples(st.integers(0, 50), st.integers(0, 20)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(spans, max_size=30))
def test_a_parent_contains_its_children(some: list[tuple[int, int]]) -> None:
    nesting = nested([start for start, _ in some], [end for _, end in some])
    for seq, parent in enumerate(nesting.parent_seq):
        assert nesting.depth[seq] == (0 if parent is None else nesting.depth[parent] + 1)
        if parent is not None:
            (start, end), (outer_start, outer_end) = some[seq], some[parent]
            assert outer_start <= start <= end <= outer_end
            assert outer_end - outer_start > end - start
            assert not nesting.is_leaf[parent]


@given(st.lists(spans, max_size=12))
def test_a_parent_is_the_nearest_of_all_containers(some: list[tuple[int, int]]) -> None:
    nesting = nested([start for start, _ in some], [end for _, end in some])
    for seq, (start, end) in enumerate(some):
        containers = [
            (outer_start, -outer_end, outer)
            for outer, (outer_start, outer_end) in enumerate(some)
            if outer_start <= start < outer_end >= end and outer_end - outer_start > end - start
        ]
        assert nesting.parent_seq[seq] == (max(containers)[2] if containers else None)


@given(st.lists(spans, max_size=12))
def test_own_time_is_what_no_action_inside_covers(some: list[tuple[int, int]]) -> None:
    nesting = nested([start * 10**6 for start, _ in some], [end * 10**6 for _, end in some])
    for seq, (start, end) in enumerate(some):
        inside = [span for span, parent in zip(some, nesting.parent_seq, strict=True) if parent == seq]
        covered = {moment for first, last in inside for moment in range(first, last)}
        assert nesting.self_ms[seq] == end - start - len(covered)


@pytest.mark.parametrize("length", [1 << 40, 0])
def test_many_actions_at_once_take_no_longer_than_others(length: int) -> None:
    """Each overlaps with all others; looking through all that are open would take hours."""
    count = 200_000
    starts: list[int | None] = [at if length else 0 for at in range(count)]
    ends: list[int | None] = [at + length if length else 9 for at in range(count)]
    assert nested(starts, ends).parent_seq == [None] * count


def test_the_last_failure_is_the_one_that_counts() -> None:
    summary = LogSummary()
    summary.add([ActionRecord(name="a", status="Failed"), ActionRecord(name="b", status="Succeeded")])
    summary.add([ActionRecord(name="c", status="failed"), ActionRecord(name="d", status=None)])
    assert (summary.action_count, summary.failed_action_count) == (4, 2)
    assert (summary.last_failed_seq, summary.last_failed_name) == (2, "c")


@pytest.mark.parametrize(("handled", "expected"), [("000", 2), ("001", 1), ("011", 0), ("111", 2), ("101", 1)])
@pytest.mark.parametrize("at_once", [1, 3])
def test_a_handled_failure_counts_only_where_there_is_no_other(handled: str, expected: int, at_once: int) -> None:
    records = [ActionRecord(status="Failed", inside_error_handling=flag == "1") for flag in handled]
    summary = LogSummary()
    for first in range(0, len(records), at_once):
        summary.add(records[first : first + at_once])
    assert (summary.last_failed_seq, summary.failed_action_count) == (expected, 3)


def test_errors_in_both_forms() -> None:
    nested = ActionRecord(error=ActionError("A", "nested"))
    flat = ActionRecord(error_code="B", error_message="flat" * 2000)
    rows = rows_of([nested, flat])
    assert [row["error_code"] for row in rows] == ["A", "B"]
    assert rows[0]["error_message"] == "nested"
    assert len(rows[1]["error_message"]) == 4000


def test_numbers_beyond_64_bits_are_left_out() -> None:
    assert [row["line"] for row in rows_of([ActionRecord(index=10**30), ActionRecord(index=7)])] == [None, 7]


def parameters(**values: Any) -> bytes:
    wrapped = {
        name: {"localizedName": name.title(), "value": value, "variableName": variable}
        for name, (value, variable) in values.items()
    }
    return json.dumps(wrapped).encode()


def kept(raw: bytes, keep: str = "full", pattern: str = "password|secret", most: int = 20) -> Any:
    text = ValueRules(keep, re.compile(pattern, re.IGNORECASE), most).text(raw)
    return json.loads(text) if text is not None else None


def test_values_by_name() -> None:
    raw = parameters(title=("Hello", ""), result=("42", "Answer"))
    assert kept(raw) == {"title": "Hello", "result": {"value": "42", "variable": "Answer"}}


def test_only_names() -> None:
    raw = parameters(title=("Hello", ""), result=("42", "Answer"), empty=("", ""))
    assert kept(raw, "names") == {"title": None, "result": {"value": None, "variable": "Answer"}, "empty": ""}


def test_nothing() -> None:
    assert kept(parameters(title=("Hello", "")), "off") is None


def test_what_is_secret_by_name_or_by_variable_is_hidden() -> None:
    raw = parameters(Password=("hunter2", ""), text=("hunter2", "MySecret"), other=("x", "Y"))
    assert kept(raw) == {
        "Password": HIDDEN,
        "text": {"value": HIDDEN, "variable": "MySecret"},
        "other": {"value": "x", "variable": "Y"},
    }


def test_a_secret_deep_inside_is_hidden() -> None:
    raw = json.dumps(
        {"row": {"value": {"password": "hunter2", "list": [{"secret": "s"}]}, "variableName": ""}}
    ).encode()
    assert "hunter2" not in json.dumps(kept(raw, most=1000))
    as_text = parameters(row=('{"password": "hunter2", "id": 7}', ""), broken=("{not JSON", ""))
    assert kept(as_text, most=1000) == {"row": '{"password":"(hidden)","id":7}', "broken": "{not JSON"}


def test_long_values_are_cut() -> None:
    assert kept(parameters(text=("x" * 50, ""))) == {"text": "x" * 20 + "…"}


@pytest.mark.parametrize("raw", [b"{}", b"null", b"[]", b'""'])
def test_nothing_to_keep(raw: bytes) -> None:
    assert kept(raw) is None


def test_values_of_any_shape_are_kept() -> None:
    assert kept(b'{"a": 1, "b": true, "c": {"value": 1.5}, "d": [1, "x"], "e": "text"}') == {
        "a": 1,
        "b": True,
        "c": 1.5,
        "d": [1, "x"],
        "e": "text",
    }


def test_remembered_results_are_the_same() -> None:
    rules = ValueRules("full", re.compile("x"), 10)
    raws: Iterable[bytes] = [parameters(a=(str(number % 3), "")) for number in range(9)]
    assert [rules.text(raw) for raw in raws] == [f'{{"a":"{number % 3}"}}' for number in range(9)]


SAMPLES = os.environ.get("FLOWTRAIL_SAMPLES", "")


@pytest.mark.skipif(not SAMPLES, reason="FLOWTRAIL_SAMPLES names no folder of real records")
def test_a_real_log_gives_its_rows() -> None:
    data = (Path(SAMPLES) / "flowsession" / "additionalcontext_v1_automationkit.json").read_bytes()
    first, second = rows_of(*read_actions([data]))
    assert first["started_utc"] == datetime(2023, 2, 20, 10, 44, 35, 788000, tzinfo=UTC)
    assert first["ended_utc"] == datetime(2023, 2, 20, 11, 1, 19, 963000, tzinfo=UTC)
    assert (first["module"], first["subflow"], first["line"]) == ("Display", "main", 2)
    assert json.loads(first["inputs"])["fileFilter"] == "*.xls*"
    assert json.loads(first["outputs"])["buttonPressed"] == {"value": "Cancel", "variable": "ButtonPressed"}
    assert (second["system_action"], second["line"], second["duration_ms"]) == ("If", 4, 10)


def test_a_parameter_that_is_itself_called_value() -> None:
    raw = b'{"value":{"localizedName":"Value","value":"7","variableName":""}}'
    assert RULES.text(raw) == '{"value":"7"}'


NAMES = st.sampled_from(["text", "Password", "value", "Value", "variableName", "row", "ä", "", "a b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=30).filter(lambda text: "hunter2" not in text)
    | st.sampled_from([' {"password": "x"}', "[1, 2", '"', "\\", ' ["secret"]', "é\u2028\n", "x" * 40])
    | st.sampled_from(['\ufeff{"password": "hunter2"}', json.dumps('{"secret": ["hunter2"]}')]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
PARAMETERS = st.fixed_dictionaries(
    {"value": VALUES},
    optional={
        "variableName": NAMES | st.lists(VALUES, max_size=2) | st.dictionaries(NAMES, VALUES, max_size=2),
        "localizedName": st.text(max_size=3),
    },
)


@given(st.dictionaries(NAMES, PARAMETERS, max_size=4), st.sampled_from(["full", "names"]), st.booleans())
def test_the_quick_way_gives_what_the_careful_way_gives(
    document: dict[str, Any], keep: str, ascii_only: bool
) -> None:
    raw = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "replace")
    rules = ValueRules(keep, re.compile("password|secret", re.IGNORECASE), 20)
    quick, careful = rules.text(raw), rules._careful(raw)
    assert (quick and json.loads(quick)) == (careful and json.loads(careful))
    assert quick is None or "hunter2" not in quick


def test_white_space_and_escapes_do_not_hide_a_structure() -> None:
    inside = r'"\n\t {\"password\": \"hunter2\"}"'
    escaped = r'"\u007b\"pwd\":1}"'
    raw = f'{{"row": {{"value": {inside}, "variableName": ""}}, "b": {{ "value" :  {escaped} }} }}'.encode()
    told = ValueRules("full", re.compile("password|pwd"), 4000).text(raw)
    assert told is not None
    assert "hunter2" not in told
    assert json.loads(json.loads(told)["b"]) == {"pwd": "(hidden)"}


SECRETS = [
    {"Password": {"localizedName": "Password", "value": "hunter2"}},
    {"Password": {"value": "hunter2", "type": "text"}},
    {"Password": {"value": "x", "extra": "hunter2"}},
    {"Credential": {"user": "me", "pass": "hunter2"}},
    {"Password": ["hunter2", {"a": "hunter2"}]},
    {"text": {"localizedName": "Password", "value": "hunter2", "variableName": ""}},
    {"field": {"name": "password", "value": "hunter2"}},
    {"row": {"value": '{"password": "hunter2", "cut of', "variableName": ""}},
    {"row": {"value": [{"name": "secret", "value": "hunter2"}], "variableName": ""}},
    {"row": {"value": '{"Key": "Password", "Value": "hunter2"}'}},
    {"row": {"value": '[{"Name": "secret of the bot", "VALUE": ["hunter2"]}]'}},
    {"row": {"name": "password", "Value": "hunter2"}},
    {"row": {"name": "password", "value": "x", "Value": "hunter2"}},
    {"row": {"value": '\ufeff{"password": "hunter2"}'}},
    {"row": {"value": "\ufeff{'password': 'hunter2'}"}},
    {"row": {"value": json.dumps(json.dumps({"password": "hunter2"}))}},
    {"row": {"value": json.dumps(json.dumps({"password": "hunter2", "id": 7}))[:-8]}},
    {"row": {"value": 1, "variableName": {"password": "hunter2"}}},
    {"Password": {"value": 1, "variableName": ["hunter2"]}},
]


@pytest.mark.parametrize("document", SECRETS, ids=map(repr, SECRETS))
def test_a_secret_of_any_shape_is_hidden(document: dict[str, Any]) -> None:
    text = ValueRules("full", re.compile("password|secret|credential", re.IGNORECASE), 4000).text(
        json.dumps(document).encode()
    )
    assert text is not None
    assert "hunter2" not in text
    assert HIDDEN in text


def test_what_names_a_value_and_is_no_text_is_a_value_too() -> None:
    raw = b'{"x":{"value":1,"variableName":{"user":"me"}},"y":{"value":2,"variableName":["me",3]}}'
    assert kept(raw) == {"x": {"value": 1, "variable": {"user": "me"}}, "y": {"value": 2, "variable": ["me", 3]}}
    assert kept(raw, "names") == {
        "x": {"value": None, "variable": {"user": None}},
        "y": {"value": None, "variable": [None, None]},
    }


def test_a_pair_keeps_what_is_no_secret() -> None:
    pairs = [{"Name": "Password", "Value": "hunter2"}, {"Name": "Colour", "Value": "red"}, {"Value": {"a": "b"}}]
    assert json.loads(kept(json.dumps({"row": {"value": pairs}}).encode(), most=1000)["row"]) == [
        {"Name": "Password", "Value": HIDDEN}, *pairs[1:]
    ]  # fmt: skip


def test_values_nested_too_deeply_are_told_as_such() -> None:
    raw = b'{"a":' + b'{"b":' * 5000 + b"1" + b"}" * 5000 + b"}"
    assert RULES.text(raw) == '"(nested too deeply)"'


@pytest.mark.parametrize("odd", ["", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.9999999Z", "yesterday"])
def test_one_odd_time_leaves_the_others_as_they_are(odd: str) -> None:
    outer = ActionRecord(start_time="2026-05-19T12:00:00.0000001Z", end_time="2026-05-19T12:00:00.0009002Z")
    inner = ActionRecord(start_time="2026-05-19T12:00:00.0000002Z", end_time="2026-05-19T12:00:00.0009001Z")
    rows = rows_of([outer, inner, ActionRecord(start_time=odd, end_time=odd)])
    assert [row["parent_seq"] for row in rows] == [None, 0, None]
    assert (rows[2]["started_utc"], rows[2]["ended_utc"], rows[2]["duration_ms"]) == (None, None, None)


def test_times_without_a_zone_are_utc() -> None:
    (row,) = rows_of(
        [ActionRecord(start_time="2026-05-19T12:00:00.1234567", end_time="2026-05-19T14:00:00+01:00")]
    )
    assert row["started_utc"] == datetime(2026, 5, 19, 12, 0, 0, 123000, tzinfo=UTC)
    assert row["ended_utc"] == datetime(2026, 5, 19, 13, tzinfo=UTC)
