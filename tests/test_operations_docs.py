"""What docs/operations.md tells of redrive, replay, upgrade, deletion and retention is what the code does."""

from __future__ import annotations

import re

import dev
from local import forgetting, released_schema
from local.desk import ROOT
from local.forget import _options
from shared.functions import expiry, redrive, replays
from shared.publishing.forgotten import KIND, LEAST_CHARS
from shared.retention import LEAST_DAYS, LIMITED, parse_retention
from shared.schema import TABLES
from shared.settings import SETTINGS
from shared.state import version
from shared.state.names import FORGOTTEN, Queue, StateTable

PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")


def section(title: str) -> str:
    match = re.search(rf"(?ms)^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE)
    assert match, title
    return match[1]


def test_every_column_that_is_named_exists() -> None:
    columns = {f"{table.name}.{column}" for table in TABLES.values() for column in table.column_names}
    named = set(re.findall(r"`((?:dim|fact)_\w+\.\w+)`", PAGE))
    assert named
    assert named <= columns


def test_redrive_is_told() -> None:
    text = section("Redrive")
    assert all(f"`{queue.poison}`" in text for queue in Queue)
    assert redrive.MOST_TIMES == 3
    assert "on three days at most" in text


def test_every_replay_is_told() -> None:
    text = section("Replay")
    for setting in SETTINGS:
        assert not setting.name.endswith("_REPLAY") or f"| `{setting.name}` |" in text
    assert f"While {replays.MOST_WAITING} messages wait" in text


def test_the_place_of_the_version_is_told() -> None:
    text = section("Upgrade")
    assert f"partition `{version.KIND}`, row `{version.ROW}`" in text
    assert "Another worker is bringing the state to a newer version" in " ".join(text.split())
    assert f"({released_schema.PATH.name})" in text
    assert f"-m {released_schema.__name__}`" in text


def test_the_command_that_forgets_is_told() -> None:
    text = section("Delete a person's data")
    assert "forget" in dev.COMMANDS
    for command in re.findall(r"dev\.py forget (.+?)(?:  |$)", text, re.MULTILINE):
        assert _options(command.split()).upn
    assert f"partition `{KIND}`" in text
    assert f"`{FORGOTTEN}" in text
    assert LEAST_CHARS == 5
    assert "at least five characters" in text
    for table in forgetting.STATE:
        assert f"`{table}`" in text


def test_what_can_be_kept_for_a_time_is_told() -> None:
    text = section("Retention")
    assert all(f"`{name}`" in text for name in LIMITED)
    assert f"with {LEAST_DAYS} days at least" in " ".join(text.split())
    (example,) = re.findall(r"```\n(.+)\n```", text)
    assert parse_retention(example).days
    told = set(re.findall(r"(?m)^\| `(\w+)` \|", text))
    assert told == {*expiry.STATE, "raw"}
    assert all(f"`{table}`" in text for table in (StateTable.FLOW_SESSIONS, StateTable.AUDIT_CONTENT))


def test_files_that_are_named_exist() -> None:
    for path in re.findall(r"`((?:shared|tests|docs)/[\w./-]+\.\w+)`", PAGE):
        assert (ROOT / path).is_file(), path
    for target in re.findall(r"\]\(([\w.-]+\.\w+)(?:#[\w-]+)?\)", PAGE):
        assert (ROOT / "docs" / target).is_file(), target
    headings = {
        re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in re.findall(r"(?m)^##+ (.+)$", PAGE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", PAGE)) <= headings
