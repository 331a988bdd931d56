"""What an environment is and allows: its ids, its columns, its action-log settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from shared.clock import Deadline
from shared.dataverse.sessions import readable_columns
from shared.dataverse.web_api import Query, Row, WebApi
from shared.errors import AccessError, Missing

CURRENT_ORGANIZATION = "RetrieveCurrentOrganization(AccessType=Microsoft.Dynamics.CRM.EndpointAccessType'Default')"
LOG_SETTINGS = ("Enabled", "OnFailure", "Disabled")
LOG_VERSIONS = ("v1", "v2", "both")
ORGANIZATION_COLUMNS = ("desktopflowrunactionlogsstatus", "desktopflowrunactionlogversion", "flowlogsttlinminutes")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """An environment as its own API describes it; the log settings are empty where it has none."""

    environment_id: str
    organization_id: str
    name: str
    url: str
    session_columns: tuple[str, ...]
    log_setting: str | None
    log_version_setting: str | None
    checked_utc: datetime


def read_profile(api: WebApi, name: str, now: datetime, deadline: Deadline) -> Profile:
    """Ask an environment what it is.

    Raises:
        AccessError: it does not let us in, or does not tell its id.
    """
    organization = _organization(api, deadline)
    settings = _settings(api, deadline)
    return Profile(
        environment_id=_id(organization, "EnvironmentId"),
        organization_id=_id(organization, "OrganizationId"),
        name=name,
        url=api.api.origin,
        session_columns=readable_columns(attributes_of(api, "flowsession", deadline)),
        log_setting=_choice(LOG_SETTINGS, settings.get(ORGANIZATION_COLUMNS[0])),
        log_version_setting=_choice(LOG_VERSIONS, settings.get(ORGANIZATION_COLUMNS[1])),
        checked_utc=now,
    )


def _organization(api: WebApi, deadline: Deadline) -> Row:
    """The environment's own ids; where it does not tell the environment's, the organization's stands for it."""
    detail = _detail(api, deadline)
    if not detail.get("OrganizationId"):
        detail = {**api.document("WhoAmI", deadline), **detail}
    if not detail.get("OrganizationId"):
        raise AccessError(f"{api.api.origin} does not tell its organization.", "Check the environment's URL.")
    return {**detail, "EnvironmentId": detail.get("EnvironmentId") or detail["OrganizationId"]}


def _detail(api: WebApi, deadline: Deadline) -> Row:
    try:
        return cast("Row", api.document(CURRENT_ORGANIZATION, deadline).get("Detail") or {})
    except Missing:
        return {}


def _settings(api: WebApi, deadline: Deadline) -> Row:
    """The organization's settings of desktop-flow logs, as far as its version of Dataverse has them."""
    known = attributes_of(api, "organization", deadline) or frozenset()
    columns = tuple(column for column in ORGANIZATION_COLUMNS if column in known)
    rows = api.rows(Query("organizations", ("organizationid", *columns)), deadline)
    return next(rows, cast("Row", {}))


def attributes_of(api: WebApi, entity: str, deadline: Deadline) -> frozenset[str] | None:
    """The columns of a table; `None` where the environment does not describe its tables."""
    query = Query(f"EntityDefinitions(LogicalName='{entity}')/Attributes", ("LogicalName",))
    try:
        return frozenset(str(row.get("LogicalName", "")) for row in api.rows(query, deadline))
    except Missing:
        return None


def _id(organization: Row, name: str) -> str:
    return str(organization[name]).strip().lower()


def _choice(names: tuple[str, ...], value: Any) -> str | None:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
