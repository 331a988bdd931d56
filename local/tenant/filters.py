"""The part of OData `$filter` that the simulation understands; anything else is refused, never ignored.

Understood: and, or, not, parentheses; eq ne gt ge lt le; null, true, false, numbers, 'text', GUIDs, dates;
startswith, contains, endswith; Microsoft.Dynamics.CRM.In(PropertyName='x',PropertyValues=['a','b']).
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from local.tenant.columns import Column, Kind, Table


class QueryError(Exception):
    """A query that Dataverse answers with 400."""


class Predicate(Protocol):
    """One node of a parsed filter."""

    def test(self, row: Mapping[str, Any]) -> bool: ...


_NUMBERS = {Kind.INT, Kind.BIGINT, Kind.DOUBLE, Kind.CHOICE}
_IDS = {Kind.GUID, Kind.LOOKUP, Kind.FILE}
_TEXTS = {Kind.STRING, Kind.MEMO}
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": operator.contains,
}
_IN = "Microsoft.Dynamics.CRM.In"

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^']|'')*')
  | (?P<guid>[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})(?![\w-])
  | (?P<time>\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,7})?)?(?:Z|[+-]\d\d:\d\d))?)(?![\w:.+-])
  | (?P<number>-?\d+(?:\.\d+)?)(?![\w.-])
  | (?P<name>[A-Za-z_][\w.]*)
  | (?P<sign>[()\[\],=])
    )""",
    re.VERBOSE,
)


def comparable(kind: Kind, value: Any) -> Any:
    """A column's value in the form in which values are compared: text without case, GUIDs in lower case."""
    if value is None:
        return None
    if kind in _TEXTS:
        return str(value).casefold()
    if kind in _IDS:
        return str(value).lower()
    if kind is Kind.TIME and isinstance(value, str):
        return datetime.fromisoformat(value)
    return value


@dataclass(frozen=True, slots=True)
class Comparison:
    """`column operator value`; like SQL behind Dataverse, `ne` also holds for null, an order never does."""

    column: Column
    operator: str
    value: Any

    def test(self, row: Mapping[str, Any]) -> bool:
        found = comparable(self.column.kind, row.get(self.column.property_name))
        if (found is None or self.value is None) and self.operator not in {"eq", "ne"}:
            return False
        return _OPERATORS[self.operator](found, self.value)


@dataclass(frozen=True, slots=True)
class Membership:
    """The column's value is one of several."""

    column: Column
    values: frozenset[Any]

    def test(self, row: Mapping[str, Any]) -> bool:
        return comparable(self.column.kind, row.get(self.column.property_name)) in self.values


@dataclass(frozen=True, slots=True)
class TextTest:
    """startswith, endswith or contains."""

    column: Column
    name: str
    text: str

    def test(self, row: Mapping[str, Any]) -> bool:
        found = comparable(self.column.kind, row.get(self.column.property_name))
        return found is not None and _TEXT_TESTS[self.name](found, self.text)


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; an empty one is the filter that was not given."""

    parts: tuple[Predicate, ...] = ()

    def test(self, row: Mapping[str, Any]) -> bool:
        return all(part.test(row) for part in self.parts)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Predicate, ...]

    def test(self, row: Mapping[str, Any]) -> bool:
        return any(part.test(row) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Predicate

    def test(self, row: Mapping[str, Any]) -> bool:
        return not self.part.test(row)


def parsed(text: str, table: Table, properties: Mapping[str, Column]) -> All:
    """The filter as a conjunction; `properties` are those that this environment has."""
    parser = _Parser(text, table, properties)
    found = parser.alternatives()
    if parser.token:
        raise parser.refusal()
    return found if isinstance(found, All) else All((found,))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise QueryError(f"Syntax error at position {at} in '{text}'.")
        tokens.append(_Token(match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
        at = match.end()
    return tokens


class _Parser:
    """Recursive descent: alternatives (or) of conjunctions (and) of terms."""

    def __init__(self, text: str, table: Table, properties: Mapping[str, Column]) -> None:
        self._text = text
        self._table = table
        self._properties = properties
        self._tokens = _tokens(text)
        self._next = 0

    @property
    def token(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def refusal(self) -> QueryError:
        at = len(self._text) if self.token is None else self.token.at
        return QueryError(f"Syntax error at position {at} in '{self._text}'.")

    def alternatives(self) -> Predicate:
        parts = [self._conjunction()]
        while self._accept("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _conjunction(self) -> Predicate:
        parts = [self._term()]
        while self._accept("and"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _term(self) -> Predicate:
        if self._accept("not"):
            return Not(self._negated())
        if self._accept("("):
            inner = self.alternatives()
            self._expect(")")
            return inner
        name = self._take("name").text
        if self._accept("("):
            return self._call(name)
        return self._comparison(self._column(name))

    def _negated(self) -> Predicate:
        """What `not` applies to; it binds tighter than eq, so a bare comparison needs parentheses."""
        term = self._term()
        if isinstance(term, Comparison) and self._tokens[self._next - 1].text != ")":
            raise self.refusal()
        return term

    def _comparison(self, column: Column) -> Predicate:
        sign = self._take("name").text
        if sign not in _OPERATORS:
            self._next -= 1
            raise self.refusal()
        value = self._literal(column)
        if column.kind in _IDS | {Kind.BOOL} and sign not in {"eq", "ne"}:
            raise QueryError(f"The operator '{sign}' is not supported for '{column.property_name}'.")
        return Comparison(column, sign, value)

    def _call(self, name: str) -> Predicate:
        if name == _IN:
            return self._membership()
        if name not in _TEXT_TESTS:
            raise QueryError(f"An unknown function with name '{name}' was found.")
        column = self._column(self._take("name").text)
        self._expect(",")
        text = self._text_literal()
        self._expect(")")
        if column.kind not in _TEXTS:
            raise QueryError(f"No function signature for '{name}' matches '{column.property_name}'.")
        return TextTest(column, name, text.casefold())

    def _membership(self) -> Predicate:
        self._argument("PropertyName")
        column = self._column(self._text_literal())
        self._expect(",")
        self._argument("PropertyValues")
        self._expect("[")
        values = [self._text_literal()]
        while self._accept(","):
            values.append(self._text_literal())
        self._expect("]")
        self._expect(")")
        return Membership(column, frozenset(_from_text(column, value) for value in values))

    def _argument(self, name: str) -> None:
        self._expect(name)
        self._expect("=")

    def _text_literal(self) -> str:
        return self._take("text").text[1:-1].replace("''", "'")

    def _column(self, name: str) -> Column:
        column = self._properties.get(name)
        if column is None:
            raise unknown_property(name, self._table)
        return column

    def _literal(self, column: Column) -> Any:
        token = self.token
        if token is None:
            raise self.refusal()
        self._next += 1
        if token.kind == "name" and token.text == "null":
            return None
        value = _value(column.kind, token)
        if value is None:
            raise QueryError(
                "A binary operator with incompatible types was detected. Found the operand "
                f"'{column.property_name}' of type {column.kind.value} and the literal {token.text}."
            )
        return value

    def _take(self, kind: str) -> _Token:
        token = self.token
        if token is None or token.kind != kind:
            raise self.refusal()
        self._next += 1
        return token

    def _accept(self, text: str) -> bool:
        if self.token is None or self.token.text != text:
            return False
        self._next += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self.refusal()


def unknown_property(name: str, table: Table) -> QueryError:
    return QueryError(f"Could not find a property named '{name}' on type 'Microsoft.Dynamics.CRM.{table.name}'.")


def _value(kind: Kind, token: _Token) -> Any:
    """A literal's value for a column of this kind; None when the types do not fit."""
    match token.kind:
        case "text" if kind in _TEXTS:
            return token.text[1:-1].replace("''", "'").casefold()
        case "guid" if kind in _IDS:
            return token.text.lower()
        case "time" if kind is Kind.TIME:
            return _time(token.text)
        case "number" if kind in _NUMBERS:
            return float(token.text) if "." in token.text else int(token.text)
        case "name" if kind is Kind.BOOL and token.text in {"true", "false"}:
            return token.text == "true"
        case _:
            return None


def _time(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError as problem:
        raise QueryError(f"'{text}' is no date.") from problem
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _from_text(column: Column, text: str) -> Any:
    """A value of an In list, where every value is quoted."""
    try:
        return int(text) if column.kind in _NUMBERS else comparable(column.kind, text)
    except ValueError as problem:
        raise QueryError(f"'{text}' does not fit '{column.property_name}'.") from problem
