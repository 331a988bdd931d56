"""Answers that are whole and make no sense: each is a known error, nothing is lost and no place is poisoned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import NOON, ORIGIN, TENANT_ID, FakeClock, Script, api_with, fault, json_reply, soon

from shared.audit.feed import ActivityFeed
from shared.dataverse.web_api import CHUNK_BYTES, Query, WebApi
from shared.errors import AccessError, Defer, TooLarge
from shared.intervals import Interval
from shared.net.api import StartAgain, clocks, read_fault, retry_after_s
from shared.net.policy import ACTIVITY
from shared.net.transport import Reply, Request

FEED = "https://manage.office.com"
WINDOW = Interval(NOON - timedelta(hours=6), NOON)
NO_DOCUMENT = [
    b"",
    b"<!doctype html><html><title>Sign in</title></html>",
    b"\xff\xfe{}",
    b'"\xff"',
    b"null",
    b"[" * 100_000 + b"]" * 100_000,
    b'{"value":[{"a":' * 20_000,
    b"NaN",
    b"true",
    b"\0\0\0",
]


def web_api(clock: FakeClock, *answers: Reply | Callable[[Request], Reply]) -> WebApi:
    return WebApi(api_with(Script(*answers), clock))


def feed(clock: FakeClock, *answers: Reply | Callable[[Request], Reply]) -> ActivityFeed:
    return ActivityFeed(api_with(Script(*answers), clock, policy=ACTIVITY, origin=FEED), TENANT_ID)


def entry(**values: Any) -> dict[str, Any]:
    return {
        "contentUri": f"{FEED}/api/v1.0/{TENANT_ID}/activity/feed/audit/1",
        "contentId": "1",
        "contentType": "Audit.General",
        "contentCreated": "2026-05-19T11:00:00.123Z",
        "contentExpiration": "2026-05-26T11:00:00.123Z",
        **values,
    }


def listed(clock: FakeClock, *answers: Reply | Callable[[Request], Reply]) -> list[Any]:
    pages = feed(clock, *answers).listing("Audit.General", WINDOW, soon(clock, 10_000))
    return [blob for page in pages for blob in page]


@given(st.one_of(st.text(), st.from_regex(r"[A-Z][a-z]{2}, [0-9]+ [A-Z][a-z]{2} [0-9]+ [0-9:]+ [-+A-Z0-9]+")))
def test_no_header_of_time_breaks_anything(text: str) -> None:
    pause_s = retry_after_s(Reply(429, {"retry-after": text, "date": text}), NOON)
    assert pause_s is None or 0 <= pause_s <= 24 * 3600
    told = clocks(Reply(200, {"date": text}), NOON)
    assert abs(told.now - NOON) <= timedelta(days=1)
    assert told.earliest <= told.now <= told.latest <= NOON + timedelta(days=365)
    assert isinstance(told.ahead_s, int)


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999",
        "Fri, 31 Dec 9999 23:59:59 -1200",
        "9" * 5000,
        "-inf",
    ],
)
def test_absurd_times_are_no_times(text: str) -> None:
    assert retry_after_s(Reply(429, {"retry-after": text}), NOON) in {None, 0.0, 24 * 3600.0}
    told = clocks(Reply(200, {"date": text}), NOON)
    assert told.now == told.earliest == told.latest == NOON


@pytest.mark.parametrize(("ahead", "believed"), [(timedelta(minutes=50), True), (timedelta(days=400), False)])
def test_a_clock_that_is_years_off_is_not_believed(*, ahead: timedelta, believed: bool) -> None:
    """A place remembered by such a clock would keep the app from reading on, and look like no lag at all."""
    for at in (NOON + ahead, NOON - ahead):
        told = clocks(Reply(200, {"date": format_datetime(at, usegmt=True)}), NOON)
        assert told.now == told.earliest == told.latest == (at if believed else NOON)
        assert told.ahead_s == (NOON - at).total_seconds()


def test_of_two_clocks_days_apart_neither_is_believed() -> None:
    for at in (NOON + timedelta(hours=30), NOON - timedelta(hours=30)):
        told = clocks(Reply(200, {"date": format_datetime(at, usegmt=True)}), NOON)
        assert (told.now, told.earliest, told.latest) == (NOON, min(at, NOON), max(at, NOON))


def test_what_a_service_says_is_told_in_one_short_line() -> None:
    told = str(read_fault(fault(403, "AF1\nflowtrail.health " + "x" * 10**6, "no\r\n\x1b[31m" + "y" * 10**6)))
    assert len(told) < 700
    assert told.isprintable()
    assert str(read_fault(Reply(502, {}, b"a\nb\0c"))) == "HTTP 502  a b c"


def test_people_and_tokens_that_a_service_names_are_hidden() -> None:
    told = read_fault(
        fault(403, "0x1", "User 'anna.meier@contoso.example' (eyJ0eXAi.eyJhdWQi.c2ln-_) is not a member.")
    )
    assert told.message == "User '(hidden)' ((hidden)) is not a member."


@pytest.mark.parametrize("body", NO_DOCUMENT)
def test_what_is_no_document_is_tried_later(clock: FakeClock, body: bytes) -> None:
    calls: list[Callable[[], object]] = [
        lambda: web_api(clock, Reply(200, {}, body)).document("WhoAmI", soon(clock)),
        lambda: list(web_api(clock, Reply(200, {}, body)).pages(Query("flowsessions", ("x",)), soon(clock))),
        lambda: feed(clock, Reply(200, {}, body)).subscriptions(soon(clock)),
        lambda: listed(clock, Reply(200, {}, body)),
    ]
    for call in calls:
        with pytest.raises(Defer):
            call()


@pytest.mark.parametrize(
    "body", [{}, {"value": None}, {"value": "abc"}, {"value": {}}, {"error": {"code": "0x1"}}]
)
def test_an_answer_without_rows_is_no_empty_page(clock: FakeClock, body: Any) -> None:
    """Taken for one, it would move the cursor over everything that it kept back."""
    with pytest.raises(Defer, match="no page of rows"):
        list(web_api(clock, json_reply(body)).pages(Query("flowsessions", ("x",)), soon(clock)))


def test_what_is_no_row_is_an_empty_row(clock: FakeClock) -> None:
    page = json_reply({"value": [5, None, [], "x", {"a": 1}]})
    rows = list(web_api(clock, page).rows(Query("flowsessions", ("x",)), soon(clock)))
    assert rows == [{}, {}, {}, {}, {"a": 1}]


def test_a_page_that_is_too_long_is_asked_for_with_fewer_rows(clock: FakeClock) -> None:
    asked: list[int] = []

    def page(request: Request) -> Reply:
        asked.append(int(request.headers["Prefer"].rpartition("=")[2]))
        if asked[-1] > 50:
            raise TooLarge("a page is longer than 67,108,864 bytes")
        link = {"@odata.nextLink": f"{ORIGIN}/api/data/v9.2/flowsessions?$skiptoken=2"} if len(asked) < 4 else {}
        return json_reply({"value": [{"a": len(asked)}], **link})

    rows = list(web_api(clock, *[page] * 4).rows(Query("flowsessions", ("a",)), soon(clock)))
    assert (asked, rows) == ([1000, 100, 10, 10], [{"a": 3}, {"a": 4}])


def test_rows_come_again_where_a_later_page_is_too_long(clock: FakeClock) -> None:
    """Whether a link counts on the length of its page is not documented."""
    asked: list[tuple[str, str]] = []

    def page(request: Request) -> Reply:
        asked.append((request.url.rpartition("=")[2], request.headers["Prefer"].rpartition("=")[2]))
        if asked[-1] == ("2", "1000"):
            raise TooLarge("a page is longer than 67,108,864 bytes")
        link = {"@odata.nextLink": f"{ORIGIN}/api/data/v9.2/flowsessions?$skiptoken=2"}
        return json_reply({"value": [{"a": len(asked)}], **(link if asked[-1][0] != "2" else {})})

    rows = list(web_api(clock, *[page] * 4).rows(Query("flowsessions", ("a",)), soon(clock)))
    assert [size for _, size in asked] == ["1000", "1000", "100", "100"]
    assert rows == [{"a": 1}, {"a": 3}, {"a": 4}]


def test_a_row_that_is_too_long_alone_is_too_long(clock: FakeClock) -> None:
    def page(_: Request) -> Reply:
        raise TooLarge("a page is longer than 67,108,864 bytes")

    with pytest.raises(TooLarge):
        list(web_api(clock, *[page] * 4).rows(Query("flowsessions", ("a",)), soon(clock)))


def test_a_next_page_that_is_not_there_is_no_table_that_is_missing(clock: FakeClock) -> None:
    link = f"{ORIGIN}/api/data/v9.2/flowsessions?$skiptoken=2"
    first = json_reply({"value": [{"a": 1}], "@odata.nextLink": link})
    rows = web_api(clock, first, fault(404, "0x80060891", "gone")).rows(Query("flowsessions", ("a",)), soon(clock))
    assert next(rows) == {"a": 1}
    with pytest.raises(Defer, match="gone"):
        next(rows)


def test_a_page_that_comes_again_under_ever_new_links_comes_to_an_end(clock: FakeClock) -> None:
    numbers = count()

    def page(_: Request) -> Reply:
        link = f"{ORIGIN}/api/data/v9.2/flowsessions?$skiptoken={next(numbers)}"
        return json_reply({"value": [{"a": 1}], "@odata.nextLink": link})

    with pytest.raises(Defer, match="repeats a page"):
        list(web_api(clock, *[page] * 200).rows(Query("flowsessions", ("x",)), soon(clock)))
    assert next(numbers) < 150


def test_a_listing_that_comes_again_under_ever_new_links_comes_to_an_end(clock: FakeClock) -> None:
    numbers = count()

    def page(_: Request) -> Reply:
        return json_reply([entry()], nextpageuri=f"{FEED}/api/page?nextPage={next(numbers)}")

    with pytest.raises(StartAgain, match="repeats a page"):
        listed(clock, *[page] * 200)
    assert next(numbers) < 150


@pytest.mark.parametrize("link", [5, ["x"], {"a": 1}, True, "https://[", "//", "\0", "x" * 10**6])
def test_a_next_page_that_is_no_address_is_refused(clock: FakeClock, link: Any) -> None:
    api = web_api(clock, json_reply({"value": [], "@odata.nextLink": link}))
    with pytest.raises(AccessError, match="lies elsewhere"):
        list(api.pages(Query("flowsessions", ("x",)), soon(clock)))


@pytest.mark.parametrize(
    "odd",
    [
        {"contentId": "x" * 100_000},
        {"contentId": 5},
        {"contentId": ""},
        {"contentUri": "x" * 100_000},
        {"contentUri": None},
        {"contentCreated": "0001-01-01T00:00:00Z"},
        {"contentCreated": "2001-01-01T00:00:00Z"},
        {"contentCreated": "9999-12-31T23:59:59.9999999Z"},
        {"contentExpiration": "0001-01-01T00:00:00Z"},
        {"contentExpiration": 1779188400},
    ],
)
def test_an_entry_that_no_ledger_can_hold_is_no_entry(clock: FakeClock, odd: dict[str, Any]) -> None:
    with pytest.raises(Defer) as told:
        listed(clock, json_reply([entry(), entry(**odd)]))
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("named", ["../../powerbi/x", "Audit.Exchange", "x" * 2000, None, 5, "a/b#c?d\\e\x07"])
def test_a_blob_is_of_the_type_that_was_asked_for(clock: FakeClock, named: Any) -> None:
    (blob,) = listed(clock, json_reply([entry(contentType=named)]))
    assert blob.content_type == "Audit.General"


def test_subscriptions_of_no_sense_are_none(clock: FakeClock) -> None:
    found = feed(clock, json_reply([5, None, {}, {"contentType": {}, "status": []}])).subscriptions(soon(clock))
    assert not found.is_enabled("Audit.General")


def a_file(clock: FakeClock, *answers: Reply) -> Iterator[bytes]:
    return web_api(clock, *answers).file("flowsessions(1)/additionalcontext", soon(clock))


def part(body: bytes, told: str) -> Reply:
    return Reply(206, {"content-range": told}, body)


def test_a_web_page_is_no_file(clock: FakeClock) -> None:
    """As a log it would be unreadable for good, and the log itself would never be asked for again."""
    with pytest.raises(Defer, match="web page"):
        list(a_file(clock, Reply(200, {"content-type": "text/html; charset=utf-8"}, b"<html>Sign in</html>")))


def test_a_part_from_elsewhere_in_the_file_is_not_put_in(clock: FakeClock) -> None:
    first = part(b"a" * CHUNK_BYTES, f"bytes 0-{CHUNK_BYTES - 1}/{CHUNK_BYTES + 5}")
    with pytest.raises(Defer, match="another part"):
        list(a_file(clock, first, part(b"aaaaa", f"bytes 0-4/{CHUNK_BYTES + 5}")))


REST = f"bytes {CHUNK_BYTES}-{CHUNK_BYTES + 4}/"


@pytest.mark.parametrize(
    "later",
    [
        Reply(206, {"content-range": f"{REST}{CHUNK_BYTES + 9}"}, b"aaaaa"),
        Reply(206, {"content-range": f"{REST}*", "x-ms-file-size": "9"}, b"aaaaa"),
        Reply(206, {"content-range": f"{REST}*", "etag": 'W/"2"'}, b"aaaaa"),
    ],
    ids=["range", "size", "etag"],
)
def test_parts_of_two_files_are_not_put_together(clock: FakeClock, later: Reply) -> None:
    size = str(CHUNK_BYTES + 5)
    told = {"content-range": f"bytes 0-{CHUNK_BYTES - 1}/{size}", "x-ms-file-size": size, "etag": 'W/"1"'}
    with pytest.raises(Defer, match="replaced"):
        list(a_file(clock, Reply(206, told, b"a" * CHUNK_BYTES), later))


def test_parts_of_one_file_need_not_tell_as_much(clock: FakeClock) -> None:
    first = part(b"a" * CHUNK_BYTES, f"bytes 0-{CHUNK_BYTES - 1}/{CHUNK_BYTES + 5}")
    assert len(b"".join(a_file(clock, first, part(b"aaaaa", f"{REST}*")))) == CHUNK_BYTES + 5


@pytest.mark.parametrize(
    "told", ["bytes 0-4/" + "9" * 5000, "bytes 0-4/*", "bytes 0-4/-7", "bytes 0-4/\u00b2", "x"]
)
def test_a_size_of_no_sense_is_none(clock: FakeClock, told: str) -> None:
    assert b"".join(a_file(clock, part(b"[{}] ", told))) == b"[{}] "
