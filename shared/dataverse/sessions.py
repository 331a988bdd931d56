"""A `flowsession` row, read into the state of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, cast

import msgspec

from shared.dataverse.web_api import Row
from shared.setting_values import GUID
from shared.state.names import FORGOTTEN
from shared.times import MILLISECOND, happened_utc, span_ms

LONGEST_MESSAGE = 4000
LONGEST_INTEGER = 20


class Outcome(StrEnum):
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    SKIPPED = "Skipped"
    RUNNING = "Running"
    WAITING = "Waiting"


class LogStatus(StrEnum):
    """What is known of a finished run's action log."""

    PENDING = "pending"
    LOADED = "loaded"
    ABSENT = "absent"
    DISABLED = "disabled"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    FORBIDDEN = "forbidden"


AWAITED = frozenset({LogStatus.PENDING, LogStatus.FORBIDDEN})
"""States of logs that may still come."""

STATUSES: Mapping[int, tuple[str, Outcome]] = MappingProxyType(
    {
        0: ("NotSpecified", Outcome.WAITING),
        1: ("Paused", Outcome.WAITING),
        2: ("Running", Outcome.RUNNING),
        3: ("Waiting", Outcome.WAITING),
        4: ("Succeeded", Outcome.SUCCEEDED),
        5: ("Skipped", Outcome.SKIPPED),
        6: ("Suspended", Outcome.WAITING),
        7: ("Cancelled", Outcome.CANCELLED),
        8: ("Failed", Outcome.FAILED),
        9: ("Faulted", Outcome.FAILED),
        10: ("TimedOut", Outcome.FAILED),
        11: ("Aborted", Outcome.CANCELLED),
        12: ("Ignored", Outcome.SKIPPED),
        13: ("Deleted", Outcome.CANCELLED),
        14: ("Terminated", Outcome.CANCELLED),
    }
)
"""`statuscode` to its name and outcome. `statecode` says nothing: codes 1 to 12 are all *Active*.

Source: Power Apps docs, flowsession reference; outcomes as the Automation Kit groups them.
"""

UNKNOWN = "Unknown"
UNFINISHED = frozenset({Outcome.RUNNING, Outcome.WAITING})
RUN_MODES = ("Local", "Attended", "Unattended")
DESKTOP_FLOW = "DesktopFlow"
TRIGGER_TYPES = ("ApiFlow", DESKTOP_FLOW, "Local", "RunDesktopFlowDataverseApi", "Cua")
TEST_SUBCATEGORY = 1

KEY_COLUMNS = ("flowsessionid", "createdon", "modifiedon", "statuscode", "versionnumber")
WANTED_COLUMNS = (
    *KEY_COLUMNS,
    "_machinegroupid_value",
    "_machineid_value",
    "_ownerid_value",
    "_parentdesktopflowrunid_value",
    "_regardingobjectid_value",
    "additionalcontext",
    "completedon",
    "context",
    "correlationid",
    "errorcode",
    "errormessage",
    "parentcloudflowrunsequenceid",
    "parentdesktopflowrunguid",
    "parentworkflowid",
    "processversion",
    "runduration",
    "runmode",
    "runwaitduration",
    "startedon",
    "subcategory",
    "triggertype",
)
"""`credentials` and `callbackurl` are never read: they can carry secrets."""


def readable_columns(attributes: frozenset[str] | None) -> tuple[str, ...]:
    """The wanted columns that an environment has (all, if it does not say).

    One column that it lacks would make the whole query fail, and old environments lack some.
    """

    def has(column: str) -> bool:
        return attributes is None or column.removeprefix("_").removesuffix("_value") in attributes

    return tuple(column for column in WANTED_COLUMNS if column in KEY_COLUMNS or has(column))


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The state of a run: the columns of `fact_flow_session`, and what only the run register needs.

    `version_number` orders the states of a row at the source; `log_file_id` is the file that holds the action
    log, if the row names one; `log_failing_utc` is since when only answers that make no sense come for that log;
    `ingested_utc` orders the states that this app took.
    """

    session_id: str
    environment_id: str
    flow_id: str | None = None
    flow_version: str | None = None
    machine_id: str | None = None
    machine_group_id: str | None = None
    user_id: str | None = None
    parent_session_id: str | None = None
    cloud_flow_id: str | None = None
    cloud_run_id: str | None = None
    correlation_id: str | None = None
    run_mode: str | None = None
    trigger_type: str | None = None
    is_test: bool | None = None
    status_code: int
    status: str
    outcome: str
    created_utc: datetime
    started_utc: datetime | None = None
    completed_utc: datetime | None = None
    modified_utc: datetime
    start_date: date
    start_hour: int
    duration_ms: int | None = None
    queue_ms: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    host_name: str | None = None
    agent_version: str | None = None
    log_version: str | None = None
    log_status: str | None = None
    action_count: int | None = None
    failed_action_count: int | None = None
    failed_action_seq: int | None = None
    failed_action_name: str | None = None
    deleted_at_source_utc: datetime | None = None
    ingested_utc: datetime
    version_number: int
    log_file_id: str | None = None
    log_failing_utc: datetime | None = None

    @property
    def is_finished(self) -> bool:
        return self.outcome not in UNFINISHED

    @property
    def day(self) -> date:
        """The UTC date that names the run's files; it never changes."""
        return self.created_utc.date()


LOG_FIELDS = (
    "log_version",
    "log_status",
    "action_count",
    "failed_action_count",
    "failed_action_seq",
    "failed_action_name",
    "log_failing_utc",
)
LINKS_TO_MACHINES = ("machine_id", "machine_group_id")
"""Columns that Dataverse empties on all runs of a machine, or of a group, that is deleted.

Source: Power Apps docs, flowmachine and flowmachinegroup: what a deletion does to flowsession is RemoveLink.
"""
FIELDS = tuple(field.name for field in fields(Session))


def read_session(row: Row, environment_id: str, upns: Mapping[str, str], now: datetime) -> Session:
    """A run out of a row; `upns` maps the ids of system users to their lower-case UPNs.

    Raises:
        ValueError: the row lacks what identifies or orders it.
    """
    created, modified = happened_utc(row.get("createdon")), happened_utc(row.get("modifiedon"))
    session_id, version = _lower(row.get("flowsessionid")), _integer(row.get("versionnumber"))
    if session_id is None or not GUID.fullmatch(session_id):  # it becomes a key, and part of addresses and names
        raise ValueError("a flowsession has no id, or one that is none")
    if created is None or modified is None or version is None:
        raise ValueError(f"flowsession {session_id} has no creation, change time or version")
    code = _integer(row.get("statuscode"))
    status, outcome = STATUSES.get(-1 if code is None else code) or _unknown_status(code, row)
    started, completed = happened_utc(row.get("startedon")), happened_utc(row.get("completedon"))
    context = _context(row.get("context"))
    began = started or created
    user_id = _lower(row.get("_ownerid_value"))
    cloud_run_id = _text(row.get("parentcloudflowrunsequenceid")) or _cloud_run_id(context)
    return Session(
        session_id=session_id,
        environment_id=environment_id,
        flow_id=_lower(row.get("_regardingobjectid_value")),
        flow_version=_text(row.get("processversion")),
        machine_id=_lower(row.get("_machineid_value")),
        machine_group_id=_lower(row.get("_machinegroupid_value")),
        user_id=upns.get(user_id, user_id) if user_id else None,
        parent_session_id=_lower(row.get("_parentdesktopflowrunid_value") or row.get("parentdesktopflowrunguid")),
        cloud_flow_id=_cloud_flow_id(row, context),
        cloud_run_id=cloud_run_id,
        correlation_id=_lower(row.get("correlationid")),
        run_mode=_choice(RUN_MODES, row.get("runmode")) or _run_mode(context, cloud_run_id),
        trigger_type=_choice(TRIGGER_TYPES, row.get("triggertype")),
        is_test=None if row.get("subcategory") is None else row["subcategory"] == TEST_SUBCATEGORY,
        status_code=0 if code is None else code,
        status=status,
        outcome=outcome,
        created_utc=created,
        started_utc=started,
        completed_utc=completed,
        modified_utc=modified,
        start_date=began.date(),
        start_hour=began.hour,
        duration_ms=_or_else(span_ms(started, completed), _integer(row.get("runduration"))),
        queue_ms=_integer(row.get("runwaitduration")),
        error_code=_text(row.get("errorcode")),
        error_message=_text(row.get("errormessage")),
        host_name=_text(context.get("hostName")),
        agent_version=_text(context.get("agentVersion")),
        ingested_utc=now,
        version_number=version,
        log_file_id=_lower(row.get("additionalcontext")),
    )


def _unknown_status(code: int | None, row: Row) -> tuple[str, Outcome]:
    """A status that this version does not know: what is complete has ended, and what names an error has failed."""
    ended = Outcome.FAILED if _text(row.get("errorcode")) or _text(row.get("errormessage")) else Outcome.SUCCEEDED
    return f"{UNKNOWN} {code}", ended if happened_utc(row.get("completedon")) else Outcome.WAITING


def succeed(known: Session | None, newer: Session, now: datetime) -> Session | None:
    """The state to keep when `newer` arrives after `known`: `None` if it is older than what is known.

    Older is what has a lower version and no later change time: after an environment is restored from a backup
    its versions start again from below, but its clock does not.
    A state that was known already keeps its `ingested_utc`; a new one gets a greater one, whatever the clock
    says, so that `ingested_utc` alone orders the states of a run. What is known of the action log stays,
    unless the row names another file now, or the run was opened again, or there was none by the settings, which
    go by how runs end, and this one ended another way: then its log is awaited again. A machine that is known
    stays when it is deleted at the source.
    A run that was marked as deleted and is met again has come back.
    """
    if known is None:
        return replace(newer, log_status=LogStatus.PENDING if newer.is_finished else None)
    if newer.modified_utc <= known.modified_utc and newer.version_number <= known.version_number:
        if known.deleted_at_source_utc is not None:
            return amended(known, now, deleted_at_source_utc=None)
        return known if newer.version_number == known.version_number else None
    log = {name: getattr(known, name) for name in LOG_FIELDS}
    if not newer.is_finished:
        log |= {"log_status": None, "log_failing_utc": None}
    elif _is_awaited_again(known, newer):
        log |= {"log_status": LogStatus.PENDING, "log_failing_utc": None}
    ingested = max(now, known.ingested_utc + MILLISECOND)
    kept = {name: getattr(newer, name) or getattr(known, name) for name in LINKS_TO_MACHINES}
    kept |= {**log, "user_id": _owner(known, newer), "deleted_at_source_utc": None, "ingested_utc": ingested}
    return replace(newer, **kept)


def _is_awaited_again(known: Session, newer: Session) -> bool:
    names_another = newer.log_file_id not in (None, known.log_file_id)
    may_have_one = known.log_status == LogStatus.DISABLED and newer.outcome != known.outcome
    return not known.is_finished or names_another or may_have_one


def read_again(known: Session | None, reading: Session, now: datetime) -> Session | None:
    """The state to keep when a row is read once more on purpose, perhaps by a newer version of this app.

    A row that has changed is a newer state. Of one that has not, what is read now counts, but for what can no
    longer be had: a value that has become empty, or an owner whose name has become an id.
    """
    if known is None or stamp(reading) != stamp(known):
        return succeed(known, reading, now)
    kept = {name: getattr(known, name) for name in (*LOG_FIELDS, "ingested_utc")}
    kept |= {name: getattr(known, name) for name in FIELDS if getattr(reading, name) is None}
    kept["user_id"] = _owner(known, reading)
    state = replace(reading, **{**kept, "deleted_at_source_utc": None})
    return known if state == known else amended(state, now)


def _owner(known: Session, reading: Session) -> str | None:
    """The owner's name; one that is known is not given up for the id of a row."""
    is_name = _is_forgotten(known) or (known.user_id and "@" in known.user_id)
    return known.user_id if is_name and "@" not in (reading.user_id or "") else reading.user_id


def _is_forgotten(session: Session) -> bool:
    return bool(session.user_id and session.user_id.startswith(FORGOTTEN))


def stamp(session: Session) -> tuple[int, datetime]:
    """What tells the states of a run apart that the source has given it."""
    return session.version_number, session.modified_utc


Succession = Callable[[Session | None, Session, datetime], Session | None]
"""From what is known of a run and what is read of it to the state to keep; `None` keeps what is known."""


def amended(session: Session, now: datetime, **changes: Any) -> Session:
    """The run with what this app has learnt of it; a state of its own, later than the one before."""
    return replace(session, **changes, ingested_utc=max(now, session.ingested_utc + MILLISECOND))


def _context(value: Any) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(value)
    except (msgspec.DecodeError, TypeError, RecursionError):
        return {}
    return cast("Mapping[str, Any]", document) if isinstance(document, dict) else {}


def _run_mode(context: Mapping[str, Any], cloud_run_id: str | None) -> str | None:
    """From `context.attendedMode`, which knows `Attended`, `Unattended` and `Local attended`.

    Where it says nothing, a run that a cloud flow started is of either of the first two.
    """
    mode = context.get("attendedMode")
    if mode in ("Attended", "Unattended"):
        return cast("str", mode)
    return "Local" if context and (mode or not cloud_run_id) else None


def _cloud_flow_id(row: Row, context: Mapping[str, Any]) -> str | None:
    """The parent, unless it is a desktop flow (the same column holds either)."""
    if (context.get("parentWorkflowType") or _parent_type(row)) == DESKTOP_FLOW:
        return None
    return _lower(row.get("parentworkflowid") or context.get("parentWorkflowId"))


def _parent_type(row: Row) -> str | None:
    """What started the run where `context` does not tell."""
    is_child = row.get("_parentdesktopflowrunid_value") or row.get("parentdesktopflowrunguid")
    return _choice(TRIGGER_TYPES, row.get("triggertype")) or (DESKTOP_FLOW if is_child else None)


def _cloud_run_id(context: Mapping[str, Any]) -> str | None:
    return None if context.get("parentWorkflowType") == DESKTOP_FLOW else _text(context.get("parentWorkflowRunId"))


def _choice(names: tuple[str, ...], value: Any) -> str | None:
    code = _integer(value)
    if code is None:
        return None
    return names[code] if 0 <= code < len(names) else f"{UNKNOWN} {code}"


def _or_else(value: int | None, other: int | None) -> int | None:
    return other if value is None else value


def _integer(value: Any) -> int | None:
    """A whole number that fits 64 bits, written as a number or, as Dataverse does when asked to, as text."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < LONGEST_INTEGER:
        return _integer(int(value))
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return value
    return None


def _text(value: Any) -> str | None:
    return value.strip()[:LONGEST_MESSAGE] or None if isinstance(value, str) else None


def _lower(value: Any) -> str | None:
    text = _text(value)
    return text.lower() if text else None
