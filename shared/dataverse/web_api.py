"""The Dataverse Web API of one environment: pages of rows, single documents, file columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import msgspec

from shared.clock import Deadline
from shared.errors import AccessError, Defer, Missing, TooLarge, Unreachable
from shared.json_text import sanitized
from shared.net.api import Api, Clocks, clocks, same_origin
from shared.net.transport import MEBIBYTE, Reply

Row = Mapping[str, Any]
NO_ROW: Row = {}

PAGE_ROWS = 1000
CHUNK_BYTES = 4 * MEBIBYTE
LONGEST_FILE_BYTES = 64 * MEBIBYTE
LONGEST_SIZE = 19  # digits
MOST_REPEATS = 100
MALFORMED_RETRY_S = 60.0
NO_SUCH_ROW = "0x80040217"
NO_RANGES = "0x80090017"
CODE = re.compile(r"0x[0-9a-f]{8}", re.IGNORECASE)
FIRST_BYTE = re.compile(r"bytes ([0-9]{1,18})-")
HEADERS = {
    "Accept": "application/json",
    "OData-MaxVersion": "4.0",
    "OData-Version": "4.0",
    "If-None-Match": "null",
}


@dataclass(frozen=True)
class Query:
    """Rows of one table: OData clauses as they read, not yet escaped; `unpublished` asks for drafts too."""

    table: str
    select: tuple[str, ...]
    filter: str = ""
    orderby: str = ""
    unpublished: bool = False

    @property
    def headers(self) -> Mapping[str, str]:
        return {**HEADERS, "MSCRM.IncludeUnpublished": "true"} if self.unpublished else HEADERS

    def path(self) -> str:
        clauses = {"$select": ",".join(self.select), "$filter": self.filter, "$orderby": self.orderby}
        return (
            self.table
            + "?"
            + "&".join(f"{name}={quote(text, safe=',():')}" for name, text in clauses.items() if text)
        )


@dataclass(frozen=True)
class WebApi:
    api: Api

    @property
    def root(self) -> str:
        return f"{self.api.origin}/api/data/v9.2/"

    def document(self, path: str, deadline: Deadline) -> Row:
        return _json_object(self.api.get(self.root + path, deadline, HEADERS))

    def is_gone(self, row: str, key: str, deadline: Deadline) -> bool:
        """Whether Dataverse says itself that there is no such row.

        A 404 of whatever stands in between says nothing of it; one for a file of the row may have the same code.
        """
        try:
            self.document(f"{row}?$select={key}", deadline)
        except Missing as error:
            return error.code.lower() == NO_SUCH_ROW
        return False

    def clocks(self, deadline: Deadline) -> Clocks:
        return clocks(self.api.get(self.root + "WhoAmI", deadline, HEADERS), self.api.clock.now())

    def answers(self, deadline: Deadline) -> bool:
        """Whether the environment answers at all, be it with a refusal.

        Raises:
            Defer: what it answers is that it can't now.
        """
        try:
            self.clocks(deadline)
        except Unreachable:
            return False
        except (AccessError, Missing):
            return True
        return True

    def pages(self, query: Query, deadline: Deadline, page_rows: int = PAGE_ROWS) -> Iterator[list[Row]]:
        """The rows, page after page.

        `@odata.nextLink` is followed to the letter (re-encoding breaks its cookie), but only inside this
        environment's API, and never twice; nor are pages that differ in nothing but their link. Where a page is
        longer than is read, all come once more with fewer rows each: a link may count on the length of its page.

        Raises:
            Missing: there is no such table.
            TooLarge: a single row is longer than is read.
        """
        first = self.root + query.path()
        url: str | None = first
        seen: set[str] = set()
        before: list[Row] | None = None
        repeats = 0
        while url:
            try:
                page = self._page(url, query, deadline, page_rows)
            except TooLarge:
                if page_rows == 1:
                    raise
                page_rows = max(1, page_rows // 10)
                url, before = first, None
                seen.clear()
                continue
            except Missing as error:
                if seen:  # the table is there: it gave a page before
                    raise Defer(f"A next page is not there. {error}", MALFORMED_RETRY_S) from error
                raise
            seen.add(url)
            rows = _rows(page)
            repeats = repeats + 1 if rows == before else 0
            if repeats >= MOST_REPEATS:
                raise Defer(f"Dataverse at {self.api.origin} repeats a page for ever.", MALFORMED_RETRY_S)
            yield rows
            before = rows
            url = self._checked(page.get("@odata.nextLink"), seen)

    def _page(self, url: str, query: Query, deadline: Deadline, page_rows: int) -> Row:
        return _json_object(
            self.api.get(url, deadline, {**query.headers, "Prefer": f"odata.maxpagesize={page_rows}"})
        )

    def _checked(self, link: Any, seen: set[str]) -> str | None:
        if not link:
            return None
        if not isinstance(link, str) or not (same_origin(link, self.api.origin) and link.startswith(self.root)):
            raise AccessError(
                f"Dataverse at {self.api.origin} sends a next page that lies elsewhere.",
                "Nothing was sent there. Check the environment's URL.",
            )
        if link in seen:
            raise Defer(f"Dataverse at {self.api.origin} repeats a page for ever.", MALFORMED_RETRY_S)
        return link

    def rows(self, query: Query, deadline: Deadline) -> Iterator[Row]:
        for page in self.pages(query, deadline):
            yield from page

    def file(self, path: str, deadline: Deadline) -> Iterator[bytes]:
        """The bytes of a file column, in chunks; none where the file is empty.

        Asks for ranges of 4 MiB; an environment whose key is managed by the customer ignores ranges and
        sends the whole file, or refuses them and is asked for all of it. Source: Power Apps docs, "Use file column
        data".

        Raises:
            Missing: no such row, or no such file (Dataverse answers 204 or 404).
            TooLarge: longer than is read.
        """
        at, first = 0, None
        while True:
            reply = self._part(path, at, deadline)
            first = first or reply
            if _is_another(first, reply):
                raise Defer(f"{path}: the file was replaced while its parts were read.", MALFORMED_RETRY_S)
            if reply.status == HTTPStatus.NO_CONTENT:
                raise Missing(f"{path} holds no file")
            if reply.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the file ends here: it may be empty
                return
            yield reply.body
            at += len(reply.body)
            if reply.status != HTTPStatus.PARTIAL_CONTENT or at >= _whole_size(reply, at):
                return
            if not reply.body:
                raise Defer(f"{path} comes in parts of which one is empty.", MALFORMED_RETRY_S)
            if at > LONGEST_FILE_BYTES:
                raise TooLarge(f"{path} is longer than {LONGEST_FILE_BYTES:,} bytes")

    def _part(self, path: str, at: int, deadline: Deadline) -> Reply:
        url = f"{self.root}{path}/$value"
        ranged = {**HEADERS, "Range": f"bytes={at}-{at + CHUNK_BYTES - 1}"}
        try:
            reply = self.api.get(url, deadline, ranged, LONGEST_FILE_BYTES)
        except Missing as error:
            if at:
                raise Defer(f"A part went missing behind others: {error}", MALFORMED_RETRY_S) from error
            if error.code.lower() != NO_RANGES:
                raise genuine(error) from error
            reply = self.api.get(url, deadline, HEADERS, LONGEST_FILE_BYTES)
        if reply.headers.get("content-type", "").startswith("text/html"):
            raise Defer(f"{path}: a web page came instead of the file.", MALFORMED_RETRY_S)
        if at and reply.status != HTTPStatus.PARTIAL_CONTENT:
            raise Defer(f"{path}: the file came whole in the middle of its parts.", MALFORMED_RETRY_S)
        first = FIRST_BYTE.match(reply.headers.get("content-range", ""))
        if first and int(first[1]) != at:
            raise Defer(f"{path}: another part of the file came than was asked for.", MALFORMED_RETRY_S)
        return reply


def genuine(error: Missing) -> Missing | Defer:
    """The same error if Dataverse says so; a 404 without its code comes from something in between."""
    if CODE.fullmatch(error.code):
        return error
    return Defer(f"Not an answer of Dataverse: {error}", MALFORMED_RETRY_S)


def _rows(page: Row) -> list[Row]:
    """The rows of a page; an answer without any list of rows is no page that happens to be empty."""
    rows = page.get("value")
    if not isinstance(rows, list):
        raise Defer("The answer is no page of rows.", MALFORMED_RETRY_S)
    return [row if isinstance(row, dict) else NO_ROW for row in cast("list[Any]", rows)]


def _is_another(first: Reply, later: Reply) -> bool:
    """Whether a later part tells that it is one of another file, by the size of the whole or the ETag."""
    return any(told and now and told != now for told, now in zip(_marks(first), _marks(later), strict=True))


def _marks(reply: Reply) -> tuple[str, str, str]:
    told = reply.headers.get
    return told("content-range", "").rpartition("/")[2].strip("*"), told("x-ms-file-size", ""), told("etag", "")


def _whole_size(reply: Reply, at: int) -> int:
    """Size of the whole file in bytes, as either header tells; `at` where none does and the part is not full."""
    told = reply.headers.get("content-range", "").rpartition("/")[2] or reply.headers.get("x-ms-file-size", "")
    if told.isdecimal() and len(told) < LONGEST_SIZE:
        return int(told)
    return at + 1 if len(reply.body) == CHUNK_BYTES else at


def _decoded(body: bytes) -> Any:
    """JSON; where text in it breaks off inside a character, that one is replaced and no row is lost for it."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.decode(b"".join(sanitized([body])))


def _json_object(reply: Reply) -> Row:
    try:
        document = _decoded(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Defer(f"The answer is no JSON: {error}", MALFORMED_RETRY_S) from error
    if not isinstance(document, dict):
        raise Defer("The answer is no JSON object.", MALFORMED_RETRY_S)
    return document  # type: ignore[return-value] - JSON object keys are text
