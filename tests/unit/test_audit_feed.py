"""The audit feed without a server: what is to be listed, how pages are followed, where each cloud is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support import NOON, TENANT_ID, FakeClock, Script, api_with, counting_tokens, json_reply, settings_with, soon

from shared.app import App
from shared.audit.cursor import FeedCursor, read_feed_cursor, to_list
from shared.audit.feed import ActivityFeed, ContentBlob, OddEntries
from shared.clouds import CLOUDS
from shared.errors import AccessError, Defer
from shared.intervals import Interval
from shared.net.api import StartAgain
from shared.net.policy import ACTIVITY
from shared.net.transport import Reply
from shared.state.ledger import partition_of, row_of

FEED = "https://manage.office.com"


def test_the_first_listing_goes_back_seven_days() -> None:
    whole, missed = to_list(FeedCursor(), NOON)
    assert whole == Interval(NOON - timedelta(days=7) + timedelta(minutes=5), NOON - timedelta(seconds=30))
    assert missed is None


def test_later_ones_overlap_by_two_hours() -> None:
    whole, missed = to_list(FeedCursor(NOON - timedelta(minutes=15)), NOON)
    assert whole is not None
    assert whole.start == NOON - timedelta(hours=2, minutes=15)
    assert missed is None


def test_what_can_no_longer_be_listed_is_missed() -> None:
    whole, missed = to_list(FeedCursor(NOON - timedelta(days=10)), NOON)
    assert whole is not None
    assert whole.start == NOON - timedelta(days=7) + timedelta(minutes=5)
    assert missed == Interval(NOON - timedelta(days=10), NOON - timedelta(days=7) + timedelta(minutes=20))


def test_what_may_have_expired_a_little_early_is_missed_too() -> None:
    last_listed = NOON - timedelta(days=7) + timedelta(minutes=12)
    assert to_list(FeedCursor(last_listed), NOON)[1] == Interval(last_listed, last_listed + timedelta(minutes=8))
    assert to_list(FeedCursor(last_listed + timedelta(minutes=8)), NOON)[1] is None


def test_a_clock_that_is_ahead_lists_nothing() -> None:
    assert to_list(FeedCursor(NOON + timedelta(days=1)), NOON)[0] is None


def test_a_feed_cursor_keeps_its_place() -> None:
    cursor = FeedCursor(NOON, NOON, NOON - timedelta(minutes=14), NOON)
    assert read_feed_cursor(cursor.values()) == cursor
    assert not cursor.may_start(NOON)
    assert cursor.may_start(NOON + timedelta(minutes=1))


def feed(clock: FakeClock, *answers: Reply) -> tuple[ActivityFeed, Script]:
    script = Script(*answers)
    return ActivityFeed(api_with(script, clock, policy=ACTIVITY, origin=FEED), TENANT_ID), script


def entry(number: int) -> dict[str, str]:
    return {
        "contentUri": f"{FEED}/api/v1.0/{TENANT_ID}/activity/feed/audit/{number}",
        "contentId": str(number),
        "contentType": "Audit.General",
        "contentCreated": "2026-05-19T11:00:00.123Z",
        "contentExpiration": "2026-05-26T11:00:00.123Z",
    }


WINDOW = Interval(NOON - timedelta(hours=6), NOON)


def test_pages_are_followed_by_the_header_and_every_call_names_the_publisher(clock: FakeClock) -> None:
    next_page = f"{FEED}/api/v1.0/{TENANT_ID}/activity/feed/subscriptions/content?nextPage=2"
    activity, script = feed(
        clock, json_reply([entry(1)], nextpageuri=next_page), json_reply([entry(2)]), json_reply([])
    )
    pages = list(activity.listing("Audit.General", WINDOW, soon(clock)))
    assert [[blob.content_id for blob in page] for page in pages] == [["1"], ["2"]]
    activity.fetch(pages[0][0], soon(clock))
    assert all(f"PublisherIdentifier={TENANT_ID}" in request.url for request in script.requests)
    assert "startTime=2026-05-19T06%3A00%3A00&endTime=2026-05-19T12%3A00%3A00" in script.requests[0].url


@pytest.mark.parametrize("link", ["https://evil.example/api/x", f"{FEED}.evil.example/api/x", f"{FEED}/elsewhere"])
def test_a_next_page_elsewhere_is_refused(clock: FakeClock, link: str) -> None:
    activity, script = feed(clock, json_reply([], nextpageuri=link))
    with pytest.raises(AccessError, match="elsewhere"):
        list(activity.listing("Audit.General", WINDOW, soon(clock)))
    assert len(script.requests) == 1


def test_a_page_that_repeats_is_refused(clock: FakeClock) -> None:
    link = f"{FEED}/api/page"
    activity, _ = feed(clock, *[json_reply([], nextpageuri=link)] * 3)
    with pytest.raises(StartAgain):
        list(activity.listing("Audit.General", WINDOW, soon(clock)))


@pytest.mark.parametrize("body", [{"error": 1}, [{}], [5], [{**entry(1), "contentCreated": "soon"}]])
def test_a_listing_that_makes_no_sense_is_tried_later(clock: FakeClock, body: Any) -> None:
    activity, _ = feed(clock, json_reply(body))
    with pytest.raises(Defer):
        list(activity.listing("Audit.General", WINDOW, soon(clock)))


def test_entries_that_name_no_blob_are_told_after_the_others(clock: FakeClock) -> None:
    activity, _ = feed(clock, json_reply([entry(1), {}, entry(2)]))
    pages = activity.listing("Audit.General", WINDOW, soon(clock))
    assert [blob.content_id for blob in next(pages)] == ["1", "2"]
    with pytest.raises(OddEntries, match="1 entries"):
        next(pages)


def test_subscriptions_and_the_time_at_the_service(clock: FakeClock) -> None:
    entries = [{"contentType": "Audit.General", "status": "enabled"}, {"contentType": "DLP.All"}]
    activity, _ = feed(clock, json_reply(entries, date="Tue, 19 May 2026 12:10:00 GMT"))
    found = activity.subscriptions(soon(clock))
    assert found.is_enabled("Audit.General")
    assert found.exists("DLP.All")
    assert not found.is_enabled("DLP.All")
    assert not found.exists("Audit.Exchange")
    assert found.server_time == NOON + timedelta(minutes=10)


def test_ledger_keys() -> None:
    content_id = "20200420205451053040861$20200420210211992070781$audit_general$Audit_General$na0045"
    listed = datetime(2020, 4, 21, 0, 30, tzinfo=UTC)
    assert (
        partition_of(ContentBlob(content_id, "Audit.General", "u", listed, listed)) == "Audit.General_2020-04-20"
    )
    assert partition_of(ContentBlob(content_id, "Audit.General", "u", NOON, NOON)) == "Audit.General_2026-05-19"
    assert row_of(content_id) == content_id
    odd = ContentBlob("a/b?c#d\\e", "Audit.General", "u", NOON, NOON)
    assert partition_of(odd) == "Audit.General_2026-05-19"
    assert len(row_of(odd.content_id)) == 64


@pytest.mark.parametrize("name", sorted(CLOUDS))
def test_each_cloud_is_asked_at_its_own_root_with_a_token_for_it(name: str) -> None:
    script = Script(json_reply([]))
    app = App(settings_with(CLOUD=name), clock=FakeClock(), transport=script)
    tokens, made = counting_tokens()
    app.tokens = tokens
    app.activity_feed.subscriptions(app.deadline(60))
    root = CLOUDS[name].activity_root
    assert script.requests[0].url.startswith(f"{root}/api/v1.0/{TENANT_ID}/activity/feed/subscriptions/list?")
    assert made[0].scopes == [f"{root}/.default"]


def test_the_clouds_are_those_of_the_reference() -> None:
    assert {name: (cloud.activity_root, cloud.authority) for name, cloud in CLOUDS.items()} == {
        "commercial": ("https://manage.office.com", "https://login.microsoftonline.com"),
        "gcc": ("https://manage-gcc.office.com", "https://login.microsoftonline.com"),
        "gcchigh": ("https://manage.office365.us", "https://login.microsoftonline.us"),
        "dod": ("https://manage.protection.apps.mil", "https://login.microsoftonline.us"),
    }


def test_the_feed_is_read_at_almost_the_rate_that_the_service_grants(clock: FakeClock) -> None:
    """2,000 requests a minute and tenant; a week of 20,000 blobs a day takes 72 minutes of fetching."""
    script = Script(*[json_reply([])] * 200)
    app = App(settings_with(), clock=clock, transport=script)
    app.tokens = counting_tokens()[0]
    for _ in range(200):
        app.activity_feed.subscriptions(soon(clock, 1000))
    per_minute = 199 / sum(clock.slept) * 60
    assert 1900 < per_minute < 2000
