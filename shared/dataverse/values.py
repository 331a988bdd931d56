"""How much of an action's inputs and outputs is kept, and what is hidden."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import msgspec

HIDDEN = "(hidden)"
HIDDEN_JSON = b'"(hidden)"'
CUT = "…"
TOO_DEEP = '"(nested too deeply)"'
MOST_REMEMBERED = 10_000
LONGEST_REMEMBERED = 500
STRUCTURES = (b"{", b"[")
SUSPICIOUS = frozenset(b"{[\\ \t\r\n")  # a structure, or what may stand in front of one
QUOTE = ord('"')
NOTHING = (b"null", b'""')


class Parameter(msgspec.Struct, gc=False, rename="camel", forbid_unknown_fields=True):
    """An input or output as almost all are written; anything else goes the careful way."""

    value: msgspec.Raw
    variable_name: str | None = None
    localized_name: str | None = None


_Key = TypeVar("_Key")
_Known = TypeVar("_Known")

_parameters = msgspec.json.Decoder(dict[str, Parameter])


@dataclass(frozen=True)
class _Frame:
    """What stands in the JSON before and after the values of a parameter, and whether they are secret."""

    names: tuple[str, ...]
    before: bytes
    after: bytes
    secret: bool


_FrameKey = tuple[str, str | None, str | None]


@dataclass(frozen=True)
class ValueRules:
    """`keep` is full, names or off (the setting `ACTION_VALUES`); the rest are the settings of their names.

    A log names the same few parameters and variables over and over, so it is remembered what becomes of each.
    """

    keep: str
    redact_names: re.Pattern[str]
    max_chars: int
    _secret: dict[str, bool] = field(default_factory=dict[str, bool], repr=False)
    _frames: dict[_FrameKey, _Frame] = field(default_factory=dict["_FrameKey", _Frame], repr=False)

    def text(self, raw: bytes) -> str | None:
        """Inputs or outputs as compact JSON: name to value, or to value and variable where a variable is named.

        `raw` is the JSON text of `{name: {localizedName, value, variableName}}`. `None` where there is nothing.
        """
        if self.keep == "off" or raw in (b"{}", b"null"):
            return None
        try:
            return self._quick(raw)
        except RecursionError:
            return TOO_DEEP
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._careful(raw)

    def _quick(self, raw: bytes) -> str | None:
        members: list[bytes] = []
        for name, parameter in _parameters.decode(raw).items():
            key = (name, parameter.variable_name, parameter.localized_name)
            frame = self._frames.get(key) or self._frame(key)
            members.append(frame.before + self._kept_json(frame, bytes(parameter.value)) + frame.after)
        return (b"{" + b",".join(members) + b"}").decode() if members else None

    def _frame(self, key: _FrameKey) -> _Frame:
        """What stands around a parameter's values, made once for all of its name, variable and label."""
        name, variable, _ = key
        names = (name, *filter(None, key[1:]))
        before = msgspec.json.encode(name) + b":"
        secret = any(map(self.is_secret, names))
        if variable:
            after = b',"variable":' + msgspec.json.encode(variable) + b"}"
            frame = _Frame(names, before + b'{"value":', after, secret)
        else:
            frame = _Frame(names, before, b"", secret)
        _remember(self._frames, key, frame, sum(map(len, names)))
        return frame

    def _kept_json(self, frame: _Frame, value: bytes) -> bytes:
        """A value's JSON as it stands, where nothing about it asks for a closer look."""
        if value in NOTHING:
            return value
        if frame.secret:
            return HIDDEN_JSON
        if self.keep == "names":
            return b"null"
        if value[0] == QUOTE:
            if value[1] not in SUSPICIOUS and len(value) <= self.max_chars and b"\\u" not in value:
                return value
        elif value[:1] not in STRUCTURES:
            return value
        return self.looked_into(frame.names, value)

    def looked_into(self, names: tuple[str, ...], value: bytes) -> bytes:
        """A value's JSON with what is secret in it hidden, cut where it is too long; the first name is its own."""
        return msgspec.json.encode(self._kept(names, msgspec.json.decode(value)))

    def is_secret(self, name: str) -> bool:
        """Whether what goes by this name is to be hidden."""
        if not name:
            return False
        secret = self._secret.get(name)
        if secret is None:
            secret = self.redact_names.search(name) is not None
            _remember(self._secret, name, secret, len(name))
        return secret

    def _careful(self, raw: bytes) -> str | None:
        """The same for a document of any other shape, value by value."""
        try:
            document = _decoded(raw)
            if not document:
                return None
            reduced = self._members(document) if isinstance(document, dict) else self._value("", document)
            return msgspec.json.encode(reduced).decode()
        except RecursionError:
            return TOO_DEEP

    def _members(self, members: Any) -> dict[str, Any]:
        return {key: self._value(key, member) for key, member in members.items()}

    def _value(self, name: str, value: Any) -> Any:
        """A value of any shape; what stands under a secret name is hidden whole."""
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            if "value" in members:
                return self._parameter(name, members)
            return HIDDEN if members and self.is_secret(name) else self._members(members)
        if isinstance(value, list):
            return [self._value(name, item) for item in cast("list[Any]", value)]
        return self._kept((name,), value)

    def _parameter(self, name: str, members: dict[str, Any]) -> Any:
        """A value that is told of by its neighbours: each text beside it may be the name that makes it secret."""
        beside = {key: text for key, text in members.items() if key != "value"}
        names = (name, *(text for text in beside.values() if isinstance(text, str)))
        kept = {"value": self._kept(names, members["value"])}
        if variable := beside.pop("variableName", None):
            kept["variable"] = str(variable)
        beside.pop("localizedName", None)
        kept |= {
            key: HIDDEN if self.is_secret(name) and text else self._value(key, text)
            for key, text in beside.items()
        }
        return kept if len(kept) > 1 else kept["value"]

    def _kept(self, names: tuple[str, ...], value: Any) -> Any:
        if value is None or value == "":
            return value
        if any(map(self.is_secret, names)):
            return HIDDEN
        if self.keep == "names":
            return None
        if isinstance(value, (bool, int, float)):
            return value
        return self._cut(self._text_of(names[0], value))

    def _text_of(self, name: str, value: Any) -> str:
        """A value as text. Objects and lists, which may come as text themselves, are looked into for secrets."""
        inner = _structure(value) if isinstance(value, str) else value
        if inner is None:
            return HIDDEN if _breaks_off(value) and self._names_a_secret(value) else str(value)
        return msgspec.json.encode(self._value(name, inner)).decode()

    def _names_a_secret(self, text: str) -> bool:
        return self.redact_names.search(text) is not None

    def _cut(self, text: str) -> str:
        return text[: self.max_chars] + CUT if len(text) > self.max_chars else text


def _remember(known: dict[_Key, _Known], key: _Key, value: _Known, length: int) -> None:
    """Keep what was found out about a name, unless that would take much memory."""
    if len(known) >= MOST_REMEMBERED:
        known.clear()
    if length <= LONGEST_REMEMBERED:
        known[key] = value


def _structure(text: str) -> Any:
    """The object or list that a text holds; `None` if it holds none."""
    if not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def _breaks_off(text: str) -> bool:
    """Whether a text that is no structure begins like one, as one that was cut does."""
    return text.lstrip().startswith(("{", "["))


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"unreadable": HIDDEN}
