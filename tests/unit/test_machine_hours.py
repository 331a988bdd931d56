"""Machine hours: what is counted is what a clock beside the machine would have counted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.publishing.derived import gap_rows
from shared.publishing.machine_hours import Activity, active_days, activities, hours_of, whole_day
from shared.publishing.parquet import rows_of
from shared.schema import FACT_FLOW_SESSION, FACT_GAP
from shared.state.journal import Gap

DAY = date(2026, 5, 19)
MIDNIGHT = datetime(2026, 5, 19, tzinfo=UTC)


def at(hours: float) -> datetime:
    return MIDNIGHT + timedelta(hours=hours)


def run(start: float, end: float, machine: str = "m") -> Activity:
    return Activity(machine, at(start), at(end))


def counted(*runs: Activity, day: date = DAY) -> list[tuple[str, float, int, float, int]]:
    """Machine, hour after midnight, runs, busy minutes and most at once."""
    return [
        (
            row["machine_id"],
            (row["hour_utc"] - MIDNIGHT) / timedelta(hours=1),
            row["runs"],
            row["busy_ms"] / 60_000,
            row["max_concurrent"],
        )
        for row in hours_of(runs, day)
    ]


def test_a_run_is_split_at_the_hours_it_spans() -> None:
    assert counted(run(8.5, 10.25)) == [("m", 8, 1, 30, 1), ("m", 9, 1, 60, 1), ("m", 10, 1, 15, 1)]


def test_time_that_two_runs_share_is_busy_once() -> None:
    assert counted(run(8, 8.5), run(8.25, 8.75), run(8.5, 9)) == [("m", 8, 3, 60, 2)]


def test_one_run_after_the_other_is_not_beside_it() -> None:
    assert counted(run(8, 8.5), run(8.5, 8.75)) == [("m", 8, 2, 45, 1)]


def test_machines_are_counted_apart() -> None:
    assert counted(run(8, 8.5, "b"), run(8, 8.25, "a")) == [("a", 8, 1, 15, 1), ("b", 8, 1, 30, 1)]


def test_each_day_has_its_own_part_of_a_run_over_midnight() -> None:
    night = run(22.5, 50)
    assert [len(counted(night, day=DAY + timedelta(days=n))) for n in (-1, 0, 1, 2, 3)] == [0, 2, 24, 2, 0]
    assert counted(night)[0] == ("m", 22, 1, 30, 1)


def test_an_end_on_the_hour_is_not_in_the_next_and_no_time_is_still_a_run() -> None:
    assert counted(run(8, 9)) == [("m", 8, 1, 60, 1)]
    assert counted(run(8, 8)) == [("m", 8, 1, 0, 1)]
    assert counted(run(0, 0), run(-1, 0)) == [("m", 0, 1, 0, 1)]


def session(start: float | None, end: float | None, machine: str | None = "m") -> dict[str, Any]:
    return {
        "session_id": "s",
        "machine_id": machine,
        "started_utc": None if start is None else at(start),
        "completed_utc": None if end is None else at(end),
    }


def test_only_finished_runs_with_a_machine_and_a_sane_length_count() -> None:
    rows = rows_of(
        FACT_FLOW_SESSION,
        [
            session(1, 2),
            session(1, None),
            session(None, 2),
            session(1, 2, None),
            session(2, 1),
            session(0, 24 * 32),
        ],
    )
    assert list(activities([rows], whole_day(DAY))) == [run(1, 2)]
    assert active_days([rows]) == {DAY}
    assert active_days([rows_of(FACT_FLOW_SESSION, [session(-1, 25)])]) == {
        DAY + timedelta(days=n) for n in (-1, 0, 1)
    }


minutes = st.integers(-90, 26 * 60)


@given(st.lists(st.tuples(minutes, minutes, st.sampled_from("ab")), max_size=8))
def test_the_same_as_a_look_at_every_minute(found: list[tuple[int, int, str]]) -> None:
    runs = [run(min(a, b) / 60, max(a, b) / 60, machine) for a, b, machine in found]
    rows = {(row["machine_id"], row["hour_utc"]): row for row in hours_of(runs, DAY)}
    for machine in "ab":
        for hour in range(24):
            active = [_active(runs, machine, at(hour) + timedelta(minutes=minute)) for minute in range(60)]
            row: Mapping[str, int] = rows.get((machine, at(hour)), {"busy_ms": 0, "max_concurrent": 0})
            assert row["busy_ms"] == sum(map(bool, active)) * 60_000
            assert row["max_concurrent"] == max(active) or (row["busy_ms"] == 0 and row["max_concurrent"] <= 1)


def _active(runs: list[Activity], machine: str, instant: datetime) -> int:
    return sum(one.machine_id == machine and one.started_utc <= instant < one.completed_utc for one in runs)


def test_gaps_of_one_source_and_time_are_one_row_that_names_them_all() -> None:
    def gap(subject: str, hours: float, noticed: float) -> Gap:
        return Gap(
            source="Audit.General",
            from_utc=MIDNIGHT,
            to_utc=at(hours),
            kind="content",
            subject=subject,
            reason="expired",
            noticed_utc=at(noticed),
        )

    rows = gap_rows([gap("b", 1, 5), gap("a", 1, 4), gap("c", 2, 6)])
    assert [(row["subject"], row["kind"], row["noticed_utc"]) for row in rows] == [
        ("a, b", "content", at(4)),
        ("c", "content", at(6)),
    ]
    keys = [tuple(row[name] for name in FACT_GAP.key) for row in rows]
    assert len(set(keys)) == len(keys)
