"""docs/deploy.md says what the templates and scripts do."""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from bicep_files import INFRA, entries, names, parameters, variable

from local.desk import ROOT
from shared.schedules import read_schedule
from shared.settings import SETTINGS
from shared.state.journal import SUBSCRIPTION_DISABLED

GUIDE = (ROOT / "docs" / "deploy.md").read_text()
PERMISSIONS = INFRA / "modules" / "permissions.bicep"
ROLES = {
    "storageBlobDataOwner": ("Storage Blob Data Owner", "b7e6dc6d-f1e8-4753-8033-0f276bb0955b"),
    "storageBlobDataContributor": ("Storage Blob Data Contributor", "ba92f5b4-2d11-453d-a403-e96b0029c9fe"),
    "storageBlobDataReader": ("Storage Blob Data Reader", "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"),
    "storageQueueDataContributor": ("Storage Queue Data Contributor", "974c5e8b-45b9-4653-ba55-5f855dd0fb88"),
    "storageTableDataContributor": ("Storage Table Data Contributor", "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3"),
    "monitoringMetricsPublisher": ("Monitoring Metrics Publisher", "3913510d-42f4-4e42-8a64-420c390055eb"),
}
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def section(title: str) -> str:
    match = re.search(rf"(?ms)^#+ {re.escape(title)}\n(.*?)(?=^##|\Z)", GUIDE)
    assert match, title
    return match[1]


def rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_parameter_is_told_with_its_variable_and_default() -> None:
    mapped = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    told = {
        row[1].strip("`"): (row[0].strip("`"), row[2].replace("\\|", "|")) for row in rows(section("Settings"))
    }
    del told["parameter"]
    assert set(told) == set(mapped)
    for name, (name_in_azd, default) in told.items():
        assert mapped[name]["value"] == f"${{{name_in_azd}}}"
        parameter = parameters(INFRA / "main.bicep")[name]
        if default == "required":
            assert parameter.default is None, name
        elif default == "empty":
            assert parameter.default == "''", name
        elif default.startswith("`"):
            assert parameter.value == default.strip("`"), name
        else:
            assert "(" in (parameter.default or ""), name


def test_the_rarest_schedules_that_the_alerts_stand_are_told() -> None:
    most = int(parameters(INFRA / "main.bicep")["silentMinutes"].decorators["maxValue"])
    text = " ".join(section("Settings").split())
    assert f"It is {most} at most, so let some timer come every {most // 3} minutes" in text


def test_every_variable_that_is_named_exists() -> None:
    mapped = json.loads((INFRA / "main.parameters.json").read_text())["parameters"].values()
    outputs = re.findall(r"(?m)^output (\w+)", (INFRA / "main.bicep").read_text())
    hook = (INFRA / "hooks" / "preprovision.sh").read_text()
    known = {*(given["value"][2:-1] for given in mapped), *outputs, *(setting.name for setting in SETTINGS)}
    named = set(re.findall(r"`(?:azd env set )?([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b", GUIDE))
    assert {name for name in named - known if name not in hook} == set()


def test_every_role_assignment_is_told_and_no_other() -> None:
    assigned = {(role, "host account") for role in names(variable(PERMISSIONS, "hostRoles"))}
    assigned |= {(role, "data account") for role in names(variable(PERMISSIONS, "dataRoles"))}
    assigned |= {("monitoringMetricsPublisher", "Application Insights"), ("storageBlobDataReader", "powerbi")}
    told = {
        (row[0], row[1].removeprefix("container ").strip("`"))
        for row in rows(section("What the app may do in Azure"))
    }
    assert told - {("role", "on")} == {(ROLES[role][0], where) for role, where in assigned}


def test_roles_have_the_ids_that_azure_gives_them_and_all_are_assigned() -> None:
    source = PERMISSIONS.read_text()
    ids = dict(re.findall(r"var (\w+) = '([0-9a-f-]{36})'", source))
    assert ids == {name: role_id for name, (_, role_id) in ROLES.items()}
    for name in ids:
        assert len(re.findall(rf"\b{name}\b", source)) > 1, name
    assert source.count("Microsoft.Authorization/roleAssignments@") == 4


def test_every_privilege_is_told_and_no_other() -> None:
    listed = set(re.findall(r"(?m)^\??(prv\w+)", (INFRA / "dataverse-role.txt").read_text()))
    assert set(re.findall(r"`(prv\w+)`", section("What it may do in Dataverse"))) == listed


def test_every_alert_is_told_with_its_threshold() -> None:
    alerts = INFRA / "modules" / "alerts.bicep"
    rules = [entries(rule) for rule in variable(alerts, "rules").named_children if rule.type == "object"]
    mapped = json.loads((INFRA / "main.parameters.json").read_text())["parameters"]
    told = {row[0].strip("`"): row[2].strip("`") for row in rows(section("Alerts"))}
    for rule in rules:
        threshold = rule["threshold"]
        expected = "–" if threshold == "0" else mapped[threshold]["value"][2:-1]  # noqa: RUF001 - as in the table
        assert told[rule["name"].strip("'")] == expected
    assert set(told) == {"rule", "throttling", *(rule["name"].strip("'") for rule in rules)}


def test_who_moves_is_told_which_settings_the_new_environment_must_not_share() -> None:
    making = section("Move").partition("2. Stop")[0]
    others = {"BUDGET_START", "RESOURCE_GROUP_NAME", "NETWORK_ADDRESS_PREFIX"}
    assert others <= set(re.findall(r"`([A-Z_]+)`", making))


def test_who_moves_is_told_what_the_feed_does_not_bring_to_another_identity() -> None:
    moving = section("Move")
    stop, start = moving.index("az functionapp stop"), moving.index("Start the new app")
    assert "subscribe" in moving[stop:start]
    told = set(re.findall(r"(?:`|sh )([\w -]+)`", moving[start:]))
    assert {SUBSCRIPTION_DISABLED, "AUDIT_SEARCH", "--search"} <= told


def value_of(node: ast.expr) -> float:
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](value_of(node.left), value_of(node.right))
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, (int, float))
    return node.value


def sums() -> list[tuple[str, str]]:
    cells = (cell for row in rows(section("What it costs")) for cell in row if " = " in cell)
    return [(left, right) for cell in cells for left, right in [cell.rsplit(" = ", 1)]]


@pytest.mark.parametrize(("left", "right"), sums())
def test_the_arithmetic_of_the_costs_is_right(left: str, right: str) -> None:
    expression = left.replace(",", "").replace("×", "*").replace("−", "-")  # noqa: RUF001 - as in the table
    decimals = len(right.partition(".")[2])
    value = value_of(ast.parse(expression, mode="eval").body)
    assert f"{value:,.{decimals}f}" == right


def test_the_runs_of_timers_are_those_of_the_default_schedules() -> None:
    begin = datetime(2026, 5, 19, tzinfo=UTC)
    schedules = [setting.default or "" for setting in SETTINGS if setting.name.endswith("_SCHEDULE")]
    assert len(schedules) == 5
    ticks = [
        sum(1 for _ in takewhile(lambda at: at <= begin + timedelta(days=1), read_schedule(one).after(begin)))
        for one in schedules
    ]
    told = " + ".join(map(str, sorted(ticks, reverse=True)))
    assert f"({told} a day)" in GUIDE
    assert f"{sum(ticks)} × 30" in GUIDE  # noqa: RUF001 - as in the table
    operations = (ROOT / "docs" / "operations.md").read_text("utf-8")
    assert f"{sum(ticks)} heartbeats" in operations


def test_the_arithmetic_uses_the_prices_it_lists() -> None:
    text = section("What it costs")
    prices = {row[1] for row in rows(text) if re.fullmatch(r"[0-9.]+", row[1]) and len(row) == 3}
    used = " ".join(left for left, _ in sums())
    assert len(sums()) > 30
    assert {price for price in prices if not re.search(rf"(?<![0-9.]){re.escape(price)}(?![0-9])", used)} == {
        "0.40"  # executions, all free in these examples
    }


def test_every_script_and_hook_is_told() -> None:
    for path in INFRA.glob("grant-*.sh"):
        assert path.stem in GUIDE
    for path in (INFRA / "hooks").glob("*.sh"):
        assert f"`{path.stem}`" in GUIDE


def test_files_that_are_named_exist() -> None:
    for target in re.findall(r"\]\((\.\./[^)#]+)", GUIDE):
        assert (ROOT / "docs" / target).exists(), target
    for name in re.findall(r"`(infra/[\w./-]+)`", GUIDE):
        assert (ROOT / name).exists() or (ROOT / f"{name}.sh").exists(), name
