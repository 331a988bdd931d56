<#
.SYNOPSIS
Lets the app's identity read the runs of Dataverse environments, and nothing else. Safe to repeat.

.DESCRIPTION
In each environment it makes the security role "Flowtrail reader" hold exactly the privileges of dataverse-role.txt,
adds the identity as an application user and gives it that role. It takes the Azure CLI, signed in as a System
Administrator of every environment.

.PARAMETER Url
URLs of the environments; by default those of ENVIRONMENTS.

.PARAMETER ClientId
Client id of the identity; by default what azd noted as IDENTITY_CLIENT_ID.

.EXAMPLE
infra/grant-dataverse.ps1 https://contoso.crm4.dynamics.com
#>
[CmdletBinding(PositionalBinding = $false)]
param(
    [Parameter(ValueFromRemainingArguments)] [string[]] $Url,
    [string] $ClientId
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$roleName = 'Flowtrail reader'

function Get-Noted {
    param([string[]] $Name)
    foreach ($one in $Name) {
        $value = [Environment]::GetEnvironmentVariable($one)
        if (-not $value -and (Get-Command azd -ErrorAction SilentlyContinue)) {
            $value = azd env get-value $one
            if ($LASTEXITCODE -ne 0) { $value = '' } # azd prints its errors here too
        }
        if ($value) { return "$value" }
    }
    ''
}

if (-not (Get-Command az -ErrorAction SilentlyContinue)) { throw 'The Azure CLI is needed: https://aka.ms/azure-cli' }
if (-not $ClientId) { $ClientId = Get-Noted IDENTITY_CLIENT_ID }
if ($ClientId -notmatch '^[0-9a-fA-F-]{36}$') {
    throw 'Give the client id of the identity, the output IDENTITY_CLIENT_ID of the deployment.'
}
if (-not $Url) {
    # plain URLs or a JSON list: whatever begins with https and goes on like a host
    $Url = [regex]::Matches((Get-Noted @('ENVIRONMENTS', 'CONFIGURED_ENVIRONMENTS')), 'https://[A-Za-z0-9.-]+') | ForEach-Object { $_.Value }
}
if (-not $Url) { throw 'Give the URLs of the environments, like https://contoso.crm4.dynamics.com.' }

# names; optional ones begin with ?
$privileges = Get-Content (Join-Path $PSScriptRoot 'dataverse-role.txt') |
    Where-Object { $_ -match '^\??prv' } |
    ForEach-Object { ($_ -split '\s+')[0] }

function Invoke-Dataverse {
    param([string] $Method, [string] $Path, [hashtable] $Options, [hashtable] $Body)
    $query = ''
    if ($Options) {
        $pairs = $Options.GetEnumerator() | ForEach-Object { "$($_.Key)=$([uri]::EscapeDataString($_.Value))" }
        $query = '?' + ($pairs -join '&')
    }
    $request = @{
        Method  = $Method
        Uri     = "$origin/api/data/v9.2/$Path$query"
        Headers = @{ Authorization = "Bearer $token"; Prefer = 'return=representation' }
    }
    if ($Body) {
        $request.ContentType = 'application/json'
        $request.Body = ConvertTo-Json $Body -Depth 5
    }
    Invoke-RestMethod @request
}

function Get-First {
    param([object] $Answer, [string] $Property)
    $rows = @($Answer.value)
    if ($rows.Count -gt 0) { $rows[0].$Property }
}

function Find-Privilege {
    $names = ($privileges | ForEach-Object { "'$($_.TrimStart('?'))'" }) -join ','
    $known = (Invoke-Dataverse GET 'privileges' @{
            '$filter' = "Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=[$names])"
            '$select' = 'name,privilegeid'
        }).value
    foreach ($name in $privileges) {
        $found = @($known | Where-Object { $_.name -eq $name.TrimStart('?') })
        if ($found.Count -gt 0) { $found | ForEach-Object { $_.privilegeid } }
        elseif ($name.StartsWith('?')) { Write-Warning "$($name.TrimStart('?')): this environment does not have it, left out" }
        else { throw "$origin does not have the privilege $name; is Power Automate for desktop set up there?" }
    }
}

function Confirm-Role {
    $filter = "name eq '$roleName' and _businessunitid_value eq $unit"
    $id = Get-First (Invoke-Dataverse GET 'roles' @{ '$filter' = $filter; '$select' = 'roleid' }) 'roleid'
    if (-not $id) {
        $new = @{ name = $roleName; 'businessunitid@odata.bind' = "/businessunits($unit)" }
        $id = (Invoke-Dataverse POST 'roles' $null $new).roleid
    }
    $entries = @($ids | ForEach-Object { @{ PrivilegeId = $_; Depth = 'Global'; BusinessUnitId = $unit } })
    # replaced, not added to: a privilege that somebody gave it since is gone
    $null = Invoke-Dataverse POST "roles($id)/Microsoft.Dynamics.CRM.ReplacePrivilegesRole" $null @{ Privileges = $entries }
    $id
}

function Confirm-User {
    $filter = "applicationid eq $ClientId"
    $found = Invoke-Dataverse GET 'systemusers' @{ '$filter' = $filter; '$select' = 'systemuserid,isdisabled' }
    if (Get-First $found 'isdisabled') {
        throw "The application user in $origin is deactivated; activate it (Power Platform admin center, the environment, " +
        'Settings, Users + permissions, Application users) and run this again.'
    }
    $id = Get-First $found 'systemuserid'
    if (-not $id) {
        $new = @{ applicationid = $ClientId; 'businessunitid@odata.bind' = "/businessunits($unit)" }
        $id = (Invoke-Dataverse POST 'systemusers' $null $new).systemuserid
    }
    $id
}

function Confirm-Assignment {
    $held = @((Invoke-Dataverse GET "systemusers($user)/systemuserroles_association" @{ '$select' = 'roleid,name' }).value)
    if (-not ($held | Where-Object { $_.roleid -eq $role })) {
        $reference = @{ '@odata.id' = "$origin/api/data/v9.2/roles($role)" }
        $null = Invoke-Dataverse POST "systemusers($user)/systemuserroles_association/`$ref" $null $reference
    }
    foreach ($more in $held | Where-Object { $_.roleid -ne $role }) {
        Write-Warning "The user also holds $($more.name), which the app does not need: take it away."
    }
}

function Confirm-Privilege {
    $held = (Invoke-Dataverse GET "systemusers($user)/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()").RolePrivileges
    $global = @($held | Where-Object { $_.Depth -eq 'Global' } | ForEach-Object { $_.PrivilegeId })
    foreach ($id in $ids) {
        if ($global -notcontains $id) { throw "$origin does not show the privilege $id for the user yet; run this once more." }
    }
}

foreach ($one in $Url) {
    $origin = $one.TrimEnd('/').ToLowerInvariant()
    if ($origin -notmatch '^https://[a-z0-9.-]+$') { throw "$one is no URL like https://contoso.crm4.dynamics.com." }
    Write-Output $origin
    $token = az account get-access-token --resource $origin --query accessToken --output tsv
    if (-not $token) { throw "No token for $origin; sign in first: az login" }
    $unit = Get-First (Invoke-Dataverse GET 'businessunits' @{
            '$filter' = '_parentbusinessunitid_value eq null'
            '$select' = 'businessunitid'
        }) 'businessunitid'
    if (-not $unit) { throw "$origin does not show its root business unit; are you a System Administrator there?" }
    $ids = @(Find-Privilege)
    $role = Confirm-Role
    $user = Confirm-User
    Confirm-Assignment
    Confirm-Privilege
    Write-Output "  the application user holds the role $roleName with $($ids.Count) privileges, organization-wide, reading only"
}
