"""Columns of inputs and outputs: always what one text after the other gives, and the usual ones in one go."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dataverse import value_columns
from shared.dataverse.value_columns import Irregular, value_texts
from shared.dataverse.values import ValueRules

PATTERN = re.compile("password|secret", re.IGNORECASE)


def rules(keep: str = "full", most: int = 20) -> ValueRules:
    return ValueRules(keep, PATTERN, most)


def compact(document: Any, *, ascii_only: bool = False) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only, separators=(",", ":")).encode("utf-8", "replace")


def parameter(value: Any, variable: str = "", label: str = "Label") -> dict[str, Any]:
    return {"localizedName": label, "value": value, "variableName": variable}


def one_by_one(texts: list[bytes], **how: Any) -> list[str | None]:
    return [rules(**how).text(text) for text in texts]


def in_columns(texts: list[bytes], **how: Any) -> list[str | None]:
    return value_texts(rules(**how), [msgspec.Raw(text) for text in texts]).to_pylist()


def in_one_go(texts: list[bytes], **how: Any) -> list[str | None]:
    """The same, where nothing may be left to the other way."""
    return value_columns._regular(rules(**how), [msgspec.Raw(text) for text in texts]).to_pylist()


HOSTILE = [
    "",
    "x" * 40,
    "ä\u2028\U0001f600",
    '"',
    '\\"',
    "\\",
    "C:\\users\\u0041",
    "/",
    '","variableName":"',
    ',"value":"',
    '"}},{"',
    "}\n{",
    "\x00\x1f\n",
    '{"password":"hunter2"}',
    ' [{"secret":"hunter2"}]',
    "{cut",
    "\ufeff",
    ' \ufeff{"password":"hunter2"}',
    '"{\\"password\\":\\"hunter2\\"}"',
    '"{\\"password\\":\\"hunter2',
    '[{"Key":"Password","Value":"hunter2"}]',
    "[1,2",
    "null",
]
TEXTS = st.lists(st.sampled_from(HOSTILE), max_size=3).map("".join)
NAMES = st.sampled_from(
    ["text", "Password", "value", "Value", "variableName", "", "ä", 'q"', "back\\", "a\nb", "x" * 600]
)
USUAL = st.builds(parameter, TEXTS, NAMES, NAMES)
ANYTHING = (
    st.none() | st.booleans() | st.integers() | TEXTS | st.lists(TEXTS, max_size=2) | st.dictionaries(NAMES, TEXTS)
)
ODD = (
    st.builds(parameter, ANYTHING, NAMES, NAMES)
    | st.fixed_dictionaries({"value": TEXTS}, optional={"variableName": ANYTHING, "type": TEXTS, "Value": TEXTS})
    | ANYTHING
)
DOCUMENTS = st.dictionaries(NAMES, USUAL, max_size=4) | st.none()


@given(st.lists(DOCUMENTS, min_size=1, max_size=12), st.booleans(), st.sampled_from([1, 2, 20, 4000]))
def test_usual_parameters_are_done_in_one_go_with_the_same_result(
    documents: list[Any], ascii_only: bool, most: int
) -> None:
    texts = [compact(document, ascii_only=ascii_only) for document in documents]
    assert in_one_go(texts, most=most) == one_by_one(texts, most=most)


@given(
    st.lists(DOCUMENTS | st.dictionaries(NAMES, USUAL | ODD, max_size=4) | ANYTHING, min_size=1, max_size=12),
    st.sampled_from([None, 1]),
    st.sampled_from(["full", "names", "off"]),
)
def test_any_column_gives_what_its_texts_give(documents: list[Any], indent: int | None, keep: str) -> None:
    before, value_columns.FEWEST = value_columns.FEWEST, 2
    try:
        texts = [
            json.dumps(document, ensure_ascii=False, indent=indent).encode("utf-8", "replace") if indent
            else compact(document)
            for document in documents
        ]  # fmt: skip
        assert in_columns(texts, keep=keep) == one_by_one(texts, keep=keep)
    finally:
        value_columns.FEWEST = before


USUAL_TEXT = compact({"text": parameter("x", "V")})
STRANGE = {
    "another order": b'{"a":{"value":"x","localizedName":"","variableName":""}}',
    "white space": b'{"a": {"localizedName":"","value":"x","variableName":""}}',
    "space before a value": b'{"a":{"localizedName":"","value": "x","variableName":""}}',
    "a member between": b'{"a":{"localizedName":"","value":"x","type":"t","variableName":""}}',
    "a member behind": b'{"a":{"localizedName":"","value":"x","variableName":"","type":"t"}}',
    "a value twice": b'{"a":{"localizedName":"","value":"x","value":"y","variableName":""}}',
    "a name twice": b'{"a":{"localizedName":"","value":"x","variableName":""},'
    b'"a":{"localizedName":"","value":"y","variableName":""}}',
    "a name twice, once in escapes": b'{"a":{"localizedName":"","value":"x","variableName":""},'
    b'"\\u0061":{"localizedName":"Password","value":"y","variableName":""}}',
    "a number": b'{"a":{"localizedName":"","value":1.50,"variableName":""}}',
    "no text": b'{"a":{"localizedName":null,"value":null,"variableName":null}}',
    "a parameter inside": b'{"a":{"localizedName":"","value":{"b":{"localizedName":"Password","value":"x",'
    b'"variableName":""}},"variableName":""}}',
    "half a surrogate": b'{"a":{"localizedName":"","value":"\\ud800","variableName":""}}',
    "half a surrogate as name": b'{"\\ud800":{"localizedName":"","value":"x","variableName":""}}',
    "no escape": b'{"a":{"localizedName":"","value":"\\x","variableName":""}}',
    "foreign bytes": b'{"a":{"localizedName":"","value":"\xff","variableName":""}}',
    "a raw line feed": b'{"a":{"localizedName":"","value":"x\ny","variableName":""}}',
    "a list": b'["x"]',
    "an empty list": b"[]",
    "an empty text": b'""',
    "deep": b'{"a":{"localizedName":"","value":"' + b"[" * 5000 + b"]" * 5000 + b'","variableName":""}}',
}


@pytest.mark.parametrize("kind", sorted(STRANGE))
@pytest.mark.parametrize("place", [0, 57, 299])
def test_one_strange_text_leaves_the_others_as_they_are(kind: str, place: int) -> None:
    texts = [USUAL_TEXT] * 300
    texts[place] = STRANGE[kind]
    assert in_columns(texts, most=4000) == one_by_one(texts, most=4000)


@pytest.mark.parametrize(
    "kind", ["another order", "a value twice", "a name twice", "a member between", "a number"]
)
def test_what_is_written_differently_is_noticed(kind: str) -> None:
    with pytest.raises((Irregular, msgspec.DecodeError, ValueError)):
        in_one_go([USUAL_TEXT, STRANGE[kind], USUAL_TEXT])


def test_nothing_but_empty_texts() -> None:
    assert in_one_go([b"{}", b"null", b"{}"]) == [None, None, None]


def test_what_stands_between_values_may_be_different_each_time() -> None:
    texts = [compact({f"name {number}" * 99: parameter("x", f"V{number}")}) for number in range(300)]
    assert in_one_go(texts) == one_by_one(texts)
