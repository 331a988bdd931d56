#!/usr/bin/env bash
# The package is written with the app's identity, and a new role assignment takes a minute or two to reach storage:
# the first deployment after the roles were made waits until they are two minutes old.
set -euo pipefail

SETTLE_S=120
command -v az > /dev/null || exit 0
[ -n "${HOST_STORAGE_ID:-}" ] && [ -n "${IDENTITY_PRINCIPAL_ID:-}" ] || exit 0

newest=$(az role assignment list --scope "$HOST_STORAGE_ID" \
  --query "max([?principalId=='$IDENTITY_PRINCIPAL_ID'].createdOn)" --output tsv)
[ -n "$newest" ] || { echo "The app's identity has no role on $HOST_STORAGE_ID: run azd provision" >&2 && exit 1; }
# GNU and BSD date read timestamps differently; Python reads them the same everywhere
age_s=$(python3 -c 'import sys, datetime as d
print(int((d.datetime.now(d.timezone.utc) - d.datetime.fromisoformat(sys.argv[1])).total_seconds()))' "$newest")
if [ "$age_s" -lt "$SETTLE_S" ]; then
  echo "The roles are $age_s s old; waiting until storage knows them"
  sleep $((SETTLE_S - age_s))
fi
