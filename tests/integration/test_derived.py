"""The tables that are made from others: machine hours, the app's own runs, and gaps."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from integration.crashing import Crash, CrashAt, let_leases_run_out
from integration.stage import ANCHOR, Stage, bare_world, on_stage
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_SESSION
from shared.state.journal import Gap, IngestRecord

NOON = ANCHOR - timedelta(days=3)
HOUR = timedelta(hours=1)
Hours = dict[tuple[str, float], tuple[int, float, int]]


def session(session_id: str, created: float, start: float, end: float, machine: str = "a", state: int = 1) -> Any:
    """A finished run; times are hours after noon."""
    return {
        "session_id": session_id,
        "machine_id": machine,
        "created_utc": NOON + created * HOUR,
        "started_utc": NOON + start * HOUR,
        "completed_utc": NOON + end * HOUR,
        "ingested_utc": ANCHOR + timedelta(minutes=state),
    }


def stage_runs(stage: Stage, *rows: Any) -> None:
    for row in rows:
        destination = Destination(FACT_FLOW_SESSION, row["created_utc"].date())
        staged = [rows_of(FACT_FLOW_SESSION, [row])]
        stage.app.staging.put(destination, staged, [row["session_id"], str(row["ingested_utc"])])


def publish_runs(stage: Stage, *rows: Any) -> None:
    stage_runs(stage, *rows)
    stage.publish()


def hours(stage: Stage) -> Hours:
    """Runs, busy minutes and most at once, by machine and hours after noon."""
    return {
        (row["machine_id"], (row["hour_utc"] - NOON) / HOUR): (
            row["runs"],
            row["busy_ms"] / 60_000,
            row["max_concurrent"],
        )
        for row in stage.rows("fact_machine_hour")
    }


@pytest.mark.parametrize("grain", ["day", "hour"])
def test_a_run_over_midnight_is_counted_on_both_days(account: str, grain: str) -> None:
    with on_stage(bare_world(), account, PUBLISH_GRAIN=grain) as stage:
        publish_runs(stage, session("1", 11, 11.5, 13.5), session("2", 12.5, 12.75, 13))
        assert hours(stage) == {("a", 11): (1, 30, 1), ("a", 12): (2, 60, 2), ("a", 13): (1, 30, 1)}
        parts = [name for name in stage.published() if name.startswith("fact_machine_hour")]
        assert len(parts) == (2 if grain == "day" else 3)


def test_a_corrected_run_leaves_no_trace_where_it_was(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        publish_runs(stage, session("1", 1, 1, 30), session("2", 1, 1, 1.5, "b"))
        assert len(hours(stage)) == 30
        publish_runs(stage, session("1", 1, 1, 1.25, "b", state=2))
        assert hours(stage) == {("b", 1): (2, 30, 2)}


def test_a_local_run_that_was_created_days_after_it_ran(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        publish_runs(stage, session("1", 1, 1, 2))
        publish_runs(stage, session("2", 50, 1.5, 2.5))
        assert hours(stage) == {("a", 1): (2, 60, 2), ("a", 2): (1, 30, 1)}
        (name,) = (name for name, etag in stage.published().items() if name.startswith("fact_machine_hour"))
        assert f"date={NOON.date()}" in name


def test_nothing_new_writes_nothing(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        publish_runs(stage, session("1", 1, 1, 30))
        note(stage, "poll", ANCHOR)
        stage.publish()
        before = stage.published()
        publish_runs(stage, session("1", 1, 1, 30))
        assert stage.published() == before
        assert not stage.staged()


@pytest.mark.parametrize(("when", "first"), [("before", 1), ("after", 0)])
def test_a_crash_while_a_run_is_corrected(account: str, when: str, first: int) -> None:
    """Before or after every third write of the correction: the hours that the run has left are counted anew."""
    with on_stage(bare_world(), account) as stage:
        expected, died, writes = {}, True, 0
        for writes in range(first, 100, 3):
            start = 11 - 72 * writes  # days of its own for each try
            publish_runs(stage, session(f"{writes}", start, start, start + 2))
            stage_runs(stage, session(f"{writes}", start, start, start + 0.5, "b", state=2))
            expected[("b", start)] = (1, 30, 1)
            setattr(stage.transport, when, CrashAt(writes))
            try:
                stage.publish()
                died = False
            except Crash:
                setattr(stage.transport, when, lambda _: None)
                stage.app = stage.new_app()
                let_leases_run_out(account)
                stage.publish()
            assert hours(stage) == expected, f"died {when} write {writes}"
            assert not stage.staged()
            if not died:
                break
        assert writes > 10
        assert not died


def note(stage: Stage, function: str, at: datetime, rows_read: int = 1) -> None:
    stage.app.journal.ingested(
        IngestRecord(
            function=function, source="one", at_utc=at, duration_ms=5, status="succeeded", rows_read=rows_read
        )
    )


def test_the_ingest_log_is_published_by_day(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        note(stage, "poll", ANCHOR - timedelta(days=2))
        note(stage, "poll", ANCHOR)
        stage.publish()
        assert [row["at_utc"] for row in stage.rows("fact_ingest")] == [ANCHOR - timedelta(days=2), ANCHOR]
        note(stage, "late", ANCHOR - timedelta(minutes=10))
        stage.publish()
        assert len(stage.rows("fact_ingest")) == 3


def test_what_began_before_midnight_and_is_noted_after_it_is_published(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        midnight = ANCHOR.replace(hour=0) + timedelta(days=1)
        note(stage, "poll", ANCHOR)
        stage.publish()
        stage.clock.at = midnight + timedelta(minutes=5)
        stage.publish()
        note(stage, "long", midnight - timedelta(minutes=5))
        stage.publish()
        assert {row["function"] for row in stage.rows("fact_ingest")} == {"poll", "long"}
        stage.clock.at = midnight + timedelta(hours=2)
        note(stage, "next", stage.clock.at)
        stage.publish()
        assert len(stage.rows("fact_ingest")) == 3


def test_gaps_are_published_and_one_that_comes_later_is_added(account: str) -> None:
    def lose(stage: Stage, subject: str) -> None:
        stage.app.journal.lost(
            Gap(
                source="Audit.General",
                from_utc=NOON,
                to_utc=NOON + HOUR,
                kind="content",
                subject=subject,
                reason="It expired.",
                noticed_utc=ANCHOR,
            )
        )

    with on_stage(bare_world(), account) as stage:
        stage.publish()
        assert not stage.published()
        lose(stage, "blob-1")
        stage.publish()
        lose(stage, "blob-2")
        stage.publish()
        (row,) = stage.rows("fact_gap")
        assert (row["subject"], row["reason"]) == ("blob-1, blob-2", "It expired.")


def test_two_publishers_of_one_day_of_machine_hours(account: str) -> None:
    """The one that began with older runs can't undo what the other one counted."""
    with on_stage(bare_world(), account) as stage:
        publish_runs(stage, session("1", 1, 1, 2))
        other = Stage(stage.tenant, account, stage.clock)
        derivations, disturbed = stage.app.derivations, False
        original = derivations.rows

        def slow(destination: Destination) -> Any:
            nonlocal disturbed
            rows = original(destination)
            if destination.table.name == "fact_machine_hour" and not disturbed:
                disturbed = True
                let_leases_run_out(account)
                publish_runs(other, session("3", 1, 1, 1.5, "c"))
            return rows

        object.__setattr__(derivations, "rows", slow)
        publish_runs(stage, session("2", 1, 1, 1.5, "b"))
        assert disturbed
        assert {machine for machine, _ in hours(stage)} == {"a", "b", "c"}


def noticed(stage: Stage, subject: str) -> None:
    now = stage.clock.now()
    stage.app.journal.lost(
        Gap(
            source="Audit.General",
            from_utc=now - HOUR,
            to_utc=now,
            kind="content blob lost",
            subject=subject,
            reason="it expired",
            noticed_utc=now,
        )
    )


def test_publishing_asks_for_no_gaps_but_those_noticed_of_late(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        noticed(stage, "first")
        stage.publish()
        stage.clock.advance(days=3)
        noticed(stage, "second")
        stage.publish()
        assert {row["subject"] for row in stage.rows("fact_gap")} == {"first", "second"}
        read: list[str] = []
        stage.transport.after = lambda request: read.append(unquote(request.url))
        before = stage.published()
        stage.publish()
        today = stage.clock.now().date()
        (only,) = [url for url in read if "/gaps()" in url]
        assert f"noticed_utc ge datetime'{today}T00:00:00" in only
        assert stage.published() == before


def test_a_gap_that_is_noticed_before_midnight_and_written_after_it_is_published(account: str) -> None:
    with on_stage(bare_world(), account) as stage:
        stage.clock.advance(hours=11, minutes=59)
        noticed(stage, "first")
        stage.clock.advance(minutes=2)
        stage.publish()
        stage.clock.advance(minutes=-2)
        noticed(stage, "second")
        stage.clock.advance(minutes=10)
        stage.publish()
        assert [row["subject"] for row in stage.rows("fact_gap")] == ["first, second"]
