"""The app settings: read once, checked as a whole, kept in one frozen object."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from cronsim import CronSim, CronSimError

from shared.clouds import ACTIVITY_ROOTS, GRAPH_ROOTS
from shared.errors import SettingsError
from shared.limits import HealthLimits, limits_from
from shared.retention import Retention, parse_retention
from shared.times import parse_utc

Value = TypeVar("Value")

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
AUDIT_PREFIX = "audit."
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
CONTENT_TYPES = (
    "Audit.AzureActiveDirectory",
    "Audit.Exchange",
    "Audit.SharePoint",
    "Audit.General",
    "DLP.All",
)
DATA_STORAGE = "DataStorage"


@dataclass(frozen=True)
class Setting:
    """One app setting: its name, what it means, and what holds when it is not set (`None`: it must be set)."""

    name: str
    meaning: str
    default: str | None = None


SETTINGS = (
    Setting(
        "ENVIRONMENTS",
        'JSON list of Dataverse URLs or {"url","name"} objects, or URLs on lines or between commas',
    ),
    Setting("TENANT_ID", "Entra tenant id"),
    Setting("CLOUD", "commercial, gcc, gcchigh or dod", "commercial"),
    Setting("AZURE_CLIENT_ID", "client id of the user-assigned identity; empty: the system-assigned one", ""),
    Setting("DataStorage", "connection string of the data storage account, on a desk only", ""),
    Setting("DataStorage__blobServiceUri", "blob endpoint of the data storage account", ""),
    Setting("DataStorage__queueServiceUri", "queue endpoint of the data storage account", ""),
    Setting("DataStorage__tableServiceUri", "table endpoint of the data storage account", ""),
    Setting("DataStorage__credential", "managedidentity", ""),
    Setting("DataStorage__clientId", "client id of the identity that opens the data storage account", ""),
    Setting("FLOW_SESSIONS_SCHEDULE", "when desktop-flow runs are read (NCRONTAB, UTC)", "0 */5 * * * *"),
    Setting("AUDIT_CONTENT_SCHEDULE", "when the audit feed is read (NCRONTAB, UTC)", "0 */15 * * * *"),
    Setting("INVENTORY_SCHEDULE", "when flows, machines and users are read (NCRONTAB, UTC)", "0 0 3 * * *"),
    Setting("PUBLISH_SCHEDULE", "when days with new rows are published (NCRONTAB, UTC)", "0 */10 * * * *"),
    Setting("RECONCILE_SCHEDULE", "when both sides are compared (NCRONTAB, UTC)", "0 30 2 * * *"),
    Setting("HISTORY_START", "date from which the first load reads runs; empty: 90 days back", ""),
    Setting("ACTION_VALUES", "how much of each action's inputs and outputs is kept: full, names or off", "full"),
    Setting(
        "REDACT_NAMES",
        "regular expression; a parameter or variable whose name matches has its value replaced",
        "password|pwd|secret|token|key|credential|connection.?string",
    ),
    Setting("MAX_VALUE_CHARS", "longest kept value of a parameter, in characters", "4000"),
    Setting("AUDIT_CONTENT_TYPES", "content types of the audit feed, comma-separated", "Audit.General"),
    Setting("AUDIT_WINDOW_HOURS", "length of one listing window, 1 to 24", "6"),
    Setting(
        "AUDIT_WORKLOADS",
        "workloads kept, comma-separated; add CRM for Dataverse",
        "PowerPlatform,MicrosoftFlow,PowerApps,MicrosoftCopilotStudio",
    ),
    Setting("RAW_AUDIT", "audit records kept as received: kept, all or off", "kept"),
    Setting("AUDIT_REPLAY", "days to read once more from raw, like 2026-05-01/2026-05-07; empty: none", ""),
    Setting(
        "AUDIT_SEARCH",
        "search for what the feed lacks: off, a day like 2026-05-01 (everything since), monthly, or both",
        "off",
    ),
    Setting("RUNS_REPLAY", "days of runs to read once more from Dataverse, likewise; empty: none", ""),
    Setting("LOGS_REPLAY", "days of runs whose action logs to decode once more, likewise; empty: none", ""),
    Setting("RETENTION_DAYS", "days to keep, like fact_flow_action=400, raw=180; what is not named: for ever", ""),
    Setting("PUBLISH_GRAIN", "day: one file a table and day; hour: up to 24", "day"),
    Setting("HEALTH_MISSED_TICKS", "ticks that a timer may miss before it counts as late", "3"),
    Setting("HEALTH_ENVIRONMENT_HOURS", "hours that the runs of an environment may be behind", "2"),
    Setting("HEALTH_AUDIT_HOURS", "hours that the audit feed, or a content blob in it, may be behind", "4"),
    Setting("HEALTH_BACKLOG_HOURS", "hours that messages and staged rows may wait", "6"),
    Setting("HEALTH_PENDING_LOGS", "action logs of one environment that may be awaited for long", "1000"),
    Setting("MANAGEMENT_API_URL", "root of the Management Activity API; empty: the one of CLOUD", ""),
    Setting("GRAPH_API_URL", "root of Microsoft Graph; empty: the one of CLOUD", ""),
)
DEFAULTS = {setting.name: setting.default for setting in SETTINGS}


@dataclass(frozen=True)
class Environment:
    """A Dataverse environment: its origin (no trailing slash) and the name people know it by."""

    url: str
    name: str

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class DataStorage:
    """How to reach the data storage account: a connection string, or three endpoints and an identity."""

    connection_string: str = ""
    blob_uri: str = ""
    queue_uri: str = ""
    table_uri: str = ""
    client_id: str = ""

    def __repr__(self) -> str:
        """Show where the account is, never the key inside the connection string."""
        return f"DataStorage({self.blob_uri or 'connection string'})"


@dataclass(frozen=True)
class Schedules:
    """NCRONTAB expressions, UTC."""

    flow_sessions: str
    audit_content: str
    inventory: str
    publish: str
    reconcile: str


@dataclass(frozen=True)
class Replay:
    """UTC days, both included; `order` is the whole text of the setting: another text is another order."""

    first: date
    last: date
    order: str

    def days(self) -> Iterator[date]:
        for ordinal in range(self.first.toordinal(), self.last.toordinal() + 1):
            yield date.fromordinal(ordinal)


@dataclass(frozen=True)
class Search:
    """What is searched for in the audit log: everything since a UTC day, once, and each month that is over."""

    since: date | None = None
    monthly: bool = False


@dataclass(frozen=True)
class Settings:
    """Everything an operator can set, checked."""

    environments: tuple[Environment, ...]
    tenant_id: str
    cloud: str
    client_id: str
    storage: DataStorage
    schedules: Schedules
    history_start: datetime | None
    action_values: str
    redact_names: re.Pattern[str]
    max_value_chars: int
    audit_content_types: tuple[str, ...]
    audit_window_hours: int
    audit_workloads: frozenset[str]
    raw_audit: str
    audit_replay: Replay | None
    audit_search: Search
    runs_replay: Replay | None
    logs_replay: Replay | None
    retention: Retention
    publish_grain: str
    health: HealthLimits
    activity_root: str
    graph_root: str


class _Reader:
    """Reads setting after setting and collects what is wrong instead of stopping at the first problem."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        return (self.environ.get(name) or "").strip() or (DEFAULTS[name] or "")

    def read(self, name: str, parse: Callable[[str], Value], fallback: Value) -> Value:
        text = self.text(name)
        try:
            if not text and DEFAULTS[name] is None:
                raise ValueError("is not set")
            return parse(text)
        except ValueError as error:
            self.problems.append(f"{name} {error}")
            return fallback


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`.

    Raises:
        SettingsError: something is missing or wrong; lists every problem at once.
    """
    reader = _Reader(environ)
    cloud = reader.read("CLOUD", _one_of(tuple(ACTIVITY_ROOTS)), "commercial")
    settings = Settings(
        environments=reader.read("ENVIRONMENTS", parse_environments, ()),
        tenant_id=reader.read("TENANT_ID", _guid, ""),
        cloud=cloud,
        client_id=reader.read("AZURE_CLIENT_ID", _optional(_guid), ""),
        storage=_storage(reader),
        schedules=_schedules(reader),
        history_start=reader.read("HISTORY_START", _optional_past, None),
        action_values=reader.read("ACTION_VALUES", _one_of(("full", "names", "off")), "full"),
        redact_names=reader.read("REDACT_NAMES", _pattern, re.compile("")),
        max_value_chars=reader.read("MAX_VALUE_CHARS", _whole_number(1, 32_000), 1),
        audit_content_types=reader.read("AUDIT_CONTENT_TYPES", _content_types, ()),
        audit_window_hours=reader.read("AUDIT_WINDOW_HOURS", _whole_number(1, 24), 1),
        audit_workloads=reader.read("AUDIT_WORKLOADS", _workloads, frozenset()),
        raw_audit=reader.read("RAW_AUDIT", _one_of(("kept", "all", "off")), "kept"),
        audit_replay=reader.read("AUDIT_REPLAY", _optional_replay, None),
        audit_search=reader.read("AUDIT_SEARCH", _search, Search()),
        runs_replay=reader.read("RUNS_REPLAY", _optional_replay, None),
        logs_replay=reader.read("LOGS_REPLAY", _optional_replay, None),
        retention=reader.read("RETENTION_DAYS", parse_retention, Retention()),
        publish_grain=reader.read("PUBLISH_GRAIN", _one_of(("day", "hour")), "day"),
        health=limits_from(lambda name, most: reader.read(name, _whole_number(1, most), 1)),
        activity_root=reader.read("MANAGEMENT_API_URL", _optional(_origin), "") or ACTIVITY_ROOTS[cloud],
        graph_root=reader.read("GRAPH_API_URL", _optional(_origin), "") or GRAPH_ROOTS[cloud],
    )
    if reader.problems:
        raise SettingsError(tuple(reader.problems))
    return settings


def parse_environments(text: str) -> tuple[Environment, ...]:
    """Environments out of a JSON list, or out of plain URLs separated by commas, semicolons or white space."""
    entries = _json_list(text) if text.startswith("[") else re.split(r"[\s,;]+", text.strip(" \t\r\n,;"))
    environments = _named([_environment(entry) for entry in entries])
    if not environments:
        raise ValueError("names no environment")
    for what in ([env.url for env in environments], [env.name for env in environments]):
        if twice := sorted({text for text in what if what.count(text) > 1}):
            raise ValueError(f"names {', '.join(twice)} more than once")
    return environments


def _named(environments: list[Environment]) -> tuple[Environment, ...]:
    """Those without a name get the first part of their host, or the whole of it where others begin the same."""
    labels = [environment.name or environment.host.split(".")[0] for environment in environments]
    return tuple(
        replace(environment, name=label if labels.count(label) == 1 or environment.name else environment.host)
        for environment, label in zip(environments, labels, strict=True)
    )


def _json_list(text: str) -> list[Any]:
    try:
        return cast("list[Any]", json.loads(text))
    except ValueError as error:
        raise ValueError(f"starts like a JSON list and is none: {error}") from None


def _environment(entry: Any) -> Environment:
    fields = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {"url": entry}
    url, name = fields.get("url"), fields.get("name") or ""
    if not isinstance(url, str) or not isinstance(name, str) or not set(fields) <= {"url", "name"}:
        raise ValueError(f"has an entry {entry!r}; an entry is a URL or an object with url and name")
    origin = _origin(url)
    if name.strip().lower().startswith(AUDIT_PREFIX):
        raise ValueError(f"names an environment {name!r}; names that begin like a content type are taken")
    return Environment(origin, name.strip())


def _origin(text: str) -> str:
    """The origin of a URL that is nothing but an origin: scheme, host, port."""
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError as error:
        raise ValueError(f"has {text!r}, which is no URL: {error}") from None
    host = (parts.hostname or "").lower()
    if problem := _origin_problem(parts, host):
        raise ValueError(f"has {text!r}, {problem}")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}"


def _origin_problem(parts: SplitResult, host: str) -> str:
    if not host or not host.isascii():
        return "which is no URL like https://contoso.crm4.dynamics.com"
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        return "which is not https (http is for loopback only)"
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        return "of which only scheme and host are wanted, like https://contoso.crm4.dynamics.com"
    return ""


def _storage(reader: _Reader) -> DataStorage:
    connection_string = reader.text(DATA_STORAGE)
    names = [f"{DATA_STORAGE}__{service}ServiceUri" for service in ("blob", "queue", "table")]
    uris = [reader.read(name, _optional(_service_uri), "") for name in names]
    missing = [name for name in names if not reader.text(name)]
    if connection_string and len(missing) < len(names):
        reader.problems.append(
            f"{DATA_STORAGE} is set beside {names[0]}; keep the endpoints in Azure, the other on a desk"
        )
    if not connection_string and missing:
        reader.problems.extend(f"{name} is not set" for name in missing)
    credential = reader.text(f"{DATA_STORAGE}__credential")
    if credential not in ("", "managedidentity"):
        reader.problems.append(f"{DATA_STORAGE}__credential is {credential!r}; it can only be managedidentity")
    client_id = reader.read(f"{DATA_STORAGE}__clientId", _optional(_guid), "")
    return DataStorage(connection_string, *uris, client_id=client_id or reader.text("AZURE_CLIENT_ID").lower())


def _service_uri(text: str) -> str:
    parts = urlsplit(text)
    if not parts.hostname or (parts.scheme != "https" and parts.hostname not in LOOPBACK):
        raise ValueError(f"is {text!r}; it looks like https://<account>.blob.core.windows.net")
    return text.rstrip("/")


def _schedules(reader: _Reader) -> Schedules:
    def read(name: str) -> str:
        return reader.read(name, _ncrontab, "")

    return Schedules(
        flow_sessions=read("FLOW_SESSIONS_SCHEDULE"),
        audit_content=read("AUDIT_CONTENT_SCHEDULE"),
        inventory=read("INVENTORY_SCHEDULE"),
        publish=read("PUBLISH_SCHEDULE"),
        reconcile=read("RECONCILE_SCHEDULE"),
    )


def _ncrontab(text: str) -> str:
    try:
        CronSim(text, datetime.now(UTC))
    except CronSimError as error:
        raise ValueError(f"is {text!r}, no NCRONTAB expression like '0 */5 * * * *': {error}") from None
    if len(text.split()) != len(["second", "minute", "hour", "day", "month", "weekday"]):
        raise ValueError(f"is {text!r}; it takes six fields: second minute hour day month weekday")
    return text


def _optional(parse: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: parse(text) if text else ""


def _optional_past(text: str) -> datetime | None:
    if not text:
        return None
    instant = parse_utc(text)
    if instant is None or instant > datetime.now(UTC):
        raise ValueError(f"is {text!r}; it is a date in the past like 2026-01-31")
    return instant


def _guid(text: str) -> str:
    if not GUID.fullmatch(text):
        raise ValueError(f"is {text!r}; it is an id like 00000000-0000-0000-0000-000000000000")
    return text.lower()


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"is {text!r}; it can be {', '.join(choices)}")
        return text.lower()

    return parse


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"is {text!r}; it is a whole number from {least} to {most}")
        return int(text)

    return parse


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"is {text!r}, no regular expression: {error}") from None


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[\s,;]+", text) if name]


def _content_types(text: str) -> tuple[str, ...]:
    known = {name.lower(): name for name in CONTENT_TYPES}
    names = _names(text)
    if wrong := [name for name in names if name.lower() not in known]:
        raise ValueError(f"has {', '.join(wrong)}; known are {', '.join(CONTENT_TYPES)}")
    return tuple(dict.fromkeys(known[name.lower()] for name in names))


def _workloads(text: str) -> frozenset[str]:
    if wrong := [name for name in _names(text) if not re.fullmatch(r"[A-Za-z0-9]+", name)]:
        raise ValueError(f"has {', '.join(wrong)}; a workload is one word like PowerPlatform")
    return frozenset(name.lower() for name in _names(text))


def _optional_replay(text: str) -> Replay | None:
    """One day, or two with a slash between; whatever follows a space only makes it another order."""
    if not text:
        return None
    days = text.split(maxsplit=1)[0].split("/")
    try:
        first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    except ValueError:
        raise ValueError(f"is {text!r}; days are written like 2026-05-01/2026-05-07") from None
    if len(days) > 2 or last < first:  # noqa: PLR2004 - a range has two ends
        raise ValueError(f"is {text!r}; it takes a first day and a last day that is not before it")
    return Replay(first, last, text)


def _search(text: str) -> Search:
    words = [word for word in _names(text.lower()) if word != "off"]
    days = [word for word in words if word != "monthly"]
    try:
        since = date.fromisoformat(days[0]) if days else None
    except ValueError:
        since = date.max
    if len(days) > 1 or (since and since >= datetime.now(UTC).date()):
        raise ValueError(f"is {text!r}; it is off, a day in the past like 2026-05-01, monthly, or day and monthly")
    return Search(since, "monthly" in words)
