"""The hooks of azd, with stand-ins for every program they call."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bicep_files import INFRA

BASH = shutil.which("bash")
pytestmark = pytest.mark.skipif(not BASH, reason="the hooks for this system are the PowerShell ones")


class Programs:
    """Stand-ins on PATH that note how they are called and print what they are told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"

    def put(self, name: str, *answers: tuple[str, str]) -> None:
        """A program that prints the second of a pair where its arguments hold the first."""
        cases = "".join(f"  *'{words}'*) echo '{answer}' ;;\n" for words, answer in answers)
        script = f'#!/bin/sh\necho "{name} $*" >> "{self.calls}"\ncase "$*" in\n{cases}  *) ;;\nesac\n'
        path = self.folder / name
        path.write_text(script)
        path.chmod(0o755)

    def run(self, hook: str, **environ: str) -> subprocess.CompletedProcess[str]:
        assert BASH
        return subprocess.run(  # noqa: S603 - our own script
            [BASH, INFRA / "hooks" / hook],
            env={"PATH": f"{self.folder}{os.pathsep}{os.environ['PATH']}", **environ},
            capture_output=True,
            text=True,
            check=False,
        )

    def called(self, name: str) -> list[str]:
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    found = Programs(tmp_path)
    found.put("sleep")
    return found


DEPLOYED = {"HOST_STORAGE_ID": "/subscriptions/1/storage", "IDENTITY_PRINCIPAL_ID": "identity"}


def roles_made(age: timedelta) -> tuple[str, str]:
    return "role assignment list", (datetime.now(UTC) - age).isoformat()


def test_a_deployment_right_after_its_roles_waits(programs: Programs) -> None:
    programs.put("az", roles_made(timedelta(seconds=0)))
    done = programs.run("predeploy.sh", **DEPLOYED)
    assert done.returncode == 0
    assert "waiting until storage knows them" in done.stdout
    (waited,) = programs.called("sleep")
    assert 0 < int(waited) <= 120


def test_a_later_one_does_not(programs: Programs) -> None:
    programs.put("az", roles_made(timedelta(days=1)))
    assert programs.run("predeploy.sh", **DEPLOYED).returncode == 0
    assert programs.called("sleep") == []


def test_an_app_without_roles_is_told_of_before_anything_is_sent(programs: Programs) -> None:
    programs.put("az")
    done = programs.run("predeploy.sh", **DEPLOYED)
    assert done.returncode != 0
    assert "run azd provision" in done.stderr


READY = (("provider show", "Registered"), ("list-flexconsumption-locations", "westeurope"))


def test_provisioning_begins_with_the_checks(programs: Programs) -> None:
    programs.put("az", *READY)
    programs.put("python3")
    assert programs.run("preprovision.sh", AZURE_LOCATION="westeurope").returncode == 0
    assert programs.called("python3") == ["dev.py infra check"]
    assert not any("register" in call.split() for call in programs.called("az"))


def test_what_is_asked_of_azure_is_asked_of_the_subscription_that_is_deployed_to(programs: Programs) -> None:
    programs.put("az", ("provider show", "NotRegistered"), ("list-flexconsumption-locations", "westeurope"))
    environ = {"AZURE_SUBSCRIPTION_ID": "one", "AZURE_LOCATION": "westeurope", "FLOWTRAIL_SKIP_CHECKS": "true"}
    assert programs.run("preprovision.sh", **environ).returncode == 0
    calls = programs.called("az")
    assert "provider register --namespace Microsoft.App --wait --subscription one" in calls
    assert all(call.endswith(" --subscription one") for call in calls)


def test_the_checks_can_be_left_out(programs: Programs) -> None:
    programs.put("az", *READY)
    programs.put("python3")
    assert programs.run("preprovision.sh", FLOWTRAIL_SKIP_CHECKS="true").returncode == 0
    assert programs.called("python3") == []


def test_new_providers_are_registered_and_a_region_without_the_plan_is_refused(programs: Programs) -> None:
    programs.put("az", ("provider show", "NotRegistered"))
    programs.put("python3")
    done = programs.run("preprovision.sh", AZURE_LOCATION="atlantis")
    assert done.returncode != 0
    assert "not offered in atlantis" in done.stderr
    assert "provider register --namespace Microsoft.App --wait" in programs.called("az")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, False),
        ({"MONTHLY_BUDGET": "0"}, False),
        ({"MONTHLY_BUDGET": "50"}, True),
        ({"MONTHLY_BUDGET": "50", "BUDGET_START": "2026-01-01"}, False),
    ],
)
def test_the_start_of_a_budget_is_written_down_once(programs: Programs, given: dict[str, str], kept: bool) -> None:
    programs.put("az", *READY)
    programs.put("azd")
    before = datetime.now(UTC)
    assert programs.run("preprovision.sh", FLOWTRAIL_SKIP_CHECKS="true", **given).returncode == 0
    starts = {f"env set BUDGET_START {at:%Y-%m}-01" for at in (before, datetime.now(UTC))}
    called = programs.called("azd")
    assert len(called) == kept
    assert set(called) <= starts


def test_what_is_left_to_do_is_told_with_its_names(programs: Programs) -> None:
    names = {"FUNCTION_APP_URL": "https://app.example", "AZURE_SUBSCRIPTION_ID": "one"}
    done = programs.run("postdeploy.sh", **DEPLOYED, **names)
    assert done.returncode == 0
    assert "infra/grant-audit.sh identity" in done.stdout
    assert "--subscription one --name" in done.stdout
    assert "https://app.example/api/status?code=$key" in done.stdout
