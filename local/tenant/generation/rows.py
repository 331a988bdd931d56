"""The flowsession row of a run at each of its stages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random
from typing import Any

from local.tenant.generation.estate import Estate, Flow, Machine, Person
from local.tenant.generation.runs import (
    ATTENDED,
    FAILED,
    LOCAL,
    RUNNING,
    WAITING,
    Run,
    whole_second,
)
from local.tenant.generation.troubles import ACTION_TROUBLES, RUN_TROUBLES, Trouble
from local.tenant.world import Row, stable_id

_AGENT_VERSION = "2.61.144.25282"
_BY_API_FLOW, _BY_DESKTOP_FLOW, _BY_HAND = 0, 1, 2
_ATTENDED_MODES = ("Local attended", "Attended", "Unattended")
# Fakes that must never be read, so that anybody who finds one knows where it came from.
FAKE_CREDENTIALS = '{"password":"SIMULATED-SECRET-credentials"}'
FAKE_CALLBACK = "https://callback.example/run?sig=SIMULATED-SECRET-callback"


def values(estate: Estate, run: Run, stage: int) -> Row:
    """The columns at a stage; the stage after the last is the row touched again by its file."""
    status = run.course.stages[min(stage, len(run.course.stages) - 1)][0]
    over = stage >= len(run.course.stages) - 1 and status not in {RUNNING, WAITING}
    flow, machine, person = (
        estate.flows[run.draw.flow],
        estate.machines[run.draw.machine],
        estate.people[run.draw.person],
    )
    owner = person.user_id(estate.organization_id)
    return {
        **_identity(run, flow, owner, estate.unit_id),
        **_place(run, machine, person),
        **_origin(estate, run),
        **_course(run, status, over=over),
        **(_trouble(run, machine, flow) if over and status == FAILED else {}),
    }


def _identity(run: Run, flow: Flow, owner: str, unit: str) -> dict[str, Any]:
    return {
        "name": flow.name,
        "_regardingobjectid_value": flow.flow_id,
        "_ownerid_value": owner,
        "_owninguser_value": owner,
        "_owningbusinessunit_value": unit,
        "_createdby_value": owner,
        "_modifiedby_value": owner,
        "processversion": f"1.0.0.{1 + run.draw.number % 37}",
        "runmode": run.draw.mode,
        "runsessionmode": 1,
        "subcategory": int(run.draw.is_test),
    }


def _place(run: Run, machine: Machine, person: Person) -> dict[str, Any]:
    """Where it ran: a local run names its computer in the context only."""
    columns = {
        "sessionusername": person.upn,
        "sessionusersid": f"S-1-5-21-{run.draw.person * 7919}",
        "machineramusage": 2048 + run.draw.number % 4096,
        "machinepercentcpuusage": float(run.draw.number % 90),
        "machinepercentramusage": float(20 + run.draw.number % 60),
    }
    if run.draw.mode == LOCAL:
        return columns
    return {**columns, "_machineid_value": machine.machine_id, "_machinegroupid_value": machine.group_id}


def _origin(estate: Estate, run: Run) -> dict[str, Any]:
    """What launched it: a cloud flow, another desktop flow or a person."""
    cloud_flow = estate.cloud_flow_ids[run.draw.number % len(estate.cloud_flow_ids)]
    sequence = f"0858{stable_id(run.draw.session_id)[:8]}{run.draw.number:012d}CU{run.draw.number % 30:02d}"
    is_child, is_launched = bool(run.draw.parent), run.draw.from_cloud and not run.draw.parent
    context = {
        "hostName": f"LAPTOP-{run.draw.person:03d}"
        if run.draw.mode == LOCAL
        else estate.machines[run.draw.machine].name,
        "parentWorkflowId": cloud_flow if is_launched else None,
        "parentWorkflowRunId": sequence if is_launched else None,
        "attendedMode": _ATTENDED_MODES[run.draw.mode],
        "agentVersion": _AGENT_VERSION,
        "connectionType": ("Cloud" if run.draw.mode == ATTENDED else "Machine") if is_launched else None,
        "parentWorkflowType": "ApiFlow" if is_launched else "DesktopFlow",
    }
    columns: dict[str, Any] = {
        "context": json.dumps(context),
        "triggertype": _BY_API_FLOW if is_launched else _BY_DESKTOP_FLOW if is_child else _BY_HAND,
        "correlationid": stable_id(run.draw.session_id, "correlation"),
        "clienttrackingid": sequence if is_launched else None,
        "credentials": FAKE_CREDENTIALS,
        "callbackurl": FAKE_CALLBACK,
    }
    if is_launched:
        connection = stable_id(cloud_flow, "connection").replace("-", "")
        launch = {"parentworkflowid": cloud_flow, "parentcloudflowrunsequenceid": sequence}
        return {**columns, **launch, "connectionid": connection}
    parent = {"_parentdesktopflowrunid_value": run.draw.parent, "parentdesktopflowrunguid": run.draw.parent}
    return {**columns, **parent} if is_child else columns


def _course(run: Run, status: int, *, over: bool) -> dict[str, Any]:
    """Status and times; durations are milliseconds."""
    columns: dict[str, Any] = {"statuscode": status, "statecode": 0}
    if run.course.started_s is not None and status != WAITING:
        columns["startedon"] = _time(run.course.started_s)
        columns["runwaitduration"] = (
            _milliseconds(run.course.started_s - run.course.stages[0][1]) if run.draw.from_cloud else 0
        )
    if over and run.course.ended_s is not None:
        columns["completedon"] = _time(run.course.ended_s)
    if over and run.course.ended_s is not None and run.course.started_s is not None:
        length = _milliseconds(run.course.ended_s - run.course.started_s)
        columns["runduration"] = length + columns["runwaitduration"]
        columns["runexecutionduration"] = length
    return columns


def _trouble(run: Run, machine: Machine, flow: Flow) -> dict[str, Any]:
    rng = Random(run.draw.number)
    trouble = action_trouble(run) if run.failed_in_flow else rng.choice(RUN_TROUBLES)
    message = "\n" + told(trouble, machine.name if not run.failed_in_flow else flow.name).lstrip("\n")
    details = {"code": trouble.code, "source": "flow" if run.failed_in_flow else "machine"}
    return {"errorcode": trouble.code, "errormessage": message, "errordetails": json.dumps(details)}


def action_trouble(run: Run) -> Trouble:
    """What went wrong with the action that ended the run."""
    return ACTION_TROUBLES[run.draw.number % len(ACTION_TROUBLES)]


def told(trouble: Trouble, name: str) -> str:
    return trouble.message.replace("{name}", name)


def _time(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(whole_second(epoch_s), UTC)


def _milliseconds(seconds: float) -> int:
    return max(0, round(seconds * 1000))
