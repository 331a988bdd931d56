"""Microsoft's own KQL parser and binder, installed from the locked npm package when a test first asks."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from local.azurite import Node, find_node
from local.desk import LOCAL
from local.npm import install_locked

PACKAGE = Path(__file__).parent / "kql"
LOCK = PACKAGE / "package-lock.json"
# of the tables that Application Insights fills in a workspace, the columns that queries may rely on:
# https://learn.microsoft.com/azure/azure-monitor/reference/tables/apptraces and .../apprequests
TABLES = {
    "AppTraces": (
        "(TimeGenerated: datetime, Message: string, SeverityLevel: int, Properties: dynamic,"
        " OperationName: string, OperationId: string, AppRoleName: string, AppRoleInstance: string,"
        " ItemCount: int, _ResourceId: string)"
    ),
    "AppRequests": (
        "(TimeGenerated: datetime, Name: string, OperationName: string, Success: bool, ResultCode: string,"
        " DurationMs: real, Properties: dynamic, AppRoleName: string, ItemCount: int, _ResourceId: string)"
    ),
}


@cache
def _library() -> tuple[Node, Path]:
    node = find_node()
    assert node, "dev.py installs Node.js where there is none"
    folder = LOCAL / f"kql-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    if not (folder / "installed").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", LOCK.name):
            shutil.copyfile(PACKAGE / name, folder / name)
        install_locked(node.npm, folder)
        (folder / "installed").touch()
    return node, folder


def check(queries: dict[str, str]) -> dict[str, dict[str, Any]]:
    """For each query: `problems`, a list of texts, and `columns`, the names of what it gives."""
    node, folder = _library()
    done = subprocess.run(  # noqa: S603 - our own script
        [node.executable, PACKAGE / "check.js", folder],
        input=json.dumps({"tables": TABLES, "queries": queries}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)
