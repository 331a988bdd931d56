"""Staged files: what is put comes back, by older versions too; what can't be read is told by its name."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from local.bench.cases.publishing import app_over
from local.bench.folder_storage import FolderBlobs
from shared.errors import Conflict, Unreadable
from shared.publishing import parquet, publisher, staging
from shared.publishing.arrow_file import read_arrow, write_arrow
from shared.publishing.merge import RULES, SetsSeen, together
from shared.publishing.parquet import read_rows, rows_of, write_rows
from shared.publishing.publisher import Publication
from shared.publishing.staging import ARROW, PARQUET, STAGED, Destination, Staging
from shared.schema import FACT_FLOW_ACTION, FACT_FLOW_SESSION, TABLES, Kind, Table, arrow_schema
from shared.state.blobs import Blobs
from shared.state.names import Container

DAY = datetime(2026, 5, 19, 12, 30, 15, 123000, UTC)
PLACE = Destination(FACT_FLOW_ACTION, DAY.date())
VALUES: dict[Kind, Any] = {
    Kind.TEXT: "“ü”" * 50,
    Kind.LABEL: "a label",
    Kind.INTEGER: -(2**40),
    Kind.FLAG: True,
    Kind.INSTANT: DAY,
    Kind.DAY: date(2026, 5, 19),
}


@pytest.fixture
def staged(tmp_path: Path) -> Staging:
    return Staging(cast("Blobs", FolderBlobs(tmp_path)))


def actions(session_id: str, count: int = 3) -> pa.Table:
    rows = [
        {"session_id": session_id, "seq": seq, "inputs": "{}" * 20, "created_utc": DAY} for seq in range(count)
    ]
    return rows_of(FACT_FLOW_ACTION, rows)


def written(parts: Sequence[pa.Table], table: Table = FACT_FLOW_ACTION) -> bytes:
    file = io.BytesIO()
    assert write_arrow(table, parts, file) == sum(part.num_rows for part in parts)
    return file.getvalue()


def as_parquet(rows: pa.Table) -> bytes:
    file = io.BytesIO()
    write_rows(FACT_FLOW_ACTION, [rows], file)
    return file.getvalue()


def put(staged: Staging, name: str, content: bytes) -> None:
    staged.blobs.put(Container.STAGING, f"{PLACE.folder}{name}", content)


def read(staged: Staging) -> list[pa.Table]:
    return list(staged.read(PLACE, staged.waiting_for(PLACE)))


@pytest.mark.parametrize("table", TABLES.values(), ids=str)
def test_rows_of_every_table_come_back_as_they_were(table: Table) -> None:
    full = {column.name: VALUES[column.kind] for column in table.columns}
    rows = rows_of(table, [full, {}, full])
    assert read_arrow(table, written([rows], table)).equals(rows)


def test_many_small_parts_are_written_as_one() -> None:
    content = written([actions(f"run-{number}") for number in range(20)])
    with pa.ipc.open_file(content) as file:
        assert file.num_record_batches == 1
        assert file.read_all().num_rows == 60


def test_nothing_is_staged_where_there_are_no_rows(staged: Staging) -> None:
    assert staged.put(PLACE, [], ["nothing"]) == 0
    assert staged.waiting() == {}


def test_a_staged_file_without_rows_is_done_with(tmp_path: Path) -> None:
    app = app_over(tmp_path, "day")
    put(app.staging, f"empty{ARROW}", written([rows_of(FACT_FLOW_ACTION, [])]))
    assert app.publisher.publish(PLACE) == Publication()
    assert app.staging.waiting() == {}


def test_of_what_is_staged_as_much_is_read_as_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A staged file tells nothing of its size in memory: text that repeats itself is a hundred times as large."""
    app, text, fetched = app_over(tmp_path, "day"), "again and again " * 1000, list[int]()
    for number in range(12):
        row = {"session_id": f"run-{number}", "seq": 0, "inputs": text, "created_utc": DAY}
        app.staging.put(PLACE, [rows_of(FACT_FLOW_ACTION, [row])], [str(number)])
    assert sum(item.size for item in app.staging.waiting_for(PLACE)) < 12 * len(text) / 2
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 2 * len(text))
    monkeypatch.setattr(publisher, "MOST_STAGED_BYTES", 3 * len(text))
    while PLACE in (publication := app.publisher.publish(PLACE)).next:
        fetched.append(publication.rows_staged)
    assert [*fetched, publication.rows_staged] == [3] * 4
    content = app.storage.blobs.get(Container.POWERBI, f"{PLACE.folder}part-0.parquet")
    assert sorted(read_rows(FACT_FLOW_ACTION, io.BytesIO(content)).column("session_id").to_pylist()) == sorted(
        f"run-{number}" for number in range(12)
    )


def test_a_log_of_many_row_groups_stays_one_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_over(tmp_path, "day")
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 10)
    for count in (50, 35):
        app.staging.put(PLACE, [actions("long", count).slice(at, 7) for at in range(0, count, 7)], ["one"])
        app.publisher.publish(PLACE)
        content = app.storage.blobs.get(Container.POWERBI, f"{PLACE.folder}part-0.parquet")
        assert read_rows(FACT_FLOW_ACTION, io.BytesIO(content)).column("seq").to_pylist() == list(range(count))


def test_a_column_that_an_older_file_lacks_is_empty(staged: Staging) -> None:
    file, older = io.BytesIO(), actions("a").drop_columns(["self_ms", "status"])
    with pa.ipc.new_file(file, older.schema) as writer:
        writer.write_table(older)
    put(staged, f"a{ARROW}", file.getvalue())
    (rows,) = read(staged)
    assert rows.schema == arrow_schema(FACT_FLOW_ACTION)
    assert rows.column("status").to_pylist() == [None] * 3


def test_files_of_both_kinds_are_read_in_the_order_in_which_they_came(staged: Staging) -> None:
    put(staged, f"b{PARQUET}", as_parquet(actions("first")))
    put(staged, f"a{ARROW}", written([actions("second")]))
    items = sorted(staged.waiting_for(PLACE), key=lambda item: item.name, reverse=True)
    found = [rows.column("session_id").to_pylist()[0] for rows in staged.read(PLACE, items)]
    assert found == ["first", "second"]


def test_a_large_file_is_not_held_in_memory_beside_its_rows(
    staged: Staging, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        put(staged, f"{number}{ARROW}", written([actions(f"run-{number}")]))
    monkeypatch.setattr(staging, "FETCHED_AT_ONCE_BYTES", 1)
    monkeypatch.setattr(FolderBlobs, "get", lambda *_: pytest.fail("it was fetched as bytes"))
    assert sum(rows.num_rows for rows in read(staged)) == 9


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1",
        written([actions("a")])[:-20],
        written([actions("a")])[:300],
        as_parquet(actions("a"))[:-20],
        b"\xff" * 4000,
    ],
    ids=["empty", "short", "cut at the end", "cut early", "Parquet, cut", "something else"],
)
@pytest.mark.parametrize("ending", STAGED)
def test_a_file_that_cannot_be_read_is_told_by_its_name(staged: Staging, content: bytes, ending: str) -> None:
    put(staged, f"bad{ending}", content)
    with pytest.raises(Unreadable, match=f"staging/{PLACE.folder}bad{ending} can't be read.*move it away"):
        read(staged)


def test_a_file_of_other_types_is_told_as_well(staged: Staging) -> None:
    file, foreign = io.BytesIO(), pa.table({"seq": ["first", "second"]})
    with pa.ipc.new_file(file, foreign.schema) as writer:
        writer.write_table(foreign)
    put(staged, f"foreign{ARROW}", file.getvalue())
    with pytest.raises(Unreadable, match=f"foreign{ARROW}"):
        read(staged)


def test_a_file_for_which_memory_is_short_is_not_called_damaged(staged: Staging) -> None:
    """Whoever moves it away loses its rows; here it says of one column that it takes a petabyte."""
    text = "x" * 70_000
    content = written([rows_of(FACT_FLOW_ACTION, [{"session_id": "a", "seq": 0, "inputs": text}])])
    before, _, after = content.rpartition(len(text).to_bytes(8, "little"))
    put(staged, f"a{ARROW}", before + (1 << 50).to_bytes(8, "little") + after)
    with pytest.raises(MemoryError):
        read(staged)


def test_a_file_that_was_published_meanwhile_is_a_conflict(staged: Staging) -> None:
    put(staged, f"a{ARROW}", written([actions("a")]))
    items = staged.waiting_for(PLACE)
    staged.discard(items)
    with pytest.raises(Conflict):
        list(staged.read(PLACE, items))


class MortalBlobs(FolderBlobs):
    """Dies when it is to delete one more than some."""

    left = 0

    def delete_unless_changed(self, container: Container, item: Any) -> None:
        if not self.left:
            raise OSError("died")
        self.left -= 1
        super().delete_unless_changed(container, item)


@pytest.mark.parametrize("deleted", [0, 1, 20, 39, 40])
def test_an_older_version_of_a_log_is_never_the_one_that_is_left(tmp_path: Path, deleted: int) -> None:
    app = app_over(tmp_path, "day")
    for number in range(40):
        rows = [actions("again", 50 - number), actions(f"run-{number}")]
        put(app.staging, f"{number:02d}{ARROW}", written(rows))
    blobs = MortalBlobs(tmp_path)
    blobs.left = deleted
    dying = replace(app.publisher, staging=Staging(cast("Blobs", blobs)))
    with pytest.raises(OSError, match="died") if deleted < 40 else nullcontext():
        dying.publish(PLACE)
    app.publisher.publish(PLACE)
    content = app.storage.blobs.get(Container.POWERBI, f"{PLACE.folder}part-0.parquet")
    assert read_rows(FACT_FLOW_ACTION, io.BytesIO(content)).column("session_id").to_pylist().count("again") == 11
    assert app.staging.waiting_for(PLACE) == []


def test_files_are_deleted_in_their_order_only_where_one_log_is_in_several() -> None:
    rule, one, other = RULES[FACT_FLOW_ACTION.name], actions("one"), actions("other")
    for files, expected in (
        ([[one], [other]], False),
        ([[one, other]], False),
        ([[one], [other], [one]], True),
        ([[other, one, one]], True),
    ):
        sets = SetsSeen(rule)
        for held in files:
            sets.add(held, together(rule, held))
        assert sets.repeated is expected
    runs = SetsSeen(RULES[FACT_FLOW_SESSION.name])
    run = rows_of(FACT_FLOW_SESSION, [{"session_id": "one"}])
    runs.add([run, run], together(runs.rule, [run, run]))
    assert not runs.repeated
