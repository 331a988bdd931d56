#!/usr/bin/env bash
# Lets the app's identity read the runs of Dataverse environments, and nothing else. Safe to repeat.
#
#   infra/grant-dataverse.sh [--client-id ID] [URL ...]
#
# ID is the client id of the identity, by default what azd noted as IDENTITY_CLIENT_ID; the URLs are those of the
# environments, by default those of ENVIRONMENTS. In each it makes the security role "Flowtrail reader" hold exactly
# the privileges of dataverse-role.txt, adds the identity as an application user and gives it that role. It takes the
# Azure CLI, signed in as a System Administrator of every environment.
set -euo pipefail

ROLE="Flowtrail reader"
here=$(cd "$(dirname "$0")" && pwd)
client=""
urls=()
while [ $# -gt 0 ]; do
  case "$1" in
    --client-id) client="${2:-}" && shift ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 0 ;;
    -*) echo "grant-dataverse.sh: there is no option $1" >&2 && exit 2 ;;
    *) urls+=("$1") ;;
  esac
  shift
done

stop() {
  echo "grant-dataverse.sh: $*" >&2
  exit 1
}

noted() { # names: the first that the environment or azd knows
  local name value
  for name in "$@"; do
    value="${!name:-}"
    [ -n "$value" ] || value=$(azd env get-value "$name" 2> /dev/null) || value="" # azd prints its errors here too
    [ -z "$value" ] || break
  done
  printf '%s' "$value"
}

command -v az > /dev/null || stop "the Azure CLI is needed: https://aka.ms/azure-cli"
[ -n "$client" ] || client=$(noted IDENTITY_CLIENT_ID)
[[ "$client" =~ ^[0-9a-fA-F-]{36}$ ]] ||
  stop "give the client id of the identity, the output IDENTITY_CLIENT_ID of the deployment"
if [ ${#urls[@]} -eq 0 ]; then
  # plain URLs or a JSON list: whatever begins with https and goes on like a host
  while read -r url; do urls+=("$url"); done < <(noted ENVIRONMENTS CONFIGURED_ENVIRONMENTS | grep -oE 'https://[A-Za-z0-9.-]+' || true)
fi
[ ${#urls[@]} -gt 0 ] || stop "give the URLs of the environments, like https://contoso.crm4.dynamics.com"

privileges=() # names; optional ones begin with ?
while read -r name _; do privileges+=("$name"); done < <(grep -E '^\??prv' "$here/dataverse-role.txt")

get() { # path, JMESPath query, OData options
  local path=$1 query=$2
  shift 2
  az rest --only-show-errors --method GET --resource "$origin" --url "$origin/api/data/v9.2/$path" \
    ${1:+--url-parameters "$@"} --query "$query" --output tsv
}

post() { # path, body, JMESPath query of the answer
  az rest --only-show-errors --method POST --resource "$origin" --url "$origin/api/data/v9.2/$1" \
    --headers "Content-Type=application/json" "Prefer=return=representation" \
    --body "$2" ${3:+--query "$3" --output tsv}
}

# Fills `ids` with the privilege ids of this environment.
find_privileges() {
  local wanted name found known id
  wanted=$(printf "'%s'," "${privileges[@]#\?}")
  known=$(get privileges "value[].[name, privilegeid]" \
    "\$filter=Microsoft.Dynamics.CRM.In(PropertyName='name',PropertyValues=[${wanted%,}])" "\$select=name,privilegeid")
  ids=()
  for name in "${privileges[@]}"; do
    found=$(awk -v wanted="${name#\?}" 'tolower($1) == tolower(wanted) { print $2 }' <<< "$known")
    if [ -n "$found" ]; then
      for id in $found; do ids+=("$id"); done
    elif [[ "$name" == \?* ]]; then
      echo "  ${name#\?}: this environment does not have it, left out"
    else
      stop "$origin does not have the privilege $name; is Power Automate for desktop set up there?"
    fi
  done
}

ensure_role() {
  role=$(get roles "value[0].roleid" "\$filter=name eq '$ROLE' and _businessunitid_value eq $unit" "\$select=roleid")
  if [ -z "$role" ]; then
    role=$(post roles "{\"name\":\"$ROLE\",\"businessunitid@odata.bind\":\"/businessunits($unit)\"}" roleid)
    echo "  role $ROLE: created"
  fi
  local entries
  entries=$(printf "{\"PrivilegeId\":\"%s\",\"Depth\":\"Global\",\"BusinessUnitId\":\"$unit\"}," "${ids[@]}")
  # replaced, not added to: a privilege that somebody gave it since is gone
  post "roles($role)/Microsoft.Dynamics.CRM.ReplacePrivilegesRole" "{\"Privileges\":[${entries%,}]}" "" > /dev/null
  echo "  role $ROLE: ${#ids[@]} privileges, organization-wide, reading only"
}

ensure_user() {
  local found disabled
  found=$(get systemusers "value[].[systemuserid, isdisabled]" \
    "\$filter=applicationid eq $client" "\$select=systemuserid,isdisabled")
  read -r user disabled <<< "$found"
  if [ "$disabled" = "true" ]; then
    stop "the application user in $origin is deactivated; activate it (Power Platform admin center, the environment," \
      "Settings, Users + permissions, Application users) and run this again"
  fi
  if [ -n "$user" ]; then
    echo "  application user: there already"
    return
  fi
  user=$(post systemusers \
    "{\"applicationid\":\"$client\",\"businessunitid@odata.bind\":\"/businessunits($unit)\"}" systemuserid)
  echo "  application user: created"
}

ensure_assigned() {
  local held
  held=$(get "systemusers($user)/systemuserroles_association" "value[].[roleid, name]" "\$select=roleid,name")
  if grep -qi "^$role" <<< "$held"; then
    echo "  role of the user: assigned already"
  else
    post "systemusers($user)/systemuserroles_association/\$ref" \
      "{\"@odata.id\":\"$origin/api/data/v9.2/roles($role)\"}" "" > /dev/null
    echo "  role of the user: assigned"
  fi
  local more
  more=$(grep -vi "^$role" <<< "$held" | cut -f 2 | paste -sd, - || true)
  [ -z "$more" ] || echo "  WARNING: the user also holds $more, which the app does not need: take it away"
}

verify() {
  local global id
  global=$(get "systemusers($user)/Microsoft.Dynamics.CRM.RetrieveUserPrivileges()" \
    "RolePrivileges[?Depth=='Global'].PrivilegeId")
  for id in "${ids[@]}"; do
    grep -qi "^$id" <<< "$global" || stop "$origin does not show the privilege $id for the user yet; run this once more"
  done
  echo "  verified: the user holds all of it at organization depth"
}

for url in "${urls[@]}"; do
  origin=$(printf '%s' "${url%/}" | tr '[:upper:]' '[:lower:]')
  [[ "$origin" =~ ^https://[a-z0-9.-]+$ ]] || stop "$url is no URL like https://contoso.crm4.dynamics.com"
  echo "$origin"
  unit=$(get businessunits "value[0].businessunitid" "\$filter=_parentbusinessunitid_value eq null" "\$select=businessunitid")
  [ -n "$unit" ] || stop "$origin does not show its root business unit; are you a System Administrator there?"
  find_privileges
  ensure_role
  ensure_user
  ensure_assigned
  verify
done
