"""What a row says of a record."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import NOON, WORKLOADS

from shared.audit.blob import select
from shared.audit.events import read_event
from shared.audit.feed import ContentBlob
from shared.audit.ids import address
from shared.audit.operations import GROUPS, named
from shared.errors import Unreadable
from shared.schema import FACT_AUDIT_EVENT

FEED = "https://manage.office.com"
BLOB = ContentBlob("20260519$x", "Audit.General", f"{FEED}/api/blob", NOON, NOON + timedelta(days=7))
ENVIRONMENT = "AA289EFD-09F4-EAEB-BBB8-C08FC9E27D09"


def unified(operation: str = "LaunchPowerApp", **properties: str) -> dict[str, Any]:
    return {
        "Id": "E2A84675-8952-4D91-A2EA-4D89F310F1A7",
        "RecordType": 256,
        "CreationTime": "2026-05-19T11:17:34",
        "Operation": operation,
        "Workload": "PowerPlatform",
        "UserType": 2,
        "UserId": "Ada@Contoso.example",
        "UserKey": "7FF1E0F1",
        "ResultStatus": "Succeeded",
        "ClientIP": "::ffff:167.220.196.178",
        "PropertyCollection": [
            {"Name": f"powerplatform.analytics.{name.replace('__', '.')}", "Value": value}
            for name, value in properties.items()
        ],
    }


def row(record: Any) -> dict[str, Any]:
    return read_event(json.dumps(record).encode(), BLOB, NOON)


def test_a_unified_record() -> None:
    event = row(
        unified(
            resource__type="PowerApp",
            resource__power_app__id="6C39E97C",
            resource__power_app__display_name="Test app",
            resource__environment__id=ENVIRONMENT,
            resource__environment__name="dev",
            operation__is_successful="False",
            correlation__id="1FC61149",
            resource__role__name="CanView",
        )
    )
    assert event["event_id"] == "e2a84675-8952-4d91-a2ea-4d89f310f1a7"
    assert event["created_utc"] == datetime(2026, 5, 19, 11, 17, 34, tzinfo=UTC)
    assert (event["workload"], event["record_type"], event["operation"]) == (
        "PowerPlatform",
        256,
        "LaunchPowerApp",
    )
    assert (event["operation_group"], event["is_success"], event["result"]) == ("App use", False, "Succeeded")
    assert (event["user_id"], event["user_key"], event["user_type"]) == (
        "ada@contoso.example",
        "7ff1e0f1",
        "Admin",
    )
    assert event["client_ip"] == "167.220.196.178"
    assert (event["environment_id"], event["environment_name"]) == (ENVIRONMENT.lower(), "dev")
    assert (event["resource_type"], event["resource_id"]) == ("PowerApp", "6c39e97c")
    assert (event["resource_name"], event["app_id"]) == ("Test app", "6c39e97c")
    assert (event["correlation_id"], event["permission"]) == ("1fc61149", "CanView")
    assert (event["content_id"], event["content_created_utc"], event["ingested_utc"]) == (
        BLOB.content_id,
        NOON,
        NOON,
    )
    assert set(event) == set(FACT_AUDIT_EVENT.column_names)


def test_the_order_of_members_and_the_case_of_names_do_not_matter() -> None:
    record = unified(resource__type="PowerApp", resource__power_app__id="a1")
    turned = dict(reversed(record.items()))
    turned["PropertyCollection"] = [
        {"Value": pair["Value"], "Name": pair["Name"].upper()} for pair in reversed(record["PropertyCollection"])
    ]
    assert row(turned) == row(record)


def test_a_flow_record_takes_its_ids_from_the_address() -> None:
    event = row(
        {
            "Id": "a1",
            "RecordType": 30,
            "Operation": "PutPermissions",
            "Workload": "MicrosoftFlow",
            "CreationTime": "2026-05-19T13:00:00",
            "UserUPN": "Ada@contoso.example",
            "FlowDetailsUrl": f"https://admin.powerplatform.microsoft.com/environments/{ENVIRONMENT}/flows/F-2/flowDetails",
            "FlowConnectorNames": "Request, OpenApiConnection",
            "RecipientUPN": "Bob@contoso.example",
            "SharingPermission": "3",
        }
    )
    assert (event["environment_id"], event["flow_id"]) == (ENVIRONMENT.lower(), "f-2")
    assert (event["resource_type"], event["resource_id"]) == ("CloudFlow", "f-2")
    assert (event["user_id"], event["target_user"], event["permission"]) == (
        "ada@contoso.example",
        "bob@contoso.example",
        "3",
    )
    assert event["operation_group"] == "Flow sharing"
    assert "OpenApiConnection" in event["details"]


def test_a_legacy_app_record() -> None:
    more = {"environmentName": "Default-11", "targetObjectId": "T1", "permissionType": "CanEdit"}
    event = row(
        {
            "Id": "a2",
            "RecordType": "PowerAppsApp",
            "Operation": "PowerAppPermissionEdited",
            "Workload": "PowerApps",
            "CreationTime": "2026-05-19T13:00:00Z",
            "AppName": "APP-1",
            "AdditionalInfo": json.dumps(more),
        }
    )
    assert (event["record_type"], event["app_id"], event["resource_type"]) == (45, "app-1", "PowerApp")
    assert (event["environment_id"], event["target_user"], event["permission"]) == ("default-11", "t1", "CanEdit")
    assert event["details"] is None


def test_ids_are_freed_from_their_paths() -> None:
    event = row(
        unified(resource__environment__id=f"/providers/Microsoft.BusinessAppPlatform/environments/{ENVIRONMENT}")
    )
    assert event["environment_id"] == ENVIRONMENT.lower()


def test_an_address_is_an_id_as_a_whole() -> None:
    address_of_site = "https://Contoso.powerappsportals.com/region/emea-site/"
    event = row({"Id": "a", "Operation": "SiteCreated", "ObjectId": address_of_site})
    assert event["resource_id"] == address_of_site.lower()


@pytest.mark.parametrize("path", ["/environments/E-1", "/providers/a/b/E-1/more/E-1", "E-0/E-1", "/"])
def test_of_a_path_that_says_more_than_its_provider_nothing_is_lost(path: str) -> None:
    event = row(unified(resource__environment__id=path) | {"EnvironmentId": "E-2"})
    assert event["environment_id"] == ("e-2" if path == "/" else "e-1")
    details = json.loads(event["details"])["PropertyCollection"]
    assert details["powerplatform.analytics.resource.environment.id"] == path


def test_the_path_of_a_provider_is_no_detail() -> None:
    event = row(
        unified(resource__environment__id=ENVIRONMENT) | {"EnvironmentId": f"/providers/A.b/c/{ENVIRONMENT}"}
    )
    assert event["details"] is None


def test_an_unknown_operation_is_kept_whole() -> None:
    event = row({**unified("BrandNewThing"), "Surprise": {"deep": [1, 2]}})
    assert event["operation_group"] == "Other"
    assert json.loads(event["details"])["Surprise"] == {"deep": [1, 2]}


def test_a_record_without_an_id_gets_one_from_its_content() -> None:
    record = {"Operation": "X", "Workload": "PowerApps", "CreationTime": "2026-05-19T13:00:00"}
    first, second = row(record), row(dict(reversed(record.items())))
    assert first["event_id"].startswith("sha256-")
    assert first["event_id"] == second["event_id"] != row({**record, "More": 1})["event_id"]


def test_a_record_without_a_time_takes_that_of_its_blob() -> None:
    assert row({"Id": "a", "CreationTime": "whenever"})["created_utc"] == NOON


def test_a_property_that_comes_twice_keeps_both_values() -> None:
    record = unified(resource__type="PowerApp")
    record["PropertyCollection"] += [{"Name": "extra", "Value": "one"}, {"Name": "Extra", "Value": "two"}]
    assert json.loads(row(record)["details"])["PropertyCollection"]["extra"] == ["one", "two"]


def test_a_property_with_other_members_than_a_pair_is_kept_whole() -> None:
    record = unified(resource__type="Environment")
    change = {"Name": "displayName", "OldValue": "Alpha", "NewValue": "Beta"}
    more = {"Name": "powerplatform.analytics.resource.id", "Value": "R-1", "Extra": "Gamma"}
    record["PropertyCollection"] += [change, more]
    read = row(record)
    assert (read["resource_type"], read["resource_id"]) == ("Environment", "r-1")
    assert json.loads(read["details"])["PropertyCollection"] == {"": [change, more]}


def test_pairs_may_be_written_in_lower_case() -> None:
    record = unified() | {"PropertyCollection": [{"name": "powerplatform.analytics.resource.id", "value": "R-1"}]}
    read = row(record)
    assert (read["resource_id"], read["details"]) == ("r-1", None)


@pytest.mark.parametrize("values", [("R-1", None), (None, "R-1"), ("R-1", ""), ("R-1", "R-1")])
def test_a_value_counts_more_than_none(values: tuple[str | None, ...]) -> None:
    record = unified()
    record["PropertyCollection"] = [
        {"Name": "powerplatform.analytics.resource.id", "Value": one} for one in values
    ]
    assert row(record)["resource_id"] == "r-1"


def test_a_value_stays_that_only_happens_to_equal_a_column() -> None:
    told = {"resource__environment__old_name": "Contoso", "resource__previous_owner": "ada@contoso.example"}
    read = row(unified(resource__environment__name="Contoso", **told) | {"Short": "2"})
    details = json.loads(read["details"])
    assert details["PropertyCollection"] == {
        f"powerplatform.analytics.{name.replace('__', '.')}": value for name, value in told.items()
    }
    assert details["Short"] == "2"


def test_what_a_column_holds_under_another_name_is_no_detail() -> None:
    record = unified(
        activity__id="E2A84675-8952-4D91-A2EA-4D89F310F1A7",
        activity__name="launchpowerapp",
        resource__environment__id=ENVIRONMENT,
        resource__power_app__id="APP-1",
        resource__id="app-1",
        correlation__id="C",
        resource__telemetry_correlation__id="c",
    )
    record["PropertyCollection"] += [
        {"Name": "enduser.id", "Value": "7ff1e0f1"},
        {"Name": "enduser.principal_name", "Value": "ada@contoso.example"},
        {"Name": "enduser.ip_address", "Value": "167.220.196.178"},
    ]
    assert row(record | {"EnvironmentId": ENVIRONMENT})["details"] is None


def test_a_word_for_success_that_is_none_stays() -> None:
    read = row(unified(operation__is_successful="Perhaps"))
    assert read["is_success"] is None
    assert "Perhaps" in read["details"]


@pytest.mark.parametrize(("told", "expected"), [("Admin", "Admin"), (" dcadmin", "DCAdmin"), (10, "Guest")])
def test_the_type_of_a_user_as_number_or_word(told: Any, expected: str) -> None:
    read = row(unified() | {"UserType": told})
    assert (read["user_type"], read["details"]) == (expected, None)


@pytest.mark.parametrize("told", ["Martian", 11, True, 1.5, [2]])
def test_another_type_of_a_user_stays_in_the_details(told: Any) -> None:
    read = row(unified() | {"UserType": told})
    assert read["user_type"] is None
    assert json.loads(read["details"])["UserType"] == told


def test_of_several_values_none_is_lost() -> None:
    """A column holds one value; the others must be somewhere."""
    record = unified(operation__is_successful="True", resource__environment__name="Berlin")
    record["PropertyCollection"] += [
        {"Name": "powerplatform.analytics.resource.environment.name", "Value": "Hamburg"},
        "no pair",
    ]
    read = row(record | {"ResultStatus": ["Succeeded", "PartiallySucceeded"]})
    details = json.loads(read["details"])
    assert (read["environment_name"], read["result"]) == ("Hamburg", "PartiallySucceeded")
    assert details["PropertyCollection"] == {
        "powerplatform.analytics.resource.environment.name": ["Berlin", "Hamburg"],
        "": "no pair",
    }
    assert details["ResultStatus"] == ["Succeeded", "PartiallySucceeded"]


def test_a_time_that_is_none_stays_in_the_details() -> None:
    read = row(unified() | {"CreationTime": "yesterday"})
    assert read["created_utc"] == NOON
    assert json.loads(read["details"])["CreationTime"] == "yesterday"


def test_a_long_value_that_is_no_text_stays_whole_in_the_details() -> None:
    long_one = {"list": ["x"] * 2000}
    read = row(unified() | {"ResultStatus": long_one})
    assert len(read["result"]) == 4000
    assert json.loads(read["details"])["ResultStatus"] == long_one


def test_a_text_that_is_cut_stays_whole_in_the_details() -> None:
    name = "x" * 5000
    event = row(unified(resource__display_name=name))
    assert len(event["resource_name"]) == 4000
    assert name in event["details"]


@pytest.mark.parametrize("raw", [b"5", b"null", b"[]", b"{"])
def test_what_is_no_record_is_unreadable(raw: bytes) -> None:
    with pytest.raises(Unreadable):
        read_event(raw, BLOB, NOON)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("104.42.1.2:26568", "104.42.1.2"),
        ("::ffff:172.172.34.12", "172.172.34.12"),
        ("ffff:172.172.34.12:80", "172.172.34.12"),
        ("::ffff:c0a8:0101", "192.168.1.1"),
        ("[::FFFF:c0a8:0101]:443", "192.168.1.1"),
        ("0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"),
        ("0:0:0:0:0:ffff:1.2.3.4:80", "1.2.3.4"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("Unknown", "unknown"),
        (None, None),
    ],
)
def test_addresses(text: str | None, expected: str | None) -> None:
    assert address(text) == expected


def test_operations_belong_to_one_group_each() -> None:
    keys = ["".join(filter(str.isalnum, name)).lower() for group in GROUPS.values() for name in group]
    assert len(keys) == len(set(keys))
    assert named("LAUNCHPOWERAPP") == ("App use", "LaunchPowerApp")
    assert named("never heard of") == ("Other", "never heard of")


SAMPLES = os.environ.get("FLOWTRAIL_SAMPLES", "")
REAL = pytest.mark.skipif(not SAMPLES, reason="FLOWTRAIL_SAMPLES names no folder of real records")


@REAL
def test_a_real_app_launch() -> None:
    raw = (Path(SAMPLES) / "audit" / "real_powerapps_LaunchPowerApp_rt256_2026.json").read_bytes()
    assert len(select(b"[" + raw + b"]", WORKLOADS).kept) == 1
    event = read_event(raw, BLOB, NOON)
    assert event["user_id"] == "amberr@contoso.onmicrosoft.com"
    assert (event["app_id"], event["resource_name"]) == ("6c39e97c-6ddd-4a37-afd4-494a605925cf", "TestEmptyApp")
    assert (event["environment_id"], event["environment_name"]) == (
        "aa289efd-09f4-eaeb-bbb8-c08fc9e27d09",
        "dev-na-ba50088f",
    )
    assert event["is_success"] is True


@REAL
def test_a_real_blob_of_another_workload_is_dropped() -> None:
    selection = select((Path(SAMPLES) / "audit" / "doc_aad_blob_2015.json").read_bytes(), WORKLOADS)
    assert selection.dropped == {"AzureActiveDirectory": 3}
