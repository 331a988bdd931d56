"""Requests: what is tried again, what waits, what stops, and where a token may go."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime

import pytest
from support import NOON, ORIGIN, FakeClock, Script, api_with, counting_tokens, cut_off, fault, json_reply, soon

from shared.errors import AccessError, Defer, Missing, Throttled
from shared.net.api import NotSubscribed, StartAgain, read_fault, retry_after_s, same_origin
from shared.net.policy import ACTIVITY, DATAVERSE, Act
from shared.net.throttle import Pace
from shared.net.transport import Reply, Request

OK = json_reply({"value": []})
URL = f"{ORIGIN}/api/data/v9.2/WhoAmI"
FEED = "https://manage.office.com"


def test_the_token_of_the_origin_is_sent(clock: FakeClock) -> None:
    script = Script(OK)
    tokens, made = counting_tokens()
    api_with(script, clock, tokens=tokens).get(URL, soon(clock))
    assert script.requests[0].headers["Authorization"] == "Bearer token-1"
    assert made[0].scopes == [f"{ORIGIN}/.default"]


@pytest.mark.parametrize(
    "url",
    [
        "https://contoso.crm4.dynamics.com.evil.example/api/data/v9.2/x",
        "https://evil.example/https://contoso.crm4.dynamics.com",
        "https://contoso.crm4.dynamics.com@evil.example/",
        "https://me@contoso.crm4.dynamics.com/",
        "http://contoso.crm4.dynamics.com/",
        "https://contoso.crm4.dynamics.com:8443/",
        "https://contoso.crm4.dynamics.com:x/",
        "//contoso.crm4.dynamics.com/",
    ],
)
def test_a_token_goes_nowhere_else(clock: FakeClock, url: str) -> None:
    script = Script()
    with pytest.raises(AccessError, match="nothing was sent"):
        api_with(script, clock).get(url, soon(clock))
    assert not script.requests


def test_the_same_origin_may_be_written_with_its_port_and_in_capitals() -> None:
    assert same_origin("HTTPS://Contoso.crm4.dynamics.com:443/x", ORIGIN)


def test_a_redirect_is_not_followed(clock: FakeClock) -> None:
    script = Script(Reply(302, {"location": "https://evil.example/"}))
    with pytest.raises(AccessError, match="redirects elsewhere"):
        api_with(script, clock).get(URL, soon(clock))
    assert len(script.requests) == 1


@pytest.mark.parametrize("failure", [fault(500), fault(502), fault(503), fault(504), fault(408), cut_off()])
def test_what_may_pass_is_tried_again(clock: FakeClock, failure: Reply | Exception) -> None:
    script = Script(failure, failure, OK)
    assert api_with(script, clock).get(URL, soon(clock)) == OK
    assert clock.slept == [0.5, 1.0]


def test_after_five_failures_it_is_given_back(clock: FakeClock) -> None:
    script = Script(*[fault(500)] * 9)
    with pytest.raises(Defer, match="after 5 attempts"):
        api_with(script, clock).get(URL, soon(clock))
    assert len(script.requests) == 5


def test_a_refused_token_is_renewed_once(clock: FakeClock) -> None:
    script = Script(fault(401), OK)
    assert api_with(script, clock).get(URL, soon(clock)) == OK
    sent = [request.headers["Authorization"] for request in script.requests]
    assert sent == ["Bearer token-1", "Bearer token-2"]


def test_a_fresh_token_that_is_refused_stops(clock: FakeClock) -> None:
    script = Script(fault(401), fault(401))
    with pytest.raises(AccessError, match="fresh token"):
        api_with(script, clock).get(URL, soon(clock))


def test_throttling_makes_everybody_wait_as_long_as_asked(clock: FakeClock) -> None:
    script = Script(fault(429, "0x80072322", retry_after="7"), OK, OK)
    api = api_with(script, clock)
    api.get(URL, soon(clock))
    assert clock.slept == [7.0]
    api.cooldown.extend(3)
    api.get(URL, soon(clock))
    assert clock.slept == [7.0, 3.0]


def test_throttling_without_a_wish_waits_a_while(clock: FakeClock) -> None:
    script = Script(fault(403, "AF429"), OK)
    api_with(script, clock, policy=ACTIVITY, origin=FEED).get(f"{FEED}/api", soon(clock))
    assert clock.slept == [30.0]


def test_throttling_that_goes_on_is_waited_for_longer(clock: FakeClock) -> None:
    script = Script(*[fault(403, "AF429")] * 4, OK)
    api_with(script, clock, policy=ACTIVITY, origin=FEED).get(f"{FEED}/api", soon(clock, 1000))
    assert clock.slept == [30.0, 60.0, 120.0, 120.0]


def test_a_wait_of_nothing_is_still_a_wait(clock: FakeClock) -> None:
    script = Script(fault(429, retry_after="0"), OK)
    api_with(script, clock).get(URL, soon(clock))
    assert clock.slept == [1.0]


def test_a_pause_longer_than_the_run_gives_the_work_back(clock: FakeClock) -> None:
    script = Script(fault(429, retry_after="1000"))
    with pytest.raises(Throttled) as caught:
        api_with(script, clock).get(URL, soon(clock, 60))
    assert caught.value.after_s == 1000
    assert clock.slept == []


def test_requests_keep_their_pace(clock: FakeClock) -> None:
    api = api_with(Script(*[OK] * 4), clock, pace=Pace(clock, per_minute=60))
    for _ in range(4):
        api.get(URL, soon(clock))
    assert clock.slept == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", 5.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("1e99", 86400.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        (format_datetime(NOON + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOON - timedelta(days=3), usegmt=True), 0.0),
    ],
)
def test_retry_after_in_both_forms(text: str, expected: float | None) -> None:
    assert retry_after_s(Reply(429, {"retry-after": text}), NOON) == expected


def test_a_date_to_retry_after_counts_by_the_servers_clock() -> None:
    server_now = NOON + timedelta(minutes=10)
    headers = {
        "retry-after": format_datetime(server_now + timedelta(seconds=30), usegmt=True),
        "date": format_datetime(server_now, usegmt=True),
    }
    assert retry_after_s(Reply(429, headers), NOON) == 30.0


@pytest.mark.parametrize(
    ("status", "code", "error", "words"),
    [
        (403, "0x80072560", AccessError, "application user"),
        (403, "0x80040220", AccessError, "reader role"),
        (403, "0x80040225", AccessError, "disabled"),
        (403, "", AccessError, "permission"),
        (404, "0x80040217", Missing, "404"),
        (400, "0x80060888", AccessError, "report"),
    ],
)
def test_dataverse_errors(clock: FakeClock, status: int, code: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        api_with(Script(fault(status, code)), clock).get(URL, soon(clock))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (401, "AF10001", AccessError),
        (400, "AF20001", AccessError),
        (400, "AF20002", AccessError),
        (400, "AF20003", AccessError),
        (400, "AF20010", AccessError),
        (400, "AF20011", AccessError),
        (400, "AF20012", AccessError),
        (400, "AF20013", AccessError),
        (400, "AF20020", AccessError),
        (400, "AF20022", NotSubscribed),
        (400, "AF20023", NotSubscribed),
        (400, "AF20030", StartAgain),
        (400, "AF20031", StartAgain),
        (404, "AF20050", Missing),
        (400, "AF20051", Missing),
        (400, "AF20052", Missing),
        (400, "AF20055", StartAgain),
        (500, "AF50000", Defer),
        (418, "AF99999", AccessError),
        (400, "StartSubscription [CorrId=5f] Tenant does not exist", AccessError),
    ],
)
def test_activity_errors(clock: FakeClock, status: int, code: str, error: type[Exception]) -> None:
    api = api_with(Script(*[fault(status, code)] * 5), clock, policy=ACTIVITY, origin=FEED)
    with pytest.raises(error):
        api.get(f"{FEED}/api", soon(clock))


def test_a_subscription_that_is_on_already_is_fine(clock: FakeClock) -> None:
    script = Script(fault(400, "AF20024"))
    api = api_with(script, clock, policy=ACTIVITY, origin=FEED)
    assert api.send(Request("POST", f"{FEED}/api", {}, soon(clock))).status == 400


def test_an_error_that_is_no_json_is_told_by_its_start() -> None:
    assert read_fault(Reply(502, {}, b"<html>Bad gateway</html>")).message == "<html>Bad gateway</html>"
    assert read_fault(Reply(502, {}, b'{"error": 5}')).code == ""
    assert read_fault(Reply(502, {}, b"[" * 100_000)).status == 502


def test_every_rule_that_stops_says_what_to_do() -> None:
    for policy in (DATAVERSE, ACTIVITY):
        rules = [*policy.by_code.values(), *policy.by_status.values()]
        assert all(rule.advice for rule in rules if rule.act is Act.STOP)
