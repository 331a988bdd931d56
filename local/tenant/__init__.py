"""A simulated Microsoft 365 tenant over HTTP on loopback: Dataverse, the activity API, managed identity.

A `World` says what exists and from when it can be seen; a `Tenant` serves it, misbehaves as scripted and
tells the truth about what exists and what it served. `generate` makes up a realistic world.
"""

from local.tenant.faults import Fault
from local.tenant.generation import generate
from local.tenant.limits import Limits
from local.tenant.tenant import Tenant
from local.tenant.world import (
    FLOWSESSION_COLUMNS,
    FLOWSESSION_COLUMNS_2023,
    Access,
    AuditEvent,
    BlobSummary,
    ContentBlob,
    Environment,
    LogFile,
    LogSummary,
    Session,
    SessionState,
    World,
)

__all__ = [
    "FLOWSESSION_COLUMNS",
    "FLOWSESSION_COLUMNS_2023",
    "Access",
    "AuditEvent",
    "BlobSummary",
    "ContentBlob",
    "Environment",
    "Fault",
    "Limits",
    "LogFile",
    "LogSummary",
    "Session",
    "SessionState",
    "Tenant",
    "World",
    "generate",
]
