from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tenant_support import NOON, Client, Clock, blob, window, world

from local.tenant import Limits

Serve = Callable[..., Client]
HOUR = timedelta(hours=1)


def code(answer: object) -> str:
    return json.loads(getattr(answer, "text", ""))["error"]["code"]


def test_subscription_life(serve: Serve) -> None:
    client = serve(world())
    asked = {"contentType": "Audit.General"}
    assert code(client.feed("subscriptions/content", **asked)) == "AF20022"
    assert client.feed("subscriptions/start", "POST", **asked).json()["status"] == "enabled"
    again = client.feed("subscriptions/start", "POST", **asked)
    assert (again.status_code, code(again)) == (400, "AF20024")
    assert client.feed("subscriptions/list").json() == [
        {"contentType": "Audit.General", "status": "enabled", "webhook": None}
    ]
    assert client.feed("subscriptions/stop", "POST", **asked).status_code == 200
    assert code(client.feed("subscriptions/content", **asked)) == "AF20022"


def test_a_subscription_disabled_by_an_administrator(serve: Serve) -> None:
    client = serve(world(subscriptions={"Audit.General": False}))
    assert code(client.feed("subscriptions/content", contentType="Audit.General")) == "AF20023"
    client.subscribe()
    assert client.feed("subscriptions/content", contentType="Audit.General").json() == []


def test_what_was_created_while_stopped_is_never_listed(serve: Serve, clock: Clock) -> None:
    client = serve(world(blobs=(blob(1, NOON + timedelta(minutes=5)), blob(2, NOON + timedelta(minutes=15)))))
    client.subscribe()
    client.feed("subscriptions/stop", "POST", contentType="Audit.General")
    clock.advance(minutes=10)
    client.subscribe()
    clock.advance(minutes=10)
    (page,) = client.listing(NOON, NOON + HOUR)
    assert [entry["contentId"][:20] for entry in page] == [f"{2:020d}"]


def test_listing_by_creation_in_a_half_open_window(serve: Serve) -> None:
    start = NOON - 2 * HOUR
    client = serve(world(blobs=tuple(blob(minute, start + timedelta(minutes=minute)) for minute in range(61))))
    client.subscribe()
    (page,) = client.listing(start + timedelta(minutes=10), start + timedelta(minutes=20))
    assert [int(entry["contentId"][:20]) for entry in page] == list(range(10, 20))
    entry = page[0]
    assert entry["contentCreated"] == "2025-11-19T10:10:00.000Z"
    assert entry["contentUri"].startswith(client.tenant.activity_url)
    assert entry["contentUri"].endswith(entry["contentId"])


def test_pages_by_header_without_publisher(serve: Serve) -> None:
    blobs = tuple(blob(number, NOON - HOUR + timedelta(seconds=number // 4)) for number in range(25))
    client = serve(world(blobs=blobs), limits=Limits(listing_page_size=10))
    client.subscribe()
    first = client.feed("subscriptions/content", **window(NOON - HOUR, NOON))
    assert "PublisherIdentifier" not in first.headers["NextPageUri"]
    pages = client.listing(NOON - HOUR, NOON)
    assert [len(page) for page in pages] == [10, 10, 5]
    assert len({entry["contentId"] for page in pages for entry in page}) == 25


def test_a_blob_listed_late_comes_behind_those_created_after_it(serve: Serve, clock: Clock) -> None:
    late = blob(1, NOON - HOUR, listed_at=NOON + HOUR)
    client = serve(world(blobs=(late, blob(2, NOON - HOUR / 2))))
    client.subscribe()
    assert [len(page) for page in client.listing(NOON - HOUR, NOON)] == [1]
    assert client.feed(f"audit/{late.content_id}").status_code == 404
    clock.advance(hours=2)
    (page,) = client.listing(NOON - HOUR, NOON)
    assert [int(entry["contentId"][:20]) for entry in page] == [2, 1]


def test_expired_blobs_are_neither_listed_nor_served(serve: Serve, clock: Clock) -> None:
    client = serve(world(blobs=(blob(1, NOON - HOUR),)))
    client.subscribe()
    (page,) = client.listing(NOON - HOUR, NOON)
    clock.advance(days=6, hours=22, minutes=56)
    client.forget_tokens()
    assert client.listing(NOON - HOUR, NOON) == [[]]
    answer = client.feed(f"audit/{page[0]['contentId']}")
    assert (answer.status_code, code(answer)) == (400, "AF20051")
    assert client.tenant.truth()["audit"]["blobs"][0]["expired"] is True


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2025-11-19T10:00:00", "2025-11-19T11:00:00", None),
        ("2025-11-19T10:00:00Z", "2025-11-19T11:00:00.000Z", None),
        ("2025-11-19T10:00", "2025-11-19T11:00", None),
        ("2025-11-18", "2025-11-19", None),
        ("2025-11-19T10:00:00", "2025-11-20T10:00:00", None),
        ("2025-11-19T10:00:00", "2025-11-20T10:00:01", "AF20055"),
        ("2025-11-12T11:59:59", "2025-11-12T18:00:00", "AF20055"),
        ("2025-11-19T11:00:00", "2025-11-19T10:00:00", "AF20055"),
        ("2025-11-19T10:00:00", None, "AF20030"),
        ("19.11.2025", "2025-11-19", "AF20002"),
        ("2025-11-19T10:00:00+01:00", "2025-11-19", "AF20002"),
    ],
)
def test_window_rules(serve: Serve, start: str, end: str | None, expected: str | None) -> None:
    client = serve(world(subscriptions={"Audit.General": True}))
    asked = {"startTime": start, "endTime": end} if end else {"startTime": start}
    answer = client.feed("subscriptions/content", contentType="Audit.General", **asked)
    assert (answer.status_code, None if answer.ok else code(answer)) == (400 if expected else 200, expected)


def test_other_refusals(serve: Serve) -> None:
    client = serve(world(subscriptions={"Audit.General": True}))
    assert code(client.feed("subscriptions/content", contentType="Audit.Nothing")) == "AF20020"
    assert code(client.feed("subscriptions/content")) == "AF20001"
    answer = client.feed("audit/unknown$content")
    assert (answer.status_code, code(answer)) == (404, "AF20050")
    assert code(client.feed("subscriptions/content", contentType="Audit.General", nextPage="x")) == "AF20031"
    root = f"{client.tenant.activity_url}/api/v1.0/{client.tenant.client_id}/activity/feed/subscriptions/list"
    assert code(client.follow(root)) == "AF20010"
    assert client.feed("subscriptions/notifications").status_code == 404


def test_a_token_without_the_role(serve: Serve) -> None:
    client = serve(world(feed_roles=()))
    answer = client.feed("subscriptions/list")
    assert (answer.status_code, code(answer)) == (401, "AF10001")
    client.tenant.world = replace(client.tenant.world, feed_roles=("ActivityFeed.Read",))
    assert client.feed("subscriptions/list").status_code == 401
    client.forget_tokens()
    assert client.feed("subscriptions/list").status_code == 200


def test_auditing_that_is_off(serve: Serve) -> None:
    client = serve(world(unified_auditing=False))
    answer = client.feed("subscriptions/start", "POST", contentType="Audit.General")
    assert answer.status_code == 400
    assert f"DataServiceException: Tenant {client.tenant.tenant_id} does not exist" in code(answer)
    assert code(answer).startswith("StartSubscription [CorrId=")


def test_a_blob_is_its_records_zipped_when_asked(serve: Serve) -> None:
    records = tuple({"Id": str(number), "Workload": "MicrosoftTeams", "x": "é" * 50} for number in range(40))
    made = blob(1, NOON - HOUR, records=records)
    client = serve(world(blobs=(made, blob(2, NOON, records=b"[ broken"))))
    answer = client.feed(f"audit/{made.content_id}")
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json() == list(records)
    client.http.headers["Accept-Encoding"] = "identity"
    assert "Content-Encoding" not in client.feed(f"audit/{made.content_id}").headers
    assert client.feed(f"audit/{blob(2, NOON).content_id}").text == "[ broken"


def test_calls_without_publisher_share_a_small_quota(serve: Serve) -> None:
    client = serve(world(), limits=Limits(activity_calls_without_publisher=2))
    answers = [client.feed("subscriptions/list", PublisherIdentifier="") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 403]
    assert code(answers[2]) == "AF429"
    assert client.feed("subscriptions/list").status_code == 200


def test_the_request_rate_is_limited_with_403(serve: Serve, clock: Clock) -> None:
    client = serve(world(), limits=Limits(activity_requests_per_minute=3))
    answers = [client.feed("subscriptions/list") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 403]
    clock.advance(seconds=60)
    assert client.feed("subscriptions/list").status_code == 200


def test_the_default_window_is_the_last_day(serve: Serve) -> None:
    client = serve(world(blobs=(blob(1, NOON - timedelta(hours=25)), blob(2, NOON - timedelta(hours=23)))))
    client.subscribe()
    answer = client.feed("subscriptions/content", contentType="Audit.General").json()
    assert [int(entry["contentId"][:20]) for entry in answer] == [2]


def test_times_of_entries_have_milliseconds(serve: Serve) -> None:
    client = serve(world(blobs=(blob(1, datetime.fromisoformat("2025-11-19T11:30:00.120999+00:00")),)))
    client.subscribe()
    ((entry,),) = client.listing(NOON - HOUR, NOON)
    assert entry["contentCreated"] == "2025-11-19T11:30:00.120Z"
