"""NCRONTAB as the Functions host reads it: what is refused, when a timer comes, and how that is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as some

from shared.health.lateness import SLACK, is_late
from shared.health.words import schedule_in_words
from shared.schedules import parse_schedule, read_schedule

SATURDAY = datetime(2026, 11, 21, 10, 7, 30, 500_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 */5 * * * *", "2026-11-21T10:10:00"),
        ("*/20 * * * * *", "2026-11-21T10:07:40"),
        ("31 7 10 * * *", "2026-11-21T10:07:31"),
        ("30 7 10 * * *", "2026-11-22T10:07:30"),
        ("0 10/20 * * * *", "2026-11-21T10:10:00"),
        ("0 50/20 10 * * *", "2026-11-21T10:50:00"),
        ("0 0 3 * * *", "2026-11-22T03:00:00"),
        ("0 0 9-17/4 * * 1-5", "2026-11-23T09:00:00"),
        ("0 30 2 * JAN-mar monday", "2027-01-04T02:30:00"),
        ("0 0 0 * * 5/2", "2026-11-27T00:00:00"),  # Friday, for 7 is no day
        ("0 0 0 * jul *", "2027-07-01T00:00:00"),
        ("0 0 0 13 * FRI", "2027-08-13T00:00:00"),  # both have to match, where cron takes either
        ("0 0 0 29 2 SUN", "2032-02-29T00:00:00"),
        ("0 0 0 31 * *", "2026-12-31T00:00:00"),
    ],
)
def test_the_next_moment(expression: str, expected: str) -> None:
    assert read_schedule(expression).next_after(SATURDAY).isoformat() == f"{expected}+00:00"


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("*/5 * * * *", "six fields"),
        ("every five minutes", "six fields"),
        ("00:05:00", "interval"),
        ("1.00:00:00", "interval"),
        ("60 * * * * *", "second 60 is not from 0 to 59"),
        ("0 0 24 * * *", "hour 24"),
        ("0 0 0 0 * *", "day 0"),
        ("0 0 0 L * *", "day 'L'"),
        ("0 0 0 15W * *", "day '15W'"),
        ("0 0 0 ? * *", r"day '\?'"),
        ("0 0 0 * 13 *", "month 13"),
        ("0 0 0 * may-jan *", "backwards"),
        ("0 0 22-2 * * *", "backwards"),
        ("0 0 0 * * 7", "weekday 7 is not from 0 to 6"),
        ("0 0 0 * * MON-SUN", "backwards"),
        ("0 0 0 * * 5L", "weekday '5L'"),
        ("0 0 0 * * MON#1", "weekday 'MON#1'"),
        ("0 0 0 * * someday", "weekday 'someday'"),
        ("0 */0 * * * *", "step of 0"),
        ("0 1,,2 * * * *", "minute ''"),
        ("0 *-5 * * * *", r"minute '\*-5'"),
        ("0 0 0 31 FEB,apr *", "never comes"),
    ],
)
def test_what_the_host_refuses_or_means_otherwise_is_refused_with_a_reason(expression: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parse_schedule(expression)


def field(least: int, most: int) -> some.SearchStrategy[str]:
    number = some.integers(least, most)
    span = some.tuples(number, number).map(lambda ends: f"{min(ends)}-{max(ends)}")
    step = some.integers(1, most).map(lambda by: f"*/{by}")
    one = some.one_of(number.map(str), span, step)
    return some.one_of(some.just("*"), some.lists(one, min_size=1, max_size=3).map(",".join))


WEEKDAY = field(0, 6).filter(lambda text: "/" not in text)  # the other one goes on to 7, a second Sunday
EXPRESSIONS = some.tuples(field(0, 59), field(0, 59), field(0, 23), field(1, 28), field(1, 12), WEEKDAY).map(
    " ".join
)
BEGINS = some.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=some.just(UTC))  # noqa: DTZ001 - aware


@given(EXPRESSIONS, BEGINS)
def test_moments_are_those_of_another_implementation_that_is_told_to_want_both_days(
    expression: str, begin: datetime
) -> None:
    other = CronSim(expression, begin)
    other.day_and = True
    assert list(islice(read_schedule(expression).after(begin), 3)) == list(islice(other, 3))


def test_a_timer_of_the_first_monday_is_late_when_that_has_passed() -> None:
    """As cron reads it, it would have been due on each Monday and each of the first seven days."""
    schedule, last = "0 0 6 1-7 * MON", datetime(2026, 11, 2, 6, tzinfo=UTC)
    due = datetime(2026, 12, 7, 6, tzinfo=UTC)
    assert not is_late(schedule, last, due + SLACK, 1)
    assert is_late(schedule, last, due + SLACK + timedelta(seconds=1), 1)
    assert not is_late(schedule, last, due + SLACK + timedelta(seconds=1), 2)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 */5 * * * *", "every 5 minutes"),
        ("0 */1 * * * *", "every minute"),
        ("0 0 3 * * *", "at 03:00 every day"),
        ("0 0,30 * * * *", "at minute 0 and 30 of every hour every day"),
        ("0 30 6,18 * * 1-3", "at 06:30 and 18:30 on Monday, Tuesday and Wednesday"),
        ("0 0 9 1 1,7 *", "at 09:00 on day 1 of the month in January and July"),
        ("0 0 6 13 * FRI", "at 06:00 on Friday if that is day 13 of the month"),
        ("0 */7 8-17 * * *", "as 0 */7 8-17 * * * says"),
        ("*/30 * * * * *", "as */30 * * * * * says"),
    ],
)
def test_a_schedule_in_words(expression: str, words: str) -> None:
    assert schedule_in_words(expression) == words
