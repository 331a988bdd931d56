"""The audit feed over real HTTP: every blob once, every event once, and what is lost is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from integration.stage import ANCHOR, Stage, StageClock, bare_world, on_stage, small_world
from local.tenant import ContentBlob, Fault, Limits, World
from shared.errors import SourcesFailed
from shared.state.journal import Gap
from shared.state.ledger import LedgerEntry
from shared.state.names import StateTable

CONTENT_TYPE = "Audit.General"
A_MOMENT = timedelta(seconds=3)


def an_event(number: int, **more: Any) -> dict[str, Any]:
    return {
        "Id": f"00000000-0000-0000-0000-{number:012x}",
        "RecordType": 256,
        "CreationTime": (ANCHOR - timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%S"),
        "Operation": "LaunchPowerApp",
        "Workload": "PowerPlatform",
        "UserId": "ada@contoso.example",
        **more,
    }


def a_blob(
    number: int,
    *records: Mapping[str, Any],
    created: datetime = ANCHOR - timedelta(hours=1),
    listed: datetime | None = None,
    expires: datetime | None = None,
) -> ContentBlob:
    stamp = created.strftime("%Y%m%d%H%M%S")
    return ContentBlob(
        f"{stamp}{number:09d}${stamp}{number:09d}$audit_general$Audit_General$na0045",
        "Audit.General",
        created,
        listed or created,
        expires or created + timedelta(days=7) - timedelta(minutes=8),
        records or (an_event(number),),
    )


def world_of(*blobs: ContentBlob) -> World:
    return replace(bare_world(), blobs=blobs, subscriptions={"Audit.General": True})


def collected(stage: Stage) -> list[str]:
    """Ids of the published events, as the numbers that they were made from."""
    stage.run("poll_audit_content")
    stage.publish()
    return sorted(str(int(row["event_id"][-12:], 16)) for row in stage.rows("fact_audit_event"))


def ledger(stage: Stage) -> list[LedgerEntry]:
    day = ANCHOR.date()
    return list(stage.app.ledger.between("Audit.General", day - timedelta(days=20), day + timedelta(days=20)))


def states(stage: Stage) -> dict[str, int]:
    found = [entry.status for entry in ledger(stage)]
    return {str(state): found.count(state) for state in found}


def gaps(stage: Stage) -> list[Gap]:
    return list(stage.app.journal.gaps())


def test_blobs_of_the_same_time_are_all_fetched(account: str) -> None:
    with on_stage(world_of(*[a_blob(number) for number in range(5)]), account) as stage:
        assert collected(stage) == ["0", "1", "2", "3", "4"]
        assert states(stage) == {"done": 5}


def test_listed_twice_is_entered_and_fetched_once(account: str) -> None:
    with on_stage(world_of(*[a_blob(number) for number in range(3)]), account) as stage:
        collected(stage)
        stage.clock.advance(minutes=15)
        collected(stage)
        fetched = [request for request in stage.tenant.requests if "/audit/" in request.path]
        assert len(fetched) == 3


def test_a_blob_that_is_listed_late_is_not_passed_by(account: str) -> None:
    late = a_blob(2, created=ANCHOR - timedelta(hours=1), listed=ANCHOR + timedelta(minutes=20))
    with on_stage(world_of(a_blob(1), late), account) as stage:
        assert collected(stage) == ["1"]
        stage.clock.advance(minutes=30)
        assert collected(stage) == ["1", "2"]


def test_one_that_is_listed_days_late_is_found_by_the_daily_look(account: str) -> None:
    late = a_blob(2, created=ANCHOR - timedelta(days=2), listed=ANCHOR + timedelta(hours=12))
    with on_stage(world_of(a_blob(1), late), account) as stage:
        collected(stage)
        stage.clock.advance(hours=13)
        assert collected(stage) == ["1"]
        stage.run("reconcile")
        assert collected(stage) == ["1", "2"]


def test_an_event_in_two_blobs_is_published_once(account: str) -> None:
    event = an_event(7)
    turned = dict(reversed(event.items()))
    blobs = (a_blob(1, event), a_blob(2, turned), a_blob(3, {**event, "Operation": "PutConnection"}))
    with on_stage(world_of(*blobs), account) as stage:
        assert collected(stage) == ["7", "7"]
        assert {row["operation"] for row in stage.rows("fact_audit_event")} == {"LaunchPowerApp", "PutConnection"}


def test_noise_is_dropped_and_counted(account: str) -> None:
    noise = [{"Workload": "MicrosoftTeams", "Id": "x", "RecordType": 25, "Operation": "TeamCreated"}] * 3
    with on_stage(world_of(a_blob(1, an_event(1), *noise)), account) as stage:
        assert collected(stage) == ["1"]
        (entry,) = ledger(stage)
        assert (entry.records, entry.records_kept, entry.records_failed) == (4, 1, 0)
        assert json.loads(entry.dropped or "") == {"MicrosoftTeams": 3}


def test_a_record_without_an_id_and_a_neighbour_that_is_none(account: str) -> None:
    anonymous = an_event(1)
    del anonymous["Id"]
    with on_stage(world_of(a_blob(1, anonymous, an_event(2))), account) as stage:
        stage.run("poll_audit_content")
        stage.publish()
        ids = {row["event_id"][:7] for row in stage.rows("fact_audit_event")}
        assert ids == {"sha256-", "0000000"}


def test_a_poisoned_blob_keeps_no_other_one_waiting(account: str) -> None:
    blobs = [a_blob(number) for number in range(4)]
    with on_stage(world_of(*blobs), account) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains=blobs[0].content_id[:23], times=None, status=500))
        assert collected(stage) == ["1", "2", "3"]
        assert states(stage) == {"pending": 1, "done": 3}
        stage.tenant.faults.clear()
        stage.clock.advance(minutes=15)
        assert collected(stage) == ["0", "1", "2", "3"]


def test_a_blob_that_failed_while_our_clock_was_ahead_is_tried_again_before_it_expires(account: str) -> None:
    blob = a_blob(1, expires=ANCHOR + timedelta(hours=6))
    with on_stage(world_of(blob), account) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains=blob.content_id[:23], times=None, status=500))
        stage.app.clock = StageClock(ANCHOR + timedelta(hours=20))
        assert collected(stage) == []
        stage.tenant.faults.clear()
        stage.app = stage.new_app()
        for _ in range(8):
            stage.clock.advance(hours=1)
            stage.run("poll_audit_content")
        assert collected(stage) == ["1"]
        assert not gaps(stage)


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b"{}", b""])
def test_a_blob_that_stays_unreadable_is_lost_and_kept_as_it_came(account: str, body: bytes) -> None:
    blobs = [a_blob(number) for number in range(2)]
    with on_stage(world_of(*blobs), account) as stage:
        stage.tenant.faults.add(
            Fault("activity", path_contains=blobs[0].content_id[:23], times=None, status=200, body=body)
        )
        for _ in range(4):
            assert collected(stage) == ["1"]
            assert states(stage) == {"pending": 1, "done": 1}
            stage.clock.advance(hours=6)
        assert collected(stage) == ["1"]
        assert states(stage) == {"lost": 1, "done": 1}
        (gap,) = gaps(stage)
        assert (gap.kind, gap.subject) == ("content blob lost", blobs[0].content_id)
        assert stage.raw("unreadable/audit/")


def test_an_expired_blob_is_lost_at_once_and_said_once(account: str) -> None:
    dying = a_blob(1, expires=ANCHOR + timedelta(minutes=5))
    with on_stage(world_of(dying, a_blob(2)), account) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains=dying.content_id[:23], times=5, status=503))
        assert collected(stage) == ["2"]
        stage.clock.advance(minutes=15)
        collected(stage)
        collected(stage)
        assert states(stage) == {"lost": 1, "done": 1}
        (gap,) = gaps(stage)
        assert gap.subject == dying.content_id
        assert "AF20051" in gap.reason


def test_after_an_outage_everything_still_to_be_had_is_fetched_and_the_rest_is_a_gap(account: str) -> None:
    early = a_blob(1, created=ANCHOR - timedelta(days=6))
    lost = a_blob(2, created=ANCHOR + timedelta(days=1))
    late = a_blob(3, created=ANCHOR + timedelta(days=8))
    with on_stage(world_of(early, lost, late), account) as stage:
        assert collected(stage) == ["1"]
        seen_until = stage.clock.at - timedelta(seconds=30)
        stage.clock.advance(days=9)
        assert collected(stage) == ["1", "3"]
        (gap,) = gaps(stage)
        assert (gap.source, gap.kind) == ("Audit.General", "audit content expired")
        assert abs(gap.from_utc - seen_until) < A_MOMENT
        assert abs(gap.to_utc - (stage.clock.at - timedelta(days=7) + timedelta(minutes=20))) < A_MOMENT


def test_a_missing_subscription_is_started_once(account: str) -> None:
    with on_stage(replace(world_of(a_blob(1)), subscriptions={}), account) as stage:
        collected(stage)
        stage.clock.advance(minutes=5)
        collected(stage)
        starts = [request for request in stage.tenant.requests if "subscriptions/start" in request.path]
        assert len(starts) == 1
        assert not gaps(stage)


def test_a_disabled_subscription_is_started_and_the_time_without_is_a_gap(account: str) -> None:
    world = world_of(a_blob(1))
    with on_stage(world, account) as stage:
        collected(stage)
        last_seen = stage.clock.at
        stage.tenant.world = replace(world, subscriptions={"Audit.General": False})
        stage.clock.advance(hours=3)
        collected(stage)
        (gap,) = gaps(stage)
        assert gap.kind == "subscription disabled"
        assert abs(gap.from_utc - last_seen) < A_MOMENT
        assert abs(gap.to_utc - stage.clock.at) < A_MOMENT


def test_auditing_that_is_off_is_told_with_the_way_to_turn_it_on(account: str) -> None:
    world = replace(world_of(), subscriptions={}, unified_auditing=False)
    with on_stage(world, account) as stage, pytest.raises(SourcesFailed, match="UnifiedAuditLogIngestionEnabled"):
        stage.run("poll_audit_content")


def test_a_missing_role_is_told(account: str) -> None:
    with (
        on_stage(replace(world_of(), feed_roles=()), account) as stage,
        pytest.raises(SourcesFailed, match="ActivityFeed"),
    ):
        stage.run("poll_audit_content")


def test_throttling_as_403_makes_everybody_wait_and_loses_nothing(account: str) -> None:
    with on_stage(world_of(*[a_blob(number) for number in range(6)]), account) as stage:
        body = b'{"error":{"code":"AF429","message":"Too many requests. Method=GetBlob"}}'
        stage.tenant.faults.add(Fault("activity", path_contains="/audit/", times=3, status=403, body=body))
        assert collected(stage) == [str(number) for number in range(6)]
        assert all(entry.attempts == 1 for entry in ledger(stage))


def test_a_token_that_is_refused_in_the_middle_is_renewed(account: str) -> None:
    with on_stage(world_of(*[a_blob(number) for number in range(6)]), account) as stage:
        stage.run("poll_audit_content")
        stage.tenant.revoke_tokens()
        stage.tenant.world = world_of(*[a_blob(number) for number in range(9)])
        stage.clock.advance(minutes=5)
        assert len(collected(stage)) == 9


@pytest.mark.parametrize("skew_minutes", [-10, 10])
def test_a_clock_that_is_wrong_by_ten_minutes_does_no_harm(account: str, skew_minutes: int) -> None:
    oldest = a_blob(1, created=ANCHOR - timedelta(days=7) + timedelta(minutes=10))
    with on_stage(world_of(oldest, a_blob(2)), account) as stage:
        ahead = timedelta(minutes=skew_minutes)
        stage.tenant.clock = lambda: stage.clock.at + ahead
        stage.tenant.world = stage.tenant.world
        assert "2" in collected(stage)
        assert not gaps(stage)


def test_pages_of_a_listing_are_followed_and_every_call_names_the_publisher(account: str) -> None:
    world = world_of(*[a_blob(number) for number in range(9)])
    with on_stage(world, account, limits=Limits(listing_page_size=2, activity_calls_without_publisher=0)) as stage:
        assert len(collected(stage)) == 9
        assert sum("subscriptions/content" in request.path for request in stage.tenant.requests) > 5


def test_a_run_that_is_cut_short_keeps_what_it_listed(account: str) -> None:
    with on_stage(small_world(), account) as stage:
        stage.clock.advance(minutes=5)
        stage.tenant.faults.add(Fault("activity", path_contains="/audit/", times=None, status=503))
        stage.run("poll_audit_content")
        listed = len(list(stage.app.storage.table(StateTable.AUDIT_CONTENT).all()))
        assert listed == len(stage.tenant.truth()["audit"]["blobs"])
        stage.tenant.faults.clear()
        stage.clock.advance(minutes=15)
        stage.run("poll_audit_content")
        stage.publish()
        assert stage.reconciled().lines[3].lost == ()
