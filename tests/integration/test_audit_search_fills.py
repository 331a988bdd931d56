"""What a search brings beside the feed: what the feed lost or never brought, told once and displacing nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from integration.searches import (
    MIDNIGHT,
    NEVER,
    blob_at,
    days_ago,
    in_next_month,
    is_done,
    kinds,
    numbers,
    poll,
    poll_until,
    searching_stage,
    to_graph,
    unlisted_days,
)
from integration.stage import ANCHOR
from integration.test_audit_content import world_of
from integration.test_audit_replay import restart
from local.tenant import Fault, Limits
from shared.audit import search_plan, searching
from shared.audit.search_plan import midnight, read_plan
from shared.audit.searched import SEARCHED
from shared.state.journal import (
    BLOB_LOST,
    BROUGHT_BY_SEARCH,
    CONTENT_EXPIRED,
    FILLED_BY_SEARCH,
    SEARCH_INCOMPLETE,
    Gap,
)
from shared.state.names import Container

pytestmark = pytest.mark.usefixtures("many_queries_in_a_tick")


def a_loss(at: datetime) -> Gap:
    return Gap(
        source="Audit.General",
        from_utc=at,
        to_utc=at + timedelta(hours=1),
        kind=BLOB_LOST,
        subject="one",
        reason="It expired.",
        noticed_utc=at,
    )


def test_what_the_feed_never_brought_is_taken_and_told(account: str) -> None:
    at = ANCHOR + timedelta(hours=2)
    world = world_of(blob_at(1, at), blob_at(2, at + timedelta(minutes=5), listed=NEVER))
    with searching_stage(world, account, search="monthly") as stage:
        stage.app.journal.first_seen(stage.clock.now())
        stage.clock.advance(hours=12)
        poll(stage)
        assert numbers(stage) == [1]
        assert not to_graph(stage)
        in_next_month(stage)
        poll_until(stage, lambda: is_done(stage, searching.MONTHLY), most=100)
        assert numbers(stage) == [1, 2]
        (gap,) = [one for one in stage.app.journal.gaps() if one.kind == BROUGHT_BY_SEARCH]
        assert gap.from_utc <= at < gap.to_utc
        asked = len(to_graph(stage))
        poll(stage)
        assert len(to_graph(stage)) == asked, "the next month is not over"


@pytest.mark.parametrize(("times", "more", "told"), [(4, 1, 0), (None, search_plan.MOST_TRIES - 1, 1)])
def test_a_month_of_which_the_feed_has_more_is_asked_for_anew(
    account: str, times: int | None, more: int, told: int
) -> None:
    """The search brings nothing of a day, and the service says nothing of a count."""
    world = world_of(blob_at(1, ANCHOR + timedelta(hours=2)))
    limits = Limits(search_s=60, search_tells_its_limit=False)
    with searching_stage(world, account, limits, search="monthly") as stage:
        stage.app.journal.first_seen(stage.clock.now())
        stage.clock.advance(hours=12)
        poll(stage)
        assert numbers(stage) == [1]
        in_next_month(stage)
        stage.tenant.faults.add(
            Fault("graph", path_contains="/records", times=times, status=200, body=b'{"value":[]}')
        )
        poll(stage, 30, minutes=30)
        assert is_done(stage, searching.MONTHLY)
        assert kinds(stage).count(SEARCH_INCOMPLETE) == told
        plan = read_plan(stage.app.checkpoints.load(searching.PLACE, searching.MONTHLY).values)
        assert plan
        assert len(to_graph(stage, "POST")) == (plan.end - plan.start).days + more


def test_a_loss_of_which_a_search_brings_nothing_is_not_filled(account: str) -> None:
    with searching_stage(world_of(), account) as stage:
        poll(stage, 1, days=9)
        poll(stage)
        assert kinds(stage) == [CONTENT_EXPIRED]
        restart(stage, AUDIT_SEARCH=days_ago(8))
        poll_until(stage, lambda: is_done(stage))
        assert kinds(stage) == [CONTENT_EXPIRED]


def test_a_loss_that_a_search_has_filled_is_told_as_filled(account: str) -> None:
    lost = blob_at(1, MIDNIGHT - timedelta(days=2))
    with searching_stage(world_of(lost), account) as stage:
        stage.tenant.faults.add(
            Fault(
                "activity",
                path_contains="/audit/",
                times=None,
                status=400,
                body=b'{"error":{"code":"AF20051","message":"expired"}}',
            )
        )
        poll(stage)
        assert kinds(stage) == [BLOB_LOST]
        restart(stage, AUDIT_SEARCH=days_ago(4))
        poll_until(stage, lambda: is_done(stage))
        assert kinds(stage) == [BLOB_LOST], "the week before was not searched"
        restart(stage, AUDIT_SEARCH=days_ago(11))
        poll_until(stage, lambda: is_done(stage))
        assert kinds(stage) == [BLOB_LOST, FILLED_BY_SEARCH]
        assert numbers(stage) == [1]
        filled = next(one for one in stage.app.journal.gaps() if one.kind == FILLED_BY_SEARCH)
        assert filled.subject == f"{BLOB_LOST}: {lost.content_id}"
        assert filled.reason == searching.FILLED


def test_an_outage_of_more_than_seven_days_can_be_filled(account: str) -> None:
    with searching_stage(world_of(blob_at(1, ANCHOR + timedelta(hours=12))), account) as stage:
        poll(stage, 1, days=9)
        poll(stage)
        assert kinds(stage) == [CONTENT_EXPIRED]
        assert numbers(stage) == []
        restart(stage, AUDIT_SEARCH=days_ago(8))
        poll_until(stage, lambda: is_done(stage))
        assert numbers(stage) == [1]
        assert kinds(stage) == [CONTENT_EXPIRED, FILLED_BY_SEARCH]


def test_records_of_a_search_are_kept_and_can_be_read_again(account: str) -> None:
    with searching_stage(unlisted_days(1), account, search=days_ago(1)) as stage:
        poll_until(stage, lambda: is_done(stage))
        (name,) = stage.raw("audit/")
        assert f"/{SEARCHED}" in name
        assert numbers(stage) == [1]
        (first,) = stage.rows("fact_audit_event")
        restart(stage, AUDIT_REPLAY=name.partition("date=")[2][:10])
        poll(stage)
        assert numbers(stage) == [1]
        (again,) = stage.rows("fact_audit_event")
        assert again["ingested_utc"] > first["ingested_utc"]
        assert again == {**first, "ingested_utc": again["ingested_utc"]}


@pytest.mark.parametrize("older", [False, True])
def test_reading_a_search_again_displaces_nothing_of_the_feed(account: str, *, older: bool) -> None:
    """The feed brought the event on the day of the search, some hours before; an older version kept no time."""
    world = world_of(blob_at(1, MIDNIGHT - timedelta(minutes=30)))
    with searching_stage(world, account, search=days_ago(1)) as stage:
        poll_until(stage, lambda: is_done(stage))
        assert numbers(stage) == [1]
        before = stage.rows("fact_audit_event")
        (name,) = (one for one in stage.raw("audit/") if SEARCHED in one)
        if older:
            blobs = stage.app.storage.blobs
            blobs.put(Container.RAW, name.rpartition("-")[0] + ".json.gz", blobs.get(Container.RAW, name) or b"")
            blobs.delete(Container.RAW, name)
        for one in stage.raw("audit/"):
            if SEARCHED not in one:
                stage.app.storage.blobs.delete(Container.RAW, one)
        restart(stage, AUDIT_REPLAY=name.partition("date=")[2][:10])
        poll(stage)
        assert numbers(stage) == [1]
        assert stage.rows("fact_audit_event") == before


def test_days_that_are_no_longer_kept_are_neither_searched_nor_told_as_missing(account: str) -> None:
    month_end = midnight(ANCHOR.replace(day=1) + timedelta(days=32)).replace(day=1)
    over, kept = ANCHOR + timedelta(hours=2), month_end + timedelta(days=20)
    world = world_of(blob_at(1, over), blob_at(2, kept, listed=NEVER))
    with searching_stage(world, account, search="monthly") as stage:
        restart(stage, RETENTION_DAYS="fact_audit_event=30")
        stage.app.journal.first_seen(stage.clock.now())
        stage.clock.advance(hours=12)
        poll(stage)
        assert numbers(stage) == [1]
        stage.clock.at = month_end + timedelta(days=45)
        stage.run("reconcile")
        poll_until(stage, lambda: numbers(stage) == [2])
        poll_until(stage, lambda: is_done(stage, searching.MONTHLY))
        (gap,) = [one for one in stage.app.journal.gaps() if one.kind == BROUGHT_BY_SEARCH]
        assert gap.from_utc <= kept < gap.to_utc
        assert len(to_graph(stage, "POST")) <= 30


@pytest.mark.parametrize(("days", "told"), [(35, []), (20, [FILLED_BY_SEARCH])])
def test_a_loss_of_days_that_are_no_longer_kept_is_not_told_as_filled(
    account: str, days: int, told: list[str]
) -> None:
    at = MIDNIGHT - timedelta(days=days)
    events = [blob_at(number, MIDNIGHT - timedelta(days=number), listed=NEVER) for number in (2, days)]
    with searching_stage(world_of(*events), account) as stage:
        restart(stage, RETENTION_DAYS="fact_audit_event=30", AUDIT_SEARCH=days_ago(45))
        stage.app.journal.lost(a_loss(at))
        poll_until(stage, lambda: is_done(stage))
        assert [kind for kind in kinds(stage) if kind != BLOB_LOST] == told
        assert numbers(stage) == ([2] if days > 30 else [2, days])
