"""Inputs and outputs of many actions at once: whole columns instead of one text after the other.

Nearly every parameter is written to one pattern, without white space:
`"NAME":{"localizedName":"LABEL","value":"TEXT","variableName":"VARIABLE"}`. The texts of a column are joined with
line feeds and cut at every `,"value":"` and every `","variableName":"`, so that values and what stands between two
of them take turns. What stands between is the same again and again: each wording is read once, and must fit
`BETWEEN` to the letter.

No cut lies inside a JSON string, for there the quote behind the comma would have a backslash before it. So each
value begins where a string begins; that it ends where this string ends shows in decoding all of them as one list.
Whatever is written in another way is left to `ValueRules.text`.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from shared.dataverse.values import HIDDEN, LONGEST_REMEMBERED, SUSPICIOUS, ValueRules

BEFORE_VALUE = ',"value":"'
BEHIND_VALUE = '","variableName":"'
STRING = r'(?:[^"\\\n]|\\.)*+'
BETWEEN = re.compile(
    rf'(?P<variable>{STRING})"\}}(?:,|\}}(?P<ends>\n(?:(?:\{{\}}|null)\n)*+)\{{)'
    rf'"(?P<name>{STRING})":\{{"localizedName":"(?P<label>{STRING})"'
)
FIRST, LAST = b'"}}', b'{"":{"localizedName":"","value":"'
"""Lines that make the begin and the end of a column look like a place between two values."""
FEWEST = 100
"""Fewer texts are done faster one by one."""
MOST_WORDINGS = 4096
A_TEXT = 1 << 32
"""More than there are names, so that the number of a text and that of a name go into one."""

TEXT, FLAG, NUMBER = pa.string(), pa.bool_(), pa.int64()
AT_BEFORE, AT_VALUE = (pa.scalar(place, pa.int32()) for place in (0, 1))
TWO = pa.scalar(2, pa.int32())
EMPTY, HIDDEN_TEXT, NONE, BETWEEN_STRINGS = (pa.scalar(text, TEXT) for text in ("", HIDDEN, None, '","'))
ASKS_FOR_A_LOOK = pa.array([bytes([first]) for first in sorted(SUSPICIOUS)], pa.binary())
"""How a value begins that holds a structure: with it, or with what may stand in front of one."""

_any = msgspec.json.Decoder(msgspec.Raw)
_string = msgspec.json.Decoder(str)


class Irregular(Exception):
    """Some text of a column is written in another way."""


class _Between(NamedTuple):
    """What stands between two values: the variable of the one, `ends` of texts, name and label of the other.

    `plain` or `wrapped` is written in its place, by whether the other value has a variable.
    """

    variable: str
    ends: int
    name: str
    label: str
    plain: str
    wrapped: str


def value_texts(rules: ValueRules, raws: Sequence[msgspec.Raw]) -> pa.Array:
    """Inputs or outputs of many actions, each as `ValueRules.text` gives it."""
    if rules.keep == "full" and len(raws) >= FEWEST:
        try:
            return _regular(rules, raws)
        except (Irregular, msgspec.DecodeError, UnicodeDecodeError, RecursionError, pa.ArrowInvalid):
            half = len(raws) // 2
            return pa.concat_arrays([value_texts(rules, raws[:half]), value_texts(rules, raws[half:])])
    return pa.array([rules.text(bytes(raw)) for raw in raws], TEXT)


def _regular(rules: ValueRules, raws: Sequence[msgspec.Raw]) -> pa.Array:
    column = _Column(b"\n".join([FIRST, *raws, LAST]))
    texts = pc.split_pattern(_in_one(column.written(rules), EMPTY), "\n").values
    if len(texts) != len(raws) + 2:
        raise Irregular
    texts = texts.slice(1, len(raws))
    return pc.if_else(pc.equal(texts, EMPTY), NONE, texts)


class _Column:
    """The values of a column, and for each of them the number of the wording before and of that behind it."""

    def __init__(self, joined: bytes) -> None:
        offsets = pa.py_buffer(array("i", (0, len(joined))))
        text = pa.Array.from_buffers(TEXT, 1, [None, offsets, pa.py_buffer(joined)])
        text.validate(full=True)
        pairs = pc.split_pattern(pc.split_pattern(text, BEHIND_VALUE).values, BEFORE_VALUE, max_splits=1)
        wordings = pc.list_element(pairs, AT_BEFORE).dictionary_encode()
        self._known: list[_Between] = [_between(wording) for wording in wordings.dictionary.to_pylist()]
        self._values = pc.list_element(pairs, AT_VALUE)
        self._before = wordings.indices
        self._behind = pa.concat_arrays(
            [self._before.slice(1), self._before.slice(0, 1)]
        )  # a begin has no variable
        self._variables, self._ends, self._names, self._labels, *self._written = zip(*self._known, strict=True)
        self._check_names()
        self._check_ends()

    def written(self, rules: ValueRules) -> pa.Array:
        """The same with the rules applied, piece by piece."""
        has_variable = pa.array([variable != "" for variable in self._variables], FLAG).take(self._behind)
        way = pc.add(pc.multiply(self._before, TWO), has_variable.cast(pa.int32()))
        around = pa.array(chain.from_iterable(zip(*self._written, strict=True)), TEXT).take(way)
        return pc.binary_join_element_wise(around, self._kept(rules), EMPTY)

    def _check_names(self) -> None:
        """See that no text names a parameter twice, for of two the last counts."""
        numbers = {name: number for number, name in enumerate(set(self._names))}
        names = pa.array([numbers[name] for name in self._names], NUMBER).take(self._before)
        texts = pc.cumulative_sum(pa.array([ends * A_TEXT for ends in self._ends], NUMBER).take(self._before))
        if pc.count_distinct(pc.add(texts, names)).as_py() != len(names):
            raise Irregular

    def _check_ends(self) -> None:
        """See that each value is one string."""
        together = bytes(_in_one(self._values, BETWEEN_STRINGS)[0].as_buffer())
        _any.decode(b'["' + together + b'"]')
        self._has_escapes = b"\\u" in together

    def _kept(self, rules: ValueRules) -> pa.Array:
        """The values under the rules."""
        asks, values = self._asks_for_a_look(rules), self._values
        secret = self._secret(rules)
        if secret is not None:
            asks = pc.and_not(asks, secret)
            values = pc.if_else(pc.and_(secret, pc.not_equal(values, EMPTY)), HIDDEN_TEXT, values)
        found = [self._looked_into(rules, at) for at in pc.indices_nonzero(asks).to_pylist()]
        return pc.replace_with_mask(values, asks, pa.array(found, TEXT)) if found else values

    def _asks_for_a_look(self, rules: ValueRules) -> pa.Array:
        """Which values may hold a structure, or are too long with their quotes."""
        begins = pc.is_in(pc.binary_slice(self._values.cast(pa.binary()), 0, 1), value_set=ASKS_FOR_A_LOOK)
        longest = pa.scalar(rules.max_chars - 2, pa.int32())
        asks = pc.or_(begins, pc.greater(pc.binary_length(self._values), longest))
        return pc.or_(asks, pc.match_substring(self._values, "\\u")) if self._has_escapes else asks

    def _secret(self, rules: ValueRules) -> pa.Array | None:
        """Which values stand under a secret name; `None` if no such name occurs."""
        secrets = set(filter(rules.is_secret, {*self._variables, *self._names, *self._labels}))
        if not secrets:
            return None
        names = zip(self._names, self._labels, strict=True)
        before = pa.array([not secrets.isdisjoint(both) for both in names], FLAG).take(self._before)
        behind = pa.array([variable in secrets for variable in self._variables], FLAG).take(self._behind)
        return pc.or_(before, behind)

    def _looked_into(self, rules: ValueRules, at: int) -> str:
        before = self._known[int(self._before[at].as_py())]
        behind = self._known[int(self._behind[at].as_py())]
        value = f'"{self._values[at].as_py()}"'.encode()
        return rules.looked_into((before.name, behind.variable, before.label), value)[1:-1].decode()


def _between(wording: str) -> _Between:
    return _remembered(wording) if len(wording) <= LONGEST_REMEMBERED else _read(wording)


def _read(wording: str) -> _Between:
    fits = BETWEEN.fullmatch(wording)
    if not fits:
        raise Irregular
    variable, name, label = (_string.decode(f'"{fits[part]}"') for part in ("variable", "name", "label"))
    ends = (fits["ends"] or "").count("\n")
    before = '","variable":' + _json(variable) + "}" if variable else '"'
    before += ("}" + "\n" * ends + "{" if ends else ",") + _json(name) + ":"
    return _Between(variable, ends, name, label, before + '"', before + '{"value":"')


_remembered = lru_cache(MOST_WORDINGS)(_read)


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _in_one(texts: pa.Array, between: pa.Scalar) -> pa.Array:
    """All texts joined, as an array of one."""
    return pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts), between)
