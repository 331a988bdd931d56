"""`dev.py infra`: what it asks the Azure CLI for."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from local import infra


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    calls: list[list[str]] = []

    def run(command: Sequence[str]) -> int:
        calls.append(list(command))
        return 0

    monkeypatch.setattr(infra, "run", run)
    monkeypatch.setattr(infra, "find_az", lambda: "az")
    monkeypatch.setattr(infra, "azd_values", dict)
    return calls


def test_what_if_takes_the_values_that_azd_would(called: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AZURE_ENV_NAME": "prod",
        "AZURE_LOCATION": "westeurope",
        "ENVIRONMENTS": "https://contoso.crm4.dynamics.com",
        "MAX_VALUE_CHARS": "100",
        "AZURE_SUBSCRIPTION_ID": "the-one-of-azd",
    }.items():
        monkeypatch.setenv(name, value)
    assert infra.main(["what-if"]) == 0
    (command,) = called
    assert command[:4] == ["az", "deployment", "sub", "what-if"]
    assert command[command.index("--location") + 1] == "westeurope"
    assert command[command.index("--subscription") + 1] == "the-one-of-azd"
    assert {"environmentName=prod", "environments=https://contoso.crm4.dynamics.com", "maxValueChars=100"} <= set(
        command[command.index("--parameters") + 1 :]
    )


@pytest.mark.skipif(os.name == "nt", reason="the stand-ins for the programs are shell scripts")
def test_what_azd_remembers_goes_before_what_the_shell_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does when azd provisions."""
    remembered = {"AZURE_ENV_NAME": "prod", "AZURE_LOCATION": "westeurope", "ENVIRONMENTS": "https://a.example"}
    for name, script in {
        "azd": f"echo '{json.dumps(remembered)}'",
        "az": f'echo "$*" > "{tmp_path}/asked"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("ENVIRONMENTS", "https://b.example")
    monkeypatch.setenv("CLOUD", "gcc")
    assert infra.main(["what-if"]) == 0
    asked = (tmp_path / "asked").read_text()
    assert "environments=https://a.example" in asked
    assert "cloud=gcc" in asked


def test_what_is_escaped_for_azd_is_compared_as_azd_deploys_it() -> None:
    """As docs/deploy.md wants quotation marks and backslashes written."""
    escaped = {"ENVIRONMENTS": r"[{\"url\":\"https://contoso.crm4.dynamics.com\"}]", "REDACT_NAMES": r"pin\\b|key"}
    assert infra.parameters(escaped) == {
        "environments": '[{"url":"https://contoso.crm4.dynamics.com"}]',
        "redactNames": r"pin\b|key",
    }


@pytest.mark.parametrize("value", ['["https://contoso.crm4.dynamics.com"]', r"pin\d|key", "a\nb"])
def test_what_azd_could_not_read_is_named(value: str) -> None:
    with pytest.raises(SystemExit, match=r"^REDACT_NAMES: "):
        infra.parameters({"REDACT_NAMES": value})


def test_what_is_not_set_is_named(
    called: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AZURE_ENV_NAME", "AZURE_LOCATION", "ENVIRONMENTS"):
        monkeypatch.delenv(name, raising=False)
    assert infra.main(["what-if"]) == 1
    assert "not set: environmentName, environments, location" in capsys.readouterr().out
    assert called == []


def test_build_compiles_and_lints_both_templates(called: list[list[str]]) -> None:
    assert infra.main(["build"]) == 0
    assert [(command[2], command[4].rsplit("/", 1)[-1]) for command in called] == [
        ("lint", "main.bicep"),
        ("build", "main.bicep"),
        ("lint", "audit-permission.bicep"),
        ("build", "audit-permission.bicep"),
    ]


@pytest.mark.parametrize("arguments", [[], ["deploy"], ["check", "more"]])
def test_a_wrong_call_is_told_what_there_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert infra.main(arguments) == 2
    assert "what-if" in capsys.readouterr().err
