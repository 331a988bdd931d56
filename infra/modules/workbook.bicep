// The figures of the status page over time, from the records the app logs; the queries are those of the alerts.
param location string
param tags object
param workspaceId string

var tiles = [
  {
    title: 'How it is'
    query: loadTextContent('../queries/verdict.kql')
    chart: 'table'
  }
  {
    title: 'Sources: how old the newest data is'
    query: loadTextContent('../queries/data-age.kql')
    chart: 'table'
  }
  {
    title: 'Timers'
    query: loadTextContent('../queries/late-functions.kql')
    chart: 'table'
  }
  {
    title: 'Queues'
    query: loadTextContent('../queries/queues.kql')
    chart: 'table'
  }
  {
    title: 'Gaps noticed within a day'
    query: loadTextContent('../queries/gaps.kql')
    chart: 'table'
  }
  {
    title: 'Successful runs of each timer by the hour'
    query: loadTextContent('../queries/heartbeats.kql')
    chart: 'timechart'
  }
  {
    title: 'Invocations'
    query: loadTextContent('../queries/invocations.kql')
    chart: 'table'
  }
]
var timeRange = {
  type: 9
  name: 'time'
  content: {
    version: 'KqlParameterItem/1.0'
    parameters: [
      {
        id: guid(workspaceId, 'time')
        version: 'KqlParameterItem/1.0'
        name: 'range'
        label: 'Time'
        type: 4
        isRequired: true
        value: {
          durationMs: 86400000
        }
        typeSettings: {
          selectableValues: [
            {
              durationMs: 14400000
            }
            {
              durationMs: 86400000
            }
            {
              durationMs: 604800000
            }
            {
              durationMs: 2592000000
            }
          ]
        }
      }
    ]
    style: 'pills'
    queryType: 0
    resourceType: 'microsoft.operationalinsights/workspaces'
  }
}
var items = map(tiles, tile => {
  type: 3
  name: tile.title
  content: {
    version: 'KqlItem/1.0'
    query: tile.query
    title: tile.title
    size: 0
    timeContextFromParameter: 'range'
    queryType: 0
    resourceType: 'microsoft.operationalinsights/workspaces'
    crossComponentResources: [workspaceId]
    visualization: tile.chart
  }
})

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'flowtrail')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Flowtrail'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat([timeRange], items)
      fallbackResourceIds: [workspaceId]
    })
  }
}

output id string = workbook.id
