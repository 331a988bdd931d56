"""Instants are cut, never rounded; intervals add up to what they cover."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.intervals import Interval, gaps, merged, pieces
from shared.times import MILLISECOND, epoch_ms, iso_utc, parse_utc, span_ms

DAY = datetime(2026, 5, 19, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-19T13:17:34", datetime(2026, 5, 19, 13, 17, 34, tzinfo=UTC)),
        ("2026-05-19T13:17:34Z", datetime(2026, 5, 19, 13, 17, 34, tzinfo=UTC)),
        ("2026-05-19T15:17:34+02:00", datetime(2026, 5, 19, 13, 17, 34, tzinfo=UTC)),
        ("2023-02-20T10:44:35.7885613Z", datetime(2023, 2, 20, 10, 44, 35, 788000, tzinfo=UTC)),
        ("2026-05-19T23:59:59.9999999Z", datetime(2026, 5, 19, 23, 59, 59, 999000, tzinfo=UTC)),
        (" 2026-05-19 ", DAY),
    ],
)
def test_instants_are_cut_to_milliseconds(text: str, expected: datetime) -> None:
    assert parse_utc(text) == expected


@pytest.mark.parametrize("value", [None, "", "soon", 5, "0000-01-01T00:00:00Z", "2026-13-01", "9999-99-99"])
def test_what_is_no_instant_is_none(value: object) -> None:
    assert parse_utc(value) is None


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_edges_of_the_calendar_do_not_break(text: str) -> None:
    assert parse_utc(text) is not None


@given(st.integers(-2_000_000_000, 7_000_000_000).map(lambda second: DAY + timedelta(microseconds=second * 997)))
def test_milliseconds_go_both_ways(instant: datetime) -> None:
    known = parse_utc(instant.isoformat())
    assert known is not None
    assert datetime(1970, 1, 1, tzinfo=UTC) + epoch_ms(known) * MILLISECOND == known
    assert parse_utc(iso_utc(known)) == known


def test_a_span_needs_both_ends_in_order() -> None:
    assert span_ms(DAY, DAY + timedelta(seconds=2)) == 2000
    assert span_ms(DAY, DAY - timedelta(seconds=2)) is None
    assert span_ms(None, DAY) is None


instants = st.integers(0, 60).map(lambda minutes: DAY + timedelta(minutes=minutes))
intervals = st.tuples(instants, instants).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: Interval(*pair))


def minutes_of(some: list[Interval]) -> set[datetime]:
    return {
        one.start + timedelta(minutes=at) for one in some for at in range(int(one.length.total_seconds() // 60))
    }


@given(st.lists(intervals))
def test_merging_keeps_the_time_and_nothing_touches(some: list[Interval]) -> None:
    result = merged(some)
    assert minutes_of(result) == minutes_of(some)
    assert all(before.end < after.start for before, after in pairwise(result))
    assert merged(result) == result


@given(intervals, st.lists(intervals))
def test_gaps_are_what_is_left(whole: Interval, done: list[Interval]) -> None:
    missing = gaps(whole, done)
    assert minutes_of(missing) == minutes_of([whole]) - minutes_of(done)
    assert merged(missing) == missing


@given(intervals, st.integers(1, 20))
def test_pieces_are_short_and_cover_everything(whole: Interval, minutes: int) -> None:
    longest = timedelta(minutes=minutes)
    cut = list(pieces(whole, longest))
    assert merged(cut) == [whole]
    assert all(piece.length <= longest for piece in cut)


def test_an_interval_ends_after_it_starts() -> None:
    with pytest.raises(ValueError, match="ends after"):
        Interval(DAY, DAY)
