"""The query options of one Dataverse request, checked, and the cookie that leads to its next page."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote, unquote_plus

from local.tenant.columns import Column, Kind, Table
from local.tenant.filters import All, QueryError, comparable, parsed, unknown_property
from local.tenant.world import Row

MAX_PAGE_SIZE = 5000
_COLLECTION_OPTIONS = {
    "$select",
    "$filter",
    "$orderby",
    "$top",
    "$expand",
    "$count",
    "$skiptoken",
}
_ROW_OPTIONS = {"$select", "$expand"}
_COOKIE = re.compile(r'<cookie pagenumber="(\d+)" pagingcookie="([\w=-]+)" istracking="False" />')
_EXPANSION = re.compile(r"(\w+)(?:\(([^()]*)\))?(?:,|$)")
_ORDER = re.compile(r"\s*(\w+)(?:\s+(asc|desc))?\s*")


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One key of an order."""

    column: Column
    descending: bool


@dataclass(frozen=True, slots=True)
class Expansion:
    """One expanded navigation property with the columns wanted from it; none means all."""

    name: str
    select: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cookie:
    """Where a page ended: the order values of its last row, and what the query was."""

    page: int
    last: tuple[Any, ...]
    checksum: int


@dataclass(frozen=True)
class Query:
    """One checked query; the order always ends with the primary key, so it is total."""

    table: Table
    selected: tuple[Column, ...]
    filter: All
    order: tuple[OrderKey, ...]
    expansions: tuple[Expansion, ...] = ()
    top: int | None = None
    count: bool = False
    cookie: Cookie | None = None
    checksum: int = 0


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the `Prefer` header asks for."""

    page_size: int = MAX_PAGE_SIZE
    annotations: str = ""

    @property
    def applied(self) -> str:
        parts = [f"odata.maxpagesize={self.page_size}"] if self.page_size < MAX_PAGE_SIZE else []
        parts += [f'odata.include-annotations="{self.annotations}"'] if self.annotations else []
        return ",".join(parts)


def preferences(prefer: str) -> Preferences:
    if "odata.track-changes" in prefer:
        raise QueryError("The simulation does not track changes.")
    size = re.search(r"odata\.maxpagesize\s*=\s*(\d+)", prefer)
    annotations = re.search(r'odata\.include-annotations\s*=\s*(?:"([^"]*)"|([^\s,;]+))', prefer)
    return Preferences(
        min(int(size[1]) or MAX_PAGE_SIZE, MAX_PAGE_SIZE) if size else MAX_PAGE_SIZE,
        (annotations[1] or annotations[2] or "") if annotations else "",
    )


def options(query: str) -> dict[str, str]:
    """Decoded query options by name; an option given twice is refused."""
    found: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        name = unquote(name)
        if name in found:
            raise QueryError(f"Query option '{name}' was specified more than once.")
        found[name] = unquote_plus(value)
    return found


def collection_query(table: Table, properties: Mapping[str, Column], given: Mapping[str, str]) -> Query:
    """The query of a collection; `properties` are those that this environment has."""
    _refuse_others(given, _COLLECTION_OPTIONS)
    checksum = zlib.crc32(repr([table.name, given.get("$filter"), given.get("$orderby")]).encode())
    return Query(
        table,
        _selected(table, properties, given.get("$select")),
        parsed(given["$filter"], table, properties) if "$filter" in given else All(),
        _order(table, properties, given.get("$orderby", "")),
        expansions(given.get("$expand", "")),
        _number(given["$top"], "$top") if "$top" in given else None,
        _flag(given.get("$count", "false"), "$count"),
        _cookie(given["$skiptoken"], checksum) if "$skiptoken" in given else None,
        checksum,
    )


def row_query(table: Table, properties: Mapping[str, Column], given: Mapping[str, str]) -> Query:
    """The query of a single row."""
    _refuse_others(given, _ROW_OPTIONS)
    selected = _selected(table, properties, given.get("$select"))
    return Query(table, selected, All(), (), expansions(given.get("$expand", "")))


def _refuse_others(given: Mapping[str, str], known: set[str]) -> None:
    if "$skip" in given:
        raise QueryError("Skip Clause is not supported in CRM")
    for name in given.keys() - known:
        raise QueryError(f"The query parameter {name} is not supported")


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise QueryError(f"Invalid value '{text}' for {name} query option found.")
    return int(text)


def _flag(text: str, name: str) -> bool:
    if text not in {"true", "false"}:
        raise QueryError(f"Invalid value '{text}' for {name} query option found.")
    return text == "true"


def _selected(table: Table, properties: Mapping[str, Column], text: str | None) -> tuple[Column, ...]:
    """The selected columns, the primary key always among them."""
    if text is None:
        return tuple(properties.values())
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in properties:
            raise unknown_property(name, table)
    return tuple(properties[name] for name in dict.fromkeys([*names, table.key]))


def _order(table: Table, properties: Mapping[str, Column], text: str) -> tuple[OrderKey, ...]:
    keys: list[OrderKey] = []
    for part in text.split(",") if text else []:
        match = _ORDER.fullmatch(part)
        if match is None:
            raise QueryError(f"Syntax error at position 0 in '{text}'.")
        if match[1] not in properties:
            raise unknown_property(match[1], table)
        keys.append(OrderKey(properties[match[1]], match[2] == "desc"))
    if all(key.column.name != table.key for key in keys):
        keys.append(OrderKey(table.columns[table.key], bool(keys) and keys[-1].descending))
    return tuple(keys)


def expansions(text: str) -> tuple[Expansion, ...]:
    """Parsed `$expand`; inside the parentheses only `$select` is known."""
    found: list[Expansion] = []
    at = 0
    while at < len(text):
        match = _EXPANSION.match(text, at)
        if match is None or (match[2] is not None and not match[2].startswith("$select=")):
            raise QueryError(f"Syntax error at position {at} in '{text}'.")
        wanted = (match[2] or "").removeprefix("$select=").split(",")
        found.append(Expansion(match[1], tuple(name.strip() for name in wanted if name)))
        at = match.end()
    return tuple(found)


def next_cookie(query: Query, last: Row) -> str:
    """The `$skiptoken` of the page after the row, ready for a URL."""
    values = [_plain(last.get(key.column.property_name)) for key in query.order]
    content = json.dumps([values, query.checksum]).encode()
    page = query.cookie.page + 1 if query.cookie else 2
    inner = base64.urlsafe_b64encode(content).decode()
    return quote(f'<cookie pagenumber="{page}" pagingcookie="{inner}" istracking="False" />')


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _cookie(text: str, checksum: int) -> Cookie:
    match = _COOKIE.fullmatch(text)
    if match is None:
        raise QueryError("Malformed XML in the Paging Cookie")
    try:
        values, found = json.loads(base64.urlsafe_b64decode(match[2]))
    except (TypeError, ValueError) as problem:
        raise QueryError("Malformed XML in the Paging Cookie") from problem
    if found != checksum:
        raise QueryError("The Paging Cookie belongs to another query")
    return Cookie(int(match[1]), tuple(values), checksum)


def position(column: Column, value: Any) -> tuple[bool, Any]:
    """A value's place in an order: nulls first, GUIDs as SQL Server sorts them."""
    if value is None:
        return (False, 0)
    found = comparable(column.kind, value)
    return (True, guid_order(found) if column.kind in {Kind.GUID, Kind.LOOKUP} else found)


def guid_order(guid: str) -> str:
    """SQL Server compares the last six bytes of a uniqueidentifier first and the first four last."""
    g = guid.lower()
    first = g[6:8] + g[4:6] + g[2:4] + g[0:2]
    return g[24:] + g[19:23] + g[16:18] + g[14:16] + g[11:13] + g[9:11] + first


def arranged(rows: Iterable[Row], query: Query) -> Iterator[Row]:
    """The rows that satisfy the query, in its order, from where its cookie points."""
    found = [row for row in rows if query.filter.test(row)]
    for key in reversed(query.order):
        found.sort(key=lambda row, key=key: _place(row, key), reverse=key.descending)
    return (row for row in found if query.cookie is None or _is_after(row, query))


def _place(row: Row, key: OrderKey) -> tuple[bool, Any]:
    return position(key.column, row.get(key.column.property_name))


def _is_after(row: Row, query: Query) -> bool:
    last: Sequence[Any] = query.cookie.last if query.cookie else ()
    for key, value in zip(query.order, last, strict=True):
        here, there = _place(row, key), position(key.column, value)
        if here != there:
            return (here > there) != key.descending
    return False
