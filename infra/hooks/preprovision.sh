#!/usr/bin/env bash
# Before anything is made: what azd cannot know and a deployment would only say after minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."

there() { # az in the subscription that is deployed to, which need not be the one az prefers
  az "$@" ${AZURE_SUBSCRIPTION_ID:+--subscription "$AZURE_SUBSCRIPTION_ID"}
}

if command -v az > /dev/null; then
  there account show --output none || { echo "Sign the Azure CLI in as well, to the same subscription: az login" >&2 && exit 1; }
  for provider in Microsoft.Web Microsoft.App Microsoft.Storage Microsoft.Insights Microsoft.OperationalInsights; do
    state=$(there provider show --namespace "$provider" --query registrationState --output tsv || true)
    if [ "$state" != "Registered" ]; then
      echo "Registering the resource provider $provider"
      there provider register --namespace "$provider" --wait
    fi
  done
  if [ -n "${AZURE_LOCATION:-}" ]; then
    offered=$(there functionapp list-flexconsumption-locations --query "[?name=='$AZURE_LOCATION'].name | [0]" --output tsv)
    [ -n "$offered" ] || { echo "Flex Consumption is not offered in $AZURE_LOCATION" >&2 && exit 1; }
  fi
else
  echo "Without the Azure CLI the region and the resource providers go unchecked."
fi
if [ "${MONTHLY_BUDGET:-0}" != "0" ] && [ -z "${BUDGET_START:-}" ]; then
  azd env set BUDGET_START "$(date -u +%Y-%m-01)" # kept, for Azure never lets the start of a budget change
fi
if [ "${FLOWTRAIL_SKIP_CHECKS:-}" != "true" ]; then
  python3 dev.py infra check
fi
