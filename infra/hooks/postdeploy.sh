#!/usr/bin/env bash
# What is left to do, with the names filled in.
set -euo pipefail
cat << TEXT

The app runs. Two permissions make it see anything (docs/deploy.md, both safe to repeat):

  infra/grant-audit.sh ${IDENTITY_PRINCIPAL_ID:-}
  infra/grant-dataverse.sh --client-id ${IDENTITY_CLIENT_ID:-} URL ...

Then its status page, behind a key that only you fetch:

  key=\$(az functionapp function keys list --resource-group ${AZURE_RESOURCE_GROUP:-GROUP} \\
    --subscription ${AZURE_SUBSCRIPTION_ID:-SUBSCRIPTION} --name ${FUNCTION_APP_NAME:-APP} --function-name status --query default --output tsv)
  ${FUNCTION_APP_URL:-https://APP.azurewebsites.net}/api/status?code=\$key

TEXT
