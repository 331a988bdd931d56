# What is left to do, with the names filled in.
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

Write-Output @"

The app runs. Two permissions make it see anything (docs/deploy.md, both safe to repeat):

  infra/grant-audit.ps1 $env:IDENTITY_PRINCIPAL_ID
  infra/grant-dataverse.ps1 -ClientId $env:IDENTITY_CLIENT_ID

Then its status page, behind a key that only you fetch:

  `$key = az functionapp function keys list --resource-group $env:AZURE_RESOURCE_GROUP ``
    --subscription $env:AZURE_SUBSCRIPTION_ID --name $env:FUNCTION_APP_NAME --function-name status --query default --output tsv
  $env:FUNCTION_APP_URL/api/status?code=`$key

"@
