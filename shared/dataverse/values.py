"""How much of an action's inputs and outputs is kept, and what is hidden."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

HIDDEN = "(hidden)"
CUT = "…"
MOST_REMEMBERED = 2_000
LONGEST_REMEMBERED_BYTES = 2_000


@dataclass(frozen=True)
class ValueRules:
    """`keep` is full, names or off (the setting `ACTION_VALUES`); the rest are the settings of their names.

    Loops repeat the same inputs over and over, so the last results are remembered.
    """

    keep: str
    redact_names: re.Pattern[str]
    max_chars: int
    _results: dict[bytes, str | None] = field(default_factory=dict[bytes, "str | None"], repr=False)

    def text(self, raw: bytes) -> str | None:
        """Inputs or outputs as compact JSON: name to value, or to value and variable where a variable is named.

        `raw` is the JSON text of `{name: {localizedName, value, variableName}}`. `None` where there is nothing.
        """
        if self.keep == "off" or raw in (b"{}", b"null"):
            return None
        if raw not in self._results:
            result = self._text(raw)
            if len(raw) > LONGEST_REMEMBERED_BYTES:
                return result
            if len(self._results) >= MOST_REMEMBERED:
                self._results.clear()
            self._results[raw] = result
        return self._results[raw]

    def _text(self, raw: bytes) -> str | None:
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
            if members.keys() >= {"value", "variableName"} or members.keys() == {"value"}:
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
        if self.redact_names.search(name) or (variable and self.redact_names.search(variable)):
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
