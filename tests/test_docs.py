"""What the documents name is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shared.dataverse.access import FLOW_LOGS, NEEDS
from shared.dataverse.log_settings import SETTLE
from shared.dataverse.sessions import LogStatus
from shared.functions import decode_additional_context, health, reconcile_runs
from shared.schema import TABLES
from shared.settings import SETTINGS
from shared.state.journal import HARMLESS
from shared.state.names import StateTable

DOCS = Path(__file__).resolve().parents[1] / "docs"
SETTING = re.compile(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`")


@pytest.fixture(scope="module")
def flow_runs() -> str:
    return (DOCS / "flow-runs.md").read_text("utf-8")


def first_cells(text: str, head: str) -> list[str]:
    """The first cells of the table whose first head this is."""
    table = text.partition(f"| {head} |")[2].partition("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


def test_settings_are_settings() -> None:
    # docs/deploy.md also names azd's variables and outputs; tests/infra compares those with the templates
    pages = [path for path in DOCS.glob("*.md") if path.name != "deploy.md"]
    names = {name for path in pages for name in SETTING.findall(path.read_text("utf-8"))}
    assert names
    assert names <= {setting.name for setting in SETTINGS}


def test_every_state_of_a_log_is_explained(flow_runs: str) -> None:
    told = [cell.strip("`") for cell in first_cells(flow_runs, "`log_status`")]
    assert sorted(told[1:]) == sorted(status.value for status in LogStatus)


def test_every_privilege_is_told(flow_runs: str) -> None:
    assert set(re.findall(r"`(prv\w+)`", flow_runs)) == {need.privilege for need in (*NEEDS, FLOW_LOGS)}


def test_harmless_gaps_are_told(flow_runs: str) -> None:
    told = flow_runs + (DOCS / "audit.md").read_text("utf-8")
    assert all(f"`{kind}`" in told for kind in HARMLESS)


def test_numbers_are_those_of_the_code(flow_runs: str) -> None:
    assert SETTLE.total_seconds() == 120
    assert "two minutes after the run has ended" in flow_runs
    assert reconcile_runs.RECENT_DAYS == 7
    assert reconcile_runs.OLDER_DAYS == 30
    assert "the last seven days are compared" in flow_runs
    assert "thirty older days" in flow_runs
    assert decode_additional_context.GRACE.days == 1
    assert health.MISSED_TICKS == 3


def test_tables_and_columns_exist(flow_runs: str) -> None:
    columns = {f"{table.name}.{column}" for table in TABLES.values() for column in table.column_names}
    assert set(re.findall(r"`((?:dim|fact)_\w+\.\w+)`", flow_runs)) <= columns
    assert {"gaps", "environments"} <= {str(table) for table in StateTable}
