// What makes somebody look: silence first of all, because a timer that froze looks healthy from outside.
// The queries are files of their own, shared with the workbook; thresholds are parameters.
param token string
param location string
param tags object
param workspaceId string
param actionGroupId string

@description('The storage accounts whose throttling is watched.')
param accountIds array
param enabled bool
param silentMinutes int
param environmentAgeMinutes int
param auditAgeMinutes int
param failuresPerHour int
param throttledRequests int

// A rule fires for each value of its dimensions where the measure exceeds the threshold.
var rules = [
  {
    name: 'silence'
    title: 'Flowtrail is silent'
    description: 'No timer has said how the app is. Stop and start the app (a restart is not enough), then look at its log stream.'
    severity: 1
    query: loadTextContent('../queries/silence.kql')
    measure: 'silent_minutes'
    threshold: silentMinutes
    window: 'PT6H'
    dimensions: []
  }
  {
    name: 'late-function'
    title: 'A Flowtrail function has stopped succeeding'
    description: 'A timer missed several ticks, or messages wait for hours. The status page shows why; with no error, stop and start the app.'
    severity: 1
    query: loadTextContent('../queries/late-functions.kql')
    measure: 'late'
    threshold: 0
    window: 'PT6H'
    dimensions: [
      {
        name: 'function_name'
        operator: 'Include'
        values: ['*']
      }
    ]
  }
  {
    name: 'environment-age'
    title: 'Flowtrail is behind an environment'
    description: 'The runs of an environment are older than they should be. The status page says what it refuses.'
    severity: 2
    query: loadTextContent('../queries/data-age.kql')
    measure: 'late_minutes'
    threshold: environmentAgeMinutes
    window: 'PT6H'
    dimensions: [
      {
        name: 'source_kind'
        operator: 'Include'
        values: ['environment']
      }
      {
        name: 'source_name'
        operator: 'Include'
        values: ['*']
      }
    ]
  }
  {
    name: 'refused'
    title: 'A source keeps something from Flowtrail'
    description: 'A permission, a privilege or the application user is missing. The status page names it, and the script to run.'
    severity: 2
    query: loadTextContent('../queries/data-age.kql')
    measure: 'refused'
    threshold: 0
    window: 'PT6H'
    dimensions: [
      {
        name: 'source_name'
        operator: 'Include'
        values: ['*']
      }
    ]
  }
  {
    name: 'audit-age'
    title: 'Flowtrail is behind the audit feed'
    description: 'Audit content is older than it should be. The service keeps it for seven days only.'
    severity: 2
    query: loadTextContent('../queries/data-age.kql')
    measure: 'late_minutes'
    threshold: auditAgeMinutes
    window: 'PT6H'
    dimensions: [
      {
        name: 'source_kind'
        operator: 'Include'
        values: ['audit']
      }
      {
        name: 'source_name'
        operator: 'Include'
        values: ['*']
      }
    ]
  }
  {
    name: 'poison'
    title: 'Flowtrail gave up on messages'
    description: 'Messages failed five times. The log tells why; when the cause is gone, reconcile puts them back by itself, once a day.'
    severity: 2
    query: loadTextContent('../queries/queues.kql')
    measure: 'poison'
    threshold: 0
    window: 'PT6H'
    dimensions: [
      {
        name: 'queue_name'
        operator: 'Include'
        values: ['*']
      }
    ]
  }
  {
    name: 'gaps'
    title: 'Flowtrail recorded a gap'
    description: 'Something was lost at its source or may be missing. The table gaps in the data account names it.'
    severity: 2
    query: loadTextContent('../queries/gaps.kql')
    measure: 'gaps'
    threshold: 0
    window: 'PT6H'
    dimensions: [
      {
        name: 'source_name'
        operator: 'Include'
        values: ['*']
      }
      {
        name: 'gap_kind'
        operator: 'Include'
        values: ['*']
      }
    ]
  }
  {
    name: 'unhealthy'
    title: 'Flowtrail is unhealthy'
    description: 'The code says of what kind the trouble is; the status page shows where, since when and what to do, docs/operations.md explains each.'
    severity: 2
    query: loadTextContent('../queries/unhealthy.kql')
    measure: 'unhealthy'
    threshold: 0
    window: 'PT6H'
    dimensions: [
      {
        name: 'code'
        operator: 'Include'
        values: ['*']
      }
    ]
  }
  {
    name: 'failures'
    title: 'A Flowtrail function keeps failing'
    description: 'A function failed repeatedly within an hour. Exit code 143 now and then is an instance that ended.'
    severity: 2
    query: loadTextContent('../queries/failures.kql')
    measure: 'failures'
    threshold: failuresPerHour
    window: 'PT1H'
    dimensions: [
      {
        name: 'function_name'
        operator: 'Include'
        values: ['*']
      }
    ]
  }
]

resource queryAlerts 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for rule in rules: {
    name: 'flowtrail-${rule.name}-${token}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: rule.title
      description: rule.description
      severity: rule.severity
      enabled: enabled
      scopes: [workspaceId]
      evaluationFrequency: 'PT15M'
      windowSize: rule.window
      autoMitigate: true
      // the tables of Application Insights appear with the first record, after this deployment
      skipQueryValidation: true
      criteria: {
        allOf: [
          {
            query: rule.query
            metricMeasureColumn: rule.measure
            timeAggregation: 'Maximum'
            operator: 'GreaterThan'
            threshold: rule.threshold
            dimensions: rule.dimensions
            failingPeriods: {
              // each query looks back for itself and answers for now: there is one period to judge
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: [actionGroupId]
      }
    }
  }
]

resource throttling 'Microsoft.Insights/metricAlerts@2018-03-01' = [
  for accountId in accountIds: {
    name: 'flowtrail-throttling-${last(split(accountId, '/'))}'
    location: 'global'
    tags: tags
    properties: {
      description: 'Storage refuses requests because there are too many. Lower the number of instances or ask for a higher limit.'
      severity: 3
      enabled: enabled
      scopes: [accountId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      autoMitigate: true
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            name: 'throttled'
            criterionType: 'StaticThresholdCriterion'
            metricNamespace: 'Microsoft.Storage/storageAccounts'
            metricName: 'Transactions'
            timeAggregation: 'Total'
            operator: 'GreaterThan'
            threshold: throttledRequests
            dimensions: [
              {
                name: 'ResponseType'
                operator: 'Include'
                values: [
                  'ClientThrottlingError'
                  'ServerBusyError'
                  'ClientAccountRequestThrottlingError'
                  'ClientAccountBandwidthThrottlingError'
                ]
              }
            ]
          }
        ]
      }
      actions: [
        {
          actionGroupId: actionGroupId
        }
      ]
    }
  }
]
