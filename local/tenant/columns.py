"""The Dataverse tables of the simulation: their columns, kinds of column and choice labels.

Names and choices: Microsoft's table reference (flowsession, workflow, flowmachine, flowlog, organization).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property


class Kind(Enum):
    """The kind of a column; the value is its attribute type in metadata."""

    GUID = "Uniqueidentifier"
    STRING = "String"
    MEMO = "Memo"
    INT = "Integer"
    BIGINT = "BigInt"
    DOUBLE = "Double"
    BOOL = "Boolean"
    TIME = "DateTime"
    CHOICE = "Picklist"
    LOOKUP = "Lookup"
    FILE = "Virtual"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; a lookup has the logical name of the table that it points to."""

    name: str
    kind: Kind
    target: str = ""

    @property
    def property_name(self) -> str:
        return f"_{self.name}_value" if self.kind is Kind.LOOKUP else self.name


@dataclass(frozen=True)
class Table:
    """One table; `privilege` is what reading it needs."""

    name: str
    entity_set: str
    key: str
    privilege: str
    columns: Mapping[str, Column]
    title: str = "name"
    type_code: int = 0

    @cached_property
    def properties(self) -> dict[str, Column]:
        return {column.property_name: column for column in self.columns.values()}


def _columns(lookups: Mapping[str, str], **names: str) -> dict[str, Column]:
    """Columns by name; `names` maps a kind to blank-separated names, `lookups` a name to its table."""
    plain = [Column(name, Kind[kind]) for kind, text in names.items() for name in text.split()]
    return {
        column.name: column
        for column in [*plain, *(Column(name, Kind.LOOKUP, to) for name, to in lookups.items())]
    }


_OWNERSHIP = {
    "createdby": "systemuser",
    "createdonbehalfby": "systemuser",
    "modifiedby": "systemuser",
    "modifiedonbehalfby": "systemuser",
    "ownerid": "systemuser",
    "owningbusinessunit": "businessunit",
    "owningteam": "team",
    "owninguser": "systemuser",
}

_FLOWSESSION = _columns(
    {
        "computeruseagentid": "computeruseagent",
        "flowtestsessionid": "flowtestsession",
        "flowtriggerid": "flowtrigger",
        "machinegroupid": "flowmachinegroup",
        "machineid": "flowmachine",
        "parentdesktopflowrunid": "flowsession",
        "regardingobjectid": "workflow",
        **_OWNERSHIP,
    },
    GUID="flowsessionid parentdesktopflowrunguid",
    STRING="name parentworkflowid parentcloudflowrunsequenceid processversion errorcode correlationid "
    "clienttrackingid connectionid gateway callbackurl sessionusername sessionusersid "
    "additionalcontext_name inputs_name outputs_name",
    MEMO="errormessage errordetails errorinnererror rundetails context credentials",
    INT="machineramusage importsequencenumber timezoneruleversionnumber utcconversiontimezonecode",
    BIGINT="runduration runexecutionduration runwaitduration versionnumber",
    DOUBLE="machinepercentcpuusage machinepercentramusage",
    TIME="createdon modifiedon startedon completedon overriddencreatedon",
    CHOICE="statecode statuscode runmode runsessionmode triggertype subcategory",
    FILE="additionalcontext inputs outputs",
)

_WORKFLOW = _columns(
    {"parentworkflowid": "workflow", **_OWNERSHIP},
    GUID="workflowid workflowidunique solutionid resourceid",
    STRING="name uniquename introducedversion schemaversion",
    MEMO="description clientdata definition",
    BIGINT="versionnumber",
    BOOL="ismanaged",
    TIME="createdon modifiedon overwritetime",
    CHOICE="category uiflowtype type statecode statuscode modernflowtype componentstate",
)

_FLOWMACHINE = _columns(
    {"flowmachinegroupid": "flowmachinegroup", **_OWNERSHIP},
    GUID="flowmachineid",
    STRING="name agentversion hostedmachinestate",
    MEMO="description machinemetadata",
    INT="sessioncapacity",
    BIGINT="versionnumber",
    TIME="createdon modifiedon lastheartbeatdate overcapacitysince",
    CHOICE="hostingtype keydeliverystatus statecode statuscode",
)

_FLOWMACHINEGROUP = _columns(
    {**_OWNERSHIP},
    GUID="flowmachinegroupid",
    STRING="name",
    MEMO="description publickey",
    INT="maxmanagedmachinecount",
    BIGINT="versionnumber",
    TIME="createdon modifiedon lastrundate",
    CHOICE="flowgrouptype managementtype statecode statuscode",
)

_SYSTEMUSER = _columns(
    {"businessunitid": "businessunit", "createdby": "systemuser", "modifiedby": "systemuser"},
    GUID="systemuserid azureactivedirectoryobjectid applicationid",
    STRING="fullname firstname lastname domainname internalemailaddress title",
    BIGINT="versionnumber",
    BOOL="isdisabled",
    TIME="createdon modifiedon",
    CHOICE="accessmode",
)

_BUSINESSUNIT = _columns(
    {"parentbusinessunitid": "businessunit"},
    GUID="businessunitid",
    STRING="name",
    BIGINT="versionnumber",
    BOOL="isdisabled",
    TIME="createdon modifiedon",
)

_ORGANIZATION = _columns(
    {},
    GUID="organizationid",
    STRING="name friendlyname desktopflowrunactionlogscustomurl",
    INT="flowlogsttlinminutes desktopflowqueuelogsttlinminutes flowruntimetoliveinseconds "
    "expirechangetrackingindays languagecode",
    BIGINT="versionnumber",
    BOOL="desktopflowrunactionlogscustomurlenabled isauditenabled",
    TIME="createdon modifiedon",
    CHOICE="desktopflowrunactionlogsstatus desktopflowrunactionlogversion desktopflowrunactionlogverbosity",
)

_FLOWLOG = _columns(
    {
        "cloudflowid": "workflow",
        "desktopflowid": "workflow",
        "flowmachinegroupid": "flowmachinegroup",
        "flowmachineid": "flowmachine",
        "flowsessionid": "flowsession",
        "parentobjectid": "flowsession",
    },
    GUID="flowlogid",
    STRING="name partitionid cloudflowrunid",
    MEMO="data inputslocalizednames outputslocalizednames",
    INT="ttlinseconds",
    BIGINT="logindex duration versionnumber",
    TIME="createdon modifiedon",
    CHOICE="type level",
)

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table(
            "flowsession",
            "flowsessions",
            "flowsessionid",
            "prvReadflowsession",
            _FLOWSESSION,
            type_code=4720,
        ),
        Table("workflow", "workflows", "workflowid", "prvReadWorkflow", _WORKFLOW, type_code=4703),
        Table("flowmachine", "flowmachines", "flowmachineid", "prvReadflowmachine", _FLOWMACHINE),
        Table(
            "flowmachinegroup",
            "flowmachinegroups",
            "flowmachinegroupid",
            "prvReadflowmachinegroup",
            _FLOWMACHINEGROUP,
        ),
        Table("systemuser", "systemusers", "systemuserid", "prvReadUser", _SYSTEMUSER, "fullname", 8),
        Table(
            "businessunit",
            "businessunits",
            "businessunitid",
            "prvReadBusinessUnit",
            _BUSINESSUNIT,
            type_code=10,
        ),
        Table(
            "organization",
            "organizations",
            "organizationid",
            "prvReadOrganization",
            _ORGANIZATION,
            type_code=1019,
        ),
        Table("flowlog", "flowlogs", "flowlogid", "prvReadflowlog", _FLOWLOG),
    )
}
SETS: dict[str, Table] = {table.entity_set: table for table in TABLES.values()}

_STATUS_EN = (
    "NotSpecified Paused Running Waiting Succeeded Skipped Suspended Cancelled Failed Faulted TimedOut Aborted "
    "Ignored Deleted Terminated"
)
_STATUS_DE = (
    "NichtAngegeben Angehalten WirdAusgeführt Wartend Erfolgreich Übersprungen Ausgesetzt Abgebrochen "
    "Fehlgeschlagen Fehlerhaft Zeitüberschreitung Verworfen Ignoriert Gelöscht Beendet"
)

# Labels follow the language of the application user, so nothing may be decided by them.
LABELS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "flowsession.runmode": ("Local", "Attended", "Unattended"),
        "flowsession.runsessionmode": ("Unapplicable", "Default", "PictureInPicture"),
        "flowsession.statecode": ("Active", "Inactive"),
        "flowsession.statuscode": tuple(_STATUS_EN.split()),
        "flowsession.subcategory": ("Default", "Test"),
        "flowsession.triggertype": ("ApiFlow", "DesktopFlow", "Local", "RunDesktopFlowDataverseApi", "Cua"),
        "flowmachine.hostingtype": ("Customer", "Hosted", "CloudPc"),
        "workflow.statecode": ("Draft", "Activated", "Suspended"),
        "workflow.uiflowtype": ("Windows recorder (V1)", "Selenium IDE", "Power Automate Desktop", "Test"),
    },
    "de": {
        "flowsession.runmode": ("Lokal", "Beaufsichtigt", "Unbeaufsichtigt"),
        "flowsession.runsessionmode": ("Nicht anwendbar", "Standard", "Bild-in-Bild"),
        "flowsession.statecode": ("Aktiv", "Inaktiv"),
        "flowsession.statuscode": tuple(_STATUS_DE.split()),
        "flowsession.subcategory": ("Standard", "Test"),
        "flowsession.triggertype": ("API-Flow", "Desktop-Flow", "Lokal", "Dataverse-API", "Cua"),
        "flowmachine.hostingtype": ("Kunde", "Gehostet", "Cloud-PC"),
        "workflow.statecode": ("Entwurf", "Aktiviert", "Angehalten"),
        "workflow.uiflowtype": ("Windows-Recorder (V1)", "Selenium IDE", "Power Automate Desktop", "Test"),
    },
}


def choice_label(table: str, column: str, value: int, language: str) -> str:
    labels = LABELS[language].get(f"{table}.{column}", ())
    return labels[value] if value < len(labels) else str(value)
