"""The Office 365 Management Activity API of the tenant.

Behaviour after Microsoft's reference and troubleshooting pages, and what public clients observed.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from local.tenant.identity import Tokens
from local.tenant.limits import Limits, SlidingWindow
from local.tenant.wire import Request, Response, json_response, zipped
from local.tenant.world import ContentBlob, World, resolved, stable_id

CONTENT_TYPES = (
    "Audit.AzureActiveDirectory",
    "Audit.Exchange",
    "Audit.SharePoint",
    "Audit.General",
    "DLP.All",
)
_LONGEST_WINDOW = timedelta(hours=24)
_RETENTION = timedelta(days=7)
_PATH = re.compile(r"/api/v1\.0/([^/]+)/activity/feed/(.+)")
_TIME = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,7})?)?)?Z?")
_WINDOW_RULE = (
    "Start time and end time must both be specified (or both omitted) and must be less than or equal to "
    "24 hours apart, with the start time prior to end time and start time no more than 7 days in the past."
)


class FeedError(Exception):
    """An error of the activity API with its HTTP status and code."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class UnauthorizedError(Exception):
    """The request's token is absent, unknown, expired or made for another service."""


@dataclass(frozen=True, slots=True)
class Window:
    """The interval [start, end) of content creation that a listing covers."""

    start: datetime
    end: datetime


class Subscriptions:
    """Which content types are subscribed; what was created while one was stopped is never listed."""

    def __init__(self, initial: Mapping[str, bool]) -> None:
        self._enabled = dict(initial)
        self._stopped: dict[str, datetime] = {}
        self._gaps: list[tuple[str, Window]] = []
        self._lock = threading.Lock()

    def state(self, content_type: str) -> bool | None:
        """True when enabled, False when disabled by an administrator, None when there is none."""
        return self._enabled.get(content_type)

    def start(self, content_type: str, now: datetime) -> None:
        with self._lock:
            self._enabled[content_type] = True
            stopped = self._stopped.pop(content_type, None)
            if stopped is not None:
                self._gaps.append((content_type, Window(stopped, now)))

    def stop(self, content_type: str, now: datetime) -> None:
        with self._lock:
            self._enabled.pop(content_type)
            self._stopped[content_type] = now

    def disable(self, content_type: str, now: datetime) -> None:
        """What an administrator does: the subscription is still listed, and what is created now is thrown away."""
        with self._lock:
            self._enabled[content_type] = False
            self._stopped[content_type] = now

    def listed(self) -> list[dict[str, Any]]:
        return [
            {"contentType": name, "status": "enabled" if enabled else "disabled", "webhook": None}
            for name, enabled in sorted(self._enabled.items())
        ]

    def covers(self, blob: ContentBlob) -> bool:
        return not any(
            content_type == blob.content_type and gap.start <= blob.created < gap.end
            for content_type, gap in self._gaps
        )


class Activity:
    """Answers the requests to the activity feed."""

    def __init__(
        self,
        world: World,
        subscriptions: Subscriptions,
        origin: str,
        clock: Callable[[], datetime],
        tokens: Tokens,
        limits: Limits,
    ) -> None:
        self._world = world
        self._subscriptions = subscriptions
        self._origin = origin
        self._clock = clock
        self._tokens = tokens
        self._page_size = limits.listing_page_size
        self._rate = SlidingWindow(limits.activity_requests_per_minute, 60.0)
        self._anonymous_left = limits.activity_calls_without_publisher
        self._lock = threading.Lock()

    @cached_property
    def _blobs(self) -> dict[str, ContentBlob]:
        return {blob.content_id: blob for blob in self._world.blobs}

    @cached_property
    def _listed(self) -> list[ContentBlob]:
        """Blobs in the order in which they become available."""
        return sorted(self._world.blobs, key=_availability)

    def answer(self, request: Request) -> Response:
        try:
            return self._routed(request)
        except UnauthorizedError:
            content = {"Message": "Authorization has been denied for this request."}
            return json_response(HTTPStatus.UNAUTHORIZED, content, "refused", WWW_Authenticate="Bearer")
        except FeedError as problem:
            content = {"error": {"code": problem.code, "message": str(problem)}}
            return json_response(problem.status, content, "error")

    def _routed(self, request: Request) -> Response:
        match = _PATH.fullmatch(request.path)
        if match is None:
            return Response(HTTPStatus.NOT_FOUND, kind="unknown")
        self._authorise(request, match[1])
        given = {name: values[-1] for name, values in parse_qs(request.query, keep_blank_values=True).items()}
        self._admit(given, match[2])
        if match[2].startswith("audit/"):
            return self._blob(request, unquote(match[2].removeprefix("audit/")))
        operations = {
            ("POST", "subscriptions/start"): self._start,
            ("POST", "subscriptions/stop"): self._stop,
            ("GET", "subscriptions/list"): self._list,
            ("GET", "subscriptions/content"): self._content,
        }
        operation = operations.get((request.method, match[2]))
        return operation(given) if operation else Response(HTTPStatus.NOT_FOUND, kind="unknown")

    def _authorise(self, request: Request, tenant: str) -> None:
        grant = self._tokens.grant(request)
        if grant is None or grant.audience != self._origin:
            raise UnauthorizedError
        if tenant.lower() != self._world.tenant_id.lower():
            message = (
                f"The tenant ID passed in the URL ({tenant}) does not match the tenant ID passed in the "
                f"access token ({self._world.tenant_id})."
            )
            raise FeedError(HTTPStatus.BAD_REQUEST, "AF20010", message)
        if "ActivityFeed.Read" not in grant.roles:
            message = (
                f"The permission set ({' '.join(grant.roles)}) sent in the request did not include the "
                "expected permission ActivityFeed.Read."
            )
            raise FeedError(HTTPStatus.UNAUTHORIZED, "AF10001", message)

    def _admit(self, given: Mapping[str, str], operation: str) -> None:
        """Throttling, which this API answers with 403: too many calls, or too many without a publisher."""
        publisher = given.get("PublisherIdentifier", "")
        if self._rate.wait_s(self._clock()) > 0 or (not publisher and not self._anonymous_allowed()):
            method = "GetBlob" if operation.startswith("audit/") else operation.rpartition("/")[2]
            publisher = publisher or "00000000-0000-0000-0000-000000000000"
            message = f"Too many requests. Method={method}, PublisherId={publisher}"
            raise FeedError(HTTPStatus.FORBIDDEN, "AF429", message)

    def _anonymous_allowed(self) -> bool:
        with self._lock:
            if self._anonymous_left is None:
                return True
            self._anonymous_left -= 1
            return self._anonymous_left >= 0

    def _start(self, given: Mapping[str, str]) -> Response:
        content_type = _content_type(given)
        if not self._world.unified_auditing:
            raise FeedError(HTTPStatus.BAD_REQUEST, self._no_auditing(content_type), "")
        if self._subscriptions.state(content_type):
            message = "The subscription is already enabled. No property change."
            raise FeedError(HTTPStatus.BAD_REQUEST, "AF20024", message)
        self._subscriptions.start(content_type, self._clock())
        content = {"contentType": content_type, "status": "enabled", "webhook": None}
        return json_response(HTTPStatus.OK, content, "subscriptions/start")

    def _no_auditing(self, content_type: str) -> str:
        tenant = self._world.tenant_id
        return (
            f"StartSubscription [CorrId={stable_id(tenant, content_type)}] [TenantId={tenant},"
            f"ContentType={content_type},ApplicationId={self._world.client_id},PublisherId={tenant}]"
            "[AppId,PublisherId] failed. Exception: "
            f"Microsoft.Office.Compliance.Audit.DataServiceException: Tenant {tenant} does not exist."
        )

    def _stop(self, given: Mapping[str, str]) -> Response:
        content_type = _content_type(given)
        self._require_subscription(content_type)
        self._subscriptions.stop(content_type, self._clock())
        return Response(HTTPStatus.OK, kind="subscriptions/stop")

    def _list(self, _given: Mapping[str, str]) -> Response:
        return json_response(HTTPStatus.OK, self._subscriptions.listed(), "subscriptions/list")

    def _require_subscription(self, content_type: str) -> None:
        state = self._subscriptions.state(content_type)
        if state is None:
            message = "No subscription found for the specified content type."
            raise FeedError(HTTPStatus.BAD_REQUEST, "AF20022", message)
        if not state:
            message = "The subscription was disabled by a tenant admin."
            raise FeedError(HTTPStatus.BAD_REQUEST, "AF20023", message)

    def _content(self, given: Mapping[str, str]) -> Response:
        content_type = _content_type(given)
        self._require_subscription(content_type)
        now = self._clock()
        window = _window(given, now)
        after = _page_place(given["nextPage"]) if "nextPage" in given else None
        begin = 0 if after is None else bisect_right(self._listed, after, key=_availability)
        found = [
            blob
            for blob in self._listed[begin : bisect_right(self._listed, now, key=_listed_at)]
            if blob.content_type == content_type
            and window.start <= blob.created < window.end
            and now < blob.expires
            and self._subscriptions.covers(blob)
        ]
        page = found[: self._page_size]
        headers = {"NextPageUri": self._next_page(given, window, page[-1])} if len(found) > len(page) else {}
        response = json_response(HTTPStatus.OK, [self._entry(blob) for blob in page], "subscriptions/content")
        return replace(response, headers={**response.headers, **headers})

    def _feed(self, path: str) -> str:
        return f"{self._origin}/api/v1.0/{self._world.tenant_id}/activity/feed/{path}"

    def _next_page(self, given: Mapping[str, str], window: Window, last: ContentBlob) -> str:
        """The address of the next page; like the real one it lacks the PublisherIdentifier."""
        place = json.dumps([last.listed_at.isoformat(), last.content_id]).encode()
        token = base64.urlsafe_b64encode(place).decode()
        start, end = (given.get("startTime"), given.get("endTime"))
        times = (start or f"{window.start:%Y-%m-%dT%H:%M:%S}", end or f"{window.end:%Y-%m-%dT%H:%M:%S}")
        return self._feed("subscriptions/content") + (
            f"?contentType={given['contentType']}&startTime={quote(times[0])}&endTime={quote(times[1])}"
            f"&nextPage={quote(token)}"
        )

    def _entry(self, blob: ContentBlob) -> dict[str, str]:
        return {
            "contentUri": self._feed(f"audit/{blob.content_id}"),
            "contentId": blob.content_id,
            "contentType": blob.content_type,
            "contentCreated": milliseconds(blob.created),
            "contentExpiration": milliseconds(blob.expires),
        }

    def _blob(self, request: Request, content_id: str) -> Response:
        blob, now = self._blobs.get(content_id), self._clock()
        if request.method != "GET":
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, kind="unknown")
        if blob is None or blob.listed_at > now or not self._subscriptions.covers(blob):
            message = "The specified content does not exist."
            raise FeedError(HTTPStatus.NOT_FOUND, "AF20050", f"{message} ContentId={content_id}")
        if now >= blob.expires:
            message = "The requested content has already expired. Content older than 7 days cannot be retrieved."
            raise FeedError(HTTPStatus.BAD_REQUEST, "AF20051", message)
        headers = {"Content-Type": "application/json; charset=utf-8"}
        body, served = blob_body(blob), (("blob", content_id),)
        return zipped(Response(HTTPStatus.OK, body, headers, "audit", served), request)


def blob_body(blob: ContentBlob) -> bytes:
    """The body of a blob: an array of its records."""
    records = resolved(blob.records)
    if isinstance(records, bytes):
        return records
    return json.dumps(records, ensure_ascii=False, separators=(",", ":")).encode()


def milliseconds(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z"


def _availability(blob: ContentBlob) -> tuple[datetime, str]:
    return blob.listed_at, blob.content_id


def _listed_at(blob: ContentBlob) -> datetime:
    return blob.listed_at


def _content_type(given: Mapping[str, str]) -> str:
    wanted = given.get("contentType")
    if not wanted:
        raise FeedError(HTTPStatus.BAD_REQUEST, "AF20001", "Missing parameter: contentType.")
    for known in CONTENT_TYPES:
        if known.lower() == wanted.lower():
            return known
    raise FeedError(HTTPStatus.BAD_REQUEST, "AF20020", "The specified content type is not valid.")


def _window(given: Mapping[str, str], now: datetime) -> Window:
    """The asked window after its rules; the last 24 hours when none is asked for."""
    texts = [given.get("startTime"), given.get("endTime")]
    if texts == [None, None]:
        return Window(now - _LONGEST_WINDOW, now)
    if None in texts:
        raise FeedError(HTTPStatus.BAD_REQUEST, "AF20030", _WINDOW_RULE)
    window = Window(_time("startTime", texts[0] or ""), _time("endTime", texts[1] or ""))
    length = window.end - window.start
    if length <= timedelta(0) or length > _LONGEST_WINDOW or window.start < now - _RETENTION:
        raise FeedError(HTTPStatus.BAD_REQUEST, "AF20055", _WINDOW_RULE)
    return window


def _time(name: str, text: str) -> datetime:
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        return datetime.fromisoformat(text.removesuffix("Z")).replace(tzinfo=UTC)
    except ValueError as problem:
        message = f"Invalid parameter type: {name}. Expected type: datetime."
        raise FeedError(HTTPStatus.BAD_REQUEST, "AF20002", message) from problem


def _page_place(token: str) -> tuple[datetime, str]:
    try:
        time, content_id = json.loads(base64.urlsafe_b64decode(token))
        return datetime.fromisoformat(time), str(content_id)
    except (TypeError, ValueError) as problem:
        message = f"Invalid nextPage Input: {token}."
        raise FeedError(HTTPStatus.BAD_REQUEST, "AF20031", message) from problem
