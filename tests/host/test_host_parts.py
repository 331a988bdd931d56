"""The host's pure parts: schedules, routes, settings, connections, log text."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from local.host.connection import Connection, find_connection
from local.host.logs import failure_text
from local.host.problems import HostStartError
from local.host.queue_listener import Polling
from local.host.routes import parse_route
from local.host.schedule import Schedule
from local.host.settings import AppSettings, HostOptions, QueueOptions, load_options, load_settings

MOMENT = datetime(2026, 11, 21, 10, 7, 30, 500000, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 */5 * * * *", "2026-11-21T10:10:00"),
        ("*/5 * * * *", "2026-11-21T10:10:00"),
        ("*/20 * * * * *", "2026-11-21T10:07:40"),
        ("0 0 3 * * *", "2026-11-22T03:00:00"),
        ("0 30 2 * JAN-MAR mon", "2027-01-04T02:30:00"),
        ("0 0 0 13 * FRI", "2027-08-13T00:00:00"),  # both have to match, where cron takes either
    ],
)
def test_the_next_occurrence(expression: str, expected: str) -> None:
    assert Schedule(expression).next_after(MOMENT).isoformat() == f"{expected}+00:00"


def test_an_occurrence_is_later_than_the_one_before() -> None:
    schedule = Schedule("0 0 10 * * *")
    first = schedule.next_after(MOMENT)
    assert (schedule.next_after(first) - first).days == 1


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * *",
        "00:05:00",
        "61 * * * * *",
        "0 0 0 L * *",
        "0 0 0 * * 7",
        "0 0 0 * * MON#1",
        "0 0 0 ? * *",
        "0 0 0 31 FEB *",
    ],
)
def test_what_the_real_host_refuses_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"NCRONTAB|six fields|never comes"):
        Schedule(expression)


def test_only_schedules_of_a_minute_and_more_are_monitored() -> None:
    assert Schedule("0 * * * * *").is_monitored()
    assert not Schedule("*/30 * * * * *").is_monitored()


@pytest.mark.parametrize(
    ("template", "path", "params"),
    [
        ("health", "/api/health", {}),
        ("/health", "/API/Health/", {}),
        ("a/{b}/{c?}", "/api/a/1", {"b": "1"}),
        ("a/{b}/{c?}", "/api/a/1/%C3%A4", {"b": "1", "c": "ä"}),
        ("a/{b:int}", "/api/a/-1", {"b": "-1"}),
        ("a/{b:int}", "/api/a/x", None),
        ("a/{b}.{c}", "/api/a/x.json", {"b": "x", "c": "json"}),
        ("files/{*rest}", "/api/files/a/b", {"rest": "a/b"}),
        ("a/{b}", "/api/a", None),
        ("a", "/a", None),
    ],
)
def test_routes(template: str, path: str, params: dict[str, str] | None) -> None:
    assert parse_route(template, "api").match(path) == params


def test_an_empty_route_prefix() -> None:
    assert parse_route("health", "").match("/health") == {}


def test_settings_take_precedence_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"IsEncrypted": False, "Values": {"A": "file", "B": "file", "C": "file"}}
    (tmp_path / "local.settings.json").write_text(json.dumps(values), "utf-8")
    monkeypatch.setenv("B", "environment")
    monkeypatch.setenv("C", "environment")
    settings = load_settings(tmp_path, {"C": "given"})
    assert [settings[name] for name in "ABC"] == ["file", "environment", "given"]


def test_values_that_are_no_strings_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "local.settings.json").write_text('{"Values": {"A": 1, "B": "x", "C": null}}', "utf-8")
    with pytest.raises(HostStartError) as caught:
        load_settings(tmp_path)
    assert caught.value.problems == tuple(
        f"local.settings.json: the value of {name} must be a string" for name in "AC"
    )


def test_percent_names_are_resolved() -> None:
    settings = AppSettings({"A": "1"})
    assert settings.resolve("x %A% %B%") == ("x 1 %B%", ["B"])


def test_host_json(tmp_path: Path) -> None:
    queues = {
        "batchSize": 4,
        "maxDequeueCount": 3,
        "visibilityTimeout": "00:01:30",
        "maxPollingInterval": "1.00:00:02",
        "messageEncoding": "None",
    }
    document = {"functionTimeout": "-1", "extensions": {"queues": queues, "http": {"routePrefix": ""}}}
    (tmp_path / "host.json").write_text(json.dumps(document), "utf-8")
    settings = {"AzureFunctionsJobHost__extensions__queues__maxDequeueCount": "7"}
    expected = QueueOptions(4, 2, 7, 90.0, 86402.0, base64=False)
    assert load_options(tmp_path, settings) == HostOptions(None, "", expected)
    assert load_options(tmp_path / "nowhere", {}) == HostOptions(1800.0, "api", QueueOptions())


def test_everything_wrong_in_host_json_is_named(tmp_path: Path) -> None:
    queues = {"newBatchThreshold": -1, "visibilityTimeout": 5, "messageEncoding": "utf8"}
    document = {"functionTimeout": "5 min", "extensions": {"queues": queues}}
    (tmp_path / "host.json").write_text(json.dumps(document), "utf-8")
    with pytest.raises(HostStartError) as caught:
        load_options(tmp_path, {})
    named = ("functionTimeout", "messageEncoding", "newBatchThreshold", "visibilityTimeout")
    assert len(caught.value.problems) == len(named)
    for problem, name in zip(caught.value.problems, named, strict=True):
        assert name in problem


def test_connections() -> None:
    settings = {
        "A": "UseDevelopmentStorage=true",
        "AzureWebJobsB": "preferred",
        "B": "passed over",
        "C__queueServiceUri": "https://c.queue.core.windows.net",
        "C__credential": "managedidentity",
        "C__clientId": "id",
        "D__accountName": "d",
    }
    assert find_connection("A", settings) == Connection("UseDevelopmentStorage=true")
    assert find_connection("B", settings) == Connection("preferred")
    identity = Connection("", "https://c.queue.core.windows.net", "managedidentity", "id")
    assert find_connection("C", settings) == identity
    assert find_connection("D", settings) == Connection("", "https://d.queue.core.windows.net")
    assert find_connection("E", settings) is None


def test_an_empty_queue_is_polled_ever_less_often() -> None:
    polling = Polling(longest_s=10.0)
    delays_s = [polling.delay_s(empty_polls) for empty_polls in range(12)]
    assert 0.08 <= delays_s[0] <= 0.12
    assert delays_s[-1] == 10.0
    assert Polling(longest_s=10.0, fixed_s=0.5).delay_s(100) == 0.5


def test_the_log_shows_the_frames_of_the_app_only() -> None:
    trace = (
        "Traceback (most recent call last):\n"
        '  File "/venv/azure_functions_runtime/handle_event.py", line 1, in invocation_request\n'
        "    call_result = await loop.run_in_executor(\n"
        "                  ^^^^^^^^\n"
        '  File "/app/function_app.py", line 2, in work\n'
        '    raise ValueError("no")\n'
        "ValueError: no\n"
    )
    assert failure_text("ValueError: no", trace).splitlines() == [
        "ValueError: no",
        "    Traceback (most recent call last):",
        '      File "/app/function_app.py", line 2, in work',
        '        raise ValueError("no")',
    ]


def test_a_trace_without_frames_of_the_app_is_left_out() -> None:
    trace = 'Traceback:\n  File "/venv/azure_functions_runtime/x.py", line 1, in x\nlib.Odd: no\n'
    assert failure_text("Odd: no", trace) == "Odd: no"
    assert failure_text("Odd: no", "") == "Odd: no"
