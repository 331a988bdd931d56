"""How much of an action's inputs and outputs is kept, and what is hidden."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
IN_FRONT = " \t\r\n\ufeff"  # of a structure, in a text that holds one: white space, a byte-order mark
SUSPICIOUS = frozenset(b"{[\\ \t\r\n\xef")  # how a text begins, in UTF-8, that may hold a structure
QUOTE = ord('"')
NOTHING = (b"null", b'""')
EMPTY = (None, "")
VALUE = "value"
OFF = "off"
TOLD = frozenset({VALUE, "variableName", "localizedName"})
"""What is kept of a parameter in a way of its own."""


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
        if self.keep == OFF or raw in (b"{}", b"null"):
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
            is_object = isinstance(document, dict)
            reduced = self._members(cast("Any", document)) if is_object else self._value("", document)
            return msgspec.json.encode(reduced).decode()
        except RecursionError:
            return TOO_DEEP

    def _members(self, members: dict[str, Any]) -> dict[str, Any]:
        """Each member under its own name, a `Value` also under the texts beside it: they may tell what it is."""
        values = [key for key in members if key.lower() == VALUE]
        reduced = {key: self._value(key, member) for key, member in members.items()}
        if values and any(map(self.is_secret, _texts(members))):
            reduced |= {key: HIDDEN for key in values if members[key] not in EMPTY}
        return reduced

    def _value(self, name: str, value: Any) -> Any:
        """A value of any shape; what stands under a secret name is hidden whole."""
        if isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            if VALUE in members:
                return self._parameter(name, members)
            return HIDDEN if members and self.is_secret(name) else self._members(members)
        if isinstance(value, list):
            return [self._value(name, item) for item in cast("list[Any]", value)]
        return self._kept((name,), value)

    def _parameter(self, name: str, members: dict[str, Any]) -> Any:
        """A value that is told of by its neighbours: each text beside it may be the name that makes it secret."""
        names = (name, *_texts(members))
        kept = {VALUE: self._kept(names, members[VALUE])}
        if variable := members.get("variableName"):
            kept["variable"] = variable if isinstance(variable, str) else self._value(name, variable)
        beside = {key: member for key, member in members.items() if key not in TOLD}
        kept |= {
            key: HIDDEN if self.is_secret(name) and beside[key] else reduced
            for key, reduced in self._members(beside).items()
        }
        return kept if len(kept) > 1 else kept["value"]

    def _kept(self, names: tuple[str, ...], value: Any) -> Any:
        if value in EMPTY:
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


def _texts(members: dict[str, Any]) -> Iterator[str]:
    """The texts beside a value, each of which may be its name."""
    return (text for key, text in members.items() if isinstance(text, str) and key.lower() != VALUE)


def _structure(text: str) -> Any:
    """The object or list that a text holds, also as JSON in JSON; `None` if it holds none."""
    text = text.lstrip(IN_FRONT)
    if not text.startswith(("{", "[", '"')):
        return None
    try:
        held = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    return _structure(held) if isinstance(held, str) else held


def _breaks_off(text: str) -> bool:
    """Whether a text that is no structure begins like one, as one that was cut does."""
    return text.lstrip(IN_FRONT + '"\\').startswith(("{", "["))


def _decoded(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"unreadable": HIDDEN}
