"""The permission scripts, run against a directory and environments that remember what they were told."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from bicep_files import INFRA

from shared.dataverse.access import FLOW_LOGS, NEEDS

API = "c5393580-f805-4401-95e8-94b7a6ef2fc2"
IDENTITY = "11111111-2222-3333-4444-555555555555"
CLIENT = "99999999-2222-3333-4444-555555555555"
FINANCE, SALES = "contoso.crm4.dynamics.com", "sales.crm4.dynamics.com"
ROLE_FILE = INFRA / "dataverse-role.txt"
WANTED = re.findall(r"(?m)^\??(prv\w+)", ROLE_FILE.read_text())
OPTIONAL = re.findall(r"(?m)^\?(prv\w+)", ROLE_FILE.read_text())
APP_ROLES = [
    {"id": "role-delegated", "value": "ActivityFeed.Read", "allowedMemberTypes": ["User"]},
    {"id": "role-read", "value": "ActivityFeed.Read", "allowedMemberTypes": ["Application"]},
    {"id": "role-dlp", "value": "ActivityFeed.ReadDlp", "allowedMemberTypes": ["Application"]},
    {"id": "role-search", "value": "AuditLogsQuery.Read.All", "allowedMemberTypes": ["Application"]},
    {"id": "role-health", "value": "ServiceHealth.Read", "allowedMemberTypes": ["Application"]},
]
pytestmark = pytest.mark.skipif(
    not shutil.which("bash"), reason="the scripts for this system are the PowerShell ones"
)


class Desk:
    """A PATH on which `az` is the stand-in, and its memory."""

    def __init__(self, folder: Path) -> None:
        self.memory = folder / "state.json"
        self.bin = folder / "bin"
        self.bin.mkdir()
        az = self.bin / "az"
        az.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("fake_az.py")}" "$@"\n')
        az.chmod(0o755)
        azd = self.bin / "azd"  # as the real one where a value is not known
        azd.write_text("#!/bin/sh\necho \"ERROR: key '$3' not found in the environment values\"\nexit 1\n")
        azd.chmod(0o755)
        self.state: dict[str, Any] = {
            "calls": [],
            "principals": {IDENTITY: {"id": IDENTITY, "appId": CLIENT, "displayName": "id-flowtrail"}},
            "roles_of_new_apps": APP_ROLES,
            "assignments": [],
            "environments": {FINANCE: self.environment(), SALES: self.environment()},
        }

    @staticmethod
    def environment() -> dict[str, Any]:
        names = [*WANTED, "prvWriteflowsession", "prvDeleteWorkflow"]
        privileges = {name: str(uuid.uuid4()) for name in names}
        return {"unit": str(uuid.uuid4()), "privileges": privileges, "roles": {}, "systemusers": {}}

    def run(self, script: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        self.memory.write_text(json.dumps(self.state))
        done = subprocess.run(  # noqa: S603 - our own script
            ["bash", INFRA / script, *arguments],  # noqa: S607 - the bash of this machine
            env={
                "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
                "FAKE_AZ_STATE": str(self.memory),
                **environ,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.state = json.loads(self.memory.read_text())
        return done

    def written(self) -> list[str]:
        """What was asked to change: the bodies of all calls but reading ones."""
        return [call[call.index("--body") + 1] for call in self.state["calls"] if "--body" in call]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_the_audit_role_is_found_by_its_value_and_assigned_once(desk: Desk) -> None:
    first = desk.run("grant-audit.sh", IDENTITY)
    assert (first.returncode, first.stderr) == (0, "")
    assert "Created the service principal" in first.stdout
    assert "ActivityFeed.Read: assigned\n" in first.stdout
    assert [one["appRoleId"] for one in desk.state["assignments"]] == ["role-read"]
    writes = len(desk.written())
    again = desk.run("grant-audit.sh", IDENTITY)
    assert again.returncode == 0
    assert "ActivityFeed.Read: assigned already\n" in again.stdout
    assert len(desk.written()) == writes


def test_the_identity_comes_from_azd_where_it_is_not_given(desk: Desk) -> None:
    done = desk.run("grant-audit.sh", IDENTITY_PRINCIPAL_ID=IDENTITY)
    assert done.returncode == 0
    assert f"id-flowtrail ({IDENTITY})" in done.stdout


def test_dlp_is_granted_only_when_asked_for(desk: Desk) -> None:
    assert desk.run("grant-audit.sh", "--dlp", IDENTITY).returncode == 0
    assert [one["appRoleId"] for one in desk.state["assignments"]] == ["role-read", "role-dlp"]


def test_the_search_of_graph_is_granted_only_when_asked_for(desk: Desk) -> None:
    assert desk.run("grant-audit.sh", "--search", IDENTITY).returncode == 0
    assert [one["appRoleId"] for one in desk.state["assignments"]] == ["role-read", "role-search"]
    feed, search = [desk.state["principals"][one["resourceId"]] for one in desk.state["assignments"]]
    assert (feed["appId"], search["appId"]) == (API, "00000003-0000-0000-c000-000000000000")
    again = desk.run("grant-audit.sh", "--search", IDENTITY)
    assert "AuditLogsQuery.Read.All: assigned already\n" in again.stdout


def test_the_graph_of_a_tenant_may_be_another_than_that_of_its_cloud(desk: Desk) -> None:
    done = desk.run("grant-audit.sh", "--graph", "https://dod-graph.microsoft.us/", IDENTITY)
    assert (done.returncode, done.stderr) == (0, "")
    urls = [call[call.index("--url") + 1] for call in desk.state["calls"]]
    assert urls
    assert all(url.startswith("https://dod-graph.microsoft.us/v1.0/") for url in urls)


def test_who_may_not_create_the_service_principal_is_told_who_may(desk: Desk) -> None:
    desk.state["refused"] = ["POST servicePrincipals"]
    done = desk.run("grant-audit.sh", IDENTITY)
    assert done.returncode != 0
    assert f"az ad sp create --id {API}" in done.stderr
    assert desk.state["assignments"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--graph", "http://graph.microsoft.com", IDENTITY), "is no URL like"),
        ((), "give the object id"),
        (("not-an-id",), "give the object id"),
        ((CLIENT,), "there is no identity with the object id"),
        (("--all",), "there is no option"),
    ],
)
def test_a_wrong_call_of_the_audit_script_changes_nothing(
    desk: Desk, arguments: tuple[str, ...], said: str
) -> None:
    done = desk.run("grant-audit.sh", *arguments)
    assert done.returncode != 0
    assert said in done.stderr
    assert desk.written() == []


def test_a_tenant_without_the_role_is_told_of(desk: Desk) -> None:
    desk.state["roles_of_new_apps"] = APP_ROLES[:1]
    done = desk.run("grant-audit.sh", IDENTITY)
    assert done.returncode != 0
    assert "no application role ActivityFeed.Read" in done.stderr
    assert desk.state["assignments"] == []


def privileges_of(environment: dict[str, Any]) -> set[str]:
    (role,) = environment["roles"].values()
    assert role["name"] == "Flowtrail reader"
    assert {one["Depth"] for one in role["privileges"]} == {"Global"}
    assert {one["BusinessUnitId"] for one in role["privileges"]} == {environment["unit"]}
    names = {one: name for name, one in environment["privileges"].items()}
    return {names[one["PrivilegeId"]] for one in role["privileges"]}


def test_every_environment_gets_the_role_the_user_and_their_bond(desk: Desk) -> None:
    done = desk.run("grant-dataverse.sh", "--client-id", CLIENT, f"https://{FINANCE}/", f"https://{SALES}")
    assert (done.returncode, done.stderr) == (0, "")
    for environment in desk.state["environments"].values():
        assert privileges_of(environment) == set(WANTED)
        (user,) = environment["systemusers"].values()
        assert user["applicationid"] == CLIENT
        assert user["roles"] == list(environment["roles"])
    assert done.stdout.count("verified:") == len(desk.state["environments"])


def test_repeating_it_takes_away_what_was_added_since_and_makes_nothing_twice(desk: Desk) -> None:
    call = ("grant-dataverse.sh", "--client-id", CLIENT, f"https://{FINANCE}")
    assert desk.run(*call).returncode == 0
    environment = desk.state["environments"][FINANCE]
    (role,) = environment["roles"].values()
    added = environment["privileges"]["prvWriteflowsession"]
    role["privileges"].append({"PrivilegeId": added, "Depth": "Global", "BusinessUnitId": environment["unit"]})
    again = desk.run(*call)
    assert again.returncode == 0
    assert "assigned already" in again.stdout
    environment = desk.state["environments"][FINANCE]
    assert privileges_of(environment) == set(WANTED)
    assert len(environment["systemusers"]) == 1


@pytest.mark.parametrize(
    "written",
    [
        f"https://{FINANCE}, https://{SALES}",
        f'["https://{FINANCE}", {{"url": "https://{SALES}", "name": "Sales"}}]',
    ],
)
def test_environments_come_from_azd_in_both_their_forms(desk: Desk, written: str) -> None:
    done = desk.run("grant-dataverse.sh", IDENTITY_CLIENT_ID=CLIENT, ENVIRONMENTS=written)
    assert done.returncode == 0
    assert all(environment["roles"] for environment in desk.state["environments"].values())


def test_environments_that_were_only_asked_for_come_from_the_deployment(desk: Desk) -> None:
    done = desk.run("grant-dataverse.sh", IDENTITY_CLIENT_ID=CLIENT, CONFIGURED_ENVIRONMENTS=f"https://{FINANCE}")
    assert done.returncode == 0
    assert [bool(one["roles"]) for one in desk.state["environments"].values()] == [True, False]


def test_without_any_environment_nothing_happens(desk: Desk) -> None:
    done = desk.run("grant-dataverse.sh", IDENTITY_CLIENT_ID=CLIENT)
    assert done.returncode != 0
    assert "give the URLs of the environments" in done.stderr
    assert desk.state["calls"] == []


def test_an_optional_privilege_may_be_missing_and_a_needed_one_may_not(desk: Desk) -> None:
    call = ("grant-dataverse.sh", "--client-id", CLIENT, f"https://{FINANCE}")
    del desk.state["environments"][FINANCE]["privileges"][OPTIONAL[0]]
    done = desk.run(*call)
    assert done.returncode == 0
    assert f"{OPTIONAL[0]}: this environment does not have it" in done.stdout
    assert privileges_of(desk.state["environments"][FINANCE]) == set(WANTED) - {OPTIONAL[0]}
    del desk.state["environments"][FINANCE]["privileges"]["prvReadflowsession"]
    done = desk.run(*call)
    assert done.returncode != 0
    assert "does not have the privilege prvReadflowsession" in done.stderr


def test_a_role_that_somebody_added_is_named(desk: Desk) -> None:
    call = ("grant-dataverse.sh", "--client-id", CLIENT, f"https://{FINANCE}")
    assert desk.run(*call).returncode == 0
    environment = desk.state["environments"][FINANCE]
    environment["roles"]["admin"] = {"roleid": "admin", "name": "System Administrator", "privileges": []}
    (user,) = environment["systemusers"].values()
    user["roles"].append("admin")
    assert "WARNING: the user also holds System Administrator" in desk.run(*call).stdout


def test_a_deactivated_user_is_told_of(desk: Desk) -> None:
    call = ("grant-dataverse.sh", "--client-id", CLIENT, f"https://{FINANCE}")
    assert desk.run(*call).returncode == 0
    (user,) = desk.state["environments"][FINANCE]["systemusers"].values()
    user["isdisabled"] = True
    done = desk.run(*call)
    assert done.returncode != 0
    assert f"the application user in https://{FINANCE} is deactivated; activate it" in done.stderr


@pytest.mark.parametrize(
    "url", ["http://contoso.crm4.dynamics.com", "https://contoso.crm4.dynamics.com/main.aspx"]
)
def test_a_token_is_asked_for_plain_https_origins_only(desk: Desk, url: str) -> None:
    done = desk.run("grant-dataverse.sh", "--client-id", CLIENT, url)
    assert done.returncode != 0
    assert "is no URL like" in done.stderr
    assert desk.written() == []


def test_the_role_holds_what_the_app_checks_for_and_only_reads() -> None:
    assert {need.privilege for need in (*NEEDS, FLOW_LOGS)} <= set(WANTED)
    assert all(name.startswith("prvRead") for name in WANTED)
    assert len(set(WANTED)) == len(WANTED)


@pytest.mark.parametrize("name", ["grant-audit", "grant-dataverse"])
def test_both_forms_of_a_script_speak_to_the_same_addresses(name: str) -> None:
    address = re.compile(
        r"servicePrincipals|appRoleAssignedTo|appRoleAssignments|businessunits|privileges\b|systemusers"
        r"|isdisabled|systemuserroles_association|ReplacePrivilegesRole|RetrieveUserPrivileges|dataverse-role\.txt"
        r"|c5393580-f805-4401-95e8-94b7a6ef2fc2|00000003-0000-0000-c000-000000000000|ActivityFeed\.\w+|AuditLogs\w+"
    )
    shell, power = ((INFRA / f"{name}{suffix}").read_text() for suffix in (".sh", ".ps1"))
    assert set(address.findall(shell)) == set(address.findall(power))
