#!/usr/bin/env bash
# Lets the app's identity read the Microsoft 365 audit feed. Safe to repeat.
#
#   infra/grant-audit.sh [--dlp] [--search] [--graph URL] [PRINCIPAL_ID]
#
# PRINCIPAL_ID is the object id of the identity; by default what azd noted as IDENTITY_PRINCIPAL_ID. --dlp adds
# ActivityFeed.ReadDlp, which only AUDIT_CONTENT_TYPES with DLP.All needs, --search AuditLogsQuery.Read.All of
# Microsoft Graph, which only AUDIT_SEARCH needs. URL is the root of Microsoft Graph, by default that of the cloud of
# the Azure CLI; a DoD tenant has https://dod-graph.microsoft.us. It takes the Azure CLI, signed in as somebody who may
# assign application roles: Privileged Role Administrator, or Global Administrator.
set -euo pipefail

API="c5393580-f805-4401-95e8-94b7a6ef2fc2" # Office 365 Management APIs, the same in every tenant
GRAPH_API="00000003-0000-0000-c000-000000000000" # Microsoft Graph, likewise
roles=("ActivityFeed.Read")
search=""
root=""
principal=""
while [ $# -gt 0 ]; do
  case "$1" in
    --dlp) roles+=("ActivityFeed.ReadDlp") ;;
    --search) search="yes" ;;
    --graph) root="${2:-}" && shift ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 0 ;;
    -*) echo "grant-audit.sh: there is no option $1" >&2 && exit 2 ;;
    *) principal="$1" ;;
  esac
  shift
done

stop() {
  echo "grant-audit.sh: $*" >&2
  exit 1
}

command -v az > /dev/null || stop "the Azure CLI is needed: https://aka.ms/azure-cli"
if [ -z "$principal" ]; then
  principal="${IDENTITY_PRINCIPAL_ID:-}"
  [ -n "$principal" ] || principal=$(azd env get-value IDENTITY_PRINCIPAL_ID 2> /dev/null) || principal=""
fi
[[ "$principal" =~ ^[0-9a-fA-F-]{36}$ ]] ||
  stop "give the object id of the identity, the output IDENTITY_PRINCIPAL_ID of the deployment"

[ -n "$root" ] || root=$(az cloud show --query endpoints.microsoftGraphResourceId --output tsv)
root="${root%/}"
[[ "$root" =~ ^https://[a-z0-9.-]+$ ]] || stop "$root is no URL like https://graph.microsoft.com"

get() { # path, query
  az rest --only-show-errors --method GET --resource "$root" --url "$root/v1.0/$1" --query "$2" --output tsv
}

post() { # path, body, query
  az rest --only-show-errors --method POST --resource "$root" --url "$root/v1.0/$1" \
    --headers "Content-Type=application/json" --body "$2" --query "$3" --output tsv
}

name=$(get "servicePrincipals/$principal" displayName) || stop "there is no identity with the object id $principal"
echo "Identity: $name ($principal)"

find_resource() { # app id, name
  resource=$(get "servicePrincipals?\$filter=appId%20eq%20'$1'&\$select=id" "value[0].id")
  if [ -z "$resource" ]; then
    resource=$(post servicePrincipals "{\"appId\":\"$1\"}" id) ||
      stop "the service principal of $2 is missing; an Application Administrator may create it: az ad sp create --id $1"
    echo "Created the service principal of $2"
  fi
}

assigned() { # role id
  get "servicePrincipals/$principal/appRoleAssignments?\$top=999" \
    "value[?resourceId=='$resource' && appRoleId=='$1'].id | [0]"
}

grant() { # the name of the resource, the value of a role
  local value="$2" role
  # by value: many published scripts carry wrong ids
  role=$(get "servicePrincipals/$resource" "appRoles[?value=='$value' && contains(allowedMemberTypes, 'Application')].id | [0]")
  [ -n "$role" ] || stop "$1 of this tenant have no application role $value"
  if [ -n "$(assigned "$role")" ]; then
    echo "$value: assigned already"
    return
  fi
  post "servicePrincipals/$resource/appRoleAssignedTo" \
    "{\"principalId\":\"$principal\",\"resourceId\":\"$resource\",\"appRoleId\":\"$role\"}" id > /dev/null
  for _ in 1 2 3 4 5 6; do
    [ -z "$(assigned "$role")" ] || break
    sleep 5 # the directory answers from copies
  done
  [ -n "$(assigned "$role")" ] || stop "$value was assigned but does not show yet; run this once more in a minute"
  echo "$value: assigned"
}

find_resource "$API" "the Office 365 Management APIs"
for value in "${roles[@]}"; do grant "the Office 365 Management APIs" "$value"; done
if [ -n "$search" ]; then
  find_resource "$GRAPH_API" "Microsoft Graph"
  grant "the APIs of Microsoft Graph" "AuditLogsQuery.Read.All"
fi
echo "Done. A token that the app already holds lacks the new role for up to a day: restart the app to use it at once."
