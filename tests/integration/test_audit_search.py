"""Events that the feed has no more or never brought, through the search of Microsoft Graph."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from integration.searches import (
    MIDNIGHT,
    NEVER,
    QUERIES,
    blob_at,
    days_ago,
    ending,
    event_at,
    is_done,
    kinds,
    numbers,
    poll,
    poll_until,
    published,
    searching_stage,
    to_graph,
    unlisted_days,
)
from integration.stage import ANCHOR, small_world
from integration.test_audit_content import world_of
from local.tenant import Fault, Limits
from local.tenant.activity import blob_body
from shared.audit import search_plan, searching, submissions
from shared.audit.search_plan import Piece, read_plan
from shared.audit.searched import SEARCHED
from shared.errors import SourcesFailed
from shared.state.journal import SEARCH_INCOMPLETE

pytestmark = pytest.mark.usefixtures("many_queries_in_a_tick")


def test_nothing_is_asked_of_graph_unless_it_is_wanted(account: str) -> None:
    with searching_stage(unlisted_days(2), account) as stage:
        poll(stage)
        stage.run("reconcile")
        assert not to_graph(stage)
        assert not [one for one in stage.tenant.requests if one.audience == stage.tenant.graph_url]


def test_thirty_days_come_whole_and_each_event_once(account: str) -> None:
    made_up = small_world(blobs=6, events_per_blob=40, history_days=1).blobs
    old = [blob_at(day, MIDNIGHT - timedelta(days=day, hours=-3)) for day in range(1, 31, 3)]
    world = world_of(*made_up, *old)
    wanted = {
        (record["Id"].lower(), record["Operation"].lower())
        for blob in world.blobs
        for record in json.loads(blob_body(blob))
        if record.get("Workload") in ("PowerPlatform", "MicrosoftFlow", "PowerApps", "MicrosoftCopilotStudio")
    }
    limits = Limits(search_s=1_500, search_page_size=3)
    with searching_stage(world, account, limits, search=days_ago(30)) as stage:
        assert poll_until(stage, lambda: is_done(stage)) > 30 / 8, "more queries were under way than may be"
        stage.run("reconcile")
        poll(stage)
        assert {(event_id, operation.lower()) for event_id, operation in published(stage)} == wanted
        assert not kinds(stage)
        origins = {row["content_id"].startswith(SEARCHED) for row in stage.rows("fact_audit_event")}
        assert origins == {True, False}
        before = len(to_graph(stage))
        poll(stage)
        assert len(to_graph(stage)) == before, "a search that is done was repeated"


def test_an_event_of_both_roads_stays_the_one_of_the_feed(account: str) -> None:
    with searching_stage(world_of(blob_at(1, MIDNIGHT - timedelta(days=2))), account, search=days_ago(2)) as stage:
        poll_until(stage, lambda: is_done(stage))
        assert len(to_graph(stage, "POST")) == 2
        assert numbers(stage) == [1]
        (row,) = stage.rows("fact_audit_event")
        assert not row["content_id"].startswith(SEARCHED)
        assert row["details"] is None, "what only the search says of a record is kept as if it were of the event"


@pytest.mark.parametrize("tells", [True, False])
def test_a_query_that_succeeds_with_too_few_records_is_cut_in_two(
    account: str, monkeypatch: pytest.MonkeyPatch, *, tells: bool
) -> None:
    """Whether the service says so, or only a round number speaks for it."""
    monkeypatch.setattr(search_plan, "ROUND", 5)
    limits = Limits(search_s=60, search_records=5, search_tells_its_limit=tells, search_page_size=3)
    with searching_stage(unlisted_days(1, per_day=7), account, limits, search=days_ago(1)) as stage:
        poll_until(stage, lambda: is_done(stage))
        assert len(numbers(stage)) == 7
        assert not kinds(stage)
        assert len(to_graph(stage, "POST")) > 3


def test_what_can_not_be_cut_any_more_is_a_gap(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_plan, "SHORTEST", timedelta(hours=3))
    at = MIDNIGHT - timedelta(hours=20)
    events = [event_at(number, at + timedelta(seconds=number)) for number in range(1, 6)]
    limits = Limits(search_s=60, search_records=3)
    world = world_of(blob_at(1, at, *events, listed=NEVER))
    with searching_stage(world, account, limits, search=days_ago(1)) as stage:
        poll_until(stage, lambda: is_done(stage))
        (gap,) = [one for one in stage.app.journal.gaps() if one.kind == SEARCH_INCOMPLETE]
        assert gap.to_utc - gap.from_utc == timedelta(hours=3)
        assert gap.from_utc <= at < gap.to_utc
        assert numbers(stage) == [1, 2, 3]


def test_fewer_records_than_were_counted_are_not_trusted(account: str) -> None:
    with searching_stage(unlisted_days(1), account, search=days_ago(1)) as stage:
        poll(stage)
        body = {"id": "x", "status": "succeeded", "approximateReturnedRecordCount": 400}
        stage.tenant.faults.add(
            Fault("graph", path_contains=f"{QUERIES}/", status=200, body=json.dumps(body).encode())
        )
        poll_until(stage, lambda: is_done(stage))
        assert len(to_graph(stage, "POST")) == 2, "the day was not asked for anew"
        assert numbers(stage) == [1]
        assert not kinds(stage)


def test_a_count_that_never_comes_is_a_gap(account: str) -> None:
    with searching_stage(unlisted_days(1), account, search=days_ago(1)) as stage:
        nothing = Fault("graph", path_contains="/records", times=None, status=200, body=b'{"value":[]}')
        stage.tenant.faults.add(nothing)
        poll(stage, 2 * search_plan.MOST_TRIES, hours=1)
        assert is_done(stage)
        (gap,) = stage.app.journal.gaps()
        assert gap.kind == SEARCH_INCOMPLETE
        assert "0 of about 1 records" in gap.reason


@dataclass(frozen=True)
class Refusal(Fault):
    """Queries for some days are refused."""

    days: tuple[str, ...] = ()

    def concerns(self, service: str, environment: str | None, request: Any) -> bool:
        named = any(f"Flowtrail {day}".encode() in request.body for day in self.days)
        return super().concerns(service, environment, request) and named


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_query_that_is_refused_keeps_no_other_waiting(
    account: str, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(submissions, "SPACING", timedelta(minutes=9))
    monkeypatch.setattr(submissions, "SAVED_UP", timedelta(0))
    with searching_stage(unlisted_days(6), account, search=days_ago(6)) as stage:
        refused = (days_ago(6), days_ago(5))
        stage.tenant.faults.add(Refusal("graph", method="POST", times=None, status=status, days=refused))

        def tick() -> bool:
            with suppress(SourcesFailed):
                poll(stage)
            stage.clock.advance(minutes=15)
            return numbers(stage) == [1, 2, 3, 4]

        assert any(tick() for _ in range(20))


def test_a_query_that_is_always_refused_is_told_and_left(account: str) -> None:
    with searching_stage(unlisted_days(2), account, search=days_ago(2)) as stage:
        body = json.dumps({"error": {"code": "BadRequest", "message": "too old"}}).encode()
        fault = Refusal("graph", method="POST", times=None, status=400, body=body, days=(days_ago(2),))
        stage.tenant.faults.add(fault)
        for _ in range(search_plan.MOST_TRIES):
            with pytest.raises(SourcesFailed, match="too old"):
                poll(stage)
            stage.clock.advance(hours=1)
        poll(stage)
        assert is_done(stage)
        assert numbers(stage) == [1]
        (gap,) = stage.app.journal.gaps()
        assert (gap.kind, f"{gap.from_utc:%Y-%m-%d}") == (SEARCH_INCOMPLETE, days_ago(2))
        assert "too old" in gap.reason


def test_all_searches_share_what_is_granted_for_a_day(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with searching_stage(unlisted_days(9), account, search=f"{days_ago(9)} monthly") as stage:
        stage.app.journal.first_seen(stage.clock.now() - timedelta(days=60))
        poll(stage, 4, seconds=20)
        asked = len(to_graph(stage, "POST"))
        assert asked == 1 + submissions.SAVED_UP // submissions.SPACING
        poll(stage, 8, minutes=9)
        assert asked < len(to_graph(stage, "POST")) <= asked + 8


def test_a_full_plan_is_saved_and_cuts_nothing_more(account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = Limits(search_s=60, search_records=1)
    with searching_stage(unlisted_days(1, per_day=3), account, limits, search=days_ago(1)) as stage:
        monkeypatch.setattr(search_plan, "MOST_PIECES", 2)
        poll_until(stage, lambda: is_done(stage))
        assert SEARCH_INCOMPLETE in kinds(stage)
        monkeypatch.undo()
        plan = read_plan(stage.app.checkpoints.load(searching.PLACE, searching.BACKFILL).values)
        assert plan
        piece = Piece(MIDNIGHT, ANCHOR, "id", ANCHOR, "https://next/" + 4_000 * "x")
        full = replace(plan, pieces=search_plan.MOST_PIECES * (piece,))
        place = stage.app.checkpoints.load(searching.PLACE, "full")
        stage.app.checkpoints.save(place, full.values())
        assert read_plan(stage.app.checkpoints.load(searching.PLACE, "full").values) == full


@pytest.mark.parametrize(("place", "every"), [("stage", 2), ("checkpoint", 3)])
def test_a_crash_anywhere_costs_nothing(account: str, place: str, every: int) -> None:
    """A crash before each write in turn: of a page's rows, of a page's place."""
    limits = Limits(search_s=60, search_page_size=2)
    parts = {"stage": "/staging/fact_audit_event", "checkpoint": "checkpoints"}
    with searching_stage(unlisted_days(2, per_day=4), account, limits, search=days_ago(2)) as stage:
        seen = 0

        def crash(request: Any) -> None:
            nonlocal seen
            if request.method in ("PUT", "POST", "PATCH", "MERGE") and parts[place] in request.url:
                seen += 1
                if seen % every == 0:
                    raise KeyboardInterrupt

        stage.transport.before = crash
        crashes = 0
        for _ in range(60):
            try:
                poll(stage)
            except KeyboardInterrupt:
                crashes += 1
                stage.app = stage.new_app()
                stage.clock.advance(minutes=15)
            if is_done(stage):
                break
        stage.transport.before = lambda _: None
        assert crashes > 1
        assert numbers(stage) == list(range(1, 9))


def test_throttling_is_waited_for_over_ticks_and_fails_nothing(account: str) -> None:
    limits = Limits(search_s=60, search_submissions_per_day=3)
    with searching_stage(unlisted_days(4), account, limits, search=days_ago(4)) as stage:
        poll(stage, 3)
        assert len(to_graph(stage, "POST")) == 4, "the pause that was asked for was not kept"
        stage.clock.advance(hours=24)
        poll_until(stage, lambda: is_done(stage))
        assert numbers(stage) == [1, 2, 3, 4]
        assert not any(record.error for day in range(3) for record in stage.app.journal.day(days_ago(-day)))


def test_a_missing_permission_is_said_and_stops_nothing_else(account: str) -> None:
    world = replace(world_of(blob_at(1, ANCHOR - timedelta(hours=4))), graph_roles=())
    with searching_stage(world, account, search=f"{days_ago(2)} monthly") as stage:
        with pytest.raises(SourcesFailed, match=r"AuditLogsQuery\.Read\.All.*grant-audit --search") as caught:
            poll(stage)
        assert list(caught.value.failures) == ["backfill by search"]
        assert numbers(stage) == [1]
        stage.run("reconcile")


def test_a_query_that_fails_is_asked_anew(account: str) -> None:
    with searching_stage(unlisted_days(1), account, search=days_ago(1)) as stage:
        stage.tenant.faults.add(ending("failed", times=1))
        stage.tenant.faults.add(ending("cancelled", times=1))
        poll_until(stage, lambda: is_done(stage))
        assert len(to_graph(stage, "POST")) == 3
        assert numbers(stage) == [1]
        assert not kinds(stage)


def test_a_query_that_always_fails_is_given_up_loudly(account: str) -> None:
    with searching_stage(unlisted_days(1), account, search=days_ago(1)) as stage:
        stage.tenant.faults.add(ending("failed", times=None))
        poll(stage, 2 * search_plan.MOST_TRIES, hours=1)
        assert is_done(stage)
        assert kinds(stage) == [SEARCH_INCOMPLETE]


@pytest.mark.parametrize("path", [f"{QUERIES}/", "/records"])
@pytest.mark.parametrize("status", [403, 500])
def test_a_query_that_gives_nothing_but_errors_is_given_up_loudly(account: str, path: str, status: int) -> None:
    with searching_stage(unlisted_days(1), account, search=days_ago(1)) as stage:
        poll(stage)
        stage.tenant.faults.add(Fault("graph", method="GET", path_contains=path, times=None, status=status))
        for _ in range(search_plan.MOST_TRIES * 12):
            with suppress(SourcesFailed):
                poll(stage, hours=5)
            stage.clock.advance(hours=5)
        assert is_done(stage)
        assert kinds(stage) == [SEARCH_INCOMPLETE]
        sent = [one for one in stage.tenant.requests if one.service == "graph" and one.status == 201]
        assert len(sent) == search_plan.MOST_TRIES


def test_a_query_that_is_no_longer_kept_is_asked_anew(account: str) -> None:
    limits = Limits(search_s=1_500, search_kept_s=7_200)
    with searching_stage(unlisted_days(1), account, limits, search=days_ago(1)) as stage:
        poll(stage, 1, hours=5)
        poll_until(stage, lambda: is_done(stage))
        assert numbers(stage) == [1]


@pytest.mark.parametrize("as_text", [False, True])
def test_a_text_that_breaks_off_inside_a_character_costs_no_record(account: str, *, as_text: bool) -> None:
    records = [event_at(1, MIDNIGHT - timedelta(hours=20), ObjectId="half \ud83d"), event_at(2, MIDNIGHT)]
    entries = [{"id": "x", "auditData": json.dumps(one) if as_text else one} for one in records]
    with searching_stage(unlisted_days(1), account, search=days_ago(1)) as stage:
        body = json.dumps({"value": entries}).encode()
        stage.tenant.faults.add(Fault("graph", path_contains="/records", status=200, body=body))
        poll_until(stage, lambda: is_done(stage), most=5)
        assert numbers(stage) == [1, 2]
        assert not kinds(stage)


def test_records_that_are_none_are_told_of_each_page(account: str) -> None:
    limits = Limits(search_s=60, search_page_size=2)
    with searching_stage(unlisted_days(1, per_day=4), account, limits, search=days_ago(1)) as stage:
        for skipped in range(2):
            odd: dict[str, Any] = {"value": [7] * (skipped + 1)}
            if not skipped:
                odd["@odata.nextLink"] = f"{stage.tenant.graph_url}{QUERIES}/x/records?$skiptoken=1"
            stage.tenant.faults.add(
                Fault("graph", path_contains="/records", status=200, body=json.dumps(odd).encode())
            )
        poll_until(stage, lambda: is_done(stage), most=5)
        found = list(stage.app.journal.gaps())
        assert sorted(gap.reason for gap in found) == ["1 of 1 records.", "2 of 2 records."]
        kept = {f"{gap.subject}.json.gz" for gap in found}
        assert kept == {name.rpartition("/")[2] for name in stage.raw("unreadable/audit/")}


def test_a_query_that_never_ends_is_asked_anew(account: str) -> None:
    with searching_stage(unlisted_days(1), account, Limits(search_s=10**9), search=days_ago(1)) as stage:
        poll(stage, 4, hours=13)
        assert len(to_graph(stage, "POST")) == 2


def test_a_link_to_another_host_gets_no_token(account: str) -> None:
    with searching_stage(unlisted_days(1), account, search=days_ago(1)) as stage:
        elsewhere = f"{stage.tenant.activity_url}/v1.0/security/auditLog/queries/1/records"
        body = json.dumps({"value": [], "@odata.nextLink": elsewhere}).encode()
        stage.tenant.faults.add(Fault("graph", path_contains="/records", times=1, status=200, body=body))
        poll(stage)
        with pytest.raises(SourcesFailed, match="lies elsewhere"):
            poll(stage)
        tokens = {one.authorization for one in stage.tenant.requests if one.service == "graph"}
        assert not [
            one for one in stage.tenant.requests if one.service == "activity" and one.authorization in tokens
        ]
