"""Action logs: every form they are met in, in pieces of any size, never more memory than a window."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import in_pieces

from shared.dataverse import action_log
from shared.dataverse.action_log import ActionRecord, read_action, read_actions, read_front
from shared.dataverse.flow_logs import SURE_TIME
from shared.errors import TooLarge, Unreadable
from shared.json_text import sanitized
from shared.times import happened_utc


def action(number: int, **more: Any) -> dict[str, Any]:
    return {
        "name": f"Aktion {number} é",
        "systemActionName": "SetVariable",
        "systemModuleName": "Variables",
        "startTime": "2026-05-19T12:00:00.1234567Z",
        "endTime": "2026-05-19T12:00:01.1234567Z",
        "index": number,
        "functionName": "main",
        "insideErrorHandling": False,
        "status": "Succeeded",
        "inputs": {"value": {"localizedName": "Value", "value": '"},{"', "variableName": ""}},
        "outputs": {},
        **more,
    }


def document(*actions: Any, **more: Any) -> bytes:
    return json.dumps({"actions": actions, "childFlowsLogStatus": "Default", **more}, ensure_ascii=False).encode()


def read(data: bytes, size: int = 1000) -> list[ActionRecord]:
    return [record for batch in read_actions(in_pieces(data, size)) for record in batch]


TWO = document(action(2), action(4))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize(
    "data",
    [
        TWO,
        b"\xef\xbb\xbf" + TWO,
        b" \r\n" + TWO + b"\n",
        base64.b64encode(TWO),
        b'"' + base64.b64encode(TWO) + b'"',
        base64.encodebytes(TWO),
        b'{"@odata.context":"https://x/$metadata","value":"' + base64.b64encode(TWO) + b'"}',
        b'{"value" : "' + base64.b64encode(b"\xef\xbb\xbf" + TWO) + b'"}',
        json.dumps([action(2), action(4)]).encode(),
        json.dumps(json.loads(TWO), indent=2).encode(),
    ],
    ids=[
        "json",
        "bom",
        "space",
        "base64",
        "quoted base64",
        "lines of base64",
        "envelope",
        "bare",
        "array",
        "indented",
    ],
)
def test_every_form_gives_the_same_actions(data: bytes, size: int) -> None:
    assert [record.index for record in read(data, size)] == [2, 4]


def test_what_an_action_says_is_kept_to_the_letter() -> None:
    (record,) = read(document(action(7, error={"code": "Boom", "message": "It broke", "correlationId": "x"})))
    assert (record.name, record.system_module_name, record.function_name) == ("Aktion 7 é", "Variables", "main")
    assert record.start_time == "2026-05-19T12:00:00.1234567Z"
    assert json.loads(bytes(record.inputs))["value"]["value"] == '"},{"'
    assert record.error is not None
    assert (record.error.code, record.error.message) == ("Boom", "It broke")


def test_a_field_may_be_missing_or_of_another_type() -> None:
    odd = {"name": 5, "index": "12", "insideErrorHandling": "true", "error": "broken", "status": None}
    first, second, third = read(document({}, odd, ["hunter2"]))
    assert (first.name, first.index, first.status, first.error) == (None, None, None, None)
    assert (second.name, second.index, second.inside_error_handling) == ("5", 12, True)
    assert second.error is not None
    assert second.error.message == "broken"
    assert (third.name, bytes(third.inputs)) == (None, b'["hunter2"]')


@pytest.mark.parametrize("field", ["name", "systemActionName", "functionName", "status", "errorCode"])
def test_a_name_that_is_no_text_is_none(field: str) -> None:
    (record,) = read(document(action(1, **{field: {"password": "hunter2"}})))
    assert record.index == 1
    assert "hunter2" not in repr(record)


def test_no_actions_is_an_empty_log() -> None:
    assert read(document()) == []
    assert read(b"[]") == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" \n ",
        b"<html>503</html>",
        b"{}",
        b'{"childFlowsLogStatus":"Default"}',
        b'{"actions":null}',
        b'{"actions":{}}',
        b"null",
        b"true",
        b"\x00\x01\x02",
        base64.b64encode(b"no JSON at all, but long enough"),
        base64.b64encode(TWO)[:-6],
    ],
)
def test_what_is_no_log_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        read(data)


@pytest.mark.parametrize("size", [7, 10_000])
def test_a_log_that_is_cut_anywhere_is_never_taken_for_a_shorter_one(size: int) -> None:
    for end in range(len(TWO) - 1):
        try:
            records = read(TWO[:end], size)
        except Unreadable:
            continue
        assert [record.index for record in records] == [2, 4], end


def test_half_surrogates_and_foreign_bytes_are_replaced() -> None:
    data = b'{"actions":[{"name":"a\\ud800b"},{"name":"c\xffd"},{"name":"\\ud83d\\ude00 \\\\ud800 \\udc00"}]}'
    with pytest.raises(Unreadable):
        read(data)
    records = [record for batch in read_actions(sanitized([data])) for record in batch]
    assert [record.name for record in records] == ["a\ufffdb", "c\ufffdd", "\U0001f600 \\ud800 \ufffd"]


def test_an_endless_action_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_log, "WINDOW_BYTES", 100)
    monkeypatch.setattr(action_log, "LONGEST_ACTION_BYTES", 1000)
    with pytest.raises(TooLarge):
        read(document(action(1, extra="x" * 5000)), 50)


@pytest.mark.parametrize("value", ['{"a":1}', '"x"'], ids=["text", "values"])
def test_places_that_only_look_like_the_end_of_an_action_are_told_from_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(action_log, "WINDOW_BYTES", 1 << 16)
    monkeypatch.setattr(action_log, "LONGEST_ACTION_BYTES", 1 << 20)
    listed = json.loads(f'[{{"a":{value}}}]') * 10_000
    inside: Any = {"x": {"value": json.dumps(listed, separators=(",", ":"))}, "y": {"value": listed}}
    data = json.dumps({"actions": [action(number, inputs=inside) for number in range(12)]}).encode()
    assert [record.index for record in read(data, 1 << 16)] == list(range(12))


def test_what_breaks_inside_a_log_is_said_as_such_and_at_once() -> None:
    rows = document(*(action(number) for number in range(20_000)))
    broken = rows.replace(b'"index": 1000,', b'"index" 1000,')
    read_windows: list[int] = []

    def windows() -> Iterator[bytes]:
        for at in range(0, len(broken), 1 << 20):
            read_windows.append(at)
            yield broken[at : at + (1 << 20)]

    with pytest.raises(Unreadable):
        list(read_actions(windows()))
    assert len(read_windows) < 5


@given(st.integers(0, 2000), st.booleans())
def test_the_front_of_an_action_gives_its_whole_members(length: int, ascii_only: bool) -> None:
    whole = action(7, error={"code": "}", "message": 'a "quoted" {'}, inputs={"x": {"value": 'back\\"},{'}})
    text = json.dumps(whole, ensure_ascii=ascii_only)
    record, expected = read_front(text[:length]), read_action(text)
    if length < len(text) - 1:
        for name in ("name", "index", "status", "start_time", "error"):
            assert getattr(record, name) in (None, getattr(expected, name))
        if length > text.index('"startTime"'):
            assert record.name == expected.name


@pytest.mark.parametrize("text", ["Échec", "\ufeff" + json.dumps(action(7)), "😀", "\ud800", ""])
def test_a_text_that_is_no_object_has_no_front(text: str) -> None:
    assert read_front(text) == ActionRecord()


hostile = st.sampled_from(['"},{"', "}],[{", '\\"},{\\"', "a\\", "é", '"actions":[', "\u2028", "{", "]}"])
texts = st.lists(hostile, max_size=4).map("".join)
values = st.dictionaries(texts, st.fixed_dictionaries({"value": texts, "variableName": texts}), max_size=4)
nested = st.lists(st.dictionaries(texts, texts, max_size=2), max_size=3)
actions = st.lists(
    st.fixed_dictionaries({"name": texts, "index": st.integers(0, 99), "inputs": values, "unknown": nested}),
    max_size=9,
)


@given(actions, st.dictionaries(texts, nested, max_size=2), st.integers(1, 400), st.sampled_from([None, 1]))
def test_any_text_in_any_pieces_gives_the_actions(
    expected: list[dict[str, Any]], more: dict[str, Any], size: int, indent: int | None
) -> None:
    window = action_log.WINDOW_BYTES
    action_log.WINDOW_BYTES = 60  # many windows, so that every cut is met
    try:
        before = {name: value for name, value in more.items() if name != "actions"}
        data = json.dumps({**before, "actions": expected, "after": nested_text(expected)}, indent=indent).encode()
        records = read(data, size)
    finally:
        action_log.WINDOW_BYTES = window
    assert [(record.name, record.index) for record in records] == [(one["name"], one["index"]) for one in expected]
    assert [json.loads(bytes(record.inputs)) for record in records] == [one["inputs"] for one in expected]


def nested_text(expected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"copy": one} for one in expected]


SAMPLES = os.environ.get("FLOWTRAIL_SAMPLES", "")


@pytest.mark.skipif(not SAMPLES, reason="FLOWTRAIL_SAMPLES names no folder of real records")
def test_a_real_log_gives_its_two_actions() -> None:
    records = read((Path(SAMPLES) / "flowsession" / "additionalcontext_v1_automationkit.json").read_bytes())
    assert [record.system_action_name for record in records] == ["SelectFileDialog", "If"]


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "7", '{"index":1e999}', '{"name":"cut', "[" * 5000])
def test_one_action_that_is_none(text: str) -> None:
    with pytest.raises(Unreadable):
        read_action(text)


def test_one_action_with_odd_fields() -> None:
    record = read_action('{"name": 5, "index": "7", "insideErrorHandling": "true", "inputs": [1]}')
    assert (record.name, record.index, record.inside_error_handling) == ("5", 7, True)
    assert bytes(record.inputs) == b"[1]"


@given(st.from_regex(SURE_TIME, fullmatch=True))
def test_a_time_that_is_not_read_would_be_an_instant(text: str) -> None:
    assert happened_utc(text) is not None
