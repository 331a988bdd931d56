"""How much of an action's inputs and outputs is kept, and what is hidden."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import msgspec

HIDDEN = "(hidden)"
HIDDEN_JSON = b'"(hidden)"'
CUT = "…"
MOST_REMEMBERED = 10_000
STRUCTURES = (b"{", b"[")
SUSPICIOUS = (*STRUCTURES, b"\\")  # an escaped blank may stand in front of a structure


class Parameter(msgspec.Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    """An input or output as almost all are written; anything else goes the careful way."""

    value: msgspec.Raw
    variable_name: str | None = None
    localized_name: str | None = None


_parameters = msgspec.json.Decoder(dict[str, Parameter])


@dataclass(frozen=True)
class ValueRules:
    """`keep` is full, names or off (the setting `ACTION_VALUES`); the rest are the settings of their names.

    A log names the same few parameters and variables over and over, so it is remembered which are secret.
    """

    keep: str
    redact_names: re.Pattern[str]
    max_chars: int
    _secret: dict[str, bool] = field(default_factory=dict[str, bool], repr=False)

    def text(self, raw: bytes) -> str | None:
        """Inputs or outputs as compact JSON: name to value, or to value and variable where a variable is named.

        `raw` is the JSON text of `{name: {localizedName, value, variableName}}`. `None` where there is nothing.
        """
        if self.keep == "off" or raw in (b"{}", b"null"):
            return None
        try:
            parameters = _parameters.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._careful(raw)
        members = [
            _json_text(name) + b":" + self._member(name, parameter) for name, parameter in parameters.items()
        ]
        return (b"{" + b",".join(members) + b"}").decode() if members else None

    def _member(self, name: str, parameter: Parameter) -> bytes:
        variable = parameter.variable_name or ""
        value = self._kept_json(name, variable, bytes(parameter.value))
        return b'{"value":' + value + b',"variable":' + _json_text(variable) + b"}" if variable else value

    def _kept_json(self, name: str, variable: str, value: bytes) -> bytes:
        """A value's JSON as it stands, where nothing about it asks for a closer look."""
        if value in (b"null", b'""'):
            return value
        if self._is_secret(name) or (variable and self._is_secret(variable)):
            return HIDDEN_JSON
        if self.keep == "names":
            return b"null"
        if value[:1] == b'"':
            if b"\\u" not in value and len(value) <= self.max_chars and value[1:].lstrip()[:1] not in SUSPICIOUS:
                return value
        elif value[:1] not in STRUCTURES:
            return value
        return msgspec.json.encode(self._kept(name, variable, msgspec.json.decode(value)))

    def _is_secret(self, name: str) -> bool:
        secret = self._secret.get(name)
        if secret is None:
            if len(self._secret) >= MOST_REMEMBERED:
                self._secret.clear()
            secret = self._secret[name] = self.redact_names.search(name) is not None
        return secret

    def _careful(self, raw: bytes) -> str | None:
        """The same for a document of any other shape, value by value."""
        document = _decoded(raw)
        if not document:
            return None
        reduced = self._members(document) if isinstance(document, dict) else self._value("", document)
        return msgspec.json.encode(reduced).decode()

    def _members(self, members: Any) -> dict[str, Any]:
        return {key: self._value(key, member) for key, member in members.items()}

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            if "value" in members and members.keys() <= {"value", "variableName", "localizedName"}:
                return self._parameter(name, members)
            return self._members(members)
        if isinstance(value, list):
            return [self._value(name, item) for item in cast("list[Any]", value)]
        return self._kept(name, "", value)

    def _parameter(self, name: str, members: dict[str, Any]) -> Any:
        variable = members.get("variableName") or ""
        value = self._kept(name, str(variable), members["value"])
        return {"value": value, "variable": variable} if variable else value

    def _kept(self, name: str, variable: str, value: Any) -> Any:
        if value is None or value == "":
            return value
        if self._is_secret(name) or (variable and self._is_secret(variable)):
            return HIDDEN
        if self.keep == "names":
            return None
        if isinstance(value, (bool, int, float)):
            return value
        return self._cut(self._text_of(name, value))

    def _text_of(self, name: str, value: Any) -> str:
        """A value as text. Objects and lists, which may come as text themselves, are looked into for secrets."""
        inner = _structure(value) if isinstance(value, str) else value
        if inner is None:
            return str(value)
        return msgspec.json.encode(self._value(name, inner)).decode()

    def _cut(self, text: str) -> str:
        return text[: self.max_chars] + CUT if len(text) > self.max_chars else text


@lru_cache(MOST_REMEMBERED)
def _json_text(text: str) -> bytes:
    return msgspec.json.encode(text)


def _structure(text: str) -> Any:
    """The object or list that a text holds; `None` if it holds none."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"unreadable": {"value": raw.decode("utf-8", "replace"), "variableName": ""}}
