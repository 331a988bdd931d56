"""The audit log search of Microsoft Graph in the tenant, after Microsoft's reference pages for `auditLogQuery`.

Unlike the feed it goes by event time, knows no subscription, and keeps events for 180 days.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from local.tenant.activity import blob_body
from local.tenant.identity import Tokens
from local.tenant.limits import Limits, SlidingWindow
from local.tenant.wire import Request, Response, json_response, zipped
from local.tenant.world import World, stable_id

ROLE = "AuditLogsQuery.Read.All"
_PATH = re.compile(r"/v1\.0/security/auditLog/queries(?:/([^/]+)(/records)?)?")
_RETENTION = timedelta(days=180)
_STARTS_AFTER = 0.2
_NAMES = {
    21: "crm",
    30: "microsoftFlow",
    45: "powerAppsApp",
    46: "powerAppsPlan",
    79: "powerPlatformAdminDlp",
    80: "powerPlatformAdminEnvironment",
    149: "powerPlatformLockboxResourceAccessRequest",
    150: "powerPlatformLockboxResourceCommand",
    163: "powerPlatformServiceActivity",
    186: "powerPagesSite",
    187: "powerAppsResource",
    239: "hostedRpa",
    256: "powerPlatformAdministratorActivity",
    261: "copilotInteraction",
}


class _RefusalError(Exception):
    def __init__(self, status: HTTPStatus, code: str, message: str, retry_after: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


@dataclass
class Search:
    """One query that was submitted; its records are found when it has succeeded and is first read."""

    query_id: str
    asked: datetime
    start: datetime
    end: datetime
    record_types: frozenset[str]
    found: list[dict[str, Any]] | None = field(default=None)


class AuditSearch:
    """Answers the requests to `/security/auditLog/queries`; `searches` outlive a change of the world."""

    def __init__(
        self,
        world: World,
        searches: dict[str, Search],
        origin: str,
        clock: Callable[[], datetime],
        tokens: Tokens,
        limits: Limits,
    ) -> None:
        self._world = world
        self._searches = searches
        self._origin = origin
        self._clock = clock
        self._tokens = tokens
        self._limits = limits
        self._rate = SlidingWindow(limits.search_submissions_per_day, 86_400.0)

    def answer(self, request: Request) -> Response:
        try:
            return self._routed(request)
        except _RefusalError as refusal:
            content = {"error": {"code": refusal.code, "message": str(refusal)}}
            return json_response(refusal.status, content, "error", Retry_After=refusal.retry_after)

    def _routed(self, request: Request) -> Response:
        self._authorise(request)
        match = _PATH.fullmatch(request.path)
        if match is None:
            raise _RefusalError(HTTPStatus.BAD_REQUEST, "BadRequest", "Resource not found for the segment.")
        if match[1] is None and request.method == "POST":
            return self._submit(json.loads(request.body))
        if match[1] is None or request.method != "GET":
            return Response(HTTPStatus.METHOD_NOT_ALLOWED, kind="unknown")
        search = self._kept(match[1])
        if match[2] is None:
            return json_response(HTTPStatus.OK, self._shown(search), "query")
        return zipped(self._records(search, parse_qs(request.query)), request)

    def _authorise(self, request: Request) -> None:
        grant = self._tokens.grant(request)
        if grant is None or grant.audience != self._origin:
            message = "Access token validation failure. Invalid audience."
            raise _RefusalError(HTTPStatus.UNAUTHORIZED, "InvalidAuthenticationToken", message)
        if ROLE not in grant.roles:
            message = "The client application does not have the required permissions."
            raise _RefusalError(HTTPStatus.FORBIDDEN, "Forbidden", message)

    def _submit(self, asked: Mapping[str, Any]) -> Response:
        now = self._clock()
        if (wait_s := self._rate.wait_s(now)) > 0:
            message = "Too many audit log queries were submitted."
            after = str(math.ceil(wait_s))
            raise _RefusalError(HTTPStatus.TOO_MANY_REQUESTS, "TooManyRequests", message, after)
        unknown = set(asked) - _WRITABLE
        if unknown:
            message = f"The property '{min(unknown)}' does not exist on type 'auditLogQuery'."
            raise _RefusalError(HTTPStatus.BAD_REQUEST, "BadRequest", message)
        search = Search(
            stable_id("query", len(self._searches), now),
            now,
            _time(asked["filterStartDateTime"]),
            _time(asked["filterEndDateTime"]),
            frozenset(asked.get("recordTypeFilters", ())),
        )
        self._searches[search.query_id] = search
        return json_response(HTTPStatus.CREATED, self._shown(search), "query submitted")

    def _kept(self, query_id: str) -> Search:
        search = self._searches.get(query_id)
        if search is None or (self._clock() - search.asked).total_seconds() > self._limits.search_kept_s:
            raise _RefusalError(HTTPStatus.NOT_FOUND, "ItemNotFound", f"Query {query_id} was not found.")
        return search

    def _status(self, search: Search) -> str:
        age_s = (self._clock() - search.asked).total_seconds()
        if age_s >= self._limits.search_s:
            return "succeeded"
        return "running" if age_s >= _STARTS_AFTER * self._limits.search_s else "notStarted"

    def _shown(self, search: Search) -> dict[str, Any]:
        status = self._status(search)
        shown: dict[str, Any] = {
            "id": search.query_id,
            "filterStartDateTime": search.start.isoformat(),
            "filterEndDateTime": search.end.isoformat(),
            "recordTypeFilters": sorted(search.record_types),
            "status": status,
        }
        if status == "succeeded" and self._limits.search_tells_its_limit:
            found, limit = self._found(search), self._limits.search_records
            shown["isRecordCountLimitExceeded"] = limit is not None and len(found) > limit
            shown["recordCountLimit"] = limit or 1_000_000
            shown["approximateReturnedRecordCount"] = min(len(found), limit or len(found))
        return shown

    def _records(self, search: Search, given: Mapping[str, list[str]]) -> Response:
        if self._status(search) != "succeeded":
            return json_response(HTTPStatus.OK, {"value": []}, "records")
        found = self._found(search)[: self._limits.search_records]
        begin = int(given.get("$skiptoken", ["0"])[-1])
        end = begin + min(self._limits.search_page_size, int(given.get("$top", ["1000"])[-1]))
        content: dict[str, Any] = {"value": [_entry(record) for record in found[begin:end]]}
        if end < len(found):
            path = f"/v1.0/security/auditLog/queries/{search.query_id}/records"
            content["@odata.nextLink"] = f"{self._origin}{path}?$top={end - begin}&$skiptoken={end}"
        return json_response(HTTPStatus.OK, content, "records")

    def _found(self, search: Search) -> list[dict[str, Any]]:
        """The records of a query, each once however often the feed delivers it."""
        if search.found is None:
            start = max(search.start, search.asked - _RETENTION)
            wanted = (
                record
                for record in self._all(search.asked)
                if start <= _time(record["CreationTime"]) < search.end
                and (not search.record_types or _type(record) in search.record_types)
            )
            search.found = list({json.dumps(record, sort_keys=True): record for record in wanted}.values())
        return search.found

    def _all(self, now: datetime) -> Iterator[dict[str, Any]]:
        for blob in self._world.blobs:
            if blob.created <= now:
                try:
                    records = json.loads(blob_body(blob))
                except ValueError:
                    continue
                yield from (one for one in records if isinstance(one, dict) and {"Id", "CreationTime"} <= set(one))


_WRITABLE = {
    "@odata.type",
    "displayName",
    "filterStartDateTime",
    "filterEndDateTime",
    "recordTypeFilters",
    "keywordFilter",
    "operationFilters",
    "userPrincipalNameFilters",
    "ipAddressFilters",
    "objectIdFilters",
    "administrativeUnitIdFilters",
}


def _entry(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": stable_id("auditLogRecord", record["Id"]),
        "createdDateTime": f"{record['CreationTime']}Z",
        "auditLogRecordType": _type(record),
        "operation": record.get("Operation"),
        "service": record.get("Workload"),
        "userId": record.get("UserId"),
        "auditData": {"@odata.type": "#microsoft.graph.security.defaultAuditData", **record},
    }


def _type(record: Mapping[str, Any]) -> str:
    return _NAMES.get(int(record["RecordType"]), "unknownFutureValue")


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
