"""What the documents name is what the code has."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from shared.dataverse.access import FLOW_LOGS, NEEDS
from shared.dataverse.log_settings import FAILING, SETTLE
from shared.dataverse.sessions import LogStatus
from shared.functions import decode_additional_context, reconcile_runs
from shared.health.codes import TITLES, Code
from shared.health.facts import Health, Reason
from shared.schema import TABLES
from shared.settings import SETTINGS
from shared.state.journal import HARMLESS
from shared.state.names import StateTable

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
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
    assert reconcile_runs.FORBIDDEN_DAYS == 60
    assert f"{reconcile_runs.MOST_AT_ONCE:,} runs of an environment a day" in flow_runs
    assert reconcile_runs.MOST_QUEUED == 1000
    assert "the last seven days are compared" in flow_runs
    assert "thirty older days" in flow_runs
    assert decode_additional_context.GRACE.days == 1
    assert (FAILING.days, decode_additional_context.LONGEST_DELAY_S) == (7, 4 * 3600)


def test_tables_and_columns_exist(flow_runs: str) -> None:
    columns = {f"{table.name}.{column}" for table in TABLES.values() for column in table.column_names}
    assert set(re.findall(r"`((?:dim|fact)_\w+\.\w+)`", flow_runs)) <= columns
    assert {"gaps", "environments"} <= {str(table) for table in StateTable}


@pytest.fixture(scope="module")
def operations() -> str:
    return (DOCS / "operations.md").read_text("utf-8")


def test_every_reason_code_is_told_and_no_other(operations: str) -> None:
    told = [cell.strip("`") for cell in first_cells(operations, "code")]
    assert told == [str(code) for code in Code]
    assert set(TITLES) == set(Code)
    assert all(f"`{field.name}`" in operations for field in fields(Reason))


def test_every_code_is_one_that_the_app_can_tell() -> None:
    sources = [path for path in (ROOT / "shared").rglob("*.py") if path.name != "codes.py"]
    used = {name for path in sources for name in re.findall(r"Code\.([A-Z_]+)", path.read_text("utf-8"))}
    assert used == set(Code.__members__)


def test_every_limit_is_told_with_its_default(operations: str) -> None:
    limits = {setting.name: setting.default for setting in SETTINGS if setting.name.startswith("HEALTH_")}
    rows = re.findall(r"^\| `(HEALTH_\w+)` \| (\d+) \|", operations, re.MULTILINE)
    assert dict(rows) == limits


def test_every_key_of_the_health_endpoint_is_told(operations: str) -> None:
    told = {cell.strip("`") for cell in first_cells(operations, "key")} | {"reasons", "at_utc"}
    assert told == {"status", *(field.name for field in fields(Health))}


def test_every_kind_of_log_record_is_told(operations: str) -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "shared").rglob("*.py")]
    kinds = {kind for source in sources for kind in re.findall(r'write_record\(\s*"(\w+)"', source)}
    told = {cell.strip("`").removeprefix("flowtrail.") for cell in first_cells(operations, "record")}
    assert told == kinds


def anchors(path: Path) -> set[str]:
    """The headings of a page as links name them."""
    heads = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *DOCS.glob("*.md")], ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not link.startswith("http"):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


def test_the_readme_leads_to_every_document() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for page in DOCS.glob("*.md"):
        assert f"](docs/{page.name})" in readme, page.name
    assert "](SECURITY.md)" in readme
    assert "](CHANGELOG.md)" in readme
