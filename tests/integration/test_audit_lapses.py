"""Subscriptions that end and feeds that are silent: no lapse is told twice or kept quiet."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from azure.core.pipeline.transport import HttpRequest

from integration.stage import ANCHOR, Stage, StageClock, on_stage
from integration.test_audit_content import A_MOMENT, CONTENT_TYPE, a_blob, collected, gaps, world_of
from local.tenant import Fault
from shared.errors import SourcesFailed

START = "subscriptions/start"


def starts(stage: Stage) -> int:
    return sum(START in request.path for request in stage.tenant.requests)


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


@pytest.mark.parametrize("skew_h", [-30, 30, 240])
def test_our_clock_that_is_wrong_by_days_for_once_leaves_no_hole_and_no_gap(account: str, skew_h: int) -> None:
    later = [a_blob(number, created=ANCHOR + timedelta(hours=number, minutes=-90)) for number in range(2, 5)]
    with on_stage(world_of(a_blob(1), *later), account) as stage:
        assert collected(stage) == ["1"]
        stage.app = stage.new_app()
        stage.app.clock = StageClock(stage.clock.at + timedelta(hours=skew_h))
        stage.run("poll_audit_content")
        stage.app = stage.new_app()
        for newest in range(2, 5):
            stage.clock.advance(hours=1)
            assert collected(stage) == [str(number) for number in range(1, newest + 1)]
        assert not gaps(stage)
