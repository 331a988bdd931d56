"""The way from one published grain to the other: no reader sees a row twice, or misses one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta

import pytest
from azure.core.pipeline.transport import HttpRequest

from integration.crashing import Crash
from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, with_runs
from integration.test_action_logs import log_of
from shared.health.view import view
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_ACTION, FACT_FLOW_SESSION
from shared.state.blobs import BlobItem
from shared.state.names import Container

RUNS = 5
WRITES_OF_A_MOVE = 5  # four hours have runs; each file is written or deleted, and that of the day
FOLDER = f"fact_flow_session/date={ANCHOR.date()}"
TABLES = ("fact_flow_session", "fact_flow_action", "fact_machine_hour")
WAYS = [("day", "hour"), ("hour", "day")]


@contextmanager
def published(account: str, grain: str) -> Iterator[Stage]:
    """A day whose runs were created in several hours, published."""
    runs = [a_run(at, ANCHOR - timedelta(minutes=40 * at), a_log(log_of(3))) for at in range(RUNS)]
    with on_stage(with_runs(bare_world(), *runs), account, PUBLISH_GRAIN=grain) as stage:
        stage.clock.advance(minutes=10)
        stage.run("poll_flow_sessions")
        stage.decode()
        stage.publish()
        yield stage


def with_grain(stage: Stage, grain: str) -> None:
    stage.environ["PUBLISH_GRAIN"] = grain
    stage.app = stage.new_app()


def seen(reader: Stage) -> list[Counter[str]]:
    return [Counter(map(repr, reader.rows(table))) for table in TABLES]


def left_behind(stage: Stage, day: Destination) -> Sequence[BlobItem]:
    layout = stage.app.layout
    return layout.left_behind(layout.files(day))


def names(stage: Stage) -> set[str]:
    return {name.rpartition("/")[2] for name in stage.published() if name.startswith(FOLDER)}


def at_each_write(then: Callable[[int], object]) -> Callable[[HttpRequest], None]:
    """Calls `then` with the number of each write of a published file."""
    writes = 0

    def hook(request: HttpRequest) -> None:
        nonlocal writes
        if request.method in ("PUT", "DELETE") and "/powerbi/" in request.url:
            writes += 1
            then(writes)

    return hook


@pytest.mark.parametrize(("before", "after"), WAYS)
def test_a_reader_sees_each_row_once_after_every_single_write(account: str, before: str, after: str) -> None:
    with published(account, before) as stage:
        reader = Stage(stage.tenant, account, stage.clock)
        rows, told = seen(reader), view(reader.app).volumes
        assert [sum(counts.values()) for counts in rows[:2]] == [RUNS, 3 * RUNS]
        assert {title: sum(numbers) for title, numbers in told.items()} == {
            "Runs": RUNS,
            "Actions": 3 * RUNS,
            "Audit events": 0,
        }
        with_grain(stage, after)
        looks: list[list[Counter[str]]] = []
        pages: list[Mapping[str, Sequence[int]]] = []

        def look() -> None:
            looks.append(seen(reader))
            pages.append(view(reader.app).volumes)

        stage.transport.after = at_each_write(lambda _: look())
        stage.publish()
        assert len(looks) >= 2 * WRITES_OF_A_MOVE
        assert all(look == rows for look in looks)
        assert all(page == told for page in pages)
        hours = {"part-09.parquet", "part-10.parquet", "part-11.parquet", "part-12.parquet"}
        assert names(stage) == ({"part-0.parquet"} if after == "day" else hours)


@pytest.mark.parametrize(("before", "after"), WAYS)
def test_a_move_that_crashes_anywhere_is_finished_the_next_time(account: str, before: str, after: str) -> None:
    with published(account, before) as stage:
        rows = seen(stage)
        for number in (1, WRITES_OF_A_MOVE - 1, WRITES_OF_A_MOVE):
            with_grain(stage, after)
            with pytest.raises(Crash):
                _publish_runs(stage, crash_after=number)
            assert seen(stage) == rows
            _publish_runs(stage)
            assert seen(stage) == rows
            assert names(stage).isdisjoint({"part-0.parquet"} if after == "hour" else {"part-12.parquet"})
            with_grain(stage, before)
            _publish_runs(stage)


def _publish_runs(stage: Stage, crash_after: int = 0) -> None:
    destination = Destination(FACT_FLOW_SESSION, ANCHOR.date())

    def die(write: int) -> None:
        if write == crash_after:
            raise Crash

    stage.transport.after = at_each_write(die)
    try:
        stage.app.publisher.publish(destination)
    finally:
        stage.transport.after = lambda _: None


def test_an_hour_that_another_publisher_wrote_meanwhile_is_merged_into_the_day(account: str) -> None:
    with published(account, "hour") as stage:
        day = Destination(FACT_FLOW_ACTION, ANCHOR.date())
        name = f"{day.folder}part-12.parquet"
        blobs = stage.new_app().storage.blobs
        rows = seen(stage)
        content = blobs.get(Container.POWERBI, name) or b""
        with_grain(stage, "day")

        def write_once(write: int) -> None:
            if write == 1:  # the day's file is there by now, the hours are not deleted yet
                stage.transport.after = lambda _: None
                blobs.put(Container.POWERBI, name, content)

        stage.transport.after = at_each_write(write_once)
        stage.app.publisher.publish(day)
        assert [item.name for item in left_behind(stage, day)] == [name]
        assert seen(stage) == rows
        assert day in stage.app.layout.misplaced()
        stage.publish()
        assert not left_behind(stage, day)
        assert seen(stage) == rows


def test_once_all_is_moved_nobody_looks_through_the_published_files_again(account: str) -> None:
    with published(account, "day") as stage:
        with_grain(stage, "hour")
        stage.publish()
        stage.publish()
        asked: list[str] = []
        stage.transport.before = lambda request: asked.append(request.url)
        assert stage.app.layout.misplaced() == []
        assert asked
        assert not [url for url in asked if "/powerbi" in url]
