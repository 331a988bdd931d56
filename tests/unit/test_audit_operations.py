"""Every operation that Microsoft's articles list has a named group."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support import NOON

from shared.audit.events import read_event
from shared.audit.feed import ContentBlob
from shared.audit.operations import GROUPS, OTHER, named

BLOB = ContentBlob("c", "Audit.General", "", NOON, NOON)

CONNECTOR_ARTICLE = {
    "API created": "Custom connector",
    "API edited": "Custom connector",
    "API deleted": "Custom connector",
    "API made solution-aware": "Custom connector",
    "API permission added or edited": "Custom connector sharing",
    "API permission removed": "Custom connector sharing",
    "Connection created or edited": "Connection",
    "Connection edited": "Connection",
    "Connection deleted": "Connection",
    "Connection permission added or edited": "Connection sharing",
    "Connection permission removed": "Connection sharing",
    "Gateway cluster edited": "Gateway",
    "Gateway permission added or edited": "Gateway sharing",
    "Gateway permission removed": "Gateway sharing",
    "Added ConnectionDlpEvaluationResult": "Data policy",
    "Added DataLossPreventionEvaluationResult": "Data policy",
    "PutConnection": "Connection",
    "PutConnectionPermission": "Connection sharing",
    "PutAppConnectionUsage": "Connection",
    "PatchApi": "Custom connector",
    "GatewayResourceRequestAction": "Gateway",
}
ACCESS_ARTICLE = {
    "Created flow": "Flow change",
    "Edited flow": "Flow change",
    "Deleted flow": "Flow deletion",
    "Edited permissions": "Flow sharing",
    "Deleted permissions": "Flow sharing",
    "Started a paid trial": "Licensing",
    "Renewed a paid trial": "Licensing",
    "Created app": "App change",
    "Edited/saved app": "App change",
    "Published app": "App change",
    "Deleted app": "App deletion",
    "Restored an app from app version": "App change",
    "Launched app": "App use",
    "Marked app as featured": "App change",
    "Marked app as hero": "App change",
    "Edited app permissions": "App sharing",
    "Deleted app permissions": "App sharing",
    "Admin set desired logical name": "App change",
    "Microsoft Entra ID joined": "Administration",
    "Entra ID joined": "Administration",
}
FLOW_AND_APP = [
    "CreateFlow",
    "EditFlow",
    "DeleteFlow",
    "PutPermissions",
    "DeletePermissions",
    "StartAPaidTrial",
    "RenewTrial",
    "CreatePowerApp",
    "LaunchPowerApp",
    "MarkPowerAppAsFeatured",
    "PromotePowerAppVersion",
    "UpdatePowerApp",
    "PublishPowerApp",
    "PowerAppPermissionEdited",
    "DeletePowerApp",
    "MarkPowerAppAsHero",
    "PowerAppPermissionDeleted",
    "RemoveHeroApp",
    "RemoveFeaturedApp",
    "PatchPowerApp",
    "DeletePowerAppVersion",
    "RecordScopesConsent",
    "ImportNewCanvasApp",
    "ImportExistingCanvasApp",
    "PublishSolutionCanvasAppVersion",
    "AppDlpEvaluationResultChange",
    "AdminRestoreDeletePowerApp",
    "AdminSetAppDesiredLogicalName",
    "AdminModifyAppOwner",
    "AdminModifyAppPermissions",
    "AdminDeleteApp",
    "AdminQuarantineApp",
    "AdminSetAppConditionalAccess",
    "AdminSetAppBypassConsent",
    "AdminSetAppAsFeatured",
    "AdminSetAllowedThirdPartyApps",
]
ADMINISTRATION = [
    "GovernanceApiPolicyOperation",
    "EnvironmentPropertyChange",
    "NewEnvironmentGroup",
    "UpdateEnvironmentGroup",
    "DeleteEnvironmentGroup",
    "EnvironmentAddedToEnvironmentGroup",
    "EnvironmentRemovedFromEnvironmentGroup",
    "CreateRuleSetOperation",
    "UpdateRuleSetOperation",
    "DeleteRuleSetOperation",
    "CreateRuleBasedPolicyOperation",
    "UpdateRuleBasedPolicyOperation",
    "DeleteRuleBasedPolicyOperation",
    "CreateRuleBasedPolicyAssignmentOperation",
    "DeleteRuleBasedPolicyAssignmentOperation",
    "BillingPolicyCreate",
    "BillingPolicyUpdate",
    "BillingPolicyDelete",
    "IsvContractConsent",
    "AssignLicenseAutoClaim",
    "AssignLicenseAutoClaimPolicyCreate",
    "CurrencyEnvironmentAllocate",
    "TrialConvertToProduction",
    "TrialEnforce",
    "TrialProvision",
    "TrialSignUpEligibilityCheck",
    "TrialViralConsent",
    "AssignLicenseToUser",
    "EnvironmentDisabledByMiser",
    "ApplyAdminRole",
    "LockboxRequestOperation",
    "SecurityRoleUpdated",
]
ENVIRONMENT_LIFE = (
    *(
        f"{verb} environment"
        for verb in ("Provisioned", "Deleted", "Recovered", "Hard-deleted", "Moved", "Copied")
    ),
    *(
        f"{verb} environment"
        for verb in ("Backed up", "Restored", "Reset", "Upgraded", "CMK-Renewed", "CMK-Reverted")
    ),
    "Converted environment type",
    "Changed property on environment",
)
WEBSITES = [
    "SiteCreated",
    "SiteDeleted",
    "SiteShutDown",
    "SiteRestarted",
    "SiteArchived",
    "SiteUnarchived",
    "SiteSuspended",
    "SiteURLUpdated",
    "SiteNameUpdated",
    "SiteVisibilityUpdated",
    "SiteVisibilityPermissionsUpdated",
    "WebsiteRecordUpdated",
    "WebsiteAuthenticationKeyUpdated",
    "ConvertedToProduction",
    "CustomDomainConnected",
    "CustomDomainDeleted",
    "CustomCertificateUpdated",
    "IPRestrictionsAdded",
    "IPRestrictionsDeleted",
    "WAFEnabled",
    "WAFDisabled",
    "CDNEnabled",
    "CDNDisabled",
    "MaintenanceModeEnabled",
    "MaintenanceModeDisabled",
    "MaintenanceModeURLModified",
    "PowerBIVisualizationEnabled",
    "PowerBIVisualizationDisabled",
    "PowerBIEmbeddedServiceEnabled",
    "PowerBIEmbeddedServiceDisabled",
    "SharePointIntegrationEnabled",
    "SharePointIntegrationDisabled",
    "AnonymousSettingExceptionListChanged",
    "BootstrapVersionUpdated",
    "CustomErrorsEnabled",
    "CustomErrorsDisabled",
    "D365URLUpdated",
    "DataModelVersionUpdated",
    "DiagnosticLogsEnabled",
    "DiagnosticLogsDisabled",
    "EarlyUpgradeEnabled",
    "EarlyUpgradeDisabled",
    "FieldServiceExtensionInstalled",
    "ProjectServiceAutomationExtensionInstalled",
]
AGENTS = [
    "BotCreate",
    "BotDelete",
    "BotDeleteCleanup",
    "BotUpdateOperation-BotPublish",
    "BotUpdateOperation-BotNameUpdate",
    "BotUpdateOperation-BotAuthUpdate",
    "BotUpdateOperation-BotIconUpdate",
    "BotUpdateOperation-BotShare",
    "BotComponentCreate",
    "BotComponentUpdate",
    "BotComponentDelete",
]
POLICIES = ("Created DLP Policy", "Updated DLP Policy", "Deleted DLP Policy", "CreateDlpPolicy", "UpdateDlpPolicy")


@pytest.mark.parametrize(("operation", "group"), [*CONNECTOR_ARTICLE.items(), *ACCESS_ARTICLE.items()])
def test_what_the_articles_list_has_its_group(operation: str, group: str) -> None:
    assert named(operation)[0] == group
    assert named(f"{operation.upper()} ")[0] == group


@pytest.mark.parametrize(
    ("operations", "groups"),
    [
        (FLOW_AND_APP, {name for name in GROUPS if name.startswith(("App ", "Flow ", "Licensing"))}),
        (ADMINISTRATION, {"Data policy", "Environment", "Environment group", "Licensing", "Administration"}),
        (ENVIRONMENT_LIFE, {"Environment"}),
        (WEBSITES, {"Website"}),
        (AGENTS, {"Agent", "Agent sharing"}),
        (POLICIES, {"Data policy"}),
        (["CrmDefaultActivity"], {"Dataverse"}),
    ],
)
def test_every_area_is_grouped(operations: list[str], groups: set[str]) -> None:
    assert {operation: named(operation)[0] for operation in operations if named(operation)[0] not in groups} == {}


def test_a_group_is_no_catch_all() -> None:
    assert OTHER not in GROUPS
    assert all(GROUPS.values())


def row(**record: Any) -> dict[str, Any]:
    common = {"Id": "E1", "CreationTime": "2026-05-19T13:00:00", "Workload": "PowerPlatform"}
    return read_event(json.dumps({**common, **record}).encode(), BLOB, NOON)


def test_an_operation_in_other_letters_is_the_same_operation() -> None:
    assert row(Operation="launchpowerAPP ")["operation"] == "LaunchPowerApp"


def test_every_detail_of_a_connector_event_of_the_article_is_kept() -> None:
    event = row(
        Operation="Connection permission added or edited",
        OrganizationId="T1",
        UserType=0,
        ClientIP="198.51.100.7",
        UserId="ada@contoso.example",
        ObjectId="object-of-the-user",
        ResourceId="/providers/Microsoft.PowerApps/apis/shared_sql/connections/C-1",
        AdditionalInfo={"EnvironmentName": "Default-1", "ActionName": "PutConnectionPermission"},
    )
    assert (event["resource_type"], event["resource_id"]) == ("Connection", "c-1")
    assert (event["connector_id"], event["environment_id"]) == ("shared_sql", "default-1")
    assert (event["correlation_id"], event["client_ip"]) == ("e1", "198.51.100.7")
    assert (event["user_id"], event["user_type"]) == ("ada@contoso.example", "Regular")
    details = json.loads(event["details"])
    assert details["AdditionalInfo"]["ActionName"] == "PutConnectionPermission"
    assert (details["ObjectId"], details["OrganizationId"]) == ("object-of-the-user", "T1")


def test_a_custom_connector_is_its_own_connector() -> None:
    event = row(Operation="API edited", ResourceId="shared_contoso-5fcrm", AdditionalInfo="{}")
    assert (event["resource_type"], event["connector_id"]) == ("Connector", "shared_contoso-5fcrm")


def test_a_data_policy_of_the_older_form() -> None:
    info = {"policyId": "P-1", "policyType": "OnlyEnvironments", "environmentName": "E-9", "changeSet": {"a": [1]}}
    event = row(Operation="Updated DLP Policy", RecordType=187, AdditionalInfo=json.dumps(info))
    assert (event["policy_id"], event["resource_id"], event["resource_type"]) == ("p-1", "p-1", "ApiPolicy")
    assert (event["environment_id"], event["operation_group"]) == ("e-9", "Data policy")
    assert json.loads(json.loads(event["details"])["AdditionalInfo"])["changeSet"] == {"a": [1]}


def test_a_data_policy_of_the_newer_form() -> None:
    place = "powerplatform.analytics.resource."
    named_values = {
        f"{place}type": "ApiPolicy",
        f"{place}id": "ConnectorBlockingPolicy",
        f"{place}tenant.governance.api_policy.operation_name": "DeleteDlpPolicy",
        f"{place}tenant.governance.api_policy.operation_result": "True",
    }
    collection = [{"Name": name, "Value": value} for name, value in named_values.items()]
    event = row(Operation="GovernanceApiPolicyOperation", RecordType=256, PropertyCollection=collection)
    assert (event["policy_id"], event["is_success"]) == ("connectorblockingpolicy", True)
    assert "DeleteDlpPolicy" in event["details"]


def test_a_website_and_a_bot() -> None:
    assert row(Operation="SiteCreated", RecordType=186, ObjectId="Site-1")["resource_id"] == "site-1"
    bot = row(Operation="BotCreate", BotId="B-1", BotSchemaName="nw_help", EnvironmentId="E-1")
    assert (bot["resource_type"], bot["resource_id"], bot["resource_name"]) == ("Bot", "b-1", "nw_help")
    assert bot["environment_id"] == "e-1"


def test_a_dataverse_event() -> None:
    event = row(
        Operation="CrmDefaultActivity",
        Workload="CRM",
        RecordType=21,
        Message="ExecuteMultiple ",
        EntityName="workflow",
        EntityId="W-1",
        PrimaryFieldValue="Invoices",
        UserUpn="Ada@contoso.example",
        CorrelationId="C-1",
        InstanceUrl="https://contoso.crm4.dynamics.com/",
    )
    assert (event["resource_type"], event["resource_id"]) == ("workflow", "w-1")
    assert (event["resource_name"], event["user_id"]) == ("Invoices", "ada@contoso.example")
    assert (event["correlation_id"], event["operation_group"]) == ("c-1", "Dataverse")
    assert json.loads(event["details"])["Message"] == "ExecuteMultiple "


@pytest.mark.parametrize("told", [{"RecordType": 21}, {"RecordType": "CRM"}, {"Workload": "crm"}])
@pytest.mark.parametrize("operation", ["Create", "RetrieveMultiple", "CreateFlow"])
def test_a_dataverse_event_may_be_called_after_any_message(told: dict[str, Any], operation: str) -> None:
    event = row(Operation=operation, EntityName="account", **told)
    assert (event["operation_group"], event["operation"]) == ("Dataverse", operation)
    assert "Operation" not in json.loads(event["details"])


def pairs(**properties: Any) -> list[dict[str, Any]]:
    return [
        {"Name": f"powerplatform.analytics.{name.replace('__', '.')}", "Value": value}
        for name, value in properties.items()
    ]


CONNECTION = "/providers/Microsoft.PowerApps/apis/shared_sql/connections/C-1"


@pytest.mark.parametrize(
    "record",
    [
        {"ResourceId": CONNECTION},
        {"PropertyCollection": pairs(resource__connection__id=CONNECTION)},
        {"PropertyCollection": pairs(resource__connection__id=CONNECTION, resource__type="Connection")},
        {"PropertyCollection": pairs(resource__connection__id=CONNECTION, resource__type="ApiPolicy")},
    ],
)
def test_a_connection_that_was_weighed_against_policies_is_no_policy(record: dict[str, Any]) -> None:
    event = row(Operation="Added ConnectionDlpEvaluationResult", **record)
    assert (event["resource_type"], event["resource_id"], event["policy_id"]) == ("Connection", "c-1", None)
    assert event["connector_id"] == "shared_sql"


def test_a_policy_that_is_named_beside_a_connection_is_kept() -> None:
    info = {"policyId": "P-1"}
    event = row(Operation="ConnectionDlpEvaluationResult", ResourceId=CONNECTION, AdditionalInfo=info)
    assert (event["resource_type"], event["resource_id"], event["policy_id"]) == ("Connection", "c-1", "p-1")


@pytest.mark.parametrize("place", ["power_app", "cloud_flow"])
def test_what_a_policy_was_held_against_is_no_policy(place: str) -> None:
    properties = pairs(**{f"resource__{place}__id": "X-1"}, resource__id="X-1")
    event = row(Operation="Added DataLossPreventionEvaluationResult", PropertyCollection=properties)
    assert (event["resource_id"], event["policy_id"]) == ("x-1", None)


def test_the_id_of_a_permission_begins_with_that_of_its_connection() -> None:
    paths = [f"{CONNECTION}/permissions/P-1", CONNECTION.replace("C-1", "C-2/permissions/P-1")]
    events = [row(Operation="PutConnectionPermission", ResourceId=path) for path in paths]
    assert [event["resource_id"] for event in events] == ["c-1/permissions/p-1", "c-2/permissions/p-1"]
    assert {event["resource_type"] for event in events} == {"Connection"}
    assert [json.loads(event["details"])["ResourceId"] for event in events] == paths


def test_an_older_data_policy_event_has_the_id_of_its_request() -> None:
    info = {"policyId": "P-1"}
    assert row(Operation="Updated DLP Policy", AdditionalInfo=info)["correlation_id"] == "e1"
    newer = row(Operation="GovernanceApiPolicyOperation", PropertyCollection=pairs(resource__id="P-1"))
    assert newer["correlation_id"] is None


@pytest.mark.parametrize(
    "beside", [*({"PropertyCollection": pairs(resource__type=kind)} for kind in ("Table", 0)), {"EntityId": " "}]
)
def test_the_name_of_an_entity_is_not_lost_where_no_column_takes_it(beside: dict[str, Any]) -> None:
    event = row(Operation="CrmDefaultActivity", EntityName="account", **({"EntityId": "A-1"} | beside))
    assert event["resource_type"] in ("Table", "0", None)
    assert json.loads(event["details"])["EntityName"] == "account"


def test_an_unknown_operation_is_in_details_as_a_whole() -> None:
    event = row(Operation="BrandNewThing", UserId="ada@contoso.example", Deep={"a": [1, None]})
    assert json.loads(event["details"]) == {
        "Id": "E1",
        "CreationTime": "2026-05-19T13:00:00",
        "Workload": "PowerPlatform",
        "Operation": "BrandNewThing",
        "UserId": "ada@contoso.example",
        "Deep": {"a": [1, None]},
    }
