from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenant_support import NOON, Client, ids, session, session_id, world

from local.tenant.columns import TABLES
from local.tenant.filters import QueryError, parsed

FLOWSESSION = TABLES["flowsession"]
OWNER = session_id(77)
ROW = {
    "flowsessionid": session_id(1),
    "name": "Rechnung's Prüfung",
    "statuscode": 4,
    "runduration": 1500,
    "machinepercentcpuusage": 12.5,
    "modifiedon": NOON,
    "_ownerid_value": OWNER,
    "completedon": None,
}


def holds(text: str) -> bool:
    return parsed(text, FLOWSESSION, FLOWSESSION.properties).test(ROW)


@pytest.mark.parametrize(
    "text",
    [
        "statuscode eq 4",
        "statuscode ne 8",
        "runduration gt 1499 and runduration le 1500",
        "machinepercentcpuusage ge 12.5",
        "modifiedon ge 2025-11-19T12:00:00Z and modifiedon lt 2025-11-19T12:00:00.0000010Z or statuscode eq 9",
        "modifiedon ge 2025-11-19",
        "modifiedon eq 2025-11-19T13:00:00+01:00",
        "completedon eq null",
        "completedon ne 2025-01-01",
        "errorcode eq null and name ne null",
        f"flowsessionid eq {session_id(1)}",
        f"_ownerid_value eq {OWNER.upper()}",
        "name eq 'RECHNUNG''S PRÜFUNG'",
        "contains(name,'s pr') and startswith(name,'rech') and endswith(name,'UNG')",
        "not contains(name,'x')",
        "not (statuscode eq 8 or statuscode eq 7)",
        "statuscode eq 8 or statuscode eq 4 and runduration eq 1500",
        "(statuscode eq 8 or statuscode eq 4) and (runduration eq 1500)",
        "Microsoft.Dynamics.CRM.In(PropertyName='statuscode',PropertyValues=['8','4'])",
        f"Microsoft.Dynamics.CRM.In(PropertyName='flowsessionid',PropertyValues=['{session_id(1).upper()}'])",
        "  statuscode   eq   4  ",
    ],
)
def test_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "statuscode eq 8",
        "completedon gt 2020-01-01",
        "modifiedon lt 2025-11-19T12:00Z",
        "contains(errorcode,'x')",
        "statuscode eq 8 or statuscode eq 7",
        "Microsoft.Dynamics.CRM.In(PropertyName='statuscode',PropertyValues=['8'])",
    ],
)
def test_does_not_hold(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "statuscode",
        "statuscode eq",
        "statuscode equals 4",
        "statuscode eq 4 and",
        "(statuscode eq 4",
        "statuscode eq 4)",
        "statuscode eq 4 statuscode eq 4",
        "not statuscode eq 4",
        "nosuchcolumn eq 4",
        "ownerid eq null",
        "modifiedon ge '2025-11-19T12:00:00Z'",
        "modifiedon ge 2025-11-19T12:00:00",
        "modifiedon ge 2025-13-19",
        "statuscode eq '4'",
        "name eq 4",
        "name eq 'open",
        f"flowsessionid eq '{session_id(1)}'",
        f"flowsessionid gt {session_id(1)}",
        "contains(statuscode,'4')",
        "tolower(name) eq 'x'",
        "Microsoft.Dynamics.CRM.LastXDays(PropertyName='modifiedon',PropertyValue=3)",
        "Microsoft.Dynamics.CRM.In(PropertyName='statuscode',PropertyValues=['four'])",
        "Microsoft.Dynamics.CRM.In(PropertyName='statuscode',PropertyValues=[])",
        "statuscode in (4,8)",
        "statuscode eq 4; drop",
    ],
)
def test_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        holds(text)


@given(st.text(max_size=40))
def test_any_text_is_understood_or_refused(text: str) -> None:
    with contextlib.suppress(QueryError):
        parsed(text, FLOWSESSION, FLOWSESSION.properties).test(ROW)


@given(st.lists(st.sampled_from([1, 2, 4, 8]), min_size=1, max_size=6), st.integers(0, 20), st.integers(0, 20))
def test_agrees_with_python(statuses: list[int], lower: int, upper: int) -> None:
    text = " or ".join(f"statuscode eq {status}" for status in statuses)
    predicate = parsed(
        f"({text}) and runduration ge {lower} and not (runduration gt {upper})",
        FLOWSESSION,
        FLOWSESSION.properties,
    )
    for status in (1, 2, 3, 4, 8):
        for duration in range(0, 21, 5):
            row = {"statuscode": status, "runduration": duration}
            assert predicate.test(row) == (status in statuses and lower <= duration <= upper)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("$filter=modifiedon ge 2025-11-19T11:30:00Z and modifiedon lt 2025-11-19T11:40:00Z", range(30, 40)),
        ("$filter=createdon gt 2025-11-19T11:55:00Z&$orderby=modifiedon desc", [59, 58, 57, 56]),
        ("$filter=modifiedon ge 2025-11-19T11:55:00Z and statuscode eq 8", [56, 58]),
        ("$filter=statuscode eq 8 or modifiedon eq 2025-11-19T11:01:00Z&$top=3&$orderby=modifiedon", [0, 1, 2]),
        (f"$filter=flowsessionid eq {session_id(9)}", [8]),
    ],
)
def test_the_index_finds_what_the_filter_means(
    serve: Callable[..., Client], query: str, numbers: list[int] | range
) -> None:
    start = NOON - timedelta(hours=1)
    sessions = [
        session(minute + 1, start + timedelta(minutes=minute), statuscode=4 if minute % 2 else 8)
        for minute in range(60)
    ]
    found = ids(serve(world(*sessions)).rows(f"flowsessions?{query}", 3 if "$top" not in query else 5000))
    assert sorted(found) == sorted(session_id(number + 1) for number in numbers)
    if "desc" in query:
        assert found == [session_id(number + 1) for number in numbers]


@pytest.mark.parametrize(
    "query",
    [
        "$select=nope",
        "$select=machineid",
        "$select=machineidname",
        "$orderby=nope",
        "$orderby=name upwards",
        "$top=many",
        "$skip=5",
        "$count=yes",
        "$apply=aggregate($count as total)",
        "$search=x",
        "$expand=nope",
        "$expand=owninguser($filter=fullname eq 'x')",
        "$expand=owninguser($select=nope)",
        "$filter=nope eq 1",
        "$filter=statuscode eq 1&$filter=statuscode eq 2",
        "$select=name&select=name",
    ],
)
def test_an_option_that_is_not_understood_is_refused(serve: Callable[..., Client], query: str) -> None:
    answer = serve(world(session(1, NOON - timedelta(minutes=1)))).get(f"flowsessions?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "0x80060888"
