"""Whether the app's identity may read all that it should in an environment, and what to do where it may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.clock import Deadline
from shared.dataverse.web_api import Row, WebApi
from shared.errors import AccessError, Missing

WHOLE_ORGANIZATION = "Global"
GIVE_PRIVILEGE = (
    "Give it to the role of the app's application user, at organization depth (infra/grant-dataverse)."
)


@dataclass(frozen=True)
class Access:
    """What keeps data from us, and what may do so, in sentences for an administrator: none where all is well."""

    problems: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Need:
    """A privilege, the entity set and key that it opens, and what is missing without it."""

    privilege: str
    entity_set: str
    key: str
    without: str


RUNS = Need("prvReadflowsession", "flowsessions", "flowsessionid", "no run can be read")
DEPTH_UNKNOWN = (
    f"At which depth the app's application user has {RUNS.privilege} is not told. Below organization depth runs "
    "of other people or business units are left out without an error. To be sure, give the role to the "
    "application user itself, not through a team (infra/grant-dataverse)."
)
FLOW_LOGS = Need("prvReadflowlog", "flowlogs", "flowlogid", "action logs kept in the table flowlogs can't be read")
NEEDS = (
    RUNS,
    Need("prvReadWorkflow", "workflows", "workflowid", "flows have no names"),
    Need("prvReadflowmachine", "flowmachines", "flowmachineid", "machines have no names"),
    Need("prvReadflowmachinegroup", "flowmachinegroups", "flowmachinegroupid", "machine groups have no names"),
    Need("prvReadUser", "systemusers", "systemuserid", "runs show the ids of their owners instead of people"),
    Need("prvReadOrganization", "organizations", "organizationid", "the settings of action logs are unknown"),
)
"""Source of the privileges: Power Automate docs, "Automation center", and the Automation Kit's analyst role."""


def access_of(api: WebApi, user_id: str, *, flow_logs: bool, deadline: Deadline) -> Access:
    """Ask what the app's identity may read.

    What the user's own roles do not give is tried out before it is called missing, for a team may give it; but
    trying does not tell at which depth.
    """
    depths = _depths(api, user_id, deadline)
    needs = (*NEEDS, FLOW_LOGS) if flow_logs else NEEDS
    problems = tuple(problem for need in needs for problem in _problems(api, need, depths, deadline))
    is_unknown = RUNS.privilege.lower() not in depths and not any(RUNS.privilege in text for text in problems)
    return Access(problems, (DEPTH_UNKNOWN,) if is_unknown else ())


def _problems(api: WebApi, need: Need, depths: Mapping[str, str], deadline: Deadline) -> Iterator[str]:
    depth = depths.get(need.privilege.lower())
    if depth is None and not _may_read(api, need, deadline):
        yield f"The privilege {need.privilege} is missing: {need.without}. {GIVE_PRIVILEGE}"
    elif depth not in (None, WHOLE_ORGANIZATION):
        yield (
            f"The privilege {need.privilege} has depth {depth} instead of {WHOLE_ORGANIZATION}: rows of other "
            f"people or business units are left out without an error. {GIVE_PRIVILEGE}"
        )


def _depths(api: WebApi, user_id: str, deadline: Deadline) -> dict[str, str]:
    """Depth by privilege, in lower case, through the user's own roles; nothing where that can't be asked.

    Source: Dataverse Web API reference, RetrieveUserPrivileges; depths Basic, Local, Deep and Global.
    """
    path = f"systemusers({user_id})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()"
    try:
        found: Any = api.document(path, deadline).get("RolePrivileges") or []
    except (AccessError, Missing):
        return {}
    return _deepest(found)


def _deepest(found: list[Row]) -> dict[str, str]:
    """Of several roles that give a privilege the deepest counts."""
    depths: dict[str, str] = {}
    for entry in found:
        name, depth = str(entry.get("PrivilegeName") or "").lower(), str(entry.get("Depth"))
        if name and depths.get(name) != WHOLE_ORGANIZATION:
            depths[name] = depth
    return depths


def _may_read(api: WebApi, need: Need, deadline: Deadline) -> bool:
    try:
        api.document(f"{need.entity_set}?$select={need.key}&$top=1", deadline)
    except AccessError:
        return False
    except Missing:
        return True  # there is no such table, so nothing is kept from us
    return True
