"""Cold start: a fresh process imports the app and indexes its functions; then what each function imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from local.bench.measuring import APP, Case, Size, Way, Work
from local.desk import ROOT

HEAVY = ("pyarrow", "azure.storage.blob", "azure.data.tables", "azure.identity", "msgspec", "requests")
FUNCTIONS = (
    "poll_flow_sessions",
    "decode_additional_context",
    "poll_audit_content",
    "sync_inventory",
    "publish",
    "publish_day",
    "reconcile",
    "health",
    "status",
)
SETTINGS = {
    "ENVIRONMENTS": "https://contoso.crm4.dynamics.com",
    "TENANT_ID": "11111111-1111-1111-1111-111111111111",
    "DataStorage": "UseDevelopmentStorage=true",
}
ROUNDS = 10
BARE = """
import sys, time
{before}
wall_s, cpu_s = time.perf_counter(), time.process_time()
import {module} as it
if hasattr(it, "app") and hasattr(it.app, "get_functions"):
    it.app.get_functions()
wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
import json
print(json.dumps(dict(wall_s=wall_s, cpu_s=cpu_s, heavy=[name for name in {heavy!r} if name in sys.modules])))
"""


def _prepare(_folder: Path, _quick: bool) -> Size:
    return Size(1)


def importing(module: str, before: str = "") -> Any:
    """The import of a module in a bare process that has imported nothing but what `before` names."""

    def start(_folder: Path, _stack: ExitStack) -> Work:
        return lambda: _in_a_bare_process(module, before)

    return start


def _in_a_bare_process(module: str, before: str) -> dict[str, Any]:
    code = BARE.format(before=f"import {before}" if before else "", module=module, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **SETTINGS},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout)


LIBRARY = "of which azure.functions"
CASES = (
    Case(
        "cold-start",
        "A fresh process, imports and indexing",
        "start",
        _prepare,
        (
            Way(APP, importing("function_app"), repeats=False),
            Way(LIBRARY, importing("azure.functions"), repeats=False),
            *(
                Way(
                    f"first {name}", importing(f"shared.functions.{name}", "function_app"), repeats=False, rounds=3
                )
                for name in FUNCTIONS
            ),
        ),
        ROUNDS,
    ),
)
