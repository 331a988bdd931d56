"""The project's own files agree with each other, and with the contract."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
from pathlib import Path

import pytest

from local.desk import ROOT
from shared.functions.health import TIMERS
from shared.settings import SETTINGS

FUNCTIONS = {
    "poll_flow_sessions",
    "decode_additional_context",
    "poll_audit_content",
    "sync_inventory",
    "publish",
    "publish_day",
    "reconcile",
    "health",
    "status",
}
DEPLOYED = {"function_app.py", "host.json", "requirements.txt"}


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_the_sample_holds_every_setting_with_its_default() -> None:
    values = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    of_functions = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}
    assert set(values) - of_functions == {setting.name for setting in SETTINGS}
    examples = {"ENVIRONMENTS", "TENANT_ID", "DataStorage"}
    for setting in SETTINGS:
        if setting.name not in examples:
            assert values[setting.name] == setting.default, setting.name


def test_the_readme_names_every_setting_and_function() -> None:
    text = (ROOT / "README.md").read_text()
    for name in (*FUNCTIONS, *(setting.name for setting in SETTINGS if "__" not in setting.name)):
        assert f"`{name}`" in text, name


def test_every_function_of_the_app_has_its_module_and_every_timer_its_schedule() -> None:
    tree = ast.parse((ROOT / "function_app.py").read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert defined == FUNCTIONS
    present = {path.stem for path in modules("shared/functions")}
    assert present >= FUNCTIONS
    assert set(TIMERS) < FUNCTIONS


def test_only_the_triggers_know_azure_functions() -> None:
    for path in modules("shared"):
        assert "azure.functions" not in path.read_text(), path


def test_only_what_runs_is_deployed() -> None:
    patterns = [line.rstrip("/") for line in (ROOT / ".funcignore").read_text().splitlines() if line.strip()]
    top = {path.name for path in ROOT.iterdir() if not any(fnmatch.fnmatch(path.name, one) for one in patterns)}
    assert top == {*DEPLOYED, "shared"}


def test_functions_are_short_and_modules_are_no_longer_than_a_sitting() -> None:
    lengths: list[int] = []
    for path in modules("shared", "local"):
        source = path.read_text()
        assert len(source.splitlines()) <= 450, path
        lengths.extend(
            (node.end_lineno or node.lineno) - node.body[0].lineno + 1
            for node in ast.walk(ast.parse(source))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        )
    assert sorted(lengths)[len(lengths) // 2] < 10
    assert max(lengths) <= 70


@pytest.mark.parametrize("path", [*modules("shared", "local"), ROOT / "dev.py", ROOT / "function_app.py"], ids=str)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_ignored_rules_have_their_reasons() -> None:
    for path in modules("shared"):
        for line in path.read_text().splitlines():
            if match := re.search(r"# (?:noqa: [A-Z0-9]+|type: ignore\[[^]]+\])(.*)", line):
                assert (
                    match[1].strip().startswith("-") or "TRY400" in line or "PLC0415" in line or "PLR2004" in line
                ), line
