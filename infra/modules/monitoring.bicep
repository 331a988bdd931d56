// Where the app's log goes and who hears of alerts.
param token string
param location string
param tags object
param retentionDays int
param dailyQuotaGb int
param emails array

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: 'log-flowtrail-${token}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: retentionDays
    workspaceCapping: {
      dailyQuotaGb: dailyQuotaGb
    }
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-flowtrail-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    DisableLocalAuth: true
    WorkspaceResourceId: workspace.id
  }
}

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-flowtrail-${token}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'flowtrail'
    enabled: true
    emailReceivers: [
      for email in emails: {
        name: email
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

output workspaceId string = workspace.id
output applicationInsightsName string = applicationInsights.name
output actionGroupId string = actionGroup.id
