"""Settings: what is accepted, and how everything that is wrong is named at once."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest
from support import ORIGIN, REQUIRED, settings_with

from shared.clouds import ACTIVITY_ROOTS
from shared.errors import SettingsError
from shared.setting_values import Environment, Search, parse_environments
from shared.settings import SETTINGS, load_settings

CONTRACT = {
    "ENVIRONMENTS",
    "TENANT_ID",
    "CLOUD",
    "AZURE_CLIENT_ID",
    "DataStorage",
    "DataStorage__blobServiceUri",
    "DataStorage__queueServiceUri",
    "DataStorage__tableServiceUri",
    "DataStorage__credential",
    "DataStorage__clientId",
    "FLOW_SESSIONS_SCHEDULE",
    "AUDIT_CONTENT_SCHEDULE",
    "INVENTORY_SCHEDULE",
    "PUBLISH_SCHEDULE",
    "RECONCILE_SCHEDULE",
    "HISTORY_START",
    "ACTION_VALUES",
    "REDACT_NAMES",
    "MAX_VALUE_CHARS",
    "AUDIT_CONTENT_TYPES",
    "AUDIT_WINDOW_HOURS",
    "AUDIT_WORKLOADS",
    "RAW_AUDIT",
    "PUBLISH_GRAIN",
    "MANAGEMENT_API_URL",
}
BEYOND = {
    "HEALTH_MISSED_TICKS",
    "HEALTH_ENVIRONMENT_HOURS",
    "HEALTH_AUDIT_HOURS",
    "HEALTH_BACKLOG_HOURS",
    "HEALTH_PENDING_LOGS",
    "AUDIT_REPLAY",
    "AUDIT_SEARCH",
    "GRAPH_API_URL",
    "RUNS_REPLAY",
    "LOGS_REPLAY",
    "RETENTION_DAYS",
}


ENDPOINTS = {
    f"DataStorage__{service}ServiceUri": f"https://a.{service}.core.windows.net/"
    for service in ("blob", "queue", "table")
}


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        settings_with(**environ)
    return caught.value.problems


def test_the_settings_are_those_of_the_contract() -> None:
    assert {setting.name for setting in SETTINGS} == CONTRACT | BEYOND


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("2026-05-01", ("2026-05-01", "2026-05-01")),
        ("2026-05-01/2026-05-07", ("2026-05-01", "2026-05-07")),
        ("2026-05-01/2026-05-07 once more", ("2026-05-01", "2026-05-07")),
    ],
)
def test_days_to_read_once_more(text: str, days: tuple[str, str]) -> None:
    replay = settings_with(AUDIT_REPLAY=text).audit_replay
    assert replay is not None
    assert (str(replay.first), str(replay.last), replay.order) == (*days, text)


def test_no_replay_is_ordered_by_itself() -> None:
    assert settings_with().audit_replay is None


@pytest.mark.parametrize(
    "text", ["May", "2026-05-07/2026-05-01", "2026-05-01/2026-05-02/2026-05-03", "2026-13-01"]
)
def test_days_that_are_none(text: str) -> None:
    assert problems(AUDIT_REPLAY=text)[0].startswith("AUDIT_REPLAY is")


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("", Search()),
        ("off", Search()),
        ("2026-05-01", Search(date(2026, 5, 1))),
        ("Monthly", Search(monthly=True)),
        ("2026-05-01 monthly", Search(date(2026, 5, 1), monthly=True)),
    ],
)
def test_what_is_searched_for(text: str, search: Search) -> None:
    assert settings_with(AUDIT_SEARCH=text).audit_search == search


@pytest.mark.parametrize("text", ["on", "2026-13-01", "2026-05-01 2026-06-01", "9999-01-01"])
def test_a_search_that_can_not_be(text: str) -> None:
    assert problems(AUDIT_SEARCH=text)[0].startswith("AUDIT_SEARCH is")


@pytest.mark.parametrize("cloud", ["gcchigh", "dod"])
@pytest.mark.parametrize("text", ["2026-05-01", "monthly"])
def test_nothing_is_searched_for_where_graph_has_no_search(cloud: str, text: str) -> None:
    (problem,) = problems(CLOUD=cloud, AUDIT_SEARCH=text)
    assert re.fullmatch(rf"AUDIT_SEARCH is '{text}'; .* in the cloud {cloud}: set it to off", problem)
    assert settings_with(CLOUD=cloud, AUDIT_SEARCH="off").audit_search == Search()
    assert settings_with(CLOUD="gcc", AUDIT_SEARCH=text).audit_search != Search()


def test_graph_has_a_root_in_each_cloud() -> None:
    roots = {cloud: settings_with(CLOUD=cloud).graph_root for cloud in ACTIVITY_ROOTS}
    assert roots["commercial"] == roots["gcc"] == "https://graph.microsoft.com"
    assert roots["gcchigh"] == "https://graph.microsoft.us"
    assert roots["dod"] == "https://dod-graph.microsoft.us"
    assert settings_with(GRAPH_API_URL="http://127.0.0.1:9").graph_root == "http://127.0.0.1:9"


def test_defaults() -> None:
    settings = settings_with()
    assert settings.environments == (Environment(ORIGIN, "contoso"),)
    assert settings.schedules.flow_sessions == "0 */5 * * * *"
    assert settings.schedules.reconcile == "0 30 2 * * *"
    assert settings.activity_root == "https://manage.office.com"
    assert (settings.action_values, settings.raw_audit, settings.publish_grain) == ("full", "kept", "day")
    assert (settings.max_value_chars, settings.audit_window_hours) == (4000, 6)
    assert settings.audit_content_types == ("Audit.General",)
    assert settings.audit_workloads == {"powerplatform", "microsoftflow", "powerapps", "microsoftcopilotstudio"}
    assert settings.history_start is None


@pytest.mark.parametrize(
    "text",
    [
        '["https://a.crm.dynamics.com", {"url": "https://b.crm4.dynamics.com/", "name": "Bee"}]',
        "https://a.crm.dynamics.com, https://b.crm4.dynamics.com",
        "https://a.crm.dynamics.com\n  https://B.crm4.dynamics.com/\n",
        "https://a.crm.dynamics.com; https://b.crm4.dynamics.com;",
    ],
)
def test_environments_can_be_written_in_several_ways(text: str) -> None:
    urls = [environment.url for environment in parse_environments(text)]
    assert urls == ["https://a.crm.dynamics.com", "https://b.crm4.dynamics.com"]


def test_an_environment_is_named_by_its_host_unless_it_has_a_name() -> None:
    text = '["https://a.crm.dynamics.com", {"url": "https://b.crm4.dynamics.com", "name": " Finance "}]'
    assert [environment.name for environment in parse_environments(text)] == ["a", "Finance"]


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("http://a.crm.dynamics.com", "not https"),
        ("https://a.crm.dynamics.com/main.aspx", "only scheme and host"),
        ("https://user@a.crm.dynamics.com", "only scheme and host"),
        ("https://a.crm.dynamics.com?x=1", "only scheme and host"),
        ("https://xn--e1afmkfd\u00e9.example", "no URL"),
        ("a.crm.dynamics.com", "no URL"),
        ("https://a.crm.dynamics.com:port", "no URL"),
    ],
)
def test_an_environment_is_an_origin_and_nothing_else(url: str, complaint: str) -> None:
    (problem,) = problems(ENVIRONMENTS=url)
    assert problem.startswith("ENVIRONMENTS has")
    assert complaint in problem


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:5", "http://[::1]:80"])
def test_plain_http_is_for_loopback(url: str) -> None:
    assert settings_with(ENVIRONMENTS=url).environments[0].url == url


@pytest.mark.parametrize("text", ["[", "[]", '[{"name": "x"}]', '[{"url": "https://a.b", "color": "red"}]', "[3]"])
def test_environments_that_are_no_list_of_urls(text: str) -> None:
    assert len(problems(ENVIRONMENTS=text)) == 1


def test_environments_whose_hosts_begin_the_same_get_the_whole_host_as_name() -> None:
    hosts = ("contoso.crm.dynamics.com", "contoso.crm4.dynamics.com", "fabrikam.crm.dynamics.com")
    environments = parse_environments(",".join(f"https://{host}" for host in hosts))
    assert [environment.name for environment in environments] == [*hosts[:2], "fabrikam"]


@pytest.mark.parametrize(
    "text",
    [
        '[{"url":"https://a.crm.dynamics.com","name":"Same"},{"url":"https://b.crm.dynamics.com","name":"Same"}]',
        *(
            f'[{{"url":"https://a.crm.dynamics.com","name":"{name}"}}]'
            for name in ("Audit.General", "DLP.All", "Retention", "redrive of publish-day", "replay of contoso")
        ),
    ],
)
def test_a_name_is_one_environments_own(text: str) -> None:
    with pytest.raises(ValueError, match=r"more than once|another kind of source"):
        parse_environments(text)


def test_an_environment_whose_host_begins_with_a_taken_name_is_named_by_the_whole_host() -> None:
    (environment,) = parse_environments("https://retention.crm.dynamics.com")
    assert environment.name == "retention.crm.dynamics.com"


def test_an_environment_is_named_once() -> None:
    (problem,) = problems(ENVIRONMENTS="https://a.crm.dynamics.com https://A.crm.dynamics.com/")
    assert "more than once" in problem


@pytest.mark.parametrize("text", [",", " ; ,"])
@pytest.mark.parametrize("name", ["AUDIT_CONTENT_TYPES", "AUDIT_WORKLOADS"])
def test_a_list_that_names_nothing_switches_no_source_off(name: str, text: str) -> None:
    (problem,) = problems(**{name: text})
    assert problem.startswith(name)
    assert "names nothing" in problem


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDACT_NAMES", "a{99999999999}"),
        ("REDACT_NAMES", "(" * 5000 + ")" * 5000),
        ("ENVIRONMENTS", "[" * 100_000),
    ],
)
def test_what_no_parser_can_take_in_is_a_problem_like_any_other(name: str, text: str) -> None:
    found = problems(**{name: text, "TENANT_ID": "contoso"})
    assert [problem.split()[0] for problem in found] in ([name, "TENANT_ID"], ["TENANT_ID", name])


@pytest.mark.parametrize("text", ["0001-01-01", "1899-12-31", "9999-12-31"])
def test_a_first_load_begins_within_what_services_can_say(text: str) -> None:
    (problem,) = problems(HISTORY_START=text)
    assert "from 1900-01-01 on" in problem


def test_a_first_load_may_ask_for_everything() -> None:
    assert settings_with(HISTORY_START="2000-01-01").history_start == datetime(2000, 1, 1, tzinfo=UTC)


def test_one_table_has_one_retention() -> None:
    (problem,) = problems(RETENTION_DAYS="fact_flow_action=30, raw=90, fact_flow_action=400")
    assert problem == "RETENTION_DAYS names fact_flow_action more than once"


def test_every_problem_is_named_at_once() -> None:
    wrong = {
        "ENVIRONMENTS": "",
        "TENANT_ID": "contoso",
        "CLOUD": "moon",
        "AZURE_CLIENT_ID": "me",
        "DataStorage": "",
        "FLOW_SESSIONS_SCHEDULE": "every day",
        "AUDIT_CONTENT_SCHEDULE": "*/5 * * * *",
        "HISTORY_START": "tomorrow",
        "ACTION_VALUES": "some",
        "REDACT_NAMES": "(",
        "MAX_VALUE_CHARS": "0",
        "AUDIT_CONTENT_TYPES": "Audit.Everything",
        "AUDIT_WINDOW_HOURS": "25",
        "AUDIT_WORKLOADS": "Power-Platform",
        "RAW_AUDIT": "maybe",
        "PUBLISH_GRAIN": "week",
        "MANAGEMENT_API_URL": "ftp://manage",
    }
    found = problems(**wrong)
    for name in wrong:
        assert any(problem.startswith(name) for problem in found), name
    with pytest.raises(SettingsError) as caught:
        load_settings({**REQUIRED, **wrong})
    assert str(caught.value).count("\n- ") == len(found)


def test_what_is_not_set_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    names = {problem.split()[0] for problem in caught.value.problems}
    assert names == {
        "ENVIRONMENTS",
        "TENANT_ID",
        "DataStorage__blobServiceUri",
        "DataStorage__queueServiceUri",
        "DataStorage__tableServiceUri",
    }


def test_a_connection_string_is_never_shown() -> None:
    secret = "AccountKey=c2VjcmV0"
    settings = settings_with(DataStorage=f"DefaultEndpointsProtocol=https;AccountName=a;{secret}")
    assert "c2VjcmV0" not in repr(settings)
    with pytest.raises(SettingsError) as caught:
        settings_with(DataStorage=secret, DataStorage__blobServiceUri="https://a.blob.core.windows.net")
    assert "c2VjcmV0" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "garbage",
        "AccountName=a",
        "AccountName=a;AccountKey=",
        "AccountName=a;AccountKey=c2VjcmV0;Foo",
        "BlobEndpoint=https://a.blob.core.windows.net;SharedAccessSignature=sig=c2VjcmV0",
    ],
)
def test_a_connection_string_opens_an_account(text: str) -> None:
    (problem,) = problems(DataStorage=text)
    assert problem.startswith("DataStorage is no connection string")
    assert "c2VjcmV0" not in problem


@pytest.mark.parametrize(
    "text",
    [
        "UseDevelopmentStorage=true",
        "AccountName=a;AccountKey=c2VjcmV0;",
        "BlobEndpoint=b;QueueEndpoint=q;TableEndpoint=t;SharedAccessSignature=sv=1&sig=c2VjcmV0",
    ],
)
def test_connection_strings_of_all_kinds(text: str) -> None:
    assert settings_with(DataStorage=text).storage.connection_string == text


@pytest.mark.parametrize(
    "uri",
    [
        "http://a.blob.core.windows.net",
        "https://a.blob.core.windows.net/?sv=1&sig=SECRET",
        "https://a.blob.core.windows.net/container",
        "https://me:SECRET@a.blob.core.windows.net",
        "https://a.table.core.windows.net",
        "https://me:SECRET",
    ],
)
def test_an_endpoint_is_that_of_its_service_and_nothing_else(uri: str) -> None:
    found = problems(DataStorage="", **{**ENDPOINTS, "DataStorage__blobServiceUri": uri})
    assert [problem.split()[0] for problem in found] == ["DataStorage__blobServiceUri"]
    assert "SECRET" not in found[0]


def test_storage_of_an_emulator_by_identity() -> None:
    emulated = {name: f"http://127.0.0.1:1000{at}/account" for at, name in enumerate(ENDPOINTS)}
    assert settings_with(DataStorage="", **emulated).storage.blob_uri == "http://127.0.0.1:10000/account"


@pytest.mark.parametrize(
    "text",
    [
        "https://me:SECRET@a.crm.dynamics.com",
        "https://me:SEC?RET@a.crm.dynamics.com",
        "https://SECRET@a.crm.dynamics.com",
        "https://me:SECRET",
        "https://a.crm.dynamics.com?code=SECRET",
        '[{"url": "https://a.crm.dynamics.com", "password": "SECRET"}]',
    ],
)
def test_what_may_be_a_secret_in_an_address_is_never_shown(text: str) -> None:
    (problem,) = problems(ENVIRONMENTS=text)
    assert "SEC" not in problem


def test_storage_by_identity() -> None:
    storage = load_settings(
        {
            "ENVIRONMENTS": ORIGIN,
            "TENANT_ID": REQUIRED["TENANT_ID"],
            "AZURE_CLIENT_ID": "22222222-2222-2222-2222-22222222222A",
            **ENDPOINTS,
            "DataStorage__credential": "managedidentity",
        }
    ).storage
    assert storage.blob_uri == "https://a.blob.core.windows.net"
    assert storage.client_id == "22222222-2222-2222-2222-22222222222a"


@pytest.mark.parametrize(("cloud", "root"), ACTIVITY_ROOTS.items())
def test_each_cloud_has_its_activity_root(cloud: str, root: str) -> None:
    assert settings_with(CLOUD=cloud.upper()).activity_root == root


def test_the_activity_root_can_be_overridden() -> None:
    assert settings_with(MANAGEMENT_API_URL="http://127.0.0.1:9").activity_root == "http://127.0.0.1:9"
