"""Decoding an action log of the first generation, the file `additionalcontext`, in bounded memory.

The file is `{"actions": [{…}, …], "childFlowsLogStatus": …}`. It is decoded window by window: the text from the
start of the array is cut after the last object that is surely complete, closed with `]` and decoded. Such a
cut can parse only where the array stood at its own depth outside any string, so a wrong cut is refused and the
one before it is tried. Where a few are wrong, as in a long value that is JSON itself, brackets are counted.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import msgspec
import pybase64

from shared.errors import TooLarge, Unreadable
from shared.json_text import sanitized

WINDOW_BYTES = 1024 * 1024
LONGEST_ACTION_BYTES = 32 * 1024 * 1024
MOST_CUTS_TRIED = 4
LONGEST_HEAD_BYTES = 256 * 1024
LONGEST_REST_BYTES = 256 * 1024

BASE64 = re.compile(rb'\s*"?[A-Za-z0-9+/]{4}')
ENVELOPE = re.compile(rb'\s*\{\s*(?:"@odata\.context"\s*:\s*"[^"\\]*"\s*,\s*)?"value"\s*:\s*"')
NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/=]+")
TRAILING = re.compile(r"trailing characters \(byte ([0-9]+)\)")  # counts from 1: the first that is too much
MEMBER = re.compile(rb'\s*,?\s*("(?:[^"\\]|\\.)*")\s*:\s*', re.DOTALL)
IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
STRING_OR_BRACKET = re.compile(rb'"' + IN_STRING.pattern + rb'(?:(")|(?=\\?\Z))|[\[\]{}]', re.DOTALL)
"""A string that has not ended goes to the end of the text, up to half an escape, and has no group 1."""
QUOTE = ord('"')
SCALAR = re.compile(rb"[^,{}\[\]\s\"]+")


class ActionError(msgspec.Struct, gc=False):
    code: str | None = None
    message: str | None = None


class ActionRecord(msgspec.Struct, gc=False, rename="camel"):
    """One action as the log writes it; times as text, because rounding a seventh digit could change the day."""

    name: str | None = None
    system_action_name: str | None = None
    system_module_name: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    index: int | None = None
    function_name: str | None = None
    inside_error_handling: bool | None = None
    status: str | None = None
    inputs: msgspec.Raw = msgspec.Raw(b"null")
    outputs: msgspec.Raw = msgspec.Raw(b"null")
    error: ActionError | None = None
    error_code: str | None = None
    error_message: str | None = None


_strict = msgspec.json.Decoder(list[ActionRecord])
_strict_one = msgspec.json.Decoder(ActionRecord)
_any_list = msgspec.json.Decoder(list[Any])


def read_actions(chunks: Iterable[bytes], *, repair: bool = False) -> Iterator[list[ActionRecord]]:
    """The actions of a log, in batches, from the pieces of its file.

    With `repair`, what no decoder accepts in a text is replaced first.

    Accepts what readers of such files have met: a byte-order mark, the document as base64 text, wrapped as the
    `value` of a JSON object or not, a bare array, white space, unknown fields, fields of another type.

    Raises:
        Unreadable: empty, no JSON, no list of actions, or cut off.
        TooLarge: one action alone is longer than is read.
    """
    source = _plain(_windows(iter(chunks)))
    if repair:
        source = _windows(sanitized(source))
    yield from _batches(chain([_array_start(source)], source))


def read_action(text: str) -> ActionRecord:
    """One action on its own, as a log of the second generation keeps it.

    Raises:
        Unreadable: it is no JSON object.
    """
    try:
        return _strict_one.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return _record(_an_object(text))


def read_front(text: str) -> ActionRecord:
    """What one action says before its text breaks off: the members that are whole."""
    data, at = text.encode(errors="replace"), 1
    while (member := MEMBER.match(data, at)) and (end := _after_value(data, member.end()) or at) > at:
        if end == len(data):  # perhaps not all of it
            break
        at = end
    try:
        return read_action(data[:at].decode(errors="replace") + "}")  # what is no object may begin with any letter
    except Unreadable:
        return ActionRecord()


def _an_object(text: str) -> Any:
    try:
        item = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise Unreadable(f"the action can't be read: {error}") from None
    if not isinstance(item, dict):
        raise Unreadable("the action is no JSON object")
    return cast("Any", item)


def _windows(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces of at least a window, but for the last."""
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        held.append(chunk)
        size += len(chunk)
        if size >= WINDOW_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _plain(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The JSON text, freed from a byte-order mark, from base64 and from the wrapping of base64."""
    head = next(chunks, b"").removeprefix(codecs.BOM_UTF8)
    if wrapped := ENVELOPE.match(head):
        return _plain(_base64(chain([head[wrapped.end() :]], chunks)))
    if BASE64.match(head) and head.lstrip()[:1] not in b"{[":
        return _plain(_base64(chain([head.lstrip().removeprefix(b'"')], chunks)))
    return chain([head], chunks)


def _base64(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decode base64 text up to the quote that ends it, in pieces of whole quanta."""
    held = b""
    for chunk in chunks:
        text, quote, _ = chunk.partition(b'"')
        held += NO_BASE64.sub(b"", text)
        whole = len(held) // 4 * 4
        yield _decoded(held[:whole])
        held = held[whole:]
        if quote:
            break
    if held:
        raise Unreadable("the file is base64 text that stops in the middle")


def _decoded(quanta: bytes) -> bytes:
    try:
        return pybase64.b64decode(quanta, validate=True)
    except ValueError as error:
        raise Unreadable(f"the file is neither JSON nor base64: {error}") from None


def _array_start(source: Iterator[bytes]) -> bytes:
    """The document from the opening bracket of the actions on, as far as it has been read."""
    head = b""
    for window in source:
        head += window
        at = _actions_at(head)
        if at is not None:
            return head[at:]
        if len(head) > LONGEST_HEAD_BYTES + WINDOW_BYTES:
            break
    if not head.strip():
        raise Unreadable("the file is empty")
    raise Unreadable("the file holds no list of actions")


def _actions_at(head: bytes) -> int | None:
    """Where the array of actions opens, once that much of the document is there."""
    start = len(head) - len(head.lstrip())
    if head[start : start + 1] == b"[":
        return start
    if head[start : start + 1] not in (b"{", b""):
        raise Unreadable("the file is no JSON")
    at: int | None = start + 1
    while at is not None and (member := MEMBER.match(head, at)):
        if member[1] == b'"actions"':
            return member.end() if head[member.end() : member.end() + 1] == b"[" else None
        at = _after_value(head, member.end())
    return None


def _after_value(text: bytes, at: int) -> int | None:
    """The place behind the JSON value at `at`; `None` if it is not complete."""
    if scalar := SCALAR.match(text, at):
        return scalar.end()
    depth = 0
    for token in STRING_OR_BRACKET.finditer(text, at):
        if token[0][:1] == b'"' and token.lastindex is None:
            return None
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    return None


def _batches(source: Iterator[bytes]) -> Iterator[list[ActionRecord]]:
    """Batches of actions, out of the text of an array and of what follows it."""
    text, brackets = bytearray(), _Brackets()
    windows = _marking_last(source)
    for window, is_last in windows:
        text = text + window  # a new buffer: the records of the batch before point into the old one
        if is_last:
            rows, end = _decode(text)
            yield rows
            _check_rest(bytes(text[end:]))
            return
        rows, text, ended = _complete_front(text, brackets)
        yield rows
        if ended:
            _check_rest(bytes(text), (window for window, _ in windows))
            return
        if rows:
            brackets = _Brackets()
        elif len(text) > LONGEST_ACTION_BYTES:
            raise TooLarge(f"one action is longer than {LONGEST_ACTION_BYTES:,} bytes")


def _marking_last(source: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    held = next(source, b"")
    for window in source:
        yield held, False
        held = window
    yield held, True


def _complete_front(text: bytearray, brackets: _Brackets) -> tuple[list[ActionRecord], bytearray, bool]:
    """The surely complete actions at the front, the text that is left, and whether the array ended in between.

    What is left starts with a bracket again, unless the array ended.

    Raises:
        Unreadable: the array is malformed.
    """
    for comma in () if brackets.at else _likely_cuts(text):
        with suppress(Unreadable):
            return _cut(text, comma)
    brackets.count(text)
    if brackets.ended:
        rows, end = _decode(memoryview(text)[: brackets.at])
        return rows, text[end:], True
    return _cut(text, brackets.comma) if brackets.comma else ([], text, False)


def _cut(text: bytearray, comma: int) -> tuple[list[ActionRecord], bytearray, bool]:
    text[comma] = ord("]")
    try:
        rows, end = _decode(memoryview(text)[: comma + 1])
    finally:
        text[comma] = ord(",")
    if end > comma:
        return rows, bytearray(b"[") + text[comma + 1 :], False
    return rows, text[end:], True


def _likely_cuts(text: bytearray) -> Iterator[int]:
    """Commas between a `}` and a `{`, from the last one back; a few, for a wrong one is rare."""
    brace, left = len(text), MOST_CUTS_TRIED
    while left and (brace := text.rfind(b"{", 0, brace)) >= 0:
        comma = _comma_before(text, brace)
        if comma and text[_before(text, comma)] == ord("}"):
            left -= 1
            yield comma


@dataclass
class _Brackets:
    """How far the text of an array has been looked at, and the last comma of the array's own that was met."""

    at: int = 0
    comma: int = 0
    ended: bool = False
    _depth: int = 0
    _in_string: bool = False

    def count(self, text: bytearray) -> None:
        """Go on to the end of the text, or of the array."""
        if self._in_string:
            self._leave_string(text)
        if self._in_string:
            return
        for token in STRING_OR_BRACKET.finditer(text, self.at):
            self.at = token.end()
            kind = text[token.start()]
            if kind == QUOTE:
                self._in_string = token.lastindex is None
            elif kind in b"[{":
                if self._depth == 1:
                    self.comma = _comma_before(text, token.start()) or self.comma
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth == 0:
                    self.ended = True
                    return

    def _leave_string(self, text: bytearray) -> None:
        rest = IN_STRING.match(text, self.at)
        self.at = rest.end() if rest else self.at
        if self.at < len(text) and text[self.at] == QUOTE:
            self.at, self._in_string = self.at + 1, False


def _comma_before(text: bytearray, at: int) -> int:
    """The place of a comma before `at`, with nothing but white space between; 0 where there is none."""
    before = _before(text, at)
    return before if text[before] == ord(",") else 0


def _before(text: bytearray, at: int) -> int:
    """The place of the last character before `at` that is no white space."""
    at -= 1
    while at > 0 and text[at] in b" \t\r\n":
        at -= 1
    return at


def _decode(text: bytes | bytearray | memoryview) -> tuple[list[ActionRecord], int]:
    """The actions of the array that `text` starts with, and the place behind the array.

    Raises:
        Unreadable: the array is cut off or malformed.
    """
    try:
        return _strict.decode(text), len(text)
    except msgspec.ValidationError:
        return _lenient(bytes(text))
    except msgspec.DecodeError as error:
        if ended := TRAILING.search(str(error)):
            return _decode(bytes(text[: int(ended[1]) - 1]))
        raise Unreadable(f"the list of actions can't be read: {error}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the list of actions can't be read: {error}") from None


def _lenient(text: bytes) -> tuple[list[ActionRecord], int]:
    """The same where some field has another type than usual: that field is taken as text or left out."""
    try:
        items = _any_list.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if ended := TRAILING.search(str(error)):
            return _lenient(text[: int(ended[1]) - 1])
        raise Unreadable(f"the list of actions can't be read: {error}") from None
    return [_record(item) for item in items], len(text)


def _record(item: Any) -> ActionRecord:
    """An action of any shape; one that is no object may hold anything, and so is kept as its inputs are."""
    fields = cast("dict[str, Any]", item if isinstance(item, dict) else {"inputs": item})
    error = cast("Any", fields.get("error"))
    details = cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": error}
    return ActionRecord(
        name=_text(fields.get("name")),
        system_action_name=_text(fields.get("systemActionName")),
        system_module_name=_text(fields.get("systemModuleName")),
        start_time=_text(fields.get("startTime")),
        end_time=_text(fields.get("endTime")),
        index=_whole(fields.get("index")),
        function_name=_text(fields.get("functionName")),
        inside_error_handling=_flag(fields.get("insideErrorHandling")),
        status=_text(fields.get("status")),
        inputs=msgspec.Raw(msgspec.json.encode(fields.get("inputs"))),
        outputs=msgspec.Raw(msgspec.json.encode(fields.get("outputs"))),
        error=None if error is None else ActionError(_text(details.get("code")), _told(details.get("message"))),
        error_code=_text(fields.get("errorCode")),
        error_message=_told(fields.get("errorMessage")),
    )


def _text(value: Any) -> str | None:
    """A name; an object or a list is none, and the values in it are not for a column of names."""
    return None if isinstance(value, (dict, list)) else _told(value)


def _told(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _whole(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else None


def _check_rest(rest: bytes, more: Iterable[bytes] = ()) -> None:
    """See that the document ends as it should behind the array; a rest too long to be looked at is let pass."""
    for window in more:
        rest += window
        if len(rest) > LONGEST_REST_BYTES:
            return
    if not rest.strip():
        return
    try:
        msgspec.json.decode(b'{"":[]' + rest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(f"the file stops or breaks behind the list of actions: {error}") from None
