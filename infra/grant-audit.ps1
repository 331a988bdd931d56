<#
.SYNOPSIS
Lets the app's identity read the Microsoft 365 audit feed. Safe to repeat.

.DESCRIPTION
It takes the Azure CLI, signed in as somebody who may assign application roles: Privileged Role Administrator, or
Global Administrator.

.PARAMETER PrincipalId
Object id of the identity; by default what azd noted as IDENTITY_PRINCIPAL_ID.

.PARAMETER Dlp
Adds ActivityFeed.ReadDlp, which only AUDIT_CONTENT_TYPES with DLP.All needs.

.PARAMETER Search
Adds AuditLogsQuery.Read.All of Microsoft Graph, which only AUDIT_SEARCH needs.

.PARAMETER Graph
Root of Microsoft Graph, by default that of the cloud of the Azure CLI; a DoD tenant has https://dod-graph.microsoft.us.

.EXAMPLE
infra/grant-audit.ps1
#>
[CmdletBinding()]
param(
    [string] $PrincipalId = $env:IDENTITY_PRINCIPAL_ID,
    [switch] $Dlp,
    [switch] $Search,
    [string] $Graph
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$api = 'c5393580-f805-4401-95e8-94b7a6ef2fc2' # Office 365 Management APIs, the same in every tenant
$graphApi = '00000003-0000-0000-c000-000000000000' # Microsoft Graph, likewise
$roles = @('ActivityFeed.Read')
if ($Dlp) { $roles += 'ActivityFeed.ReadDlp' }

if (-not (Get-Command az -ErrorAction SilentlyContinue)) { throw 'The Azure CLI is needed: https://aka.ms/azure-cli' }
if (-not $PrincipalId -and (Get-Command azd -ErrorAction SilentlyContinue)) {
    $PrincipalId = azd env get-value IDENTITY_PRINCIPAL_ID # an error fails the next check
}
if ($PrincipalId -notmatch '^[0-9a-fA-F-]{36}$') {
    throw 'Give the object id of the identity, the output IDENTITY_PRINCIPAL_ID of the deployment.'
}

if (-not $Graph) { $Graph = az cloud show --query endpoints.microsoftGraphResourceId --output tsv }
$root = "$Graph".TrimEnd('/')
if ($root -notmatch '^https://[a-z0-9.-]+$') { throw "$root is no URL like https://graph.microsoft.com." }
$token = az account get-access-token --resource $root --query accessToken --output tsv
if (-not $token) { throw 'Sign in first: az login' }

function Invoke-Graph {
    param([string] $Method, [string] $Path, [hashtable] $Body)
    $request = @{
        Method  = $Method
        Uri     = "$root/v1.0/$Path"
        Headers = @{ Authorization = "Bearer $token" }
    }
    if ($Body) {
        $request.ContentType = 'application/json'
        $request.Body = ConvertTo-Json $Body -Depth 5
    }
    Invoke-RestMethod @request
}

function Test-Assigned {
    param([string] $RoleId)
    $assignments = (Invoke-Graph GET "servicePrincipals/$PrincipalId/appRoleAssignments?`$top=999").value
    [bool] ($assignments | Where-Object { $_.resourceId -eq $resource.id -and $_.appRoleId -eq $RoleId })
}

$identity = Invoke-Graph GET "servicePrincipals/$PrincipalId"
Write-Output "Identity: $($identity.displayName) ($PrincipalId)"

function Find-Resource {
    param([string] $AppId, [string] $Name)
    $found = @((Invoke-Graph GET "servicePrincipals?`$filter=appId%20eq%20'$AppId'").value)
    if ($found.Count -gt 0) { return $found[0] }
    try { Invoke-Graph POST 'servicePrincipals' @{ appId = $AppId } }
    catch { throw "The service principal of $Name is missing; an Application Administrator may create it: az ad sp create --id $AppId ($_)" }
    Write-Information "Created the service principal of $Name" -InformationAction Continue
}

function Grant-Role {
    param([string] $Name, [string] $Value)
    # by value: many published scripts carry wrong ids
    $role = $resource.appRoles | Where-Object { $_.value -eq $Value -and $_.allowedMemberTypes -contains 'Application' }
    if (-not $role) { throw "$Name of this tenant have no application role $Value." }
    if (Test-Assigned $role.id) {
        Write-Output "${Value}: assigned already"
        return
    }
    $assignment = @{ principalId = $PrincipalId; resourceId = $resource.id; appRoleId = $role.id }
    $null = Invoke-Graph POST "servicePrincipals/$($resource.id)/appRoleAssignedTo" $assignment
    for ($attempt = 1; $attempt -le 6 -and -not (Test-Assigned $role.id); $attempt++) {
        Start-Sleep -Seconds 5 # the directory answers from copies
    }
    if (-not (Test-Assigned $role.id)) {
        throw "$Value was assigned but does not show yet; run this once more in a minute."
    }
    Write-Output "${Value}: assigned"
}

$resource = Find-Resource $api 'the Office 365 Management APIs'
foreach ($value in $roles) { Grant-Role 'The Office 365 Management APIs' $value }
if ($Search) {
    $resource = Find-Resource $graphApi 'Microsoft Graph'
    Grant-Role 'The APIs of Microsoft Graph' 'AuditLogsQuery.Read.All'
}
Write-Output 'Done. A token that the app already holds lacks the new role for up to a day: restart the app to use it at once.'
