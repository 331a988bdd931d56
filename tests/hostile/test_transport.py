"""One request against servers that break the rules of HTTP: it ends in time and memory, with a known error."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hostile_server import Conversation, HostileServer, Peer, answer

from shared.clock import Deadline, SystemClock
from shared.errors import TooLarge
from shared.net import transport
from shared.net.transport import NetworkError, PooledTransport, Reply, Request

Serving = Callable[[Conversation], HostileServer]

BODY = b'{"value": []}'
ZIPPED = gzip.compress(BODY * 1000)
GZIP = "Content-Encoding: gzip"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB_BYTES = 1024 * 1024
LIMIT_S = 0.3


def sending(data: bytes) -> Conversation:
    return lambda peer: peer.send(data)


def ask(server: HostileServer, deadline_s: float = 600.0, max_bytes: int = BOMB_BYTES) -> Reply:
    request = Request("GET", server.origin, {}, Deadline.after(SystemClock(), deadline_s), max_bytes=max_bytes)
    return PooledTransport(1)(request)


def test_what_keeps_the_rules_is_taken(serving: Serving) -> None:
    assert ask(serving(sending(answer(BODY)))).body == BODY
    assert ask(serving(sending(answer(ZIPPED, GZIP)))).body == BODY * 1000
    assert ask(serving(sending(CHUNKED + b"d\r\n" + BODY + b"\r\n0\r\n\r\n"))).body == BODY
    assert ask(serving(sending(b"HTTP/1.1 204 No Content\r\n\r\n"))).status == 204
    assert ask(serving(sending(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(BODY)))).body == BODY


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff" * 100,
        b"HTTP/1.1 2",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        answer(BODY, length=len(BODY) + 1),
        answer(BODY, length=-1),
        answer(BODY, "Content-Length: 5"),
        answer(BODY, "Content-Encoding: br"),
        answer(BODY, GZIP),
        answer(ZIPPED[:-1], GZIP),
        answer(ZIPPED[:20] + b"\xff\xff" + ZIPPED[22:], GZIP),
        answer(ZIPPED + b"more", GZIP),
        answer(b"", GZIP),
        CHUNKED,
        CHUNKED + b"d\r\n" + BODY[:5],
        CHUNKED + b"d\r\n" + BODY + b"\r\n",
        CHUNKED + b"zz\r\n" + BODY,
    ],
)
def test_a_broken_answer_is_an_error_that_may_pass(serving: Serving, data: bytes) -> None:
    with pytest.raises(NetworkError):
        ask(serving(sending(data)))


def test_an_answer_longer_than_it_says_is_cut_where_it_says(serving: Serving) -> None:
    assert ask(serving(sending(answer(BODY, length=5)))).body == BODY[:5]


@pytest.mark.parametrize(
    "slow",
    [
        lambda peer: peer.trickle(answer(BODY * 1000), 0.02),
        lambda peer: peer.trickle(CHUNKED + b"00000000000000000000000000000000000000000000000d", 0.02),
        lambda peer: peer.flood(b"HTTP/1.1 100 Continue\r\n\r\n"),
        lambda peer: (peer.send(answer(b"", length=10**9)), peer.trickle(BODY * 1000, 0.02)),
        lambda peer: (peer.send(answer(b"", GZIP, length=10**9)), peer.trickle(ZIPPED, 0.02)),
        lambda peer: (peer.send(CHUNKED), peer.trickle(b"1\r\n \r\n" * 999, 0.02)),
        lambda peer: (peer.send(answer(b"", GZIP, length=10**12)), peer.flood(gzip.compress(b"") * 1000)),
        lambda peer: peer.trickle(b" " * 9999, 0.02),
    ],
    ids=["head", "length of a chunk", "continue", "body", "gzip", "chunks", "empty gzip members", "nothing"],
)
def test_an_answer_has_a_time_for_all_of_it(
    serving: Serving, slow: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The servers would go on for ever; that this ends at all is the assertion, whatever the machine's speed."""
    monkeypatch.setattr(transport, "ANSWER_TIMEOUT_S", LIMIT_S)
    with pytest.raises(NetworkError):
        ask(serving(slow))


def test_silence_ends_with_the_deadline(serving: Serving) -> None:
    with pytest.raises(NetworkError, match="timed out"):
        ask(serving(lambda peer: peer.trickle(b"x", 600)), deadline_s=0)


@pytest.mark.parametrize(
    "endless",
    [
        lambda peer: (peer.send(answer(b"", length=10**12)), peer.flood(b" " * 65_536)),
        lambda peer: (peer.send(CHUNKED), peer.flood(b"1000\r\n" + b" " * 4096 + b"\r\n")),
    ],
    ids=["body", "chunks"],
)
def test_a_body_that_never_ends_is_too_large(serving: Serving, endless: Conversation) -> None:
    with pytest.raises(TooLarge, match="longer than 1,048,576 bytes"):
        ask(serving(endless))


def test_a_gzip_bomb_is_too_large_before_it_is_large(serving: Serving) -> None:
    """A thousand times as large as it comes. A bomb in a bomb is only data, for nothing is unpacked twice."""
    press = zlib.compressobj(9, wbits=31)
    bomb = b"".join(press.compress(b"\0" * BOMB_BYTES) for _ in range(256)) + press.flush()
    assert len(bomb) < BOMB_BYTES
    with pytest.raises(TooLarge):
        ask(serving(sending(answer(bomb, GZIP))))


def test_what_follows_an_answer_is_not_taken_for_the_next_one(serving: Serving) -> None:
    """A kept connection must not let one answer smuggle in another."""

    def smuggle(peer: Peer) -> None:
        peer.send(answer(BODY) + answer(b"smuggled"))
        peer.hear()
        peer.send(answer(BODY))

    server, pooled = serving(smuggle), PooledTransport(1)
    for _ in range(2):
        request = Request("GET", server.origin, {}, Deadline.after(SystemClock(), 600))
        assert pooled(request).body == BODY


def test_nothing_is_followed_and_no_scheme_but_http_is_spoken(serving: Serving) -> None:
    elsewhere = serving(sending(answer(BODY)))
    here = serving(sending(answer(b"", f"Location: {elsewhere.origin}/", status="307 Temporary Redirect")))
    assert ask(here).status == 307
    assert elsewhere.heads == []
