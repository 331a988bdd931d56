"""The published tables: one description, from which files, model and data dictionary are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


class Kind(StrEnum):
    """What a column holds; `LABEL` is text of which few values exist, so that a dictionary pays."""

    TEXT = "text"
    LABEL = "label"
    INTEGER = "integer"
    FLAG = "flag"
    INSTANT = "instant"
    DAY = "day"


@dataclass(frozen=True)
class Column:
    name: str
    kind: Kind
    meaning: str


@dataclass(frozen=True)
class Table:
    """A published table. `day_column` is the immutable instant whose UTC date names its file; `None`: one file."""

    name: str
    meaning: str
    key: tuple[str, ...]
    day_column: str | None
    columns: tuple[Column, ...]

    def __hash__(self) -> int:
        """By its name: what is cached for a table is asked for with every batch of rows."""
        return hash(self.name)

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def _text(name: str, meaning: str) -> Column:
    return Column(name, Kind.TEXT, meaning)


def _label(name: str, meaning: str) -> Column:
    return Column(name, Kind.LABEL, meaning)


def _integer(name: str, meaning: str) -> Column:
    return Column(name, Kind.INTEGER, meaning)


def _flag(name: str, meaning: str) -> Column:
    return Column(name, Kind.FLAG, meaning)


def _instant(name: str, meaning: str) -> Column:
    return Column(name, Kind.INSTANT, meaning)


def _day(name: str, meaning: str) -> Column:
    return Column(name, Kind.DAY, meaning)


FACT_FLOW_SESSION = Table(
    "fact_flow_session",
    "One run of a desktop flow, as of its newest state.",
    key=("session_id",),
    day_column="created_utc",
    columns=(
        _text("session_id", "id of the run (flowsessionid)"),
        _label("environment_id", "Power Platform environment of the run"),
        _label("flow_id", "desktop flow that ran"),
        _label("flow_version", "version of the flow that ran"),
        _label(
            "machine_id", "machine that ran it; stays when the machine is deleted, if the run was taken before"
        ),
        _label("machine_group_id", "machine group it was sent to; stays likewise"),
        _label("user_id", "owner of the run: lower-case UPN, else the row id"),
        _text("parent_session_id", "run of the desktop flow that called this one"),
        _label("cloud_flow_id", "cloud flow that started it"),
        _text("cloud_run_id", "run of that cloud flow"),
        _text("correlation_id", "correlation id of the run"),
        _label("run_mode", "Local, Attended or Unattended"),
        _label("trigger_type", "ApiFlow, DesktopFlow, Local, RunDesktopFlowDataverseApi or Cua"),
        _flag("is_test", "a test run from the designer or portal"),
        _integer("status_code", "statuscode of the run, 0 to 14"),
        _label("status", "name of that code, in English"),
        _label("outcome", "Succeeded, Failed, Cancelled, Skipped, Running or Waiting"),
        _instant("created_utc", "when the row was created; names the file; never changes"),
        _instant("started_utc", "when the run started; for local runs well before it was created"),
        _instant("completed_utc", "when the run ended"),
        _instant("modified_utc", "when the row last changed at the source"),
        _day("start_date", "UTC date of the start, else of the creation"),
        _integer("start_hour", "UTC hour of the start, else of the creation, 0 to 23"),
        _integer("duration_ms", "end minus start; where one is missing, the duration that the source states"),
        _integer("queue_ms", "time waiting for a machine, as the source states it"),
        _label("error_code", "error code of a failed run"),
        _text("error_message", "error text of a failed run, cut at 4,000 characters"),
        _label("host_name", "computer that ran it"),
        _label("agent_version", "version of Power Automate Desktop on it"),
        _label("log_version", "v1 (file) or v2 (table): where its action log came from"),
        _label(
            "log_status",
            "pending, loaded, absent, disabled, too_large, unreadable or forbidden; empty: still running",
        ),
        _integer("action_count", "actions in its log"),
        _integer("failed_action_count", "failed actions in its log, handled ones included"),
        _integer(
            "failed_action_seq",
            "position of the last failed action of a failed run; one outside error handling, where there is any",
        ),
        _label("failed_action_name", "name of that action"),
        _instant("deleted_at_source_utc", "when it was noticed that the source no longer has the run"),
        _instant("ingested_utc", "when this state was taken; grows with every state of a run"),
    ),
)

FACT_FLOW_ACTION = Table(
    "fact_flow_action",
    "One action of a run, out of its action log.",
    key=("session_id", "seq"),
    day_column="created_utc",
    columns=(
        _label("session_id", "run that the action belongs to"),
        _integer("seq", "position in the log, from 0"),
        _label("environment_id", "Power Platform environment of the run"),
        _label("flow_id", "desktop flow that ran"),
        _label("action_name", "name as the designer showed it, in the author's language"),
        _label("system_action", "name independent of language"),
        _label("module", "module of the action, independent of language"),
        _label("subflow", "subflow that the action stands in"),
        _integer("line", "line in that subflow; repeats in loops"),
        _flag("inside_error_handling", "ran inside a block that handles errors"),
        _integer("parent_seq", "nearest action whose time contains this one's"),
        _integer("depth", "how many actions contain it; 0 is the top"),
        _flag("is_leaf", "contains no other action"),
        _instant("started_utc", "start of the action"),
        _instant("ended_utc", "end of the action"),
        _integer("duration_ms", "end minus start"),
        _integer("self_ms", "duration without the time that actions inside it cover"),
        _label("status", "status as the log gives it, such as Succeeded or Failed"),
        _label("error_code", "error code of the action"),
        _text("error_message", "error text of the action, cut at 4,000 characters"),
        _text("inputs", "inputs as JSON text: name to value, or to value and variable"),
        _text("outputs", "outputs as JSON text: name to value, or to value and variable"),
        _instant("created_utc", "when the run was created; names the file"),
    ),
)

FACT_AUDIT_EVENT = Table(
    "fact_audit_event",
    "One event of the Microsoft 365 audit log that concerns the Power Platform.",
    key=("event_id", "operation", "resource_id"),
    day_column="created_utc",
    columns=(
        _text("event_id", "id of the audit record"),
        _instant("created_utc", "when it happened; names the file"),
        _label("workload", "service that reported it"),
        _integer("record_type", "record type number"),
        _label("operation", "operation, as the record names it"),
        _label("operation_group", "kind of operation, such as App use, Flow change or Data policy"),
        _flag("is_success", "whether it succeeded; empty where the record does not say"),
        _label("result", "result as the record words it"),
        _label("user_id", "who did it: lower-case UPN, else the id in the record"),
        _label("user_key", "alternative id of that user"),
        _label("user_type", "Regular, Admin, System, Application, ServicePrincipal and so on"),
        _label("client_ip", "address it came from, without port"),
        _label("environment_id", "Power Platform environment"),
        _label("environment_name", "its name as the record gives it"),
        _label("resource_type", "what was acted on, such as PowerApp, CloudFlow or ApiPolicy"),
        _label("resource_id", "its id"),
        _label("resource_name", "its name"),
        _label("app_id", "app concerned"),
        _label("flow_id", "flow concerned"),
        _label("connector_id", "connector or connection concerned"),
        _label("policy_id", "data policy concerned"),
        _label("target_user", "user who was given or lost access: lower-case UPN, else the id"),
        _label("permission", "permission given, as the record words it"),
        _text("correlation_id", "correlation id of the request"),
        _label(
            "content_id", "content blob that it came in first; search- and a query's id where a search brought it"
        ),
        _instant("content_created_utc", "when that blob became available, or the query was sent"),
        _text("details", "JSON text of everything that no column holds"),
        _instant("ingested_utc", "when it was taken"),
    ),
)

FACT_MACHINE_HOUR = Table(
    "fact_machine_hour",
    "How busy a machine was in one hour.",
    key=("machine_id", "hour_utc"),
    day_column="hour_utc",
    columns=(
        _label("machine_id", "machine"),
        _instant("hour_utc", "start of the hour"),
        _integer("runs", "runs that were active in it"),
        _integer("busy_ms", "time in it with at least one run active"),
        _integer("max_concurrent", "most runs active at once"),
    ),
)

FACT_INGEST = Table(
    "fact_ingest",
    "One run of one of this app's functions over one source.",
    key=("function", "source", "at_utc"),
    day_column="at_utc",
    columns=(
        _label("function", "function that ran"),
        _label("source", "environment or content type"),
        _instant("window_from_utc", "start of the time read"),
        _instant("window_to_utc", "end of the time read"),
        _integer("rows_read", "rows that the source gave"),
        _integer("rows_written", "rows that were new or changed"),
        _integer("rows_failed", "rows that could not be taken"),
        _integer("duration_ms", "how long it took"),
        _label("status", "succeeded, unfinished or failed"),
        _text("error", "why it failed"),
        _instant("at_utc", "when it started"),
    ),
)

FACT_GAP = Table(
    "fact_gap",
    "Something that was lost or may be missing, and why.",
    key=("source", "from_utc", "to_utc"),
    day_column=None,
    columns=(
        _label("source", "environment or content type"),
        _instant("from_utc", "start of what is missing"),
        _instant("to_utc", "end of what is missing"),
        _label("kind", "what kind of thing is missing"),
        _text("subject", "which one: a content blob, a run"),
        _text("reason", "why, and what can be done"),
        _instant("noticed_utc", "when it was noticed"),
        _flag("is_loss", "something is lost or may be; false where what is told of is kept here"),
    ),
)

DIM_FLOW = Table(
    "dim_flow",
    "Desktop flows and the cloud flows that events name.",
    key=("flow_id",),
    day_column=None,
    columns=(
        _text("flow_id", "flow"),
        _text("name", "its newest known name"),
        _label("environment_id", "environment that it is in"),
        _label("owner_user_id", "its owner"),
        _label("flow_type", "Desktop flow, Windows recorder, Selenium IDE or Cloud flow"),
        _label("state", "Draft, Activated or Suspended"),
        _instant("created_utc", "when it was created"),
        _instant("modified_utc", "when it was last changed"),
        _flag("is_deleted", "the source no longer has it"),
        _instant("updated_utc", "when this row was taken; empty: only its id is known"),
    ),
)

DIM_MACHINE = Table(
    "dim_machine",
    "Machines that run desktop flows.",
    key=("machine_id",),
    day_column=None,
    columns=(
        _text("machine_id", "machine"),
        _text("name", "its newest known name"),
        _label("environment_id", "environment that it is in"),
        _label("machine_group_id", "group that it belongs to"),
        _label("hosting_type", "Customer, Hosted or CloudPc"),
        _label("agent_version", "version of Power Automate Desktop on it"),
        _integer("session_capacity", "runs it can take at once"),
        _label("state", "state as the source gives it"),
        _instant("last_heartbeat_utc", "when the source last heard of it"),
        _flag("is_deleted", "the source no longer has it"),
        _instant("updated_utc", "when this row was taken; empty: only its id is known"),
    ),
)

DIM_MACHINE_GROUP = Table(
    "dim_machine_group",
    "Groups of machines.",
    key=("machine_group_id",),
    day_column=None,
    columns=(
        _text("machine_group_id", "machine group"),
        _text("name", "its newest known name"),
        _label("environment_id", "environment that it is in"),
        _label("group_type", "Keyless, Standard or Default"),
        _flag("is_deleted", "the source no longer has it"),
        _instant("updated_utc", "when this row was taken; empty: only its id is known"),
    ),
)

DIM_ENVIRONMENT = Table(
    "dim_environment",
    "Power Platform environments, configured ones and ones that events name.",
    key=("environment_id",),
    day_column=None,
    columns=(
        _text("environment_id", "environment"),
        _text("name", "its newest known name"),
        _label("url", "its Dataverse address; empty where it is not configured"),
        _label("organization_id", "its Dataverse organization"),
        _label("log_setting", "whether desktop flows log actions: Enabled, OnFailure or Disabled"),
        _label("log_version_setting", "v1, v2 or both"),
        _text("access_problem", "what keeps this app from reading it, and what to do"),
        _text("remarks", "what its settings keep from being there, and where to change them"),
        _instant(
            "updated_utc",
            "when this row was taken; where no address is known, when the event happened that told the name; "
            "empty: only its id is known",
        ),
    ),
)

DIM_USER = Table(
    "dim_user",
    "People and service accounts that own runs or appear in events.",
    key=("user_id",),
    day_column=None,
    columns=(
        _text("user_id", "lower-case UPN, else the id that the source gave"),
        _text("display_name", "name"),
        _text("entra_object_id", "object id in Entra"),
        _label("user_kind", "Person or Application"),
        _instant("updated_utc", "when this row was taken; empty: only its id is known"),
    ),
)

TABLES: Mapping[str, Table] = MappingProxyType(
    {
        table.name: table
        for table in (
            FACT_FLOW_SESSION,
            FACT_FLOW_ACTION,
            FACT_AUDIT_EVENT,
            FACT_MACHINE_HOUR,
            FACT_INGEST,
            FACT_GAP,
            DIM_FLOW,
            DIM_MACHINE,
            DIM_MACHINE_GROUP,
            DIM_ENVIRONMENT,
            DIM_USER,
        )
    }
)


@cache
def arrow_schema(table: Table) -> pa.Schema:
    """The exact Arrow types of a table's files.

    Instants are UTC milliseconds with a zone: without one the legacy annotation is missing that older Parquet
    readers need (measured with pyarrow 26).
    """
    import pyarrow as pa  # noqa: PLC0415 - heavy, and only what reads or writes rows needs it

    types = {
        Kind.TEXT: pa.string(),
        Kind.LABEL: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.FLAG: pa.bool_(),
        Kind.INSTANT: pa.timestamp("ms", tz="UTC"),
        Kind.DAY: pa.date32(),
    }
    return pa.schema([pa.field(column.name, types[column.kind]) for column in table.columns])


def dictionary_columns(table: Table) -> list[str]:
    """The columns worth a dictionary in a Parquet file."""
    return [column.name for column in table.columns if column.kind is Kind.LABEL]
