"""Takes a person's name out of the data storage account of a deployment, safely beside the running app.

    python3 dev.py forget anna@contoso.com --storage ACCOUNT [--also ID]... [--apply]

Without --apply it only counts. ACCOUNT is the name of the data storage account, its blob endpoint, or a connection
string. Unless it is the last, you are who DefaultAzureCredential finds, such as the user of 'az login', and need
the roles Storage Blob Data Contributor and Storage Table Data Contributor there. docs/operations.md tells what is
replaced and what is not.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from azure.core.exceptions import AzureError
from azure.identity import DefaultAzureCredential

from local.forgetting import Findings, Forgetting
from shared.errors import FlowtrailError
from shared.settings import DataStorage
from shared.state.storage import Storage


def main(argv: Sequence[str] | None = None) -> int:
    options = _options(argv)
    try:
        where = data_storage(options.storage)
        credential = None if where.connection_string else DefaultAzureCredential()
        forgetting = Forgetting(Storage(where, credential), options.upn, options.also, apply=options.apply)
        findings = forgetting.run()
    except (FlowtrailError, AzureError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    _tell(findings, applied=options.apply)
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py forget", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("upn", help="user principal name of the person")
    parser.add_argument("--storage", required=True, help="account name, blob endpoint or connection string")
    parser.add_argument("--also", action="append", default=[], help="another name or id of the same person")
    parser.add_argument("--apply", action="store_true", help="do it; without this, it only counts")
    return parser.parse_args(argv)


def data_storage(text: str) -> DataStorage:
    """The account by its name in the commercial cloud, by its blob endpoint in any, or by a connection string."""
    if "=" in text:
        return DataStorage(connection_string=text)
    blob = text.rstrip("/") if "://" in text else f"https://{text}.blob.core.windows.net"
    if ".blob." not in blob:
        raise ValueError(f"{text} is no blob endpoint like https://ACCOUNT.blob.core.windows.net")
    return DataStorage(
        blob_uri=blob, queue_uri=blob.replace(".blob.", ".queue."), table_uri=blob.replace(".blob.", ".table.")
    )


def _tell(findings: Findings, *, applied: bool) -> None:
    for where, number in sorted(findings.counts.items()):
        print(f"{number:>9,}  {where}")
    if not findings.counts:
        print("Nothing was found.")
    elif applied:
        print("All of it is replaced; staged rows are when they are published, within minutes.")
    else:
        print("Nothing has been changed. Add --apply to replace all of it.")


if __name__ == "__main__":
    sys.exit(main())
