"""The Management Activity API: subscriptions, the listing of content blobs, and the blobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import msgspec

from shared.clock import Deadline
from shared.errors import AccessError, Defer
from shared.intervals import Interval
from shared.net.api import Api, Clocks, StartAgain, clocks, same_origin
from shared.net.transport import MEBIBYTE, Reply, Request
from shared.times import happened_utc, iso_utc

ENABLED = "enabled"
LONGEST_BLOB_BYTES = 128 * MEBIBYTE
LONGEST_ID = 1000
LONGEST_URI = 4000
OUTSIDE_WINDOW = timedelta(days=1)
MOST_REPEATS = 100
MALFORMED_RETRY_S = 60.0
NEXT_PAGE = "nextpageuri"
PUBLISHER = "PublisherIdentifier"


@dataclass(frozen=True)
class ContentBlob:
    """A content blob as listed; `created` is when it became available, not when its events happened."""

    content_id: str
    content_type: str
    uri: str
    created: datetime
    expires: datetime


@dataclass(frozen=True)
class Subscriptions:
    """Status by content type, and what the service's clock tells: the seven days that content lives count by it.

    A type without an entry was never subscribed to; a disabled one may come without a status.
    """

    status: Mapping[str, str]
    clocks: Clocks

    @property
    def server_time(self) -> datetime:
        """The service's own; far from ours the one that is behind, so that what is remembered is past by both."""
        return self.clocks.earliest

    def is_enabled(self, content_type: str) -> bool:
        return self.status.get(content_type) == ENABLED

    def is_disabled(self, content_type: str) -> bool:
        """Whether the list says so; an entry without a status says nothing."""
        return self.status.get(content_type, ENABLED) not in (ENABLED, "")

    def exists(self, content_type: str) -> bool:
        return content_type in self.status


class OddEntries(Defer):
    """A listing was read to its end, but for entries that name no blob; it must be read again."""


@dataclass(frozen=True)
class ActivityFeed:
    api: Api
    tenant_id: str

    @property
    def root(self) -> str:
        return f"{self.api.origin}/api/v1.0/{self.tenant_id}/activity/feed/"

    def subscriptions(self, deadline: Deadline) -> Subscriptions:
        reply = self.api.get(self._url("subscriptions/list"), deadline)
        entries = map(_fields, _list(reply))
        status = {str(entry.get("contentType")): str(entry.get("status") or "").lower() for entry in entries}
        return Subscriptions(status, clocks(reply, self.api.clock.now()))

    def subscribe(self, content_type: str, deadline: Deadline) -> bool:
        """Start a subscription and return whether it was off; one that is on already (AF20024) is fine.

        The service wants 15 minutes between two starts (Management Activity API reference). That it is on already
        may be the doing of an attempt before, whose answer was lost: then it counts as one that was off.

        Raises:
            Unreachable: there was no answer; it may be on now.
        """
        url = self._url("subscriptions/start", contentType=content_type)
        reply = self.api.send(Request("POST", url, {"Content-Length": "0"}, deadline))
        return reply.status == HTTPStatus.OK or reply.is_repeat

    def listing(self, content_type: str, window: Interval, deadline: Deadline) -> Iterator[list[ContentBlob]]:
        """The blobs that became available in a window of at most 24 hours, page after page.

        The next page is named by the *header* `NextPageUri`, which lacks the publisher's identifier.

        Raises:
            OddEntries: after the last page, some entries name no blob.
        """
        url: str | None = self._url(
            "subscriptions/content",
            contentType=content_type,
            startTime=iso_utc(window.start).removesuffix("Z"),
            endTime=iso_utc(window.end).removesuffix("Z"),
        )
        seen: set[str] = set()
        before: list[ContentBlob] | None = None
        repeats = odd = 0
        while url:
            seen.add(url)
            reply = self.api.get(url, deadline)
            entries = [_blob(entry, content_type, window) for entry in _list(reply)]
            blobs = [blob for blob in entries if blob is not None]
            odd += len(entries) - len(blobs)
            repeats = repeats + 1 if blobs == before else 0
            if repeats >= MOST_REPEATS:
                raise StartAgain("The listing of the activity feed repeats a page.", MALFORMED_RETRY_S)
            yield blobs
            before = blobs
            url = self._next_page(reply.headers.get(NEXT_PAGE), seen)
        if odd:
            raise OddEntries(
                f"{odd} entries of the listing name no blob; the others have been taken.", MALFORMED_RETRY_S
            )

    def fetch(self, blob: ContentBlob, deadline: Deadline) -> bytes:
        """The body of a blob: a JSON array of records."""
        return self.api.get(self._with_publisher(blob.uri), deadline, max_bytes=LONGEST_BLOB_BYTES).body

    def _next_page(self, link: str | None, seen: set[str]) -> str | None:
        if not link:
            return None
        if not (same_origin(link, self.api.origin) and urlsplit(link).path.startswith("/api/")):
            raise AccessError(
                f"The activity feed at {self.api.origin} sends a next page that lies elsewhere.",
                "Nothing was sent there. Check CLOUD and MANAGEMENT_API_URL.",
            )
        url = self._with_publisher(link)
        if url in seen:
            raise StartAgain("The listing of the activity feed repeats a page.", MALFORMED_RETRY_S)
        return url

    def _url(self, operation: str, **parameters: str) -> str:
        return f"{self.root}{operation}?{urlencode({**parameters, PUBLISHER: self.tenant_id})}"

    def _with_publisher(self, url: str) -> str:
        """Every call names its publisher: without it, it counts into a quota that all such callers share."""
        query = urlsplit(url).query
        if PUBLISHER.lower() in {name.lower() for name in parse_qs(query)}:
            return url
        return f"{url}{'&' if query else '?'}{PUBLISHER}={quote(self.tenant_id)}"


def _list(reply: Reply) -> list[Any]:
    entries = _json(reply)
    if not isinstance(entries, list):
        raise Defer("The answer of the activity feed is no list.", MALFORMED_RETRY_S)
    return cast("list[Any]", entries)


def _blob(entry: Any, content_type: str, window: Interval) -> ContentBlob | None:
    """An entry of a listing. Its type is the one that was asked for, for it becomes part of names and keys."""
    fields = _fields(entry)
    created, expires = happened_utc(fields.get("contentCreated")), happened_utc(fields.get("contentExpiration"))
    content_id, uri = _short(fields.get("contentId"), LONGEST_ID), _short(fields.get("contentUri"), LONGEST_URI)
    if not (content_id and uri and created and expires and _is_near(created, window)):
        return None
    return ContentBlob(content_id, content_type, uri, created, expires)


def _fields(entry: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", entry) if isinstance(entry, dict) else {}


def _short(value: Any, longest: int) -> str | None:
    return value if isinstance(value, str) and len(value) <= longest else None


def _is_near(created: datetime, window: Interval) -> bool:
    """Whether a blob may have been asked for; entered under a day long past, it would never be looked for."""
    return window.start - OUTSIDE_WINDOW <= created <= window.end + OUTSIDE_WINDOW


def _json(reply: Reply) -> Any:
    try:
        return msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Defer(f"The answer of the activity feed is no JSON: {error}", MALFORMED_RETRY_S) from error
