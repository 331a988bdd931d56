"""The audit log search of Microsoft Graph: queries over event time, and their records.

A query runs for minutes to hours. The search reaches as far back as the tenant's audit log, usually 180 days; the
activity feed ends after seven.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import quote, urlsplit

import msgspec

from shared.audit.reading import mended
from shared.clock import Deadline
from shared.errors import AccessError, Defer
from shared.intervals import Interval
from shared.net.api import Api, same_origin
from shared.net.transport import Reply, Request
from shared.times import iso_utc

QUERIES = "/v1.0/security/auditLog/queries"
PAGE_RECORDS = 500
MALFORMED_RETRY_S = 60.0
OVERLAP = timedelta(seconds=1)
"""Nothing says whether the bounds of a query belong to it."""
SUCCEEDED, FAILED, CANCELLED = "succeeded", "failed", "cancelled"

CONTESTED = ("powerPlatformAdminDlp", "powerAppsResource")
UNIFIED = "powerPlatformAdministratorActivity"
RECORD_TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "powerplatform": (
            UNIFIED,
            *CONTESTED,
            "powerPlatformAdminEnvironment",
            "powerPlatformLockboxResourceAccessRequest",
            "powerPlatformLockboxResourceCommand",
            "powerPlatformServiceActivity",
            "powerPagesSite",
            "hostedRpa",
        ),
        "microsoftflow": ("microsoftFlow",),
        "powerapps": ("powerAppsApp", "powerAppsPlan", *CONTESTED, UNIFIED),
        "microsoftcopilotstudio": (UNIFIED,),
        "crm": ("crm",),
        "copilot": ("copilotInteraction",),
    }
)
"""The record types that a workload's events come in, as Graph names them (`auditLogRecordType`)."""


@dataclass(frozen=True)
class Query:
    """How a query is; `is_cut` says that it found more than it will give, `about` how many records it counted."""

    status: str
    is_cut: bool
    about: int


@dataclass(frozen=True)
class Page:
    """Records as the activity feed would bring them, and the address of the next page."""

    records: list[bytes]
    next: str


@dataclass(frozen=True)
class AuditSearch:
    api: Api

    def ask(self, window: Interval, record_types: Iterable[str], deadline: Deadline) -> str:
        """Start a query over event time and return its id; without record types it is for all records."""
        query: dict[str, Any] = {
            "@odata.type": "#microsoft.graph.security.auditLogQuery",
            "displayName": f"Flowtrail {iso_utc(window.start)}",
            "filterStartDateTime": iso_utc(window.start - OVERLAP),
            "filterEndDateTime": iso_utc(window.end),
        }
        if names := sorted(record_types):
            query["recordTypeFilters"] = names
        headers = {"Content-Type": "application/json"}
        request = Request("POST", self.api.origin + QUERIES, headers, deadline, msgspec.json.encode(query))
        query_id = _object(self.api.send(request)).get("id")
        if not (isinstance(query_id, str) and query_id):
            raise Defer("Microsoft Graph started a query and gave it no id.", MALFORMED_RETRY_S)
        return query_id

    def look(self, query_id: str, deadline: Deadline) -> Query:
        """How a query is.

        Raises:
            Missing: it is no longer kept.
        """
        found = _object(self.api.get(self._url(query_id), deadline))
        about = found.get("approximateReturnedRecordCount")
        return Query(
            str(found.get("status")).lower(),
            found.get("isRecordCountLimitExceeded") is True,
            about if isinstance(about, int) else 0,
        )

    def first_page(self, query_id: str) -> str:
        return f"{self._url(query_id)}/records?$top={PAGE_RECORDS}"

    def page(self, link: str, deadline: Deadline) -> Page:
        """One page of the records of a query that succeeded.

        Raises:
            Missing: the query is no longer kept.
            StartAgain: the link is no longer good.
        """
        self._check(link)
        found = _object(self.api.get(link, deadline))
        records, following = found.get("value"), found.get("@odata.nextLink") or ""
        if not (isinstance(records, list) and isinstance(following, str)):
            raise Defer("A page of Microsoft Graph's audit search holds no records.", MALFORMED_RETRY_S)
        return Page([msgspec.json.encode(_record(one)) for one in cast("list[Any]", records)], following)

    def _url(self, query_id: str) -> str:
        return f"{self.api.origin}{QUERIES}/{quote(query_id, safe='')}"

    def _check(self, link: str) -> None:
        if not (same_origin(link, self.api.origin) and urlsplit(link).path.startswith("/v1.0/")):
            raise AccessError(
                f"The audit search of {self.api.origin} sends a next page that lies elsewhere.",
                "Nothing was sent there. Check CLOUD and GRAPH_API_URL.",
            )


def record_types_of(workloads: frozenset[str]) -> frozenset[str]:
    """The record types to ask for; none, which means all, where a workload's are not known."""
    if not workloads <= set(RECORD_TYPES):
        return frozenset()
    return frozenset(name for workload in workloads for name in RECORD_TYPES[workload])


def _record(found: Any) -> Any:
    """The audit record inside an entry; what it lacks is taken from the entry around it."""
    if not isinstance(found, dict):
        return found
    entry = cast("dict[str, Any]", found)
    data = entry.get("auditData")
    known = _decoded_data(data) if isinstance(data, str) else data
    record = cast("dict[str, Any]", known) if isinstance(known, dict) else {}
    around = {
        "Id": entry.get("id"),
        "RecordType": entry.get("auditLogRecordType"),
        "CreationTime": entry.get("createdDateTime"),
        "Operation": entry.get("operation"),
        "Workload": entry.get("service"),
        "UserId": entry.get("userId") or entry.get("userPrincipalName"),
    }
    own = {name: value for name, value in record.items() if not name.startswith("@odata.")}
    return {**{name: value for name, value in around.items() if value and not own.get(name)}, **own}


def _decoded(text: bytes) -> Any:
    """What JSON text says; one text in it that breaks off inside a character must not cost all others.

    Raises:
        msgspec.DecodeError: it is no JSON.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(mended(text))


def _decoded_data(text: str) -> Any:
    try:
        return _decoded(text.encode())
    except msgspec.DecodeError:
        return None


def _object(reply: Reply) -> dict[str, Any]:
    try:
        found = _decoded(reply.body)
    except msgspec.DecodeError as error:
        raise Defer(f"The answer of Microsoft Graph is no JSON: {error}", MALFORMED_RETRY_S) from error
    if not isinstance(found, dict):
        raise Defer("The answer of Microsoft Graph is no JSON object.", MALFORMED_RETRY_S)
    return cast("dict[str, Any]", found)
