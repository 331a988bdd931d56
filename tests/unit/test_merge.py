"""Merging: whatever is staged, in whatever order and however often, the same rows are published."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Unreadable
from shared.publishing.merge import RULES, merge
from shared.publishing.parquet import rows_of
from shared.publishing.requests import body_for, read_destination
from shared.publishing.staging import STAGED, Destination, destination_of
from shared.schema import DIM_USER, FACT_AUDIT_EVENT, FACT_FLOW_ACTION, FACT_FLOW_SESSION, Table

START = datetime(2026, 1, 1, tzinfo=UTC)
Rows = list[dict[str, Any]]


def run(session_id: str, order: int) -> dict[str, Any]:
    return {"session_id": session_id, "ingested_utc": START + timedelta(milliseconds=order), "status_code": order}


def event(event_id: str, operation: str, resource_id: str | None, order: int) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "operation": operation,
        "resource_id": resource_id,
        "content_created_utc": START + timedelta(minutes=order // 2),
        "content_id": f"blob-{order}",
        "record_type": order,
    }


def merged(table: Table, published: Sequence[Rows], staged: Sequence[Rows]) -> Rows | None:
    groups = [rows_of(table, rows) for rows in published]

    def read(columns: Sequence[str]) -> Iterable[pa.Table]:
        return [group.select(list(columns)) for group in groups]

    result = merge(RULES[table.name], read, [rows_of(table, rows) for rows in staged])
    if result is None:
        return None
    parts = [result.remaining(group) for group in groups]
    for group, part in zip(groups, parts, strict=True):
        assert result.touches(group) == (part.num_rows < group.num_rows)
    return pa.concat_tables([*parts, result.new]).to_pylist()


def runs(published: Sequence[Rows], staged: Sequence[Rows]) -> dict[str, int] | None:
    rows = merged(FACT_FLOW_SESSION, published, staged)
    if rows is None:
        return None
    found = {row["session_id"]: row["status_code"] for row in rows}
    assert len(found) == len(rows)
    return found


def test_the_newest_state_of_a_run_wins() -> None:
    published = [[run("a", 5), run("b", 5)], [run("c", 5)]]
    staged = [[run("a", 4), run("d", 1)], [run("b", 7), run("b", 6), run("d", 3)]]
    assert runs(published, staged) == {"a": 5, "b": 7, "c": 5, "d": 3}


def test_what_is_published_already_changes_nothing() -> None:
    assert runs([[run("a", 5)]], [[run("a", 5)], [run("a", 2)]]) is None
    assert runs([], [[]]) is None


def test_a_first_file() -> None:
    assert runs([], [[run("a", 1)]]) == {"a": 1}


def test_an_action_log_is_replaced_as_a_whole_by_the_one_staged_last() -> None:
    def actions(session_id: str, count: int, mark: int) -> Rows:
        return [{"session_id": session_id, "seq": seq, "line": mark} for seq in range(count)]

    rows = merged(
        FACT_FLOW_ACTION,
        [[*actions("x", 3, 1), *actions("y", 1, 1)]],
        [actions("x", 1, 2), [*actions("x", 2, 3), *actions("z", 1, 3)]],
    )
    assert rows is not None
    assert [(row["session_id"], row["seq"], row["line"]) for row in rows] == [
        ("y", 0, 1),
        ("x", 0, 3),
        ("x", 1, 3),
        ("z", 0, 3),
    ]


def test_a_blob_that_is_read_once_more_replaces_its_own_rows_only() -> None:
    def read(order: int, minute: int, group: str) -> dict[str, Any]:
        ingested = START + timedelta(minutes=minute)
        return {**event("1", "Put", None, order), "ingested_utc": ingested, "operation_group": group}

    published = [[read(2, 10, "Other")]]
    rows = merged(FACT_AUDIT_EVENT, published, [[read(2, 11, "Connection")]])
    assert rows is not None
    assert [row["operation_group"] for row in rows] == ["Connection"]
    assert merged(FACT_AUDIT_EVENT, published, [[read(3, 11, "Connection")]]) is None
    assert merged(FACT_AUDIT_EVENT, published, [[read(2, 10, "Connection")]]) is None


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_one_blob_read_twice_before_it_is_published_the_later_reading_stays(order: Sequence[int]) -> None:
    minutes = (10, 12, 11)
    files = [
        [{**event("1", "Put", None, 2), "ingested_utc": START + timedelta(minutes=minute)}] for minute in minutes
    ]
    rows = merged(FACT_AUDIT_EVENT, [], [files[at] for at in order])
    assert rows is not None
    assert [row["ingested_utc"] for row in rows] == [START + timedelta(minutes=12)]


def test_of_an_event_that_comes_again_the_copy_in_the_oldest_blob_stays() -> None:
    published = [[event("1", "Put", None, 2), event("2", "Put", None, 5)]]
    staged = [
        [event("1", "Put", None, 3), event("1", "Put", "r", 7)],
        [event("1", "Put", "r", 6), event("1", "Get", None, 9), event("2", "Put", None, 4)],
    ]
    rows = merged(FACT_AUDIT_EVENT, published, staged)
    assert rows is not None
    found = {(row["event_id"], row["operation"], row["resource_id"], row["record_type"]) for row in rows}
    assert found == {("1", "Put", None, 2), ("1", "Put", "r", 6), ("1", "Get", None, 9), ("2", "Put", None, 4)}
    assert len(rows) == 4
    assert merged(FACT_AUDIT_EVENT, published, [[event("1", "Put", None, 2), event("2", "Put", None, 6)]]) is None


def test_an_event_whose_operation_comes_in_other_letters_is_the_same_event() -> None:
    assert (
        merged(FACT_AUDIT_EVENT, [[event("1", "BrandNew", None, 2)]], [[event("1", "brandnew", None, 3)]]) is None
    )
    rows = merged(FACT_AUDIT_EVENT, [[event("1", "BrandNew", None, 4)]], [[event("1", "brandnew", None, 3)]])
    assert rows is not None
    assert [row["operation"] for row in rows] == ["brandnew"]


def test_a_member_of_which_only_the_id_is_known_gives_way() -> None:
    known = {"user_id": "ada", "display_name": "Ada", "updated_utc": START}
    assert merged(DIM_USER, [[known]], [[{"user_id": "ada"}]]) is None
    rows = merged(DIM_USER, [[{"user_id": "ada"}]], [[known]])
    assert rows is not None
    assert [row["display_name"] for row in rows] == ["Ada"]


states = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 6)), max_size=6)


@given(st.lists(states, min_size=1, max_size=4), st.lists(states, min_size=1, max_size=4))
def test_in_one_go_or_in_two_the_same_is_published(first: list[Any], second: list[Any]) -> None:
    def as_rows(some: list[Any]) -> list[Rows]:
        return [[run(*state) for state in states] for states in some]

    expected: dict[str, int] = {}
    for session_id, order in (state for group in [*first, *second] for state in group):
        expected[session_id] = max(order, expected.get(session_id, 0))
    whole = merged(FACT_FLOW_SESSION, [], as_rows([*first, *second])) or []
    before = merged(FACT_FLOW_SESSION, [], as_rows(first)) or []
    after = merged(FACT_FLOW_SESSION, [before], as_rows(second)) or before
    again = merged(FACT_FLOW_SESSION, [after], as_rows([*second, *first])) or after
    for rows in (whole, after, again):
        assert {row["session_id"]: row["status_code"] for row in rows} == expected
        assert len(rows) == len(expected)


@pytest.mark.parametrize(
    "destination",
    [Destination(FACT_FLOW_ACTION, date(2026, 5, 19)), Destination(DIM_USER, None)],
)
def test_a_destination_is_found_again(destination: Destination) -> None:
    assert destination_of(f"{destination.folder}abc.parquet") == destination
    assert [destination_of(f"{destination.folder}abc{ending}", STAGED) for ending in STAGED] == [destination] * 2
    assert read_destination(body_for(destination)) == destination


@pytest.mark.parametrize(
    "name",
    [
        "locks/dim_user/lock",
        "fact_flow_action/readme.txt",
        "fact_flow_action/date=2026-05-19/abc.arrow",
        "fact_flow_action/date=2026-02-30/abc.parquet",
        "other/date=2026-05-19/x.parquet",
        "fact_flow_action/a/b.parquet",
    ],
)
def test_other_blobs_are_left_alone(name: str) -> None:
    assert destination_of(name) is None


@pytest.mark.parametrize("body", ["", "{}", '{"table":"other"}', '{"table":"dim_user","extra":1}', "5"])
def test_a_message_that_names_nothing_to_publish(body: str) -> None:
    with pytest.raises(Unreadable):
        read_destination(body)


def test_an_empty_set_takes_the_place_of_a_full_one() -> None:
    rule = RULES[FACT_FLOW_ACTION.name]
    full = rows_of(FACT_FLOW_ACTION, [{"session_id": "a", "seq": 0}, {"session_id": "b", "seq": 0}])
    empty = rows_of(FACT_FLOW_ACTION, [{"session_id": "a"}])
    merged = merge(rule, lambda _: [full], [empty])
    assert merged
    assert merged.new.num_rows == 0
    assert merged.remaining(full).column("session_id").to_pylist() == ["b"]
