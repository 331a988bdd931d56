// Everything Flowtrail needs in Azure: one resource group, no secret in it.
//   azd up                                                        (docs/deploy.md)
//   az deployment sub create --location LOCATION --template-file infra/main.bicep --parameters ...
targetScope = 'subscription'

@description('Name of the deployment; resource names are derived from it.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('Azure region of all resources; Flex Consumption must be offered there.')
@minLength(1)
param location string

@description('Resource group; empty: rg- and the name of the deployment.')
@maxLength(90)
param resourceGroupName string = ''

@description('Tags of all resources, beside azd-env-name.')
param tags object = {}

// ---- app settings: one parameter each, see README.md ----

@description('ENVIRONMENTS: Dataverse URLs between commas, or a JSON list of URLs and {"url","name"} objects.')
@minLength(10)
param environments string

@description('TENANT_ID: Entra tenant id; the identity lives in the tenant of the subscription, so that is the default.')
@minLength(36)
@maxLength(36)
param tenantId string = tenant().tenantId

@description('CLOUD: where Microsoft 365 keeps the tenant.')
@allowed(['commercial', 'gcc', 'gcchigh', 'dod'])
param cloud string = 'commercial'

@description('FLOW_SESSIONS_SCHEDULE: when desktop-flow runs are read; six fields from the second on, UTC.')
@minLength(11)
param flowSessionsSchedule string = '0 */5 * * * *'

@description('AUDIT_CONTENT_SCHEDULE: when the audit feed is read.')
@minLength(11)
param auditContentSchedule string = '0 */15 * * * *'

@description('INVENTORY_SCHEDULE: when flows, machines and users are read.')
@minLength(11)
param inventorySchedule string = '0 0 3 * * *'

@description('PUBLISH_SCHEDULE: when days with new rows are published.')
@minLength(11)
param publishSchedule string = '0 */10 * * * *'

@description('RECONCILE_SCHEDULE: when both sides are compared.')
@minLength(11)
param reconcileSchedule string = '0 30 2 * * *'

@description('HISTORY_START: date from which the first load reads runs, like 2026-01-31; empty: 90 days back.')
@maxLength(30)
param historyStart string = ''

@description('ACTION_VALUES: how much of the inputs and outputs of each action is kept.')
@allowed(['full', 'names', 'off'])
param actionValues string = 'full'

@description('REDACT_NAMES: regular expression; a parameter or variable whose name matches has its value replaced.')
@minLength(1)
param redactNames string = 'password|pwd|secret|token|key|credential|connection.?string'

@description('MAX_VALUE_CHARS: longest kept value of a parameter, in characters.')
@minValue(1)
@maxValue(32000)
param maxValueChars int = 4000

@description('AUDIT_CONTENT_TYPES: content types of the audit feed, comma-separated; DLP.All needs one more permission.')
@minLength(7)
param auditContentTypes string = 'Audit.General'

@description('AUDIT_WINDOW_HOURS: length of one listing window.')
@minValue(1)
@maxValue(24)
param auditWindowHours int = 6

@description('AUDIT_WORKLOADS: workloads kept, comma-separated; add CRM for Dataverse.')
@minLength(1)
param auditWorkloads string = 'PowerPlatform,MicrosoftFlow,PowerApps,MicrosoftCopilotStudio'

@description('RAW_AUDIT: audit records kept as received; all keeps the events of everybody in the tenant.')
@allowed(['kept', 'all', 'off'])
param rawAudit string = 'kept'

@description('AUDIT_REPLAY: days of audit records to read once more from raw, like 2026-05-01/2026-05-07; empty: none.')
@maxLength(200)
param auditReplay string = ''

@description('AUDIT_SEARCH: what the audit feed lacks, from Microsoft Graph: off, a day like 2026-05-01, monthly, or both.')
@maxLength(30)
param auditSearch string = 'off'

@description('RUNS_REPLAY: days of runs to read once more from Dataverse, like 2026-05-01/2026-05-07; empty: none.')
@maxLength(200)
param runsReplay string = ''

@description('LOGS_REPLAY: days of runs whose action logs to decode once more, likewise; empty: none.')
@maxLength(200)
param logsReplay string = ''

@description('RETENTION_DAYS: days to keep, like fact_flow_action=400, raw=180; what is not named: for ever.')
param retentionDays string = ''

@description('PUBLISH_GRAIN: day, one file a table and day; hour, up to 24, above a million actions a day.')
@allowed(['day', 'hour'])
param publishGrain string = 'day'

@description('HEALTH_MISSED_TICKS: ticks that a timer may miss before it counts as late.')
@minValue(1)
@maxValue(100)
param healthMissedTicks int = 3

@description('HEALTH_ENVIRONMENT_HOURS: hours that the runs of an environment may be late.')
@minValue(1)
@maxValue(168)
param healthEnvironmentHours int = 2

@description('HEALTH_AUDIT_HOURS: hours that the audit feed, or a content blob in it, may be late.')
@minValue(1)
@maxValue(144)
param healthAuditHours int = 4

@description('HEALTH_BACKLOG_HOURS: hours that messages and staged rows may wait.')
@minValue(1)
@maxValue(168)
param healthBacklogHours int = 6

@description('HEALTH_PENDING_LOGS: action logs of one environment that may be awaited for long.')
@minValue(1)
@maxValue(10000)
param healthPendingLogs int = 1000

@description('MANAGEMENT_API_URL: root of the Management Activity API; empty: that of CLOUD.')
param managementApiUrl string = ''

@description('GRAPH_API_URL: root of Microsoft Graph; empty: that of CLOUD.')
param graphApiUrl string = ''

// ---- size, safety and money ----

@description('Memory of one instance of the app, in MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Most instances of each function that may run at once; what bounds the bill of a backlog.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Whether instances are spread over availability zones, where the region has them.')
param zoneRedundant bool = false

@description('Copies that Azure keeps of the data account: locally, in three zones, or in a second region.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param dataRedundancy string = 'Standard_LRS'

@description('Days after which audit records as received (container raw) are deleted; 0: never.')
@minValue(0)
@maxValue(36500)
param rawRetentionDays int = 0

@description('Days after which action logs that could not be decoded are deleted: their values are not redacted.')
@minValue(1)
@maxValue(36500)
param unreadableLogDays int = 90

@description('Whether each reading and deleting of a blob in the data account is logged, with who did it; the app reads much.')
param logDataAccess bool = false

@description('Object ids of Entra groups that may read what Power BI reads, comma-separated.')
param readerGroupIds string = ''

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('GB of logs a day above which Log Analytics stops taking them until the next day; -1: no limit.')
param logDailyQuotaGb int = 1

@description('Who is told of alerts: e-mail addresses, comma-separated.')
param alertEmails string = ''

@description('Whether the alert rules act; off while somebody works on the app.')
param alertsEnabled bool = true

@description('Minutes without a sign of life of any timer before an alert; above three times the shortest schedule.')
@minValue(15)
@maxValue(300)
param silentMinutes int = 30

@description('Minutes that the runs of an environment may be behind before an alert.')
@minValue(15)
@maxValue(1440)
param environmentAgeMinutes int = 120

@description('Minutes that the audit feed may be behind before an alert.')
@minValue(30)
@maxValue(1440)
param auditAgeMinutes int = 240

@description('Failed invocations of one function within an hour before an alert; a few are normal when instances end.')
@minValue(1)
@maxValue(1000)
param failuresPerHour int = 5

@description('Throttled storage requests within 15 minutes before an alert.')
@minValue(1)
param throttledRequests int = 100

@description('Whether storage is reachable only from a virtual network, through private endpoints.')
param privateNetwork bool = false

@description('Address range of the virtual network; a /24 or larger.')
param networkAddressPrefix string = '10.213.0.0/24'

@description('Monthly budget of the resource group in the currency of the subscription; 0: none.')
@minValue(0)
param monthlyBudget int = 0

@description('First day of the month in which the budget starts, like 2026-01-01; Azure never lets it change. Empty: no budget.')
@maxLength(10)
param budgetStart string = ''

var token = toLower(uniqueString(subscription().id, environmentName, location))
var groupName = empty(resourceGroupName) ? 'rg-${environmentName}' : resourceGroupName
var allTags = union(tags, { 'azd-env-name': environmentName })
var emails = filter(map(split(alertEmails, ','), entry => trim(entry)), entry => !empty(entry))
var readerGroups = filter(map(split(readerGroupIds, ','), entry => trim(entry)), entry => !empty(entry))

var settings = {
  ENVIRONMENTS: environments
  TENANT_ID: tenantId
  CLOUD: cloud
  FLOW_SESSIONS_SCHEDULE: flowSessionsSchedule
  AUDIT_CONTENT_SCHEDULE: auditContentSchedule
  INVENTORY_SCHEDULE: inventorySchedule
  PUBLISH_SCHEDULE: publishSchedule
  RECONCILE_SCHEDULE: reconcileSchedule
  HISTORY_START: historyStart
  ACTION_VALUES: actionValues
  REDACT_NAMES: redactNames
  MAX_VALUE_CHARS: string(maxValueChars)
  AUDIT_CONTENT_TYPES: auditContentTypes
  AUDIT_WINDOW_HOURS: string(auditWindowHours)
  AUDIT_WORKLOADS: auditWorkloads
  RAW_AUDIT: rawAudit
  AUDIT_REPLAY: auditReplay
  AUDIT_SEARCH: auditSearch
  RUNS_REPLAY: runsReplay
  LOGS_REPLAY: logsReplay
  RETENTION_DAYS: retentionDays
  PUBLISH_GRAIN: publishGrain
  HEALTH_MISSED_TICKS: string(healthMissedTicks)
  HEALTH_ENVIRONMENT_HOURS: string(healthEnvironmentHours)
  HEALTH_AUDIT_HOURS: string(healthAuditHours)
  HEALTH_BACKLOG_HOURS: string(healthBacklogHours)
  HEALTH_PENDING_LOGS: string(healthPendingLogs)
  MANAGEMENT_API_URL: managementApiUrl
  GRAPH_API_URL: graphApiUrl
}

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: groupName
  location: location
  tags: allTags
}

module identity 'modules/identity.bicep' = {
  scope: group
  params: {
    name: 'id-flowtrail-${token}'
    location: location
    tags: allTags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    retentionDays: logRetentionDays
    dailyQuotaGb: logDailyQuotaGb
    emails: emails
  }
}

module hostStorage 'modules/host-storage.bicep' = {
  scope: group
  params: {
    name: 'sthost${token}'
    location: location
    tags: allTags
    isPrivate: privateNetwork
  }
}

module dataStorage 'modules/data-storage.bicep' = {
  scope: group
  params: {
    name: 'stdata${token}'
    location: location
    tags: allTags
    redundancy: dataRedundancy
    isPrivate: privateNetwork
    rawRetentionDays: rawRetentionDays
    unreadableLogDays: unreadableLogDays
    logAccess: logDataAccess
    workspaceId: monitoring.outputs.workspaceId
  }
}

// before the site, so that the roles have minutes to spread while everything else is made
module permissions 'modules/permissions.bicep' = {
  scope: group
  params: {
    principalId: identity.outputs.principalId
    hostAccountName: hostStorage.outputs.name
    dataAccountName: dataStorage.outputs.name
    applicationInsightsName: monitoring.outputs.applicationInsightsName
    readerGroupIds: readerGroups
  }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    addressPrefix: networkAddressPrefix
    accountNames: [
      hostStorage.outputs.name
      dataStorage.outputs.name
    ]
  }
}

module functionApp 'modules/function-app.bicep' = {
  scope: group
  params: {
    name: 'func-flowtrail-${token}'
    planName: 'plan-flowtrail-${token}'
    location: location
    tags: allTags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    hostAccountName: hostStorage.outputs.name
    dataAccountName: dataStorage.outputs.name
    applicationInsightsName: monitoring.outputs.applicationInsightsName
    packageContainerName: hostStorage.outputs.packageContainerName
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    zoneRedundant: zoneRedundant
    settings: settings
  }
  dependsOn: [
    permissions
  ]
}

module alerts 'modules/alerts.bicep' = {
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
    actionGroupId: monitoring.outputs.actionGroupId
    accountIds: [
      hostStorage.outputs.id
      dataStorage.outputs.id
    ]
    enabled: alertsEnabled
    silentMinutes: silentMinutes
    environmentAgeMinutes: environmentAgeMinutes
    auditAgeMinutes: auditAgeMinutes
    failuresPerHour: failuresPerHour
    throttledRequests: throttledRequests
  }
}

module workbook 'modules/workbook.bicep' = {
  scope: group
  params: {
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
  }
}

module budget 'modules/budget.bicep' = if (monthlyBudget > 0 && !empty(budgetStart)) {
  scope: group
  params: {
    name: 'budget-flowtrail-${token}'
    amount: monthlyBudget
    startDate: budgetStart
    actionGroupId: monitoring.outputs.actionGroupId
  }
}

output AZURE_LOCATION string = location
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output FUNCTION_APP_NAME string = functionApp.outputs.name
output FUNCTION_APP_URL string = functionApp.outputs.url
output IDENTITY_NAME string = identity.outputs.name
output IDENTITY_CLIENT_ID string = identity.outputs.clientId
output IDENTITY_PRINCIPAL_ID string = identity.outputs.principalId
output HOST_STORAGE_ID string = hostStorage.outputs.id
output DATA_STORAGE_NAME string = dataStorage.outputs.name
output POWERBI_URL string = dataStorage.outputs.powerbiUrl
// not ENVIRONMENTS: azd would put it back into main.parameters.json, where a JSON list needs escaping
output CONFIGURED_ENVIRONMENTS string = environments
