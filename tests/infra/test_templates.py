"""The templates agree with the app: settings, names, versions; and hold no secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bicep_files import FILES, INFRA, broken, entries, names, parameters, root_of, text, variable, without_comments
from support import REQUIRED

from shared.errors import SettingsError
from shared.settings import SETTINGS, load_settings
from shared.state.names import Container, Queue, StateTable

MAIN = INFRA / "main.bicep"
APP = INFRA / "modules" / "function-app.bicep"
DATA = INFRA / "modules" / "data-storage.bicep"
ACCOUNTS = (DATA, INFRA / "modules" / "host-storage.bicep")
BICEP_TOOLS = os.environ.get("FLOWTRAIL_BICEP_TOOLS")
ON_A_DESK_ONLY = {"DataStorage"}
REQUIRED_IN_BICEP = {"ENVIRONMENTS"}
# the type of no budget stands in the folder of types that the check reads
UNCHECKED_TYPES = {"no type Microsoft.Consumption/budgets@2023-11-01"}


def chosen() -> dict[str, str]:
    """The settings that an administrator chooses, and the parameter that gives each."""
    settings = entries(variable(MAIN, "settings"))
    return {name: re.sub(r"^string\((\w+)\)$", r"\1", value) for name, value in settings.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_bicep(path: Path) -> None:
    assert broken(root_of(path)) == []


def test_broken_bicep_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "broken.bicep"
    path.write_text("param location string = \nvar x = {\n  a: 'b'\n")
    assert broken(root_of(path))


@pytest.mark.skipif(
    not BICEP_TOOLS, reason="FLOWTRAIL_BICEP_TOOLS names no folder with bicep_check.py and the types"
)
def test_types_properties_and_names_are_right() -> None:
    check = Path(BICEP_TOOLS or "") / "bicep_check.py"
    done = subprocess.run([sys.executable, check, *FILES], capture_output=True, text=True, check=False)  # noqa: S603
    problems = [line.split(": ", 1)[1] for line in done.stdout.splitlines()]
    assert [one for one in problems if not any(unchecked in one for unchecked in UNCHECKED_TYPES)] == []
    assert done.stderr == ""


def test_the_site_gets_exactly_the_settings_of_the_contract() -> None:
    given = {*chosen(), *entries(variable(APP, "identitySettings"))}
    assert given == {setting.name for setting in SETTINGS} - ON_A_DESK_ONLY


def test_each_setting_is_a_parameter_with_the_default_of_the_app() -> None:
    defaults = {setting.name: setting.default for setting in SETTINGS}
    for setting, name in chosen().items():
        parameter = parameters(MAIN)[name]
        assert parameter.description.startswith(f"{setting}: "), setting
        if setting == "TENANT_ID":
            assert parameter.default == "tenant().tenantId"
        elif setting in REQUIRED_IN_BICEP:
            assert parameter.default is None
        else:
            assert parameter.value == defaults[setting], setting


def test_what_the_template_allows_the_app_accepts_and_the_other_way_round() -> None:
    for setting, name in chosen().items():
        parameter = parameters(MAIN)[name]
        if "allowed" in parameter.decorators:
            for value in parameter.allowed:
                load_settings({**REQUIRED, setting: str(value)})
            choices = re.escape(f"; it can be {', '.join(map(str, parameter.allowed))}")
            with pytest.raises(SettingsError, match=rf"(?m){choices}$"):
                load_settings({**REQUIRED, setting: "something else"})
        if "maxValue" in parameter.decorators:
            least, most = int(parameter.decorators["minValue"]), int(parameter.decorators["maxValue"])
            load_settings({**REQUIRED, setting: str(least)})
            load_settings({**REQUIRED, setting: str(most)})
            with pytest.raises(SettingsError, match=f"from {least} to {most}"):
                load_settings({**REQUIRED, setting: str(most + 1)})


def test_every_parameter_can_be_set_by_azd_under_the_name_of_its_setting() -> None:
    mapped = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    variables = {name: re.fullmatch(r"\$\{([A-Z_]+)\}", given["value"]) for name, given in mapped.items()}
    assert set(variables) == set(parameters(MAIN)) - {"tags"}  # azd sets no objects
    for setting, name in chosen().items():
        match = variables[name]
        assert match
        assert match[1] == setting


def test_no_default_moves_with_the_clock() -> None:
    """What one deployment made, the next one must be able to update."""
    assert [path.name for path in FILES if "utcNow(" in path.read_text()] == []


def test_every_parameter_says_what_it_is_for() -> None:
    assert [name for name, parameter in parameters(MAIN).items() if not parameter.description] == []


def test_the_data_account_has_what_the_app_looks_for() -> None:
    assert set(names(variable(DATA, "containerNames"))) == set(Container)
    assert set(names(variable(DATA, "tableNames"))) == set(StateTable)
    queues = set(names(variable(DATA, "queueNames")))
    assert queues == {*Queue, *(queue.poison for queue in Queue)}


@pytest.mark.parametrize("path", ACCOUNTS, ids=lambda path: path.name)
def test_storage_is_closed_to_keys_to_the_public_and_to_old_tls(path: Path) -> None:
    source = path.read_text()
    for wanted in (
        "allowBlobPublicAccess: false",
        "allowSharedKeyAccess: false",
        "allowCrossTenantReplication: false",
        "minimumTlsVersion: 'TLS1_2'",
        "supportsHttpsTrafficOnly: true",
    ):
        assert source.count(wanted) == 1, wanted


def test_the_plan_is_flex_consumption_and_has_none_of_the_settings_that_it_forbids() -> None:
    source = without_comments(APP)
    for wanted in ("name: 'FC1'", "tier: 'FlexConsumption'", "name: 'python'", "version: '3.13'"):
        assert wanted in source, wanted
    for refused in ("FUNCTIONS_", "WEBSITE_", "linuxFxVersion", "alwaysReady", "healthCheckPath", "alwaysOn"):
        assert refused not in source, refused


def test_every_identity_based_connection_names_its_identity() -> None:
    given = {**entries(variable(APP, "hostSettings")), **entries(variable(APP, "identitySettings"))}
    for connection in ("AzureWebJobsStorage", "DataStorage"):
        assert connection not in given
        assert given[f"{connection}__credential"] == "'managedidentity'"
        assert given[f"{connection}__clientId"] == "identityClientId"
        assert given[f"{connection}__blobServiceUri"].endswith("primaryEndpoints.blob")


SECRETS = re.compile(
    r"listKeys|listAccountSas|listServiceSas|listSecrets|getSecret|AccountKey|SharedAccess|DefaultEndpointsProtocol"
    r"|[?&]sig=|storageAccountConnectionString|StorageAccountConnectionString|primarySharedKey|instrumentationKey"
    r"|securestring|@secure|password\s*[:=]|client_?secret",
    re.IGNORECASE,
)


def test_there_is_no_key_no_connection_string_and_no_sas_anywhere() -> None:
    # what Application Insights calls a connection string holds an address and, with local auth off, nothing secret
    assert [
        (path.name, found[0])
        for path in INFRA.rglob("*")
        if path.is_file() and path.suffix in {".bicep", ".json", ".sh", ".ps1"}
        for found in SECRETS.finditer(path.read_text())
    ] == []
    monitoring = (INFRA / "modules" / "monitoring.bicep").read_text()
    assert "DisableLocalAuth: true" in monitoring
    assert "disableLocalAuth: true" in monitoring


def test_outputs_name_things_and_nothing_more() -> None:
    outputs = [node for node in root_of(MAIN).named_children if node.type == "output_declaration"]
    assert {text(node.named_children[0]) for node in outputs} == {
        "AZURE_LOCATION",
        "AZURE_TENANT_ID",
        "AZURE_RESOURCE_GROUP",
        "FUNCTION_APP_NAME",
        "FUNCTION_APP_URL",
        "IDENTITY_NAME",
        "IDENTITY_CLIENT_ID",
        "IDENTITY_PRINCIPAL_ID",
        "HOST_STORAGE_ID",
        "DATA_STORAGE_NAME",
        "POWERBI_URL",
        "CONFIGURED_ENVIRONMENTS",
    }
