"""What a search of the audit log still asks for: days, halves of days, months."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.audit.graph import record_types_of
from shared.audit.search_plan import (
    MOST_PIECES,
    MOST_TRIES,
    SETTLED,
    SIDE_BY_SIDE,
    Piece,
    Plan,
    midnight,
    new_plan,
    next_month,
    read_plan,
)
from shared.audit.submissions import SPACING, used_until
from shared.intervals import Interval, pieces

START = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PIECE = Piece(START, START + DAY)
GRANTED = 200


def done(plan: Plan, brought: int = 1) -> Plan:
    return Plan(plan.order, plan.since, plan.start, plan.end, plan.end, told=True, brought=brought)


def test_a_plan_is_cut_into_days_and_only_so_many_are_under_way() -> None:
    plan = new_plan("x", START, START + 10 * DAY).extended()
    assert len(plan.pieces) == SIDE_BY_SIDE
    assert plan.extended() == plan
    while plan.pieces:
        plan = plan.swapped(plan.pieces[0]).extended()
    assert plan.is_done
    assert plan.position == START + 10 * DAY


def test_a_plan_is_kept_as_it_is() -> None:
    asked = Piece(START, START + DAY, "id", START, "https://next", 7, 3, 9, cut=True, tries=1, after_utc=START)
    plan = new_plan("x", START, START + DAY).extended().swapped(PIECE, asked)
    assert read_plan(plan.values()) == plan
    assert read_plan({}) is None


def test_a_full_plan_is_kept_in_texts_that_an_entity_holds() -> None:
    half_hours = pieces(Interval(START, START + 3 * DAY), DAY / 48)
    waiting = tuple(Piece(one.start, one.end) for one in half_hours)[:MOST_PIECES]
    plan = replace(new_plan("x", START, START + 200 * DAY), pieces=waiting)
    assert not plan.may_grow
    for piece in plan.pieces[:SIDE_BY_SIDE]:
        plan = plan.swapped(
            piece, replace(piece, query_id="id", asked_utc=START, next="https://next/" + 4_000 * "x")
        )
    values = plan.values()
    assert len(values) > 2
    assert max(map(len, values.values())) < 32 * 1024
    assert read_plan(values) == plan


def test_what_was_asked_comes_first_and_what_was_refused_last() -> None:
    refused, fresh, asked = (
        PIECE.again(START + DAY),
        Piece(START + DAY, START + 2 * DAY),
        replace(PIECE, query_id="id"),
    )
    assert refused
    assert replace(new_plan("x", START, START), pieces=(refused, fresh, asked)).in_turn == [asked, fresh, refused]


def test_only_so_many_queries_are_under_way() -> None:
    asked = tuple(Piece(START, START + DAY, f"{number}") for number in range(SIDE_BY_SIDE))
    plan = replace(new_plan("x", START, START), pieces=(*asked, PIECE))
    assert not plan.may_ask
    assert plan.swapped(asked[0]).may_ask


@pytest.mark.parametrize("minutes", [1, 15, 45, 240])
def test_the_share_of_a_day_is_kept_whatever_the_schedule(minutes: int) -> None:
    used, sent = None, list[datetime]()
    for tick in range(0, 3 * 24 * 60, minutes):
        now = START + timedelta(minutes=tick)
        while (after := used_until(used, now)) is not None:
            used = after
            sent.append(now)
    most = max(sum(first <= one < first + DAY for one in sent) for first in sent)
    assert 5 < most < 0.9 * GRANTED


def test_what_a_clock_that_was_ahead_has_noted_is_not_waited_for() -> None:
    ahead = START + 30 * DAY
    assert used_until(used_until(None, ahead), START) == START + SPACING
    assert used_until(START + SPACING, START) is None
    again = PIECE.again(ahead)
    assert again
    assert again.may_be_asked(START)
    asked = replace(PIECE, query_id="id", asked_utc=ahead)
    assert asked.is_overdue(START)
    assert not asked.is_overdue(ahead - timedelta(minutes=10))


@pytest.mark.parametrize(
    ("read", "about", "cut", "believed"),
    [
        (0, 0, False, True),
        (999, 0, False, True),
        (1000, 0, False, False),
        (50_000, 50_000, False, False),
        (50_001, 50_001, False, True),
        (7, 0, True, False),
        (0, 1, False, False),
        (0, 100, False, False),
        (20, 120, False, False),
        (7, 9, False, True),
        (7, 10, False, False),
        (901, 1_010, False, False),
        (9_600, 10_050, False, True),
        (9_501, 10_050, False, False),
        (120, 100, False, True),
    ],
)
def test_what_is_believed_of_a_query_that_succeeded(read: int, about: int, cut: bool, believed: bool) -> None:
    piece = Piece(START, START + DAY, "id", START, read=read, about=about, cut=cut)
    assert (not piece.shortfall()) is believed


@pytest.mark.parametrize(("matched", "of_feed"), [(0, 1), (4, 9), (49, 100)])
def test_a_query_that_lacks_much_of_what_the_feed_brought_is_not_believed(matched: int, of_feed: int) -> None:
    assert replace(PIECE, read=107, matched=matched).shortfall(of_feed)


@pytest.mark.parametrize(("matched", "of_feed"), [(0, 0), (1, 3), (50, 100)])
def test_a_query_that_has_most_of_what_the_feed_brought_is_believed(matched: int, of_feed: int) -> None:
    assert not replace(PIECE, read=107, matched=matched).shortfall(of_feed)


def test_a_search_that_brought_nothing_at_all_has_searched_nothing() -> None:
    plan = new_plan("x", START, START + DAY)
    assert done(plan).searched == Interval(START, START + DAY)
    assert done(plan, brought=0).searched is None
    after = next_month(done(plan, brought=0), START, START + 60 * DAY)
    assert after
    assert after.since == START + DAY


def test_only_what_may_have_met_a_limit_is_worth_cutting() -> None:
    assert not Piece(START, START + DAY, read=999).may_have_met_a_limit
    assert Piece(START, START + DAY, read=1_001).may_have_met_a_limit
    assert Piece(START, START + DAY, cut=True).may_have_met_a_limit


def test_halves_are_the_whole_and_end_at_a_minute() -> None:
    first, second = PIECE.halves()
    assert (first.start, first.end, second.start, second.end) == (
        START,
        START + DAY / 2,
        START + DAY / 2,
        START + DAY,
    )
    assert Piece(START, START + timedelta(minutes=2)).halves()
    assert not Piece(START, START + timedelta(seconds=119)).halves()


def test_a_query_is_tried_so_often_and_after_a_pause() -> None:
    piece: Piece | None = PIECE
    for _ in range(MOST_TRIES - 1):
        assert piece
        piece = piece.again(START)
        assert piece
        assert not piece.may_be_asked(START + timedelta(minutes=59))
        assert piece.may_be_asked(START + timedelta(hours=1))
    assert piece
    assert piece.again(START) is None


def test_months_follow_each_other_and_wait_until_the_feed_has_brought_all() -> None:
    first_seen = datetime(2026, 11, 20, 13, 5, tzinfo=UTC)
    december = datetime(2026, 12, 1, tzinfo=UTC)
    assert next_month(None, first_seen, december + SETTLED - timedelta(seconds=1)) is None
    plan = next_month(None, first_seen, december + SETTLED)
    assert plan
    assert (plan.order, plan.start, plan.end) == ("2026-11", midnight(first_seen), december)
    assert plan.searched is None
    assert next_month(plan, first_seen, december + SETTLED + DAY) is plan
    after = next_month(done(plan), first_seen, datetime(2027, 3, 1, tzinfo=UTC))
    assert after
    assert (after.order, after.start, after.end) == ("2026-12", december, datetime(2027, 1, 1, tzinfo=UTC))
    assert after.searched
    assert (after.searched.start, after.searched.end) == (plan.start, december)


def test_record_types_are_asked_for_only_where_all_are_known() -> None:
    assert record_types_of(frozenset({"microsoftflow"})) == {"microsoftFlow"}
    assert record_types_of(frozenset({"microsoftflow", "exchange"})) == frozenset()
