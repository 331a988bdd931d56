// Instead of grant-audit.sh, for who deploys everything by Bicep. It stands apart from main.bicep because whoever
// deploys it needs Application.Read.All and AppRoleAssignment.ReadWrite.All in Microsoft Graph, which a pipeline
// seldom has, and because the extension comes from a registry. A tenant that has never used the API first needs
//   az ad sp create --id c5393580-f805-4401-95e8-94b7a6ef2fc2
//   az deployment group create --resource-group GROUP --template-file infra/graph/audit-permission.bicep \
//     --parameters identityName=NAME
extension microsoftGraphV1

@description('Name of the user-assigned identity: the output IDENTITY_NAME of main.bicep.')
@minLength(3)
param identityName string

@description('Roles of the Office 365 Management APIs, by value; ActivityFeed.ReadDlp only for DLP.All.')
param roleValues array = ['ActivityFeed.Read']

@description('Roles of Microsoft Graph, by value; AuditLogsQuery.Read.All only for AUDIT_SEARCH.')
param graphRoleValues array = []

var office365ManagementApis = 'c5393580-f805-4401-95e8-94b7a6ef2fc2'
var microsoftGraph = '00000003-0000-0000-c000-000000000000'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource activityApi 'Microsoft.Graph/servicePrincipals@v1.0' existing = {
  appId: office365ManagementApis
}

resource graphApi 'Microsoft.Graph/servicePrincipals@v1.0' existing = {
  appId: microsoftGraph
}

resource permissions 'Microsoft.Graph/appRoleAssignedTo@v1.0' = [
  for value in roleValues: {
    principalId: identity.properties.principalId
    resourceId: activityApi.id
    appRoleId: filter(activityApi.appRoles, role => role.value == value)[0].id
  }
]

resource graphPermissions 'Microsoft.Graph/appRoleAssignedTo@v1.0' = [
  for value in graphRoleValues: {
    principalId: identity.properties.principalId
    resourceId: graphApi.id
    appRoleId: filter(graphApi.appRoles, role => role.value == value)[0].id
  }
]
