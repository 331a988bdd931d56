"""A record of the audit log taken apart: what a column takes leaves it, what is left no column holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import msgspec

from shared.audit.ids import freed
from shared.errors import Unreadable

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder(order="deterministic").encode
LONGEST_TEXT = 4000
PAIR = frozenset({"name", "value"})


@dataclass
class Record:
    """A record under hand: its members, its properties and the JSON text that older records keep beside them."""

    members: dict[str, Any]
    properties: dict[str, Any]
    additional: dict[str, Any]
    additional_info: Any


def taken_apart(raw: bytes) -> Record:
    """A record from its JSON text.

    Raises:
        Unreadable: it is no JSON object.
    """
    try:
        members = decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the record is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise Unreadable("the record is no JSON object")
    known = cast("dict[str, Any]", members)
    collection, info = known.get("PropertyCollection"), known.get("AdditionalInfo")
    properties = _properties(collection) if collection else {}
    additional = _json_object(info) if info else {}
    if properties:
        del known["PropertyCollection"]
    if additional:
        del known["AdditionalInfo"]
    return Record(known, properties, additional, info)


def take(values: dict[str, Any], name: str) -> str | None:
    """A value as text. One that has to be cut, and one of several under the same name, also stays where it was."""
    value = values.get(name)
    if value is None:
        return None
    text = value.strip() if type(value) is str else text_of(value)
    if not text:
        return None
    if len(text) > LONGEST_TEXT:
        return text[:LONGEST_TEXT]
    if type(value) is not list:
        del values[name]
    return text


def take_id(values: dict[str, Any], name: str) -> str | None:
    """A value as an id. One in a path that says more also stays where it was."""
    value = values.get(name)
    text = take(values, name)
    if text is None or "/" not in text:
        return text.lower() if text else None
    found, is_whole = freed(text)
    if not is_whole:
        values[name] = value
    return found or None


def id_in(values: dict[str, Any], name: str) -> str | None:
    """A value as an id, left where it is."""
    text = text_of(values.get(name))
    return freed(text[:LONGEST_TEXT])[0] or None if text else None


def text_of(value: Any) -> str | None:
    """A value of any kind as text; of several under one name the last that says something."""
    if value is None or value == "":
        return None
    if isinstance(value, list):
        return next(filter(None, map(text_of, reversed(cast("list[Any]", value)))), None)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.strip() or None


def _properties(collection: Any) -> dict[str, Any]:
    """Name to value, names in lower case; of a name that comes twice with other values, all values."""
    try:
        properties = {pair["Name"].lower(): pair["Value"] for pair in collection if len(pair) == len(PAIR)}
    except (TypeError, KeyError, AttributeError):
        return _odd_properties(collection)
    return properties if len(properties) == len(collection) else _odd_properties(collection)


def _odd_properties(collection: Any) -> dict[str, Any]:
    """The same where not all are plain pairs; what is none, or more than that, is whole under the empty name."""
    properties: dict[str, Any] = {}
    for item in cast("list[Any]", collection) if isinstance(collection, list) else []:
        folded = _folded(item)
        name = folded.get("name")
        is_named = isinstance(name, str) and "value" in folded
        if is_named:
            _add(properties, cast("str", name).lower(), folded["value"])
        if not is_named or len(cast("dict[str, Any]", item)) > len(PAIR):
            _add(properties, "", item)
    return properties


def _folded(item: Any) -> dict[str, Any]:
    """The members of a pair by their names in lower case; the usual spelling counts where there are two."""
    members = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    return {name.lower(): members[name] for name in sorted(members, reverse=True)}


def _add(properties: dict[str, Any], name: str, value: Any) -> None:
    known = properties.get(name)
    if value is None or encode(known) == encode(value):
        properties.setdefault(name, value)
    else:
        properties[name] = value if known is None else [*_list(known), value]


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _json_object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = decode(value)
        except (msgspec.DecodeError, RecursionError):
            return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
