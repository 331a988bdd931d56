"""Subscriptions that end, feeds that are silent, events that come again: nothing is told twice or kept quiet."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from azure.core.pipeline.transport import HttpRequest

from integration.stage import ANCHOR, Stage, on_stage
from integration.test_audit_content import A_MOMENT, CONTENT_TYPE, a_blob, an_event, collected, states, world_of
from local.tenant import Fault
from shared.errors import SourcesFailed
from shared.net.transport import MEBIBYTE
from shared.state.journal import Gap

START = "subscriptions/start"


def starts(stage: Stage) -> int:
    return sum(START in request.path for request in stage.tenant.requests)


def gaps(stage: Stage) -> list[Gap]:
    return list(stage.app.journal.gaps())


def test_fifteen_minutes_lie_between_two_starts(account: str) -> None:
    with on_stage(replace(world_of(), subscriptions={}), account) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains=START, times=None, status=400, body=b"{}"))
        for _ in range(7):
            with suppress(SourcesFailed):
                stage.run("poll_audit_content")
            stage.clock.advance(minutes=5)
        assert starts(stage) == 3


def test_no_subscription_is_ever_stopped(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:
        collected(stage)
        stage.run("reconcile")
        assert not any("stop" in request.path for request in stage.tenant.requests)


def test_a_lapse_is_told_even_if_the_app_dies_after_the_start(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:
        collected(stage)
        last_seen = stage.clock.at
        stage.tenant.disable_subscription(CONTENT_TYPE)
        stage.clock.advance(hours=1)

        def die(request: HttpRequest) -> None:
            if starts(stage) and request.method != "GET":
                raise KeyboardInterrupt

        stage.transport.before = die
        with pytest.raises(KeyboardInterrupt):
            stage.run("poll_audit_content")
        stage.transport.before = lambda _: None
        stage.app = stage.new_app()
        started = stage.clock.at
        stage.clock.advance(minutes=30)
        for _ in range(2):
            stage.run("poll_audit_content")
        (gap,) = gaps(stage)
        assert gap.kind == "subscription disabled"
        assert abs(gap.from_utc - last_seen) < A_MOMENT
        assert abs(gap.to_utc - started) < A_MOMENT
        assert starts(stage) == 1


def test_what_was_created_while_it_was_off_is_inside_the_gap(account: str) -> None:
    missed = a_blob(2, created=ANCHOR + timedelta(minutes=40))
    after = a_blob(3, created=ANCHOR + timedelta(minutes=80))
    with on_stage(world_of(a_blob(1), missed, after), account) as stage:
        collected(stage)
        stage.clock.advance(minutes=30)
        stage.tenant.disable_subscription(CONTENT_TYPE)
        stage.clock.advance(minutes=30)
        stage.run("poll_audit_content")
        stage.clock.advance(minutes=30)
        assert collected(stage) == ["1", "3"]
        (gap,) = gaps(stage)
        assert gap.from_utc < missed.created < gap.to_utc < after.created


def test_no_time_is_told_as_lost_twice_though_the_listing_goes_on_failing(account: str) -> None:
    with on_stage(world_of(), account) as stage:
        stage.run("poll_audit_content")
        stage.clock.advance(days=9)
        stage.tenant.faults.add(Fault("activity", path_contains="subscriptions/content", times=None, status=404))
        for _ in range(3):
            with pytest.raises(SourcesFailed):
                stage.run("poll_audit_content")
            stage.clock.advance(minutes=15)
        told = sorted((gap.from_utc, gap.to_utc) for gap in gaps(stage))
        assert len(told) == 3
        assert all(end == start for (_, end), (start, _) in pairwise(told))


def test_a_feed_without_content_is_no_error_and_said_after_half_a_day(
    account: str, caplog: pytest.LogCaptureFixture
) -> None:
    with on_stage(replace(world_of(), subscriptions={}), account) as stage:
        for _ in range(3):
            stage.run("poll_audit_content")
            stage.clock.advance(hours=4)
        assert "no new blob" not in caplog.text
        stage.clock.advance(hours=1)
        stage.run("poll_audit_content")
        assert "has listed no new blob of Audit.General since" in caplog.text
        assert not gaps(stage)


def test_an_event_that_comes_again_after_thirty_days_is_published_once(account: str) -> None:
    """The file of an event is that of the day on which it happened, whenever its blobs come."""
    event = an_event(7)
    later = ANCHOR + timedelta(days=30)
    odd = {"Id": event["Id"].upper(), "Operation": "launchpowerapp", "CreationTime": event["CreationTime"] + "Z"}
    again = a_blob(2, dict(reversed({**event, **odd, "RecordType": "256"}.items())), created=later)
    with on_stage(world_of(a_blob(1, event), again), account) as stage:
        assert collected(stage) == ["7"]
        before = stage.rows("fact_audit_event")
        for _ in range(5):
            stage.clock.advance(days=6)
            stage.run("poll_audit_content")
        stage.clock.advance(hours=1)
        assert collected(stage) == ["7"]
        assert stage.rows("fact_audit_event") == before


def test_records_of_one_launch_that_differ_stay_apart(account: str) -> None:
    launches = [an_event(number) for number in range(3)]
    with on_stage(world_of(a_blob(1, *launches)), account) as stage:
        assert collected(stage) == ["0", "1", "2"]


def test_what_is_dropped_and_what_is_new_is_said_where_people_look(
    account: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "flowtrail")
    noise = [{"Workload": "MicrosoftTeams", "Id": "x", "RecordType": 25, "Operation": "TeamCreated"}] * 3
    crm = {"Workload": "CRM", "Id": "y", "RecordType": 21}
    with on_stage(world_of(a_blob(1, an_event(1, Operation="BrandNew"), *noise, crm)), account) as stage:
        stage.run("poll_audit_content")
        told = "dropped by workload: MicrosoftTeams 3, CRM 1; unknown operations: BrandNew 1"
        (record,) = stage.app.journal.day(f"{stage.clock.at:%Y-%m-%d}")
        assert record.note == told
        assert told in caplog.text
        (entry,) = stage.app.ledger.between(CONTENT_TYPE, ANCHOR.date() - timedelta(days=2), ANCHOR.date())
        assert json.loads(entry.unknown or "") == {"BrandNew": 1}


def test_a_blob_of_several_megabytes_comes_whole(account: str) -> None:
    """One known collector takes a blob that is longer than it likes for the end of the window."""
    noise = {"Workload": "MicrosoftTeams", "RecordType": 25, "Text": "x" * MEBIBYTE}
    with on_stage(world_of(a_blob(1, *[noise] * 6, an_event(1)), a_blob(2)), account) as stage:
        assert collected(stage) == ["1", "2"]


@pytest.mark.parametrize("count", [11, 12, 13, 49])
def test_no_remainder_of_a_page_or_batch_is_left_behind(account: str, count: int) -> None:
    with on_stage(world_of(*[a_blob(number) for number in range(count)]), account) as stage:
        assert len(collected(stage)) == count


def test_a_blob_is_not_done_before_its_rows_are_safe(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:

        def full(request: HttpRequest) -> None:
            if request.method == "PUT" and "/staging/fact_audit_event" in request.url:
                raise OSError("the disk is full")

        stage.transport.before = full
        with pytest.raises(SourcesFailed):
            stage.run("poll_audit_content")
        assert states(stage) == {"pending": 1}
        stage.transport.before = lambda _: None
        assert collected(stage) == ["1"]
        assert not gaps(stage)


def test_storage_that_fails_for_a_day_costs_no_blob(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:

        def gone(request: HttpRequest) -> None:
            if "/raw/" in request.url:
                raise OSError("the account can't be reached")

        stage.transport.before = gone
        for _ in range(8):
            with pytest.raises(SourcesFailed):
                stage.run("poll_audit_content")
            stage.clock.advance(hours=4)
        stage.transport.before = lambda _: None
        assert collected(stage) == ["1"]
        assert not gaps(stage)


def test_a_lapse_is_told_though_the_answer_to_the_start_is_lost(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:
        collected(stage)
        stage.tenant.disable_subscription(CONTENT_TYPE)
        stage.clock.advance(hours=1)
        already = b'{"error":{"code":"AF20024","message":"The subscription is already enabled."}}'
        stage.tenant.faults.add(Fault("activity", path_contains="subscriptions/start", status=400, body=already))
        stage.run("poll_audit_content")
        stage.app.activity_feed.subscribe(CONTENT_TYPE, stage.app.deadline(60))  # the start that was not heard of
        stage.clock.advance(minutes=15)
        stage.run("poll_audit_content")
        (gap,) = gaps(stage)
        assert gap.kind == "subscription disabled"


def test_a_list_that_lacks_the_subscription_for_once_is_no_lapse(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:
        collected(stage)
        stage.clock.advance(hours=1)
        stage.tenant.faults.add(Fault("activity", path_contains="subscriptions/list", status=200, body=b"[]"))
        stage.tenant.faults.add(Fault("activity", path_contains=START, times=None, status=500))
        stage.run("poll_audit_content")
        stage.tenant.faults.clear()
        stage.clock.advance(minutes=15)
        stage.run("poll_audit_content")
        assert starts(stage) == 0
        assert not gaps(stage)


@pytest.mark.parametrize("answer", [500, 400])
def test_a_listing_that_is_refused_for_once_is_no_lapse(account: str, answer: int) -> None:
    """The list says that the subscription is on, and the start fails, or says so as well."""
    with on_stage(world_of(a_blob(1)), account) as stage:
        collected(stage)
        stage.clock.advance(hours=1)
        refused = b'{"error":{"code":"AF20022","message":"No subscription found."}}'
        already = b'{"error":{"code":"AF20024","message":"The subscription is already enabled."}}'
        stage.tenant.faults.add(Fault("activity", path_contains="subscriptions/content", status=400, body=refused))
        stage.tenant.faults.add(Fault("activity", path_contains=START, times=None, status=answer, body=already))
        with suppress(SourcesFailed):
            stage.run("poll_audit_content")
        assert starts(stage) > 0
        stage.tenant.faults.clear()
        stage.clock.advance(minutes=15)
        stage.run("poll_audit_content")
        assert not gaps(stage)


def test_a_listing_that_is_refused_and_a_start_that_was_needed_are_a_lapse(account: str) -> None:
    """The list is behind: it still says that the subscription is on."""
    with on_stage(world_of(a_blob(1)), account) as stage:
        collected(stage)
        stage.tenant.disable_subscription(CONTENT_TYPE)
        stage.clock.advance(hours=1)
        on = json.dumps([{"contentType": CONTENT_TYPE, "status": "enabled"}]).encode()
        stage.tenant.faults.add(
            Fault("activity", path_contains="subscriptions/list", times=2, status=200, body=on)
        )
        stage.run("poll_audit_content")
        stage.clock.advance(minutes=15)
        stage.run("poll_audit_content")
        assert [gap.kind for gap in gaps(stage)] == ["subscription disabled"]


def test_blobs_that_were_listed_and_never_fetched_become_gaps(account: str) -> None:
    with on_stage(world_of(a_blob(1), a_blob(2)), account) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains="/audit/", times=None, status=503))
        stage.run("poll_audit_content")
        stage.tenant.faults.clear()
        stage.clock.advance(days=12)
        stage.run("reconcile")
        lost = [gap for gap in gaps(stage) if gap.kind == "content blob lost"]
        assert len(lost) == 2
        stage.run("reconcile")
        assert [gap for gap in gaps(stage) if gap.kind == "content blob lost"] == lost


def test_what_waited_for_a_year_becomes_a_gap_too(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:
        stage.tenant.faults.add(Fault("activity", path_contains="/audit/", times=None, status=503))
        stage.run("poll_audit_content")
        stage.clock.advance(days=365)
        with suppress(SourcesFailed):
            stage.run("reconcile")
        assert [gap.subject for gap in gaps(stage) if gap.kind == "content blob lost"] == [a_blob(1).content_id]


@pytest.mark.parametrize("code", ["AF20030", "AF20031", "AF20055"])
def test_the_daily_listing_starts_again_where_the_service_breaks_it_off(account: str, code: str) -> None:
    late = a_blob(2, created=ANCHOR - timedelta(hours=5), listed=ANCHOR + timedelta(hours=1))
    with on_stage(world_of(a_blob(1), late), account) as stage:
        assert collected(stage) == ["1"]
        stage.clock.advance(hours=4)
        broken = json.dumps({"error": {"code": code, "message": "made up"}}).encode()
        listing = Fault("activity", path_contains="subscriptions/content", times=2, status=400, body=broken)
        stage.tenant.faults.add(listing)
        stage.run("reconcile")
        assert states(stage) == {"done": 1, "pending": 1}


def test_a_record_that_cannot_be_read_is_a_gap_and_costs_no_other(account: str) -> None:
    blob = a_blob(1, an_event(1), an_event(2))
    with on_stage(world_of(blob), account) as stage:
        broken = Fault(
            "activity",
            path_contains="/audit/",
            garble=lambda body: body.replace(b"[{", b'[{"Workload":"PowerApps","x":1e400},{', 1),
        )
        stage.tenant.faults.add(broken)
        assert collected(stage) == ["1", "2"]
        (gap,) = gaps(stage)
        assert (gap.kind, gap.subject) == ("audit records unreadable", blob.content_id)
        assert "1 of its 3 records" in gap.reason
        again = stage.rows("fact_gap")
        stage.run("poll_audit_content")
        assert len(gaps(stage)) == 1
        assert stage.rows("fact_gap") == again


def test_an_odd_entry_keeps_nothing_behind_it_waiting(account: str) -> None:
    blobs = [a_blob(number) for number in range(3)]
    with on_stage(world_of(*blobs), account) as stage:
        odd = b'[{"contentId":"","contentUri":"","contentCreated":"soon"}]'
        stage.tenant.faults.add(Fault("activity", path_contains="subscriptions/content", status=200, body=odd))
        with pytest.raises(SourcesFailed, match="name no blob"):
            stage.run("poll_audit_content")
        day = ANCHOR.date()
        assert len(list(stage.app.ledger.between(CONTENT_TYPE, day - timedelta(days=9), day))) == 3
        assert collected(stage) == ["0", "1", "2"]


@pytest.mark.parametrize("listed_as", ["absent", "enabled"])
def test_a_lapse_is_told_though_no_answer_to_the_start_comes_through(account: str, listed_as: str) -> None:
    """The service has heard the start; to a second one it would say that the subscription is on already."""
    with on_stage(world_of(a_blob(1)), account) as stage:
        collected(stage)
        stage.tenant.disable_subscription(CONTENT_TYPE)
        stage.clock.advance(hours=1)
        on = [{"contentType": CONTENT_TYPE, "status": "enabled"}] if listed_as == "enabled" else []
        listed = Fault(
            "activity", path_contains="subscriptions/list", times=2, status=200, body=json.dumps(on).encode()
        )
        stage.tenant.faults.add(listed)
        stage.tenant.faults.add(Fault("activity", path_contains=START, times=1, wrong_length=9))
        for _ in range(4):
            with suppress(SourcesFailed):
                stage.run("poll_audit_content")
            stage.clock.advance(minutes=15)
        assert starts(stage) == 2
        assert [gap.kind for gap in gaps(stage)] == ["subscription disabled"]


def test_a_lapse_that_is_not_yet_told_is_not_forgotten_over_the_next(account: str) -> None:
    between = a_blob(5, created=ANCHOR + timedelta(minutes=65))
    with on_stage(world_of(a_blob(1), between), account) as stage:
        collected(stage)
        stage.tenant.disable_subscription(CONTENT_TYPE)
        stage.clock.advance(minutes=60)
        stage.tenant.faults.add(Fault("activity", path_contains="subscriptions/content", times=None, status=503))
        with suppress(SourcesFailed):
            stage.run("poll_audit_content")
        stage.tenant.faults.clear()
        stage.clock.advance(minutes=10)
        stage.tenant.disable_subscription(CONTENT_TYPE)
        for _ in range(3):
            stage.clock.advance(minutes=20)
            stage.run("poll_audit_content")
        (gap,) = gaps(stage)
        waited = timedelta(minutes=5)  # between the attempts that were refused
        assert abs(gap.from_utc - ANCHOR) < A_MOMENT
        assert abs(gap.to_utc - (ANCHOR + timedelta(minutes=90))) < waited


def test_a_lapse_that_is_told_again_after_a_crash_has_the_same_times(account: str) -> None:
    late = a_blob(2, created=ANCHOR + timedelta(minutes=20), listed=ANCHOR + timedelta(minutes=70))
    with on_stage(world_of(a_blob(1), late), account) as stage:
        collected(stage)
        stage.clock.advance(minutes=30)
        stage.tenant.disable_subscription(CONTENT_TYPE)
        stage.clock.advance(minutes=30)

        def die(request: HttpRequest) -> None:
            if "checkpoints" in request.url and gaps(stage) and request.method != "GET":
                raise KeyboardInterrupt

        stage.transport.before = die
        with pytest.raises(KeyboardInterrupt):
            stage.run("poll_audit_content")
        stage.transport.before = lambda _: None
        told = gaps(stage)
        stage.app = stage.new_app()
        stage.clock.advance(minutes=15)
        stage.run("poll_audit_content")
        assert len(told) == 1
        assert [(gap.from_utc, gap.to_utc) for gap in gaps(stage)] == [(gap.from_utc, gap.to_utc) for gap in told]


def test_events_of_one_request_that_share_a_connection_stay_apart(account: str) -> None:
    path = "/providers/Microsoft.PowerApps/apis/shared_sql/connections/C-1/permissions/"
    shares = [
        an_event(1, Id="E-1", Operation="PutConnectionPermission", ResourceId=path + who) for who in ("a", "b")
    ]
    with on_stage(world_of(a_blob(1, *shares)), account) as stage:
        stage.run("poll_audit_content")
        stage.publish()
        rows = stage.rows("fact_audit_event")
        assert sorted(row["resource_id"] for row in rows) == ["c-1/permissions/a", "c-1/permissions/b"]
        assert {row["connector_id"] for row in rows} == {"shared_sql"}


def test_a_list_without_a_status_is_no_lapse_where_the_start_says_that_it_is_on(account: str) -> None:
    with on_stage(world_of(a_blob(1)), account) as stage:
        odd = json.dumps([{"contentType": CONTENT_TYPE, "webhook": None}]).encode()
        stage.tenant.faults.add(
            Fault("activity", path_contains="subscriptions/list", times=None, status=200, body=odd)
        )
        for _ in range(5):
            stage.run("poll_audit_content")
            stage.clock.advance(minutes=10)
        assert collected(stage) == ["1"]
        assert not gaps(stage)


def test_a_lapse_begins_behind_the_last_blob_that_became_available(account: str) -> None:
    """The app was down for three days; its subscription was on for most of them."""
    during = [a_blob(number, created=ANCHOR + timedelta(hours=12 * number)) for number in range(1, 6)]
    with on_stage(world_of(*during), account) as stage:
        stage.run("poll_audit_content")
        stage.clock.advance(hours=70)
        stage.tenant.disable_subscription(CONTENT_TYPE)
        stage.clock.advance(hours=2)
        for _ in range(3):
            stage.run("poll_audit_content")
            stage.clock.advance(minutes=15)
        assert collected(stage) == ["1", "2", "3", "4", "5"]
        (gap,) = gaps(stage)
        assert abs(gap.from_utc - during[-1].created) < A_MOMENT
        assert abs(gap.to_utc - (ANCHOR + timedelta(hours=72))) < A_MOMENT


def test_a_service_whose_clock_is_ahead_for_once_leaves_no_hole(account: str) -> None:
    between = a_blob(2, created=ANCHOR + timedelta(hours=2))
    with on_stage(world_of(a_blob(1), between), account) as stage:
        ahead = {"Date": format_datetime(stage.clock.at + timedelta(hours=20), usegmt=True)}
        stage.tenant.faults.add(Fault("activity", path_contains="subscriptions/list", headers=ahead))
        assert collected(stage) == ["1"]
        stage.clock.advance(hours=3)
        assert collected(stage) == ["1", "2"]
