# Before anything is made: what azd cannot know and a deployment would only say after minutes.
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Set-Location (Join-Path $PSScriptRoot '..' | Join-Path -ChildPath '..')

# the subscription that is deployed to need not be the one az prefers
$there = @(if ($env:AZURE_SUBSCRIPTION_ID) { '--subscription', $env:AZURE_SUBSCRIPTION_ID })
if (Get-Command az -ErrorAction SilentlyContinue) {
    az account show --output none @there
    if ($LASTEXITCODE -ne 0) { throw 'Sign the Azure CLI in as well, to the same subscription: az login' }
    foreach ($provider in 'Microsoft.Web', 'Microsoft.App', 'Microsoft.Storage', 'Microsoft.Insights', 'Microsoft.OperationalInsights') {
        if ((az provider show --namespace $provider --query registrationState --output tsv @there) -ne 'Registered') {
            Write-Output "Registering the resource provider $provider"
            az provider register --namespace $provider --wait @there
        }
    }
    if ($env:AZURE_LOCATION) {
        $offered = az functionapp list-flexconsumption-locations @there | ConvertFrom-Json
        if ($env:AZURE_LOCATION -notin $offered.name) { throw "Flex Consumption is not offered in $env:AZURE_LOCATION" }
    }
}
else {
    Write-Output 'Without the Azure CLI the region and the resource providers go unchecked.'
}
if ($env:MONTHLY_BUDGET -and $env:MONTHLY_BUDGET -ne '0' -and -not $env:BUDGET_START) {
    azd env set BUDGET_START ([DateTime]::UtcNow.ToString('yyyy-MM-01')) # kept, for Azure never lets the start of a budget change
    if ($LASTEXITCODE -ne 0) { throw 'azd could not keep BUDGET_START.' }
}
if ($env:FLOWTRAIL_SKIP_CHECKS -ne 'true') {
    py dev.py infra check
    if ($LASTEXITCODE -ne 0) { throw 'The checks of the infrastructure failed.' }
}
