"""The table service in memory: entities, ETags, filters, continuation and transactions."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count, islice
from typing import Any
from urllib.parse import quote, unquote

from crash.wire import Answer, Call, call_of

KEYED = re.compile(r"(\w+)\(PartitionKey='((?:[^']|'')*)',RowKey='((?:[^']|'')*)'\)")
TOKEN = re.compile(r"\s*(\(|\)|datetime'[^']*'|'(?:[^']|'')*'|[^\s()]+)")
PART = re.compile(rb"\r\n\r\n(\w+) (\S+) HTTP/1\.1\r\n(.*?)\r\n\r\n(.*)", re.DOTALL)
BOUNDARY = re.compile(rb"boundary=(changeset_\S+)")
MOST_LISTED = 1000
JSON = {"Content-Type": "application/json;odata=minimalmetadata"}
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda one, other: one == other,
    "ne": lambda one, other: one != other,
    "gt": lambda one, other: one > other,
    "ge": lambda one, other: one >= other,
    "lt": lambda one, other: one < other,
    "le": lambda one, other: one <= other,
}
CODES = {
    501: "NotImplemented",
    404: "ResourceNotFound",
    409: "EntityAlreadyExists",
    412: "UpdateConditionNotSatisfied",
}

Key = tuple[str, str]
Match = Callable[["Entity"], bool]


@dataclass(frozen=True, eq=False)
class Entity:
    """`properties` is the JSON as it was sent, types beside values."""

    properties: dict[str, Any]
    etag: str

    def value(self, name: str) -> Any:
        value, kind = self.properties.get(name), self.properties.get(f"{name}@odata.type")
        return int(value) if kind == "Edm.Int64" and value is not None else value


Tables = dict[str, dict[Key, Entity]]


class MemoryTables:
    def __init__(self) -> None:
        self.tables: Tables = {}
        self._numbers = count(1)
        self._in_order: dict[str, list[Key]] = {}

    def snapshot(self) -> Tables:
        return {name: dict(entities) for name, entities in self.tables.items()}

    def restore(self, kept: Tables) -> None:
        self.tables = {name: dict(entities) for name, entities in kept.items()}
        self._in_order.clear()

    def __call__(self, call: Call) -> Answer:
        if call.path == "Tables":
            return self._tables(call)
        if call.path == "$batch":
            return self._transaction(call)
        name, _, rest = call.path.partition("(")
        if name not in self.tables:
            return _refusal(404, "TableNotFound")
        if rest == ")":
            return self._query(call, name)
        return self._write(call) if call.method != "GET" else self._get(call)

    def _tables(self, call: Call) -> Answer:
        if call.method == "GET":
            return _json(200, {"value": [{"TableName": name} for name in sorted(self.tables)]})
        name = json.loads(call.body)["TableName"]
        if name in self.tables:
            return _refusal(409, "TableAlreadyExists")
        self.tables[name] = {}
        return _json(201, {"TableName": name})

    def _get(self, call: Call) -> Answer:
        table, key = _place(call)
        entity = self.tables[table].get(key)
        if entity is None:
            return _refusal(404)
        return _json(200, {"odata.etag": entity.etag, **entity.properties}, ETag=entity.etag)

    def _query(self, call: Call, table: str) -> Answer:
        match = compiled(call.query["$filter"]) if call.query.get("$filter") else (lambda _: True)
        after = (unquote(call.query.get("NextPartitionKey", "")), unquote(call.query.get("NextRowKey", "")))
        most = min(MOST_LISTED, int(call.query.get("$top", MOST_LISTED)))
        entities, keys = self.tables[table], self._keys(table)
        found = list(
            islice((key for key in islice(keys, bisect_left(keys, after), None) if match(entities[key])), most + 1)
        )
        wanted = set(call.query["$select"].split(",")) if "$select" in call.query else None
        value = [_shown(entities[key], wanted) for key in found[:most]]
        more: dict[str, str] = {}
        if len(found) > most:
            partition, row = found[most]
            more = {
                "x-ms-continuation-NextPartitionKey": quote(partition),
                "x-ms-continuation-NextRowKey": quote(row),
            }
        return _json(200, {"value": value}, **more)

    def _keys(self, table: str) -> list[Key]:
        if table not in self._in_order:
            self._in_order[table] = sorted(self.tables[table])
        return self._in_order[table]

    def _put(self, table: str, key: Key, entity: Entity | None) -> None:
        entities = self.tables[table]
        if (entity is None) == (key in entities):
            self._in_order.pop(table, None)
        if entity is None:
            entities.pop(key, None)
        else:
            entities[key] = entity

    def _write(self, call: Call) -> Answer:
        """One entity written, or why it can't be."""
        table, key = _place(call)
        if refused := _refused(call, self.tables[table].get(key)):
            return _refusal(refused)
        if call.method == "DELETE":
            self._put(table, key, None)
            return Answer(204)
        entity = Entity(json.loads(call.body), f"W/\"datetime'{next(self._numbers):012d}'\"")
        self._put(table, key, entity)
        if call.method == "POST":
            return _json(201, {"odata.etag": entity.etag, **entity.properties}, ETag=entity.etag)
        return Answer(204, headers={"ETag": entity.etag})

    def _transaction(self, call: Call) -> Answer:
        """All writes, or none and the answer to the first that can't be."""
        before: list[tuple[str, Key, Entity | None]] = []
        answers: list[Answer] = []
        for number, part in enumerate(_parts(call)):
            table, key = _place(part)
            before.append((table, key, self.tables[table].get(key)))
            answer = self._write(part)
            if answer.status >= 300:
                for place in reversed(before):
                    self._put(*place)
                return _multipart([_refusal(answer.status, at=number)])
            answers.append(answer)
        return _multipart(answers)


def _refused(call: Call, before: Entity | None) -> int:
    """The status that refuses a write; 0 if none does."""
    guard = call.headers.get("if-match")
    if call.method not in ("POST", "PUT", "DELETE"):
        return 501
    if before is None:
        return 404 if guard else 0
    if call.method == "POST":
        return 409
    return 412 if guard not in (None, "*", before.etag) else 0


def _place(call: Call) -> tuple[str, Key]:
    """Table and key, which an insert names in its body only."""
    keyed = KEYED.fullmatch(call.path)
    if keyed:
        return keyed[1], (keyed[2].replace("''", "'"), keyed[3].replace("''", "'"))
    properties = json.loads(call.body)
    return call.path, (properties["PartitionKey"], properties["RowKey"])


def _parts(call: Call) -> Iterator[Call]:
    boundary = BOUNDARY.search(call.body)
    for part in call.body.split(b"--" + boundary[1])[1:-1] if boundary else ():
        if found := PART.search(part):
            lines = (line.partition(": ") for line in found[3].decode().split("\r\n"))
            headers = {name: value for name, _, value in lines}
            yield call_of(found[1].decode(), found[2].decode(), headers, found[4].rstrip(b"\r\n"))


def _shown(entity: Entity, wanted: set[str] | None) -> dict[str, Any]:
    kept = {
        name: value
        for name, value in entity.properties.items()
        if wanted is None or name.removesuffix("@odata.type") in wanted
    }
    return {"odata.etag": entity.etag, **kept}


@cache
def compiled(filter_: str) -> Match:
    """A filter as a function: comparisons with literals, `and`, `or` and brackets."""
    tokens = TOKEN.findall(filter_)
    match = _either(tokens)
    if tokens:
        raise ValueError(f"this filter goes on: {tokens}")
    return match


def _either(tokens: list[str]) -> Match:
    parts = [_both(tokens)]
    while tokens[:1] == ["or"]:
        del tokens[0]
        parts.append(_both(tokens))
    return parts[0] if len(parts) == 1 else lambda entity: any(part(entity) for part in parts)


def _both(tokens: list[str]) -> Match:
    parts = [_one(tokens)]
    while tokens[:1] == ["and"]:
        del tokens[0]
        parts.append(_one(tokens))
    return parts[0] if len(parts) == 1 else lambda entity: all(part(entity) for part in parts)


def _one(tokens: list[str]) -> Match:
    if tokens[0] == "(":
        del tokens[0]
        inner = _either(tokens)
        del tokens[0]
        return inner
    name, operator, literal = tokens[:3]
    del tokens[:3]
    value, compare = _literal(literal), COMPARE[operator]
    return lambda entity: entity.value(name) is not None and compare(entity.value(name), value)


def _literal(text: str) -> Any:
    """Instants stay text: all are written in one form, whose order is that of time."""
    if text.endswith("'"):
        return text.removeprefix("datetime")[1:-1].replace("''", "'")
    return {"true": True, "false": False}[text] if text in ("true", "false") else int(text.rstrip("L"))


def _json(status: int, content: Any, **headers: str) -> Answer:
    return Answer(status, json.dumps(content).encode(), {**JSON, **headers})


def _refusal(status: int, code: str = "", at: int | None = None) -> Answer:
    code = code or CODES[status]
    text = f"{at}:{code}" if at is not None else code
    error = {"odata.error": {"code": code, "message": {"lang": "en-US", "value": text}}}
    return _json(status, error, **{"x-ms-error-code": code})


def _multipart(answers: list[Answer]) -> Answer:
    inner = "".join(
        "--changesetresponse_1\r\nContent-Type: application/http\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        f"HTTP/1.1 {answer.status} Done\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
        + f"\r\n{answer.body.decode()}\r\n"
        for answer in answers
    )
    body = (
        "--batchresponse_1\r\nContent-Type: multipart/mixed; boundary=changesetresponse_1\r\n\r\n"
        f"{inner}--changesetresponse_1--\r\n--batchresponse_1--\r\n"
    )
    return Answer(202, body.encode(), {"Content-Type": "multipart/mixed; boundary=batchresponse_1"})
