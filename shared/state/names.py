"""Names of everything in the data storage account."""

from __future__ import annotations

from enum import StrEnum

FORGOTTEN = "forgotten-"
"""What the pseudonym of a forgotten person begins with."""


class Container(StrEnum):
    POWERBI = "powerbi"
    STAGING = "staging"
    RAW = "raw"


class StateTable(StrEnum):
    FLOW_SESSIONS = "flowsessions"
    AUDIT_CONTENT = "auditcontent"
    CHECKPOINTS = "checkpoints"
    INGEST_LOG = "ingestlog"
    GAPS = "gaps"
    FLOWS = "flows"
    MACHINES = "machines"
    ENVIRONMENTS = "environments"


class Queue(StrEnum):
    ADDITIONAL_CONTEXT = "additional-context"
    PUBLISH_DAY = "publish-day"

    @property
    def poison(self) -> str:
        """Where the Functions host puts messages that failed too often."""
        return f"{self}-poison"
