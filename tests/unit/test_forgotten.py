"""Forgotten names: replaced wherever they stand as a word of their own, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from shared.publishing.forgotten import Forgotten, names_of, new_pseudonym
from shared.publishing.parquet import rows_of
from shared.schema import DIM_USER, FACT_AUDIT_EVENT, FACT_FLOW_ACTION, Table
from shared.state.names import FORGOTTEN

UPN = "anna.o'neil@contoso.com"
OBJECT_ID = "aaaaaaaa-0000-4000-8000-00000000000a"
GONE = f"{FORGOTTEN}12345678"
PEOPLE = Forgotten().with_names(names_of(UPN) | names_of(OBJECT_ID), GONE)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "mail to <{}>, please",
        "'{}','other'",
        '{{"UserId":"{}"}}',
        '{{"text":"Dear\\n{}\\tand others"}}',
        "{}'s run",
        "https://contoso.example/?u={}#top",
        "Ärger mit {}.",
    ],
)
@pytest.mark.parametrize("name", [UPN, UPN.upper(), OBJECT_ID, UPN.replace("@", "%40"), "anna_o'neil_contoso_com"])
def test_a_name_is_replaced_in_any_text(text: str, name: str) -> None:
    assert PEOPLE.text(text.format(name)) == text.format(GONE)


@pytest.mark.parametrize(
    "text",
    ["", "nobody", f"joe.{UPN}", f"{UPN}.au", f"x{UPN}", OBJECT_ID[:-1], f"{OBJECT_ID}0", "a" * 1000, "\\n", "@"],
)
def test_other_texts_stay(text: str) -> None:
    assert PEOPLE.text(text) == text


def test_without_anybody_to_forget_rows_are_left_as_they_are() -> None:
    assert not Forgotten()
    assert Forgotten().text(UPN) == UPN


@pytest.mark.parametrize("name", ["anna", "Anna O Neil", "", "@contoso.com"])
def test_what_can_t_be_told_from_other_text_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a name of one word"):
        names_of(name)


def test_pseudonyms_say_nothing() -> None:
    assert new_pseudonym() != new_pseudonym()
    assert new_pseudonym().startswith(FORGOTTEN)


def cleared(table: Table, *rows: Mapping[str, object]) -> tuple[list[dict[str, object]], list[bool]]:
    result, touched = PEOPLE.rows(table, rows_of(table, [dict(row) for row in rows]))
    return [{key: value for key, value in row.items() if value is not None} for row in result.to_pylist()], (
        touched.to_pylist()
    )


def test_every_text_of_a_row_is_looked_at() -> None:
    action = {"session_id": "s", "seq": 1, "inputs": f'{{"to":"{UPN}"}}', "error_message": f"{UPN} is unknown"}
    other = {"session_id": "s", "seq": 2, "inputs": '{"to":"bob@contoso.com"}'}
    rows, touched = cleared(FACT_FLOW_ACTION, action, other)
    assert rows == [
        {**action, "inputs": f'{{"to":"{GONE}"}}', "error_message": f"{GONE} is unknown"},
        other,
    ]
    assert touched == [True, False]


def test_an_event_loses_the_address_that_its_actor_came_from() -> None:
    theirs = {"event_id": "1", "user_id": UPN, "client_ip": "10.1.2.3", "details": '{"ClientIP":"10.1.2.3:80"}'}
    shared = {"event_id": "2", "user_id": "bob@contoso.com", "target_user": UPN, "client_ip": "10.1.2.3"}
    rows, touched = cleared(FACT_AUDIT_EVENT, theirs, shared)
    assert rows == [
        {"event_id": "1", "user_id": GONE, "details": '{"ClientIP":":80"}'},
        {**shared, "target_user": GONE},
    ]
    assert touched == [True, True]


def test_a_user_loses_name_and_id() -> None:
    anna = {"user_id": UPN, "display_name": "Anna O'Neil", "entra_object_id": OBJECT_ID, "user_kind": "Person"}
    bob = {"user_id": "bob@contoso.com", "display_name": "Bob", "entra_object_id": "b"}
    rows, touched = cleared(DIM_USER, anna, bob)
    assert rows == [{"user_id": GONE, "display_name": GONE, "user_kind": "Person"}, bob]
    assert touched == [True, False]
