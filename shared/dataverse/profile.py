"""What an environment is and allows: its ids, its columns, its action-log settings, and our access to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from shared.clock import Deadline
from shared.dataverse.access import RUNS, access_of
from shared.dataverse.flow_logs import KEY_COLUMNS as LOG_KEYS
from shared.dataverse.flow_logs import readable_log_columns
from shared.dataverse.log_settings import BOTH, STATUSES, V2, VERSIONS, LogSettings
from shared.dataverse.sessions import KEY_COLUMNS, readable_columns
from shared.dataverse.web_api import NO_ROW, Query, Row, WebApi, genuine
from shared.errors import AccessError, Missing

CURRENT_ORGANIZATION = "RetrieveCurrentOrganization(AccessType=Microsoft.Dynamics.CRM.EndpointAccessType'Default')"
STATUS_COLUMN = "desktopflowrunactionlogsstatus"
VERSION_COLUMN = "desktopflowrunactionlogversion"
TTL_COLUMN = "flowlogsttlinminutes"
CUSTOM_URL_COLUMN = "desktopflowrunactionlogscustomurlenabled"
ORGANIZATION_COLUMNS = (STATUS_COLUMN, VERSION_COLUMN, TTL_COLUMN, CUSTOM_URL_COLUMN)
NO_LOG_COLUMNS = (
    "The columns of the table flowlogs are not told: action logs are read from it without what newer versions of "
    "it add. Give the privileges prvReadEntity and prvReadAttribute to the role of the app's application user, at "
    "organization depth (infra/grant-dataverse)."
)
ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
SHORT_TTL = timedelta(days=7)
FRESH = timedelta(hours=24)
"""How long what was learnt of an environment counts."""
WHERE = "Power Platform admin center, the environment, Settings, Product, Features, Desktop flow run action logs"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """An environment as its own API describes it.

    `access_problems` are what keeps us from data that is there, `remarks` what may do so, and what the
    environment's settings keep from being there; both in sentences for an administrator. One that was not
    `described` whole is asked for again soon: it lacks a table, or did not tell the columns of one, or the depth
    of a role, for once. `refused_utc` is since when runs were kept from us that have not been read since.
    """

    environment_id: str
    organization_id: str
    name: str
    url: str
    session_columns: tuple[str, ...]
    logs: LogSettings
    checked_utc: datetime
    access_problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    described: bool = True
    refused_utc: datetime | None = None

    @property
    def shows_all_runs(self) -> bool:
        """Whether it is certain that no run is kept from us."""
        return not any(RUNS.privilege in text for text in (*self.access_problems, *self.remarks))


def read_profile(
    api: WebApi, name: str, now: datetime, deadline: Deadline, known: Profile | None = None
) -> Profile:
    """Ask an environment what it is; an id that it does not tell for once is the one that was `known`.

    Raises:
        AccessError: it does not let us in, or does not tell its id.
    """
    user = api.document("WhoAmI", deadline)
    organization = _organization(api, user, known, deadline)
    log_columns = _log_columns(api, deadline)
    logs = _log_settings(api, log_columns, deadline)
    needs_flow_logs = bool(logs.columns) and logs.version in (V2, BOTH)
    access = access_of(api, str(user.get("UserId")), flow_logs=needs_flow_logs, deadline=deadline)
    untold = (NO_LOG_COLUMNS,) if needs_flow_logs and log_columns is None else ()
    attributes = attributes_of(api, "flowsession", KEY_COLUMNS, deadline)
    return Profile(
        environment_id=_id(organization, "EnvironmentId"),
        organization_id=_id(organization, "OrganizationId"),
        name=name,
        url=api.api.origin,
        session_columns=readable_columns(attributes) if attributes else _columns_before(known),
        logs=logs,
        checked_utc=now,
        access_problems=(*access.problems, *untold),
        remarks=(*access.remarks, *log_remarks(logs)),
        described=bool(attributes) and bool(log_columns) and not access.remarks,
        refused_utc=known.refused_utc if known else None,
    )


def _columns_before(known: Profile | None) -> tuple[str, ...]:
    """The columns of runs where they are not told for once: those of before, else all."""
    return (known and known.session_columns) or readable_columns(None)


def log_remarks(logs: LogSettings) -> Iterator[str]:
    """What the settings of action logs keep from being there, and where to change that."""
    if logs.status == "Disabled":
        yield f"Runs that a cloud flow starts write no action logs. To have them: {WHERE}, Enabled."
    if logs.status == "OnFailure":
        yield f"Only failed runs that a cloud flow starts write action logs. To have all: {WHERE}, Enabled."
    if logs.custom_url:
        yield f"Action logs go to an address of your own, where this app can't read them. To have them: {WHERE}."
    ttl = timedelta(minutes=logs.ttl_minutes or 0)
    if logs.version in (V2, BOTH) and timedelta(0) < ttl < SHORT_TTL:
        yield (
            f"The service throws action logs in the table flowlogs away after {ttl / timedelta(hours=1):g} hours; "
            f"an outage longer than that loses them. Let them live for {SHORT_TTL.days} days or more: {WHERE}."
        )


def _organization(api: WebApi, user: Row, known: Profile | None, deadline: Deadline) -> Row:
    """The environment's own ids; where it never told the environment's, the organization's stands for it."""
    detail = {**user, **_detail(api, deadline)}
    if not detail.get("OrganizationId"):
        raise AccessError(f"{api.api.origin} does not tell its organization.", "Check the environment's URL.")
    if known and known.organization_id == _id(detail, "OrganizationId"):
        return {"EnvironmentId": known.environment_id, **{name: value for name, value in detail.items() if value}}
    return {**detail, "EnvironmentId": detail.get("EnvironmentId") or detail["OrganizationId"]}


def _detail(api: WebApi, deadline: Deadline) -> Row:
    try:
        return cast("Row", api.document(CURRENT_ORGANIZATION, deadline).get("Detail") or {})
    except Missing:
        return {}


def _log_columns(api: WebApi, deadline: Deadline) -> frozenset[str] | None:
    """The columns of `flowlogs`: none where there is no such table, `None` where they are not told."""
    try:
        return _attributes(api, "flowlog", LOG_KEYS, deadline)
    except Missing as error:
        return frozenset() if genuine(error) is error else None
    except AccessError:
        return None


def _log_settings(api: WebApi, columns: frozenset[str] | None, deadline: Deadline) -> LogSettings:
    """The organization's settings of desktop-flow logs, as far as its version of Dataverse has them.

    A table of which nothing is told may hold logs; it is read by the columns that every version of it has.
    """
    row = _organization_row(api, deadline)
    ttl = row.get(TTL_COLUMN)
    return LogSettings(
        status=_choice(STATUSES, row.get(STATUS_COLUMN)),
        version=_choice(VERSIONS, row.get(VERSION_COLUMN)),
        ttl_minutes=ttl if isinstance(ttl, int) else None,
        custom_url=row.get(CUSTOM_URL_COLUMN) is True,
        columns=readable_log_columns(frozenset(LOG_KEYS) if columns is None else columns),
    )


def _organization_row(api: WebApi, deadline: Deadline) -> Row:
    known = attributes_of(api, "organization", (), deadline) or frozenset()
    columns = tuple(column for column in ORGANIZATION_COLUMNS if column in known)
    try:
        return next(api.rows(Query("organizations", ("organizationid", *columns)), deadline), NO_ROW)
    except AccessError:
        return NO_ROW  # which privilege that takes is among the access problems


def attributes_of(api: WebApi, entity: str, keys: Iterable[str], deadline: Deadline) -> frozenset[str] | None:
    """The columns of a table; `None` where the environment has no such table or does not describe it to us."""
    try:
        return _attributes(api, entity, keys, deadline)
    except (Missing, AccessError):
        return None


def _attributes(api: WebApi, entity: str, keys: Iterable[str], deadline: Deadline) -> frozenset[str] | None:
    """The columns of a table; without the key ones they are not told."""
    query = Query(f"EntityDefinitions(LogicalName='{entity}')/Attributes", ("LogicalName",))
    columns = frozenset(str(row.get("LogicalName", "")) for row in api.rows(query, deadline))
    return columns if columns.issuperset(keys) else None


def _id(organization: Row, name: str) -> str:
    """An id of an environment: a GUID, or one with a word in front such as `Default-`; it becomes part of names.

    Raises:
        AccessError: it is none.
    """
    text = str(organization[name]).strip().lower()
    if not ID.fullmatch(text):
        raise AccessError(f"The {name} of an environment is none that can be: {text[:100]!r}.", "Check its URL.")
    return text


def _choice(names: tuple[str, ...], value: Any) -> str | None:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None
