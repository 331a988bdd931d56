"""What others' checkers say of the templates and the scripts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest
import tree_sitter_powershell
import yaml
from bicep_files import INFRA, broken
from tree_sitter import Language, Parser

from local.desk import LOCAL, ROOT

SHELL_SCRIPTS = [*sorted(INFRA.rglob("*.sh")), ROOT / ".ci" / "run"]
POWERSHELL_SCRIPTS = sorted(INFRA.rglob("*.ps1"))
POWERSHELL = Parser(Language(tree_sitter_powershell.language()))
CHECKOV_REQUIREMENTS = Path(__file__).parent / "checkov" / "requirements.txt"
FAULTY = "faulty.bicep"
NOT_FOR_US = {
    "CKV_AZURE_17": "client certificates: the two pages are opened by people, with a function key over https",
    "CKV_AZURE_35": "Deny with privateNetwork=true; without it there is no network that could be allowed",
    "CKV_AZURE_78": "Flex Consumption has no FTP endpoint; its passwords are switched off beside the site",
    "CKV_AZURE_206": "dataRedundancy is a parameter; what the host account holds is made anew by a deployment",
    "CKV_AZURE_212": "Flex Consumption scales from zero: a minimum of instances is what the plan saves",
    "CKV_AZURE_213": "the platform's health check does not exist on Flex Consumption; the alerts stand in for it",
    "CKV_AZURE_222": "the pages are reachable with a key; nothing else listens",
    "CKV_AZURE_225": "zoneRedundant is a parameter: not every region has zones",
}


def checkov() -> Path:
    """Checkov in an environment of its own, made once: it brings 100 packages that nothing else needs."""
    wanted = hashlib.sha256(CHECKOV_REQUIREMENTS.read_bytes()).hexdigest()
    folder = LOCAL / f"venv-checkov-{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = folder / "requirements.sha256"
    if not (stamp.is_file() and stamp.read_text() == wanted):
        venv.create(folder, clear=True, with_pip=True)
        # what a scan imports is a small part of what would be compiled
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile"]
        install = [python, "-m", "pip", "install", *options, "-r", CHECKOV_REQUIREMENTS]
        subprocess.run(install, check=True)  # noqa: S603 - our own file
        stamp.write_text(wanted)
    return python


def scan(folder: Path) -> dict[str, Any]:
    options = ["--framework", "bicep", "--skip-download", "--output", "json", "--directory", str(folder)]
    done = subprocess.run(  # noqa: S603 - our own environment
        [checkov(), "-m", "checkov.main", *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BC_SKIP_MAPPING": "TRUE"},
    )
    return json.loads(done.stdout)["results"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One look at the templates and, beside them, at one with a fault."""
    folder = tmp_path_factory.mktemp("checkov") / "infra"
    shutil.copytree(INFRA, folder)
    source = (INFRA / "modules" / "host-storage.bicep").read_text()
    assert "supportsHttpsTrafficOnly: true" in source
    (folder / FAULTY).write_text(source.replace("TrafficOnly: true", "TrafficOnly: false"))
    return scan(folder)


@pytest.mark.timeout(600)
def test_checkov_finds_nothing_but_what_has_its_reason(results: dict[str, Any]) -> None:
    failed = {check["check_id"] for check in results["failed_checks"] if FAULTY not in check["file_path"]}
    assert failed == set(NOT_FOR_US), "a finding without a reason, or a reason without a finding"
    assert results["parsing_errors"] == []
    assert len(results["passed_checks"]) > 20


@pytest.mark.timeout(600)
def test_checkov_finds_an_account_without_encryption_on_the_way(results: dict[str, Any]) -> None:
    failed = {check["check_id"] for check in results["failed_checks"] if FAULTY in check["file_path"]}
    assert "CKV_AZURE_3" in failed


@pytest.mark.parametrize("path", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_sound(path: Path) -> None:
    shellcheck = shutil.which("shellcheck", path=sysconfig.get_path("scripts"))
    assert shellcheck
    done = subprocess.run([shellcheck, path], capture_output=True, text=True, check=False)  # noqa: S603 - our tool
    assert done.stdout == ""
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in path.read_text()
    assert os.name == "nt" or os.access(path, os.X_OK)


@pytest.mark.parametrize("path", POWERSHELL_SCRIPTS, ids=lambda path: path.name)
def test_powershell_scripts_parse_and_stop_at_errors(path: Path) -> None:
    assert broken(POWERSHELL.parse(path.read_bytes()).root_node) == []
    assert "Set-StrictMode -Version Latest" in path.read_text()
    assert "$ErrorActionPreference = 'Stop'" in path.read_text()
    assert path.read_bytes().isascii(), "Windows PowerShell reads a file without a mark as ANSI"


@pytest.mark.parametrize("path", POWERSHELL_SCRIPTS, ids=lambda path: path.name)
def test_what_takes_all_arguments_that_remain_is_left_all(path: Path) -> None:
    """Any other parameter without this takes the first that has no name before it."""
    script = path.read_text()
    assert "ValueFromRemainingArguments" not in script or "[CmdletBinding(PositionalBinding = $false)]" in script


@pytest.mark.parametrize("path", POWERSHELL_SCRIPTS, ids=lambda path: path.name)
def test_no_colon_after_a_variable_is_taken_for_part_of_its_name(path: Path) -> None:
    """In a text `$env:NAME:` is a variable whose name ends in a colon, and empty."""
    assert re.findall(r"\$\w+:\w*:|\$(?!env:|script:|global:)\w+:(?!:)", path.read_text()) == []


def test_broken_powershell_is_noticed() -> None:
    assert broken(POWERSHELL.parse(b"if ($a -eq 1) { foreach ($b in $c { } }").root_node)


def test_every_script_exists_for_both_kinds_of_system() -> None:
    shell = {path.with_suffix("") for path in INFRA.rglob("*.sh")}
    assert shell == {path.with_suffix("") for path in POWERSHELL_SCRIPTS}


def test_azd_finds_the_app_and_its_hooks() -> None:
    azure = yaml.safe_load((ROOT / "azure.yaml").read_text())
    assert azure["services"] == {"app": {"project": ".", "language": "python", "host": "function"}}
    site = (INFRA / "modules" / "function-app.bicep").read_text()
    assert "'azd-service-name': 'app'" in site
    for systems in azure["hooks"].values():
        assert set(systems) == {"posix", "windows"}
        assert all((ROOT / hook["run"]).is_file() for hook in systems.values())
