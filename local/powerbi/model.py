"""The semantic model: which published table is shown as what, and how the tables hang together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from local.powerbi.kpis import KPIS, Kpi
from shared.schema import (
    DIM_ENVIRONMENT,
    DIM_FLOW,
    DIM_MACHINE,
    DIM_MACHINE_GROUP,
    DIM_USER,
    FACT_AUDIT_EVENT,
    FACT_FLOW_ACTION,
    FACT_FLOW_SESSION,
    FACT_GAP,
    FACT_INGEST,
    FACT_MACHINE_HOUR,
    Column,
    Kind,
    Table,
)

WORDS: Mapping[str, str] = MappingProxyType(
    {"id": "ID", "ip": "IP", "url": "URL", "utc": "(UTC)", "ms": "(ms)", "session": "Run"}
)
DATE_TABLE = "Date"
HOUR_TABLE = "Hour"
PARTITION_DATE = "partition_date"


@dataclass(frozen=True)
class Lookup:
    """Columns that rows take from a published table that is one file, by its key."""

    source: Table
    columns: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.source.key[0]


@dataclass(frozen=True)
class ModelTable:
    """A table of the model. `months` is how long rows of a dated table are kept; `hidden` are columns by name."""

    name: str
    source: Table
    months: int = 0
    hidden: frozenset[str] = frozenset()
    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    lookup: Lookup | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """Those of the published table, and those that are looked up."""
        taken = self.lookup.columns if self.lookup else ()
        known = self.lookup.source.columns if self.lookup else ()
        return (*self.source.columns, *(column for column in known if column.name in taken))

    def column_name(self, column: str) -> str:
        """The business name of a column: `started_utc` is `Started (UTC)`."""
        if column == PARTITION_DATE:
            return "Date"
        words = (WORDS.get(word, word.capitalize()) for word in column.split("_"))
        return self.renamed.get(column) or " ".join(words)

    def is_hidden(self, column: Column) -> bool:
        return column.name in self.hidden or column.name.endswith("_ms")

    @property
    def kpis(self) -> list[Kpi]:
        return [kpi for kpi in KPIS if kpi.table == self.name]


@dataclass(frozen=True)
class Relationship:
    """Many rows of one table to one of another; filters go from the one to the many."""

    many: str
    many_column: str
    one: str
    one_column: str
    is_active: bool = True


RUNS = ModelTable(
    "Runs",
    FACT_FLOW_SESSION,
    months=24,
    hidden=frozenset({"environment_id", "flow_id", "machine_id", "machine_group_id", "user_id", "cloud_flow_id"}),
    renamed={"failed_action_name": "Failed Action"},
)
ACTIONS = ModelTable(
    "Actions",
    FACT_FLOW_ACTION,
    months=6,
    hidden=frozenset({"session_id", "environment_id", "flow_id", "created_utc"}),
    renamed={"seq": "Number"},
)
AUDIT_EVENTS = ModelTable(
    "Audit Events",
    FACT_AUDIT_EVENT,
    months=24,
    hidden=frozenset({"environment_id", "flow_id", "user_id", "environment_name"}),
)
MACHINE_HOURS = ModelTable(
    "Machine Hours",
    FACT_MACHINE_HOUR,
    months=24,
    hidden=frozenset({"machine_id", "environment_id", "machine_group_id"}),
    renamed={"runs": "Active Runs"},
    lookup=Lookup(DIM_MACHINE, ("environment_id", "machine_group_id")),
)
INGEST_RUNS = ModelTable("Ingest Runs", FACT_INGEST, months=3)
GAPS = ModelTable("Gaps", FACT_GAP)
FLOWS = ModelTable(
    "Flows",
    DIM_FLOW,
    hidden=frozenset({"flow_id", "environment_id", "owner_user_id"}),
    renamed={"name": "Flow"},
)
MACHINES = ModelTable(
    "Machines",
    DIM_MACHINE,
    hidden=frozenset({"machine_id", "environment_id", "machine_group_id"}),
    renamed={"name": "Machine"},
)
MACHINE_GROUPS = ModelTable(
    "Machine Groups",
    DIM_MACHINE_GROUP,
    hidden=frozenset({"machine_group_id", "environment_id"}),
    renamed={"name": "Machine Group"},
)
ENVIRONMENTS = ModelTable(
    "Environments", DIM_ENVIRONMENT, hidden=frozenset({"environment_id"}), renamed={"name": "Environment"}
)
USERS = ModelTable("Users", DIM_USER, renamed={"user_id": "User", "display_name": "User Name"})

TABLES = (
    RUNS,
    ACTIONS,
    AUDIT_EVENTS,
    MACHINE_HOURS,
    INGEST_RUNS,
    GAPS,
    FLOWS,
    MACHINES,
    MACHINE_GROUPS,
    ENVIRONMENTS,
    USERS,
)

RELATIONSHIPS = (
    Relationship("Runs", "start_date", DATE_TABLE, "Date"),
    Relationship("Runs", "start_hour", HOUR_TABLE, "Hour"),
    Relationship("Runs", "environment_id", "Environments", "environment_id"),
    Relationship("Runs", "flow_id", "Flows", "flow_id"),
    Relationship("Runs", "cloud_flow_id", "Flows", "flow_id", is_active=False),
    Relationship("Runs", "machine_id", "Machines", "machine_id"),
    Relationship("Runs", "machine_group_id", "Machine Groups", "machine_group_id"),
    Relationship("Runs", "user_id", "Users", "user_id"),
    Relationship("Actions", "session_id", "Runs", "session_id"),
    Relationship("Audit Events", PARTITION_DATE, DATE_TABLE, "Date"),
    Relationship("Audit Events", "environment_id", "Environments", "environment_id"),
    Relationship("Audit Events", "flow_id", "Flows", "flow_id"),
    Relationship("Audit Events", "user_id", "Users", "user_id"),
    Relationship("Machine Hours", PARTITION_DATE, DATE_TABLE, "Date"),
    Relationship("Machine Hours", "machine_id", "Machines", "machine_id"),
    Relationship("Machine Hours", "environment_id", "Environments", "environment_id"),
    Relationship("Machine Hours", "machine_group_id", "Machine Groups", "machine_group_id"),
    Relationship("Ingest Runs", PARTITION_DATE, DATE_TABLE, "Date"),
)

DATA_TYPES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.TEXT: "string",
        Kind.LABEL: "string",
        Kind.INTEGER: "int64",
        Kind.FLAG: "boolean",
        Kind.INSTANT: "dateTime",
        Kind.DAY: "dateTime",
    }
)
M_TYPES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.TEXT: "text",
        Kind.LABEL: "text",
        Kind.INTEGER: "Int64.Type",
        Kind.FLAG: "logical",
        Kind.INSTANT: "datetime",
        Kind.DAY: "date",
    }
)
FORMATS: Mapping[Kind, str] = MappingProxyType(
    {Kind.INTEGER: "0", Kind.INSTANT: "General Date", Kind.DAY: "Short Date"}
)


def table_named(name: str) -> ModelTable:
    return next(table for table in TABLES if table.name == name)
