# The package is written with the app's identity, and a new role assignment takes a minute or two to reach storage:
# the first deployment after the roles were made waits until they are two minutes old.
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$settleS = 120
if (-not (Get-Command az -ErrorAction SilentlyContinue)) { exit 0 }
if (-not $env:HOST_STORAGE_ID -or -not $env:IDENTITY_PRINCIPAL_ID) { exit 0 }

$roles = az role assignment list --scope $env:HOST_STORAGE_ID | ConvertFrom-Json |
    Where-Object { $_.principalId -eq $env:IDENTITY_PRINCIPAL_ID }
if (-not $roles) { throw "The app's identity has no role on ${env:HOST_STORAGE_ID}: run azd provision" }
$newest = ($roles | ForEach-Object { [DateTimeOffset] $_.createdOn } | Measure-Object -Maximum).Maximum
$ageS = [int] ([DateTimeOffset]::UtcNow - $newest).TotalSeconds
if ($ageS -lt $settleS) {
    Write-Output "The roles are $ageS s old; waiting until storage knows them"
    Start-Sleep -Seconds ($settleS - $ageS)
}
