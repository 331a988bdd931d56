"""The queries of alerts and workbook: right by Microsoft's parser, and about what the app really logs."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from bicep_files import INFRA, entries, names, parameters, text, variable
from kql import check
from support import FakeClock, settings_with
from tree_sitter import Node

from local.desk import ROOT
from shared import entry
from shared.app import App
from shared.errors import FlowtrailError
from shared.functions import report
from shared.functions.health import TIMERS, FunctionHealth, QueueHealth, SourceHealth
from shared.health.codes import Code
from shared.health.facts import GapHealth
from shared.health.lateness import QUEUE_FUNCTIONS
from shared.state.names import Queue

QUERIES = {path.name: path.read_text() for path in sorted((INFRA / "queries").glob("*.kql"))}
ALERTS = INFRA / "modules" / "alerts.bicep"
WORKBOOK = INFRA / "modules" / "workbook.bicep"
LOADED = re.compile(r"loadTextContent\('\.\./queries/([\w.-]+)'\)")
RECORD = re.compile(r'Message startswith "flowtrail\.(\w+) "')
PARSED = re.compile(r'parse_json\(substring\(Message, strlen\("flowtrail\.(\w+) "\)\)\)')
FIELD = re.compile(r"\brecord\.(\w+)")


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    return check(QUERIES)


def rules() -> list[dict[str, str]]:
    found = [entries(rule) for rule in variable(ALERTS, "rules").named_children if rule.type == "object"]
    assert len(found) == 9
    return found


def query_of(rule: dict[str, str]) -> str:
    match = LOADED.fullmatch(rule["query"])
    assert match
    return match[1]


@pytest.mark.parametrize("name", QUERIES)
def test_the_query_is_right(name: str, answers: dict[str, dict[str, Any]]) -> None:
    assert answers[name]["problems"] == []
    assert answers[name]["columns"]


def test_wrong_queries_are_noticed() -> None:
    found = check(
        {"name": "AppTraces | where Mesage == ''", "operator": "AppTraces | were true", "table": "Traces"}
    )
    assert all(answer["problems"] for answer in found.values())


def test_each_rule_measures_and_splits_by_columns_of_its_query(answers: dict[str, dict[str, Any]]) -> None:
    for rule in rules():
        columns = answers[query_of(rule)]["columns"]
        assert rule["measure"].strip("'") in columns
        assert "TimeGenerated" in columns
        split = re.findall(r"name: '(\w+)'", rule["dimensions"])
        assert set(split) <= set(columns)


def test_ages_are_judged_by_how_late_they_are_and_not_by_how_old() -> None:
    """A first load brings old data for hours."""
    measured = {rule["name"].strip("'"): rule["measure"] for rule in rules()}
    assert measured["environment-age"] == measured["audit-age"] == "'late_minutes'"
    assert "late_minutes = tolong(record.late_s) / 60" in QUERIES["data-age.kql"]


def test_the_mail_of_poison_messages_asks_nobody_to_put_back_what_reconcile_does() -> None:
    rule = next(rule for rule in rules() if rule["name"] == "'poison'")
    assert "reconcile puts them back" in rule["description"]


def test_a_gap_that_is_told_for_days_hides_no_other_one() -> None:
    """An alert that has fired says nothing more until it ends, and one may go on for weeks."""
    rule = next(rule for rule in rules() if rule["name"] == "'gaps'")
    assert set(re.findall(r"name: '(\w+)'", rule["dimensions"])) == {"source_name", "gap_kind"}
    query = QUERIES["gaps.kql"]
    assert "| mv-expand gap = record.gaps\n" in query
    assert set(re.findall(r"\bgap\.(\w+)", query)) == {field.name for field in fields(GapHealth)}


def test_a_source_that_was_taken_out_ages_no_more_and_one_late_record_ends_no_alert() -> None:
    """Between one and two times the pause of reports: the last report may still be under way to the log."""
    query = QUERIES["data-age.kql"]
    match = re.search(r"\| where TimeGenerated > newest - (\d+)m\n", query)
    assert match
    assert report.BETWEEN < timedelta(minutes=int(match[1])) < 2 * report.BETWEEN
    assert query.index("arg_max(TimeGenerated, record)") < match.start(), "by its last word, not by an older one"
    # measured by the app's own newest word and not by the clock: of a silent app all sources go on ageing
    assert re.search(r"let newest = toscalar\(told \| summarize max\(TimeGenerated\)\);", query)


def test_each_threshold_that_is_a_matter_of_taste_is_a_parameter() -> None:
    given = parameters(INFRA / "main.bicep")
    assert {rule["threshold"] for rule in rules()} - set(given) == {"0"}


def test_every_reason_code_reaches_somebody_by_the_rule_that_the_page_names() -> None:
    """`unhealthy` is about all codes but those of which another rule sees the same thing."""
    named = {rule["name"].strip("'") for rule in rules()}
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    told = dict(re.findall(r"(?m)^\| `([a-z_]+)` \| .* \| ([`a-z, -]+) \|$", page))
    left_out = re.search(r"code !in \(([^)]+)\)", QUERIES["unhealthy.kql"])
    assert left_out
    for code in Code:
        rules_of_code = set(re.findall(r"`([\w-]+)`", told[code]))
        assert rules_of_code
        assert rules_of_code <= named
        never_logged = rules_of_code == {"silence"}
        assert ("unhealthy" in rules_of_code) is not (f'"{code}"' in left_out[1] or never_logged), code
    assert set(re.findall(r'"(\w+)"', left_out[1])) <= set(Code)


def test_every_query_is_used_and_the_workbook_uses_those_of_the_alerts() -> None:
    alerts = {query_of(rule) for rule in rules()}
    tiles = set(LOADED.findall(WORKBOOK.read_text()))
    assert alerts | tiles == set(QUERIES)
    assert len(alerts & tiles) >= 4


def test_what_a_query_looks_back_for_fits_into_what_the_app_says_in_time() -> None:
    """A window of an alert must hold at least one report of a healthy app, and more than it may be silent."""
    silent = parameters(INFRA / "main.bicep")["silentMinutes"]
    window = next(rule["window"] for rule in rules() if rule["name"] == "'silence'")
    hours = int(window.strip("'").removeprefix("PT").removesuffix("H"))
    assert int(silent.decorators["maxValue"]) < hours * 60


class Failing(FlowtrailError):
    pass


@pytest.fixture
def records(
    account: str, clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[dict[str, Any]]]:
    """What the app logs when one timer runs and another fails, by the word each record begins with."""
    app = App(settings_with(DataStorage=account), clock)
    ran: list[str] = []

    def run(function: str, *_: object) -> None:
        ran.append(function)
        if function == "reconcile":
            raise Failing("it does not work")

    monkeypatch.setattr(entry, "_run", run)
    with caplog.at_level(logging.INFO, "flowtrail"):
        entry.run_timer("publish", app)
        clock.advance(600)  # a report says enough for ten minutes
        with pytest.raises(Failing):
            entry.run_timer("reconcile", app)
    assert ran == ["publish", "reconcile"]
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for message in caplog.messages:
        if match := re.match(r"flowtrail\.(\w+) (\{.*\})$", message):
            found[match[1]].append(json.loads(match[2]))
    return found


def test_the_app_says_after_every_timer_how_all_of_it_is(records: dict[str, list[dict[str, Any]]]) -> None:
    reported = 2
    beats = [(record["function"], record["outcome"]) for record in records["heartbeat"]]
    assert beats == [("publish", "succeeded"), ("reconcile", "failed")]
    assert {record["name"] for record in records["function"]} == {*TIMERS, *QUEUE_FUNCTIONS}
    assert {record["name"] for record in records["queue"]} == {str(queue) for queue in Queue}
    assert {record["kind"] for record in records["source"]} == {"environment", "audit"}
    assert len(records["health"]) == reported
    assert len(records["function"]) == reported * len({*TIMERS, *QUEUE_FUNCTIONS})
    last = {record["name"]: record for record in records["function"]}["reconcile"]
    assert last["last_error"] == "it does not work"


def test_every_field_that_a_query_reads_is_one_that_the_app_writes(
    records: dict[str, list[dict[str, Any]]],
) -> None:
    read: set[str] = set()
    for name, query in QUERIES.items():
        kinds = set(RECORD.findall(query))
        assert len(kinds) <= 1, name
        assert set(PARSED.findall(query)) <= kinds
        if "record." in query:
            (kind,) = kinds
            assert set(FIELD.findall(query)) <= set(records[kind][0]), name
            read.add(kind)
    assert read == {"function", "source", "queue", "health", "heartbeat"}


def test_a_report_that_fails_does_not_fail_the_timer(
    account: str, clock: FakeClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App(settings_with(DataStorage=account), clock)

    def fail(_: App) -> None:
        raise OSError("storage is away")

    monkeypatch.setattr(entry, "_run", lambda *_: None)
    monkeypatch.setattr("shared.functions.report.report", fail)
    entry.run_timer("publish", app)
    assert "The report of how the app is failed" in caplog.messages
    assert app.journal.heartbeats()["publish"]["succeeded_utc"]


def test_the_workbook_shows_every_figure_of_the_status_page() -> None:
    shown = " ".join(QUERIES[name] for name in LOADED.findall(WORKBOOK.read_text()))
    for health in (FunctionHealth, SourceHealth, QueueHealth):
        for field in fields(health):
            assert f"record.{field.name}" in shown, field.name
    assert "record.gaps_last_day" in shown
    assert "record.days_unpublished" in shown
    assert "record.codes" in shown
    assert "record.reasons" in shown


def test_traces_are_never_sampled_away() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    sampling = host["logging"]["applicationInsights"]["samplingSettings"]
    assert {"Trace", "Exception"} <= set(sampling["excludedTypes"].split(";"))


def test_throttling_is_watched_on_both_accounts() -> None:
    main = (INFRA / "main.bicep").read_text()
    assert re.search(r"accountIds: \[\s+hostStorage\.outputs\.id\s+dataStorage\.outputs\.id\s+\]", main)


def test_names_reads_arrays(tmp_path: Any) -> None:
    path = tmp_path / "some.bicep"
    path.write_text("var some = [\n  'a'\n  b\n]\n")
    node: Node = variable(path, "some")
    assert names(node) == ["a", "b"]
    assert text(node).startswith("[")
