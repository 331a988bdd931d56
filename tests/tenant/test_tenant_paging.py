from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tenant_support import NOON, Client, Clock, ids, session, session_id, state, world

from local.tenant import Session

Serve = Callable[..., Client]
BY_CHANGE = "flowsessions?$select=modifiedon&$orderby=modifiedon%20asc,flowsessionid%20asc"
HOUR_AGO = NOON - timedelta(hours=1)


def test_pages_are_complete_across_equal_timestamps(serve: Serve) -> None:
    client = serve(world(*(session(number, HOUR_AGO) for number in range(1, 26))))
    pages = client.pages(BY_CHANGE, 7)
    assert [len(page) for page in pages] == [7, 7, 7, 4]
    assert sorted(ids([row for page in pages for row in page])) == sorted(map(session_id, range(1, 26)))


@pytest.mark.parametrize(
    "order",
    [
        "modifiedon asc,flowsessionid asc",
        "modifiedon desc",
        "modifiedon desc,flowsessionid asc",
        "createdon asc",
        "statuscode desc,modifiedon",
        "completedon asc,name desc",
        "flowsessionid",
        "",
    ],
)
def test_any_order_pages_like_one_piece(serve: Serve, order: str) -> None:
    sessions = [
        session(
            number,
            HOUR_AGO + timedelta(seconds=number % 5),
            statuscode=number % 3,
            name=f"flow {number % 4}",
            completedon=HOUR_AGO if number % 2 else None,
        )
        for number in range(1, 41)
    ]
    client = serve(world(*sessions))
    path = f"flowsessions?$orderby={order}" if order else "flowsessions"
    assert ids(client.rows(path, 6)) == ids(client.rows(path))
    assert len(client.rows(path)) == 40


def test_guids_sort_as_sql_server_sorts_them(serve: Serve) -> None:
    first, last = "ffffffff-ffff-ffff-ffff-000000000001", "00000000-0000-0000-0000-000000000002"
    client = serve(world(*(Session(key, (state(HOUR_AGO),)) for key in (last, first))))
    assert ids(client.rows(BY_CHANGE)) == [first, last]


def test_page_size_follows_each_request(serve: Serve) -> None:
    client = serve(world(*(session(number, HOUR_AGO) for number in range(1, 20))))
    first = client.get(BY_CHANGE, Prefer="odata.maxpagesize=5")
    assert first.headers["Preference-Applied"] == "odata.maxpagesize=5"
    second = client.follow(first.json()["@odata.nextLink"]).json()
    assert len(second["value"]) == 14
    assert "@odata.nextLink" not in second


def test_next_link_is_absolute_on_the_same_origin_and_keeps_the_query(serve: Serve) -> None:
    client = serve(world(*(session(number, HOUR_AGO) for number in range(1, 5))))
    link = client.get(BY_CHANGE, Prefer="odata.maxpagesize=2").json()["@odata.nextLink"]
    assert link.startswith(f"{client.tenant.environments[0].url}/api/data/v9.2/{BY_CHANGE}&$skiptoken=")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda link: link.replace("%", "%25"),
        lambda link: link + "x",
        lambda link: link.replace("modifiedon%20asc", "createdon%20asc"),
        lambda link: link.replace("$skiptoken=", "$filter=statuscode%20eq%204&$skiptoken="),
    ],
)
def test_an_altered_next_link_is_refused(serve: Serve, spoil: Callable[[str], str]) -> None:
    client = serve(world(*(session(number, HOUR_AGO) for number in range(1, 5))))
    link = client.get(BY_CHANGE, Prefer="odata.maxpagesize=2").json()["@odata.nextLink"]
    assert client.follow(spoil(link)).status_code == 400


def test_a_row_that_changes_while_being_paged_moves(serve: Serve, clock: Clock) -> None:
    moving = session(1, HOUR_AGO)
    moving = replace(moving, states=(*moving.states, state(NOON + timedelta(seconds=1), version=99)))
    client = serve(world(moving, *(session(number, HOUR_AGO) for number in range(2, 7))))
    first = client.get(BY_CHANGE, Prefer="odata.maxpagesize=3").json()
    clock.advance(seconds=2)
    rest = client.follow(first["@odata.nextLink"]).json()["value"]
    assert session_id(1) in ids(first["value"])
    assert ids(rest)[-1] == session_id(1)


def test_a_deleted_row_disappears_and_the_rest_stays(serve: Serve, clock: Clock) -> None:
    gone = replace(session(1, HOUR_AGO), deleted_at=NOON + timedelta(seconds=1))
    client = serve(world(gone, *(session(number, HOUR_AGO) for number in range(2, 7))))
    first = client.get(BY_CHANGE, Prefer="odata.maxpagesize=1").json()
    clock.advance(seconds=1)
    rest = client.follow(first["@odata.nextLink"]).json()["value"]
    assert ids(rest) == [session_id(number) for number in range(2, 7)]
    assert client.get(f"flowsessions({session_id(1)})").status_code == 404


def test_a_row_stamped_early_and_committed_late_appears_behind_the_cursor(serve: Serve, clock: Clock) -> None:
    late = Session(session_id(1), (state(NOON + timedelta(seconds=5), modified_at=NOON - timedelta(seconds=5)),))
    client = serve(world(late, session(2, NOON)))
    assert ids(client.rows(BY_CHANGE)) == [session_id(2)]
    clock.advance(seconds=5)
    assert ids(client.rows(BY_CHANGE)) == [session_id(1), session_id(2)]


def test_top_ends_without_a_link(serve: Serve) -> None:
    client = serve(world(*(session(number, HOUR_AGO) for number in range(1, 9))))
    answer = client.get("flowsessions?$top=3", Prefer="odata.maxpagesize=2").json()
    assert len(answer["value"]) == 3
    assert "@odata.nextLink" not in answer


def test_counts(serve: Serve) -> None:
    client = serve(world(*(session(number, HOUR_AGO, statuscode=number % 2) for number in range(1, 9))))
    assert client.get("flowsessions/$count").text == "8"
    assert client.get("flowsessions/$count?$filter=statuscode eq 1").text == "4"
    answer = client.get(
        "flowsessions?$count=true",
        Prefer='odata.maxpagesize=2,odata.include-annotations="Microsoft.Dynamics.CRM.*"',
    ).json()
    assert answer["@odata.count"] == 8
    assert answer["@Microsoft.Dynamics.CRM.totalrecordcountlimitexceeded"] is False


def test_counts_stop_at_5000(serve: Serve) -> None:
    client = serve(world(*(session(number, HOUR_AGO) for number in range(1, 5101))))
    assert client.get("flowsessions/$count").text == "5000"
    assert len(client.get("flowsessions?$select=name").json()["value"]) == 5000
