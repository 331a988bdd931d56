"""What a start and a run cost, counted rather than timed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from azure.core.pipeline.transport import HttpRequest
from integration.stage import Stage, a_log, a_run, bare_world, on_stage, run_id, with_runs
from support import REQUIRED

from local.desk import ROOT
from shared.dataverse.log_messages import RUNS_PER_MESSAGE
from shared.state.names import Queue

HEAVY = ("pyarrow", "azure.storage.blob", "azure.data.tables", "azure.identity", "requests", "urllib3")
PRINT_HEAVY = f"import json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
LOG = json.dumps({"actions": [{"name": "A", "systemActionName": "SetVariable", "status": "Succeeded"}]}).encode()


def imported_by(*modules: str) -> set[str]:
    """Which of the heavy modules are there after these were imported, in a process of their own."""
    code = "\n".join([*(f"import {module}" for module in modules), PRINT_HEAVY])
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **REQUIRED},
        check=True,
        capture_output=True,
        text=True,
    )
    return set(json.loads(done.stdout))


def test_indexing_the_functions_imports_nothing_heavy() -> None:
    assert imported_by("function_app") == set()


def test_the_two_pages_and_the_report_need_nothing_that_reads_files_of_rows() -> None:
    needed = {"azure.data.tables", "azure.storage.blob", "requests", "urllib3"}
    assert imported_by(*(f"shared.functions.{name}" for name in ("health", "status", "report"))) == needed


def requests_of(stage: Stage, work: Callable[[], object]) -> list[str]:
    """The storage requests that something sends."""
    sent: list[str] = []

    def count(request: HttpRequest) -> None:
        sent.append(f"{request.method} {request.url}")

    stage.transport.before = count
    work()
    stage.transport.before = lambda _: None
    return sent


@pytest.mark.parametrize(("runs", "most"), [(RUNS_PER_MESSAGE, 24), (1, 5)])
def test_a_message_of_runs_reads_each_run_once_and_writes_all_together(account: str, runs: int, most: int) -> None:
    world = with_runs(bare_world(), *[a_run(number, file=a_log(LOG)) for number in range(runs)])
    with on_stage(world, account) as stage:
        stage.run("poll_flow_sessions")
        [(body, _)] = stage.messages(Queue.ADDITIONAL_CONTEXT)
        sent = requests_of(stage, lambda: stage.run("decode_additional_context", body, 1))
        assert len(sent) <= most, sent
        stage.publish()
        assert len(stage.rows("fact_flow_action")) == runs
        assert stage.by_id()[run_id(0)]["log_status"] == "loaded"
