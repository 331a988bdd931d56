from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tenant_support import NOON, Client, Clock, environment, session, session_id, state, world

from local.tenant import FLOWSESSION_COLUMNS_2023, Access, LogFile, Session, World, generate

Serve = Callable[..., Client]
EARLIER = NOON - timedelta(minutes=5)
CONTENT = json.dumps({"actions": [], "childFlowsLogStatus": "Default"}).encode() * 100
WITH_FILE = replace(session(1, EARLIER), file=LogFile(EARLIER + timedelta(seconds=1), CONTENT))
KEY = session_id(1)
VALUE = f"flowsessions({KEY})/additionalcontext/$value"


def test_who_am_i_and_date_follow_the_clock(serve: Serve) -> None:
    answer = serve(world()).get("WhoAmI")
    assert answer.json()["OrganizationId"] == session_id(902)
    assert answer.headers["Date"] == "Wed, 19 Nov 2025 12:00:00 GMT"
    assert answer.headers["OData-Version"] == "4.0"


@pytest.mark.parametrize(
    "call",
    [
        "(AccessType=Microsoft.Dynamics.CRM.EndpointAccessType'Default')",
        "(AccessType='Default')",
        "(AccessType=@p1)?@p1=Microsoft.Dynamics.CRM.EndpointAccessType'Default'",
        "(AccessType=@p1)?@p1='Default'",
    ],
)
def test_current_organization(serve: Serve, call: str) -> None:
    client = serve(world())
    detail = client.get(f"RetrieveCurrentOrganization{call}").json()["Detail"]
    assert detail["EnvironmentId"] == session_id(901)
    assert detail["TenantId"] == client.tenant.tenant_id


@pytest.mark.parametrize(
    "call", ["", "()", "(AccessType=@p1)", "(AccessType='Nowhere')", "(AccessType='Default')?x=1"]
)
def test_current_organization_refuses_other_calls(serve: Serve, call: str) -> None:
    assert serve(world()).get(f"RetrieveCurrentOrganization{call}").status_code in {400, 404}


def test_organization_row_tells_the_log_settings(serve: Serve) -> None:
    client = serve(generate(anchor=NOON, environments=3, sessions_per_environment=1, blobs=0))
    (row,) = client.rows(
        "organizations?$select=desktopflowrunactionlogversion,flowlogsttlinminutes", environment=2
    )
    assert row["desktopflowrunactionlogversion"] == 1
    assert row["flowlogsttlinminutes"] > 0


def test_metadata_tells_the_columns(serve: Serve) -> None:
    client = serve(World((environment(columns=FLOWSESSION_COLUMNS_2023),)))
    definition = client.get(
        "EntityDefinitions(LogicalName='flowsession')?$select=LogicalName,ChangeTrackingEnabled"
        "&$expand=Attributes($select=LogicalName,IsValidODataAttribute)"
    ).json()
    names = {each["LogicalName"] for each in definition["Attributes"]}
    assert definition["ChangeTrackingEnabled"] is True
    assert "runmode" not in names
    assert {"machineid", "machineidname", "statuscode"} <= names
    listed = client.get("EntityDefinitions(LogicalName='flowsession')/Attributes?$select=LogicalName").json()[
        "value"
    ]
    assert {each["LogicalName"] for each in listed} == names


@pytest.mark.parametrize(
    "path",
    [
        "EntityDefinitions(LogicalName='nope')",
        "EntityDefinitions(LogicalName='flowsession')?$select=nope",
        "EntityDefinitions(LogicalName='flowsession')?$filter=x",
        "EntityDefinitions(LogicalName='flowsession')?$expand=Keys",
    ],
)
def test_metadata_refuses_the_rest(serve: Serve, path: str) -> None:
    assert serve(world()).get(path).status_code == 400


def test_a_column_of_newer_environments_is_refused_by_an_old_one(serve: Serve) -> None:
    client = serve(World((environment(session(1, EARLIER, runmode=2), columns=FLOWSESSION_COLUMNS_2023),)))
    answer = client.get("flowsessions?$select=name,runmode")
    assert answer.status_code == 400
    message = "Could not find a property named 'runmode' on type 'Microsoft.Dynamics.CRM.flowsession'."
    assert answer.json() == {"error": {"code": "0x80060888", "message": message}}
    assert "runmode" not in client.rows("flowsessions")[0]


def test_rows_carry_selected_columns_key_and_etag(serve: Serve) -> None:
    (row,) = serve(world(session(1, EARLIER, name="Flow"))).rows(
        "flowsessions?$select=name,modifiedon,_machineid_value"
    )
    assert row == {
        "@odata.etag": 'W/"1"',
        "name": "Flow",
        "modifiedon": "2025-11-19T11:55:00Z",
        "_machineid_value": None,
        "flowsessionid": KEY,
    }


def test_annotations_come_when_asked_for(serve: Serve) -> None:
    user = {"systemuserid": session_id(5), "fullname": "Zoë", "domainname": "Zoe@x.example"}
    own = session(1, EARLIER, _owninguser_value=session_id(5))
    client = serve(World((environment(own, users=(user,), language="de"),)))
    terms = "OData.Community.Display.V1.FormattedValue,Microsoft.Dynamics.CRM.lookuplogicalname"
    path = "flowsessions?$select=statuscode,_owninguser_value&$expand=owninguser($select=domainname)"
    (row,) = client.get(path, Prefer=f'odata.include-annotations="{terms}"').json()["value"]
    assert row["statuscode"] == 4
    assert row["statuscode@OData.Community.Display.V1.FormattedValue"] == "Erfolgreich"
    assert row["_owninguser_value@OData.Community.Display.V1.FormattedValue"] == "Zoë"
    assert row["_owninguser_value@Microsoft.Dynamics.CRM.lookuplogicalname"] == "systemuser"
    assert row["owninguser"]["domainname"] == "Zoe@x.example"
    assert not [name for name in client.rows(path)[0] if "@OData" in name]


def test_states_follow_the_clock(serve: Serve, clock: Clock) -> None:
    running, done = state(NOON, statuscode=2), state(NOON + timedelta(seconds=10), version=2)
    changing = Session(KEY, (running, done), LogFile(NOON + timedelta(seconds=11), CONTENT))
    client = serve(world(changing))

    def seen() -> tuple[Any, bool]:
        row = client.get(f"flowsessions({KEY})?$select=statuscode,additionalcontext").json()
        return row["statuscode"], row["additionalcontext"] is not None

    clock.advance(seconds=-1)
    assert client.get(f"flowsessions({KEY})").status_code == 404
    clock.advance(seconds=1)
    assert seen() == (2, False)
    clock.advance(seconds=10)
    assert seen() == (4, False)
    assert client.get(VALUE).status_code == 204
    clock.advance(seconds=1)
    assert seen() == (4, True)
    assert client.get(VALUE).content == CONTENT


def test_download_whole_and_in_ranges(serve: Serve) -> None:
    client = serve(world(WITH_FILE))
    whole = client.get(VALUE)
    assert (whole.status_code, whole.content) == (200, CONTENT)
    assert whole.headers["x-ms-file-size"] == str(len(CONTENT))
    assert whole.headers["mimetype"] == "application/json"
    first = client.get(VALUE, Range="bytes=0-999")
    assert (first.status_code, first.content) == (206, CONTENT[:1000])
    assert first.headers["Content-Range"] == f"bytes 0-999/{len(CONTENT)}"
    assert first.headers["x-ms-chunk-size"] == "4194304"
    rest = client.get(VALUE, Range=f"bytes=1000-{len(CONTENT) + 5000}")
    assert first.content + rest.content == CONTENT
    assert client.get(VALUE, Range=f"bytes={len(CONTENT)}-").status_code == 416
    assert client.tenant.truth()["served"]["files"] == 1


def test_a_file_that_cannot_be_chunked_comes_whole(serve: Serve) -> None:
    client = serve(world(replace(WITH_FILE, file=LogFile(EARLIER, CONTENT, chunkable=False))))
    answer = client.get(VALUE, Range="bytes=0-9")
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_missing_file_and_missing_row_differ(serve: Serve) -> None:
    client = serve(world(session(1, EARLIER)))
    assert client.get(VALUE).status_code == 204
    gone = client.get(f"flowsessions({session_id(2)})/additionalcontext/$value")
    assert gone.status_code == 404
    assert gone.json()["error"]["code"] == "0x80040217"


def test_file_size_can_be_had_before_the_download(serve: Serve) -> None:
    path = "flowsessions?$select=name&$expand=flowsession_FileAttachments($select=filesizeinbytes,filename)"
    (row,) = serve(world(WITH_FILE)).rows(path)
    assert row["flowsession_FileAttachments"][0]["filesizeinbytes"] == len(CONTENT)


def test_flowlogs_belong_to_their_session_and_appear_in_time(serve: Serve, clock: Clock) -> None:
    logs = tuple(
        {
            "flowlogid": session_id(100 + at),
            "createdon": NOON + timedelta(seconds=at),
            "type": 100000001,
            "data": '{"status":"Failed"}',
            "_parentobjectid_value": KEY,
            "_flowsessionid_value": KEY,
        }
        for at in range(3)
    )
    client = serve(world(replace(session(1, EARLIER), flowlogs=logs), session(2, EARLIER)))
    path = f"flowsessions({KEY})/flowsession_flowlog_parentobjectid?$select=data,type&$filter=type eq 100000001"
    assert len(client.rows(path)) == 1
    clock.advance(seconds=5)
    assert len(client.rows(path, 2)) == 3
    assert len(client.rows(f"flowlogs?$filter=_flowsessionid_value eq {KEY}")) == 3
    assert client.rows(f"flowsessions({session_id(2)})/flowsession_flowlog_parentobjectid") == []
    (told,) = client.tenant.truth()["environments"][0]["sessions"][:1]
    assert (told["log"], told["actions"], told["failed_actions"]) == ("v2", 3, 3)


@pytest.mark.parametrize(
    ("access", "code"),
    [
        (Access(member=False), "0x80072560"),
        (Access(roles=()), "0x80042f09"),
        (Access(missing_privileges=frozenset({"prvReadflowsession"})), "0x80040220"),
    ],
)
def test_refused_access_says_why(serve: Serve, access: Access, code: str) -> None:
    answer = serve(World((environment(access=access),))).get("flowsessions")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == code


def test_a_missing_privilege_refuses_one_table_only(serve: Serve) -> None:
    access = Access(missing_privileges=frozenset({"prvReadflowmachine"}))
    client = serve(World((environment(session(1, EARLIER), access=access),)))
    assert client.get("flowmachines").status_code == 403
    assert client.get("flowsessions").status_code == 200


def test_another_world_changes_access_while_the_address_stays(serve: Serve) -> None:
    shut = World((environment(access=Access(member=False)),))
    client = serve(shut)
    assert client.get("WhoAmI").status_code == 403
    client.tenant.world = replace(shut, environments=(environment(),))
    assert client.get("WhoAmI").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("nothing", 404),
        ("flowsession", 404),
        (f"nothing({KEY})", 404),
        (f"flowsessions({KEY})/nothing", 404),
        (f"flowsessions({KEY})/name/$value", 404),
        ("flowsessions(5)", 404),
        ("WhoAmI?x=1", 404),
        ("flowsessions?$select=" + "name," * 8000 + "name", 414),
    ],
)
def test_unknown_addresses(serve: Serve, path: str, status: int) -> None:
    assert serve(world(session(1, EARLIER))).get(path).status_code == status


def test_the_inventory_can_be_read(serve: Serve) -> None:
    client = serve(generate(anchor=NOON, environments=1, sessions_per_environment=1, blobs=0))
    path = "workflows?$filter=category eq 6&$select=name,uiflowtype,statecode,_ownerid_value"
    flows = client.rows(path)
    assert {flow["uiflowtype"] for flow in flows} == {0, 1, 2}
    assert {flow["statecode"] for flow in flows} == {1}
    with_drafts = client.get(path, **{"MSCRM.IncludeUnpublished": "true"}).json()["value"]
    assert {flow["statecode"] for flow in with_drafts} == {0, 1}
    assert len(client.rows("workflows")) > len(flows)
    groups = {row["flowmachinegroupid"] for row in client.rows("flowmachinegroups?$select=name")}
    machines = client.rows("flowmachines?$select=name,hostingtype,_flowmachinegroupid_value")
    assert {machine["_flowmachinegroupid_value"] for machine in machines} == groups
    users = {row["systemuserid"] for row in client.rows("systemusers?$select=domainname")}
    assert {flow["_ownerid_value"] for flow in flows} <= users


def test_privileges_are_told_with_their_depth(serve: Serve) -> None:
    access = Access(missing_privileges=frozenset({"prvReadflowlog"}), depths={"prvReadflowsession": "Local"})
    client = serve(World((environment(session(1, EARLIER), access=access),)))
    user = client.get("WhoAmI").json()["UserId"]
    path = f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
    told = {entry["PrivilegeName"]: entry["Depth"] for entry in client.get(path).json()["RolePrivileges"]}
    assert told["prvReadflowsession"] == "Local"
    assert told["prvReadWorkflow"] == "Global"
    assert "prvReadflowlog" not in told


def test_too_little_depth_leaves_rows_out_without_a_word(serve: Serve) -> None:
    access = Access(depths={"prvReadflowsession": "Basic"})
    client = serve(World((environment(session(1, EARLIER), access=access),)))
    assert client.rows("flowsessions") == []
    assert client.get("flowsessions/$count").text == "0"
    assert client.get(f"flowsessions({KEY})").status_code == 403


def test_a_table_that_is_not_there(serve: Serve) -> None:
    absent = frozenset({"flowlog"})
    client = serve(World((environment(session(1, EARLIER), absent_tables=absent),)))
    assert client.get("flowlogs").status_code == 404
    assert client.get("EntityDefinitions(LogicalName='flowlog')/Attributes").status_code == 404
    assert client.get("flowsessions").status_code == 200
