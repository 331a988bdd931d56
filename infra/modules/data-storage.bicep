// What the app is for: published tables, staged rows, records as received, and the state it works from.
param name string
param location string
param tags object
param redundancy string

@description('Whether only private endpoints reach the account.')
param isPrivate bool

@description('Days after which audit records as received are deleted; 0: never.')
param rawRetentionDays int

@description('Days after which action logs that could not be decoded are deleted.')
param unreadableLogDays int

@description('Whether each reading and deleting of a blob is logged, with who did it.')
param logAccess bool
param workspaceId string

var containerNames = [
  'powerbi'
  'staging'
  'raw'
]
var tableNames = [
  'flowsessions'
  'auditcontent'
  'checkpoints'
  'ingestlog'
  'gaps'
  'flows'
  'machines'
  'environments'
]
// with the ones that the host moves messages to after five attempts, so that their length can always be asked for
var queueNames = [
  'additional-context'
  'additional-context-poison'
  'publish-day'
  'publish-day-poison'
]

var coolRule = {
  name: 'raw-audit-cools'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: ['raw/audit/']
    }
    actions: {
      baseBlob: {
        tierToCool: {
          daysAfterModificationGreaterThan: 30
        }
      }
    }
  }
}
var rawRule = {
  name: 'raw-audit-ends'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: ['raw/audit/']
    }
    actions: {
      baseBlob: {
        delete: {
          daysAfterModificationGreaterThan: rawRetentionDays
        }
      }
    }
  }
}
var unreadableRule = {
  name: 'unreadable-logs-end'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: ['raw/unreadable/']
    }
    actions: {
      baseBlob: {
        delete: {
          daysAfterModificationGreaterThan: unreadableLogDays
        }
      }
    }
  }
}

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: redundancy
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: isPrivate ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'None'
      defaultAction: isPrivate ? 'Deny' : 'Allow'
    }
  }
}

// A deleted container comes back for two weeks. Blobs have no such net on purpose: today's files are rewritten
// every few minutes, and every overwritten state would be kept and paid for.
resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 14
    }
  }
}

resource accessLog 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (logAccess) {
  scope: blobs
  name: 'who-reads-and-deletes'
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageRead'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for container in containerNames: {
    parent: blobs
    name: container
  }
]

resource tables 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource stateTables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = [
  for table in tableNames: {
    parent: tables
    name: table
  }
]

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource workQueues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [
  for queue in queueNames: {
    parent: queues
    name: queue
  }
]

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: concat([coolRule, unreadableRule], rawRetentionDays > 0 ? [rawRule] : [])
    }
  }
  dependsOn: [
    blobs
  ]
}

output id string = account.id
output name string = account.name
output powerbiUrl string = '${account.properties.primaryEndpoints.blob}powerbi'
