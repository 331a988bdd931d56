"""The app settings: read once, checked as a whole, kept in one frozen object."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from shared.clouds import ACTIVITY_ROOTS, GRAPH_ROOTS
from shared.errors import SettingsError
from shared.limits import HealthLimits, limits_from
from shared.retention import Retention, parse_retention
from shared.schedules import parse_schedule
from shared.setting_values import (
    Environment,
    Replay,
    Search,
    one_of,
    optional,
    parse_connection_string,
    parse_content_types,
    parse_environments,
    parse_guid,
    parse_origin,
    parse_past,
    parse_pattern,
    parse_replay,
    parse_search,
    parse_workloads,
    service_uri,
    whole_number,
)

Value = TypeVar("Value")

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
    Setting("HEALTH_ENVIRONMENT_HOURS", "hours that the runs of an environment may be late", "2"),
    Setting("HEALTH_AUDIT_HOURS", "hours that the audit feed, or a content blob in it, may be late", "4"),
    Setting("HEALTH_BACKLOG_HOURS", "hours that messages and staged rows may wait", "6"),
    Setting("HEALTH_PENDING_LOGS", "action logs of one environment that may be awaited for long", "1000"),
    Setting("MANAGEMENT_API_URL", "root of the Management Activity API; empty: the one of CLOUD", ""),
    Setting("GRAPH_API_URL", "root of Microsoft Graph; empty: the one of CLOUD", ""),
)
DEFAULTS = {setting.name: setting.default for setting in SETTINGS}


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
        except RecursionError:
            self.problems.append(f"{name} is nested too deeply to be read; write it more simply")
        except ValueError as error:
            self.problems.append(f"{name} {error}")
        return fallback


def load_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in `environ`.

    Raises:
        SettingsError: something is missing or wrong; lists every problem at once.
    """
    reader = _Reader(environ)
    cloud = reader.read("CLOUD", one_of(tuple(ACTIVITY_ROOTS)), "commercial")
    settings = Settings(
        environments=reader.read("ENVIRONMENTS", parse_environments, ()),
        tenant_id=reader.read("TENANT_ID", parse_guid, ""),
        cloud=cloud,
        client_id=reader.read("AZURE_CLIENT_ID", optional(parse_guid), ""),
        storage=_storage(reader),
        schedules=_schedules(reader),
        history_start=reader.read("HISTORY_START", parse_past, None),
        action_values=reader.read("ACTION_VALUES", one_of(("full", "names", "off")), "full"),
        redact_names=reader.read("REDACT_NAMES", parse_pattern, re.compile("")),
        max_value_chars=reader.read("MAX_VALUE_CHARS", whole_number(1, 32_000), 1),
        audit_content_types=reader.read("AUDIT_CONTENT_TYPES", parse_content_types, ()),
        audit_window_hours=reader.read("AUDIT_WINDOW_HOURS", whole_number(1, 24), 1),
        audit_workloads=reader.read("AUDIT_WORKLOADS", parse_workloads, frozenset()),
        raw_audit=reader.read("RAW_AUDIT", one_of(("kept", "all", "off")), "kept"),
        audit_replay=reader.read("AUDIT_REPLAY", parse_replay, None),
        audit_search=reader.read("AUDIT_SEARCH", partial(parse_search, cloud=cloud), Search()),
        runs_replay=reader.read("RUNS_REPLAY", parse_replay, None),
        logs_replay=reader.read("LOGS_REPLAY", parse_replay, None),
        retention=reader.read("RETENTION_DAYS", parse_retention, Retention()),
        publish_grain=reader.read("PUBLISH_GRAIN", one_of(("day", "hour")), "day"),
        health=limits_from(lambda name, most: reader.read(name, whole_number(1, most), 1)),
        activity_root=reader.read("MANAGEMENT_API_URL", optional(parse_origin), "") or ACTIVITY_ROOTS[cloud],
        graph_root=reader.read("GRAPH_API_URL", optional(parse_origin), "") or GRAPH_ROOTS[cloud],
    )
    if reader.problems:
        raise SettingsError(tuple(reader.problems))
    return settings


def _storage(reader: _Reader) -> DataStorage:
    connection_string = reader.text(DATA_STORAGE)
    reader.read(DATA_STORAGE, optional(parse_connection_string), "")
    names = {f"{DATA_STORAGE}__{service}ServiceUri": service for service in ("blob", "queue", "table")}
    uris = [reader.read(name, optional(service_uri(service)), "") for name, service in names.items()]
    missing = [name for name in names if not reader.text(name)]
    if connection_string and len(missing) < len(names):
        reader.problems.append(
            f"{DATA_STORAGE} is set beside its endpoints; keep these in Azure, the other on a desk"
        )
    if not connection_string and missing:
        reader.problems.extend(f"{name} is not set" for name in missing)
    credential = reader.text(f"{DATA_STORAGE}__credential")
    if credential not in ("", "managedidentity"):
        reader.problems.append(f"{DATA_STORAGE}__credential is {credential!r}; it can only be managedidentity")
    client_id = reader.read(f"{DATA_STORAGE}__clientId", optional(parse_guid), "")
    return DataStorage(connection_string, *uris, client_id=client_id or reader.text("AZURE_CLIENT_ID").lower())


def _schedules(reader: _Reader) -> Schedules:
    def read(name: str) -> str:
        return reader.read(name, parse_schedule, "")

    return Schedules(
        flow_sessions=read("FLOW_SESSIONS_SCHEDULE"),
        audit_content=read("AUDIT_CONTENT_SCHEDULE"),
        inventory=read("INVENTORY_SCHEDULE"),
        publish=read("PUBLISH_SCHEDULE"),
        reconcile=read("RECONCILE_SCHEDULE"),
    )
