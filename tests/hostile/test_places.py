"""Tokens go only where they were issued for, and no name from outside leads out of its place."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hostile_server import Conversation, HostileServer, answer
from hypothesis import given
from hypothesis import strategies as st
from integration.stage import ANCHOR, Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from support import NOON, TENANT_ID, counting_tokens
from urllib3.util import parse_url

from local.tenant import Fault
from shared.audit.feed import ActivityFeed, ContentBlob
from shared.clock import Deadline, SystemClock
from shared.dataverse.web_api import Query, WebApi
from shared.errors import AccessError, FlowtrailError
from shared.net.api import Api, same_origin
from shared.net.policy import ACTIVITY, DATAVERSE, Policy
from shared.net.throttle import Cooldown
from shared.net.transport import PooledTransport
from shared.state.ledger import partition_of, row_of

Serving = Callable[[Conversation], HostileServer]

ESCAPES = [
    "../../powerbi/x",
    "..",
    ".",
    "a/b",
    "a\\b",
    "a#b",
    "a?b",
    "a\x00b",
    "a\x85b",
    "a%2fb",
    "x" * 2000,
    "'",
    "é",
]


def elsewhere(origin: str, port: int) -> list[str]:
    """Addresses that look like `origin`, and that lead to the server on `port`, or could."""
    host = origin.removeprefix("http://")
    return [
        f"http://127.0.0.1:{port}/api/data/v9.2/x",
        f"http://localhost:{host.partition(':')[2]}/api/data/v9.2/x",
        f"https://{host}/api/data/v9.2/x",
        f"ftp://{host}/api/data/v9.2/x",
        f"//{host}/api/data/v9.2/x",
        "/api/data/v9.2/x",
        f"http://user@{host}/api/data/v9.2/x",
        f"http://{host}@127.0.0.1:{port}/api/data/v9.2/x",
        f"http://user:{host}@127.0.0.1:{port}/api/data/v9.2/x",
        f"http://127.0.0.1:{port}/http://{host}/api/data/v9.2/x",
        f"http://127.0.0.1.:{host.partition(':')[2]}/api/data/v9.2/x",
        f"http://{host}.evil.example/api/data/v9.2/x",
        f"http://{host}\\@127.0.0.1:{port}/api/data/v9.2/x",
        f"http://127.0.0.1:{port}#@{host}/api/data/v9.2/x",
        f"http://127.0.0.1:{port}?@{host}/api/data/v9.2/x",
        f"http://127.0.0.1:{port}\t@{host}/api/data/v9.2/x",
        f"http://xn--127-0-0-1.example:{port}/api/data/v9.2/x",
        f"http://\uff11\uff12\uff17.0.0.1:{host.partition(':')[2]}/api/data/v9.2/x",
        f"http://[::ffff:127.0.0.1]:{port}/api/data/v9.2/x",
        f"http://2130706433:{port}/api/data/v9.2/x",
    ]


def real_api(origin: str, policy: Policy) -> Api:
    clock = SystemClock()
    tokens, _ = counting_tokens()
    return Api(origin, policy, tokens, PooledTransport(2), clock, Cooldown(clock))


@pytest.mark.parametrize("number", range(20))
def test_a_token_is_sent_to_no_other_place(serving: Serving, number: int) -> None:
    """By a link to the next page, by the address of a blob, and by a redirect; the other server hears nothing."""
    other = serving(lambda peer: peer.send(answer(b"[]")))
    link = ""

    def mislead(peer: Any) -> None:
        page = json.dumps({"value": [], "@odata.nextLink": link})
        peer.send(answer(page.encode(), f"NextPageUri: {link}".encode().decode("latin-1")))

    server = serving(mislead)
    link = elsewhere(server.origin, other.port)[number]
    deadline = Deadline.after(SystemClock(), 20)
    with pytest.raises(AccessError, match=r"[Nn]othing was sent"):
        list(WebApi(real_api(server.origin, DATAVERSE)).pages(Query("flowsessions", ("x",)), deadline))
    blob = ContentBlob("1", "Audit.General", link, NOON, NOON)
    with pytest.raises((AccessError, ValueError)):
        ActivityFeed(real_api(server.origin, ACTIVITY), TENANT_ID).fetch(blob, deadline)
    assert len(server.heads) == 1
    assert other.heads == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_a_token_along(serving: Serving, status: int) -> None:
    other = serving(lambda peer: peer.send(answer(b"{}")))
    redirect = answer(b"", f"Location: {other.origin}/", status=f"{status} Moved")
    server = serving(lambda peer: peer.send(redirect))
    with pytest.raises(AccessError, match="redirects elsewhere"):
        WebApi(real_api(server.origin, DATAVERSE)).document("WhoAmI", Deadline.after(SystemClock(), 20))
    assert b"Bearer token-1" in server.heads[0]
    assert other.heads == []


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_address_of_the_same_origin_begins_with_it(before: str, behind: str) -> None:
    """Whatever stands around the host: where it counts as the same, urllib3 reads the same host and port."""
    origin = "https://contoso.crm4.dynamics.com"
    url = f"{before}https://contoso.crm4.dynamics.com{behind}"
    if same_origin(url, origin):
        try:
            asked = parse_url(url)
        except ValueError:
            return  # nothing is sent
        assert (asked.scheme, asked.host, asked.port or 443) == ("https", "contoso.crm4.dynamics.com", 443)


@pytest.mark.parametrize("content_id", ESCAPES)
def test_a_content_id_stays_a_name(content_id: str) -> None:
    row = row_of(content_id)
    assert re.fullmatch(r"[A-Za-z0-9$._\-]{1,400}", row)
    blob = ContentBlob(content_id, "Audit.General", "u", NOON, NOON)
    assert partition_of(blob) == "Audit.General_2026-05-19"


@given(st.text(min_size=1, max_size=500))
def test_any_content_id_becomes_a_key_and_a_name(content_id: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9$._\-]{1,400}", row_of(content_id))


def rows_of_page(stage: Stage, *rows: Any) -> None:
    """The next page of runs is this one."""
    body = json.dumps({"value": rows}).encode()
    stage.tenant.faults.add(Fault("dataverse", path_contains="flowsessions?$select", status=200, body=body))


def a_row(number: int, **values: Any) -> dict[str, Any]:
    at = (ANCHOR - timedelta(minutes=30)).isoformat()
    return {
        "flowsessionid": run_id(number),
        "createdon": at,
        "modifiedon": at,
        "statuscode": 4,
        "versionnumber": number,
        **values,
    }


def test_a_run_with_an_id_that_is_none_is_told_and_keeps_no_other_one_waiting(account: str) -> None:
    odd: list[Any] = [*ESCAPES, 5, None, {}, "x)/../../WhoAmI"]
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        rows_of_page(stage, a_row(1), *(a_row(2 + at, flowsessionid=odd_id) for at, odd_id in enumerate(odd)))
        stage.run("poll_flow_sessions")
        stage.publish()
        assert set(stage.by_id()) == {run_id(1)}
        assert [gap.kind for gap in stage.app.journal.gaps()] == ["run not taken"] * len(odd)


def test_strange_rows_harm_nobody(account: str) -> None:
    """Every column of another type than it should be, and rows that are none."""
    odd: list[Any] = [5, [], {"a": 1}, "x" * 100_000, True, -1, 1 << 70, 1e300, None, "0001-01-01T00:00:00Z", ""]
    columns = [*a_row(0), "startedon", "completedon", "_ownerid_value", "_machineid_value", "context", "runmode"]
    columns += ["additionalcontext", "subcategory", "errormessage", "runduration", "triggertype", "correlationid"]
    strange = [
        a_row(10 + at, **{name: value}) for at, (name, value) in enumerate((n, v) for n in columns for v in odd)
    ]
    with on_stage(with_runs(bare_world(), a_run(1)), account) as stage:
        rows_of_page(stage, *strange, None, 5, [], "x", a_row(1))
        stage.run("poll_flow_sessions")
        stage.publish()
        rows = stage.by_id()
        assert rows[run_id(1)]["outcome"] == "Succeeded"
        ids = {row["flowsessionid"] for row in strange if isinstance(row["flowsessionid"], str)}
        told = {gap.subject for gap in stage.app.journal.gaps()}
        assert {key for key in ids if key.startswith("00000000-")} <= rows.keys() | told
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "pending"


def test_a_time_at_the_end_of_the_calendar_stops_no_reading(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1), a_run(2, ANCHOR + timedelta(hours=1))), account) as stage:
        end = "9999-12-31T23:59:59Z"
        rows_of_page(stage, a_row(1), a_row(3, modifiedon=(ANCHOR + timedelta(days=900)).isoformat()))
        stage.run("poll_flow_sessions")
        rows_of_page(stage, a_row(4, modifiedon=end), a_row(5, createdon=end, startedon=end, completedon=end))
        stage.clock.advance(hours=2)
        stage.run("poll_flow_sessions")
        stage.clock.advance(minutes=10)
        stage.run("poll_flow_sessions")
        stage.run("reconcile")
        stage.publish()
        assert {run_id(1), run_id(2)} <= stage.by_id().keys()


@pytest.mark.parametrize("clock", ["Fri, 01 Jan 2100 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", "x"])
def test_a_service_with_an_absurd_clock_poisons_no_place(account: str, clock: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1), a_run(2, ANCHOR + timedelta(hours=1))), account) as stage:
        for service in ("dataverse", "activity"):
            stage.tenant.faults.add(Fault(service, times=None, headers={"Date": clock}))
        stage.run("poll_flow_sessions")
        stage.run("poll_audit_content")
        stage.tenant.faults.clear()
        stage.clock.advance(hours=2)
        stage.run("poll_flow_sessions")
        stage.run("poll_audit_content")
        stage.publish()
        assert {run_id(1), run_id(2)} <= stage.by_id().keys()
        assert list(stage.app.journal.gaps()) == []
        assert all(source["lag_s"] < 120 for source in json.loads(stage.run("health")[1])["sources"])


def test_an_environment_with_an_id_that_is_none_is_refused(account: str) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(b"oops"))), account) as stage:
        for odd_id in ESCAPES:
            detail = json.dumps({"Detail": {"EnvironmentId": odd_id, "OrganizationId": run_id(7)}}).encode()
            place = "RetrieveCurrentOrganization"
            stage.tenant.faults.add(Fault("dataverse", path_contains=place, status=200, body=detail))
            with pytest.raises(FlowtrailError, match="none that can be"):
                stage.run("poll_flow_sessions")
        assert stage.raw() == []


@pytest.mark.parametrize("body", [b"", b'{"actions":[{"na'])
def test_a_log_is_read_though_something_else_came_once_in_its_place(account: str, body: bytes) -> None:
    with on_stage(with_runs(bare_world(), a_run(1, file=a_log(b'{"actions":[{"name":"a"}]}'))), account) as stage:
        stage.run("poll_flow_sessions")
        stage.tenant.faults.add(Fault("dataverse", path_contains="additionalcontext/", status=200, body=body))
        stage.decode()
        stage.publish()
        assert stage.by_id()[run_id(1)]["log_status"] == "loaded"
        assert list(stage.app.journal.gaps()) == []
        assert stage.raw() == []


def test_an_inventory_of_strange_rows_is_taken_as_far_as_it_makes_sense(account: str) -> None:
    odd: list[Any] = [5, [], {"a": 1}, "x" * 100_000, True, 1 << 70, None, "0001-01-01T00:00:00Z", "../x"]
    with on_stage(bare_world(), account) as stage:
        for entity_set, key, columns in (
            (
                "workflows",
                "workflowid",
                ("name", "category", "statecode", "createdon", "_ownerid_value", "uiflowtype"),
            ),
            ("flowmachines", "flowmachineid", ("name", "agentversion", "sessioncapacity", "lastheartbeatdate")),
            ("flowmachinegroups", "flowmachinegroupid", ("name", "flowgrouptype")),
            ("systemusers", "systemuserid", ("fullname", "domainname", "azureactivedirectoryobjectid")),
        ):
            rows = [
                {key: run_id(900 + at), column: value} for at, (column, value) in enumerate(pairs(columns, odd))
            ]
            keys = [{key: value, "name": "x", "domainname": ""} for value in odd]
            body = json.dumps({"value": [*rows, *keys, None, 5, {key: run_id(1), "name": "good"}]}).encode()
            stage.tenant.faults.add(
                Fault("dataverse", path_contains=f"{entity_set}?$select", times=None, status=200, body=body)
            )
        stage.run("sync_inventory")
        stage.publish()
        for table, key in (("dim_flow", "flow_id"), ("dim_machine", "machine_id")):
            names = {row[key]: row["name"] for row in stage.rows(table)}
            assert names[run_id(1)] == "good"
            assert len(names) > 20


def pairs(columns: tuple[str, ...], odd: list[Any]) -> Iterator[tuple[str, Any]]:
    return ((column, value) for column in columns for value in odd)
