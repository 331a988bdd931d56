"""What indexes an app and runs its functions: Microsoft's worker library, or plain calls where that cannot run."""

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local.host.functions import Function, FunctionInfo
from local.host.logs import failure_text
from local.host.problems import HostStartError
from local.host.trigger_data import HttpResponse, TriggerInput

WORKER_LIBRARY = "azure_functions_runtime"
WORKER_LIBRARY_FROM = (3, 13)
# the worker library raises an import error a second time, with advice and sys.path in its message
ADVICE = re.compile(r"\. Cannot find module\. Please check the requirements\.txt .*")
RAISED_AGAIN = "\nDuring handling of the above exception, another exception occurred:\n"


@dataclass(frozen=True)
class Outcome:
    """How one execution ended; `error` is None for success, `response` only an HTTP function has."""

    error: str | None = None
    stack_trace: str = ""
    response: HttpResponse | None = None


class Engine(Protocol):
    """Indexes once, then runs functions; its state is the process's, so a process serves one app."""

    @property
    def description(self) -> str: ...

    async def index(self, app_dir: Path) -> list[FunctionInfo]: ...

    async def run(self, function: Function, given: TriggerInput, invocation_id: str) -> Outcome: ...

    def running_function(self) -> str | None:
        """The function the calling thread or task runs; unknown in threads a function started itself."""
        ...

    def stop(self) -> None: ...


def choose_engine(*, direct: bool = False) -> Engine:
    """The worker library on Python 3.13 and newer if it is installed, unless `direct` is asked for."""
    from_library = sys.version_info >= WORKER_LIBRARY_FROM and importlib.util.find_spec(WORKER_LIBRARY)
    if from_library and not direct:
        from local.host.worker import WorkerEngine  # noqa: PLC0415 - exists on Python 3.13 and newer only

        return WorkerEngine()
    from local.host.direct import DirectEngine  # noqa: PLC0415 - the other engine does not need it

    return DirectEngine()


def index_failure(error: str, stack_trace: str) -> HostStartError:
    if ADVICE.search(error):
        error, stack_trace = ADVICE.sub("", error), stack_trace.partition(RAISED_AGAIN)[0]
    return HostStartError([f"indexing function_app.py: {failure_text(error, stack_trace)}"])


async def index(engine: Engine, app_dir: Path) -> list[FunctionInfo]:
    """Indexes the app.

    Raises:
        HostStartError: it cannot be imported, it ends the process, or a function is not declared correctly.
    """
    try:
        return await engine.index(app_dir)
    except SystemExit as error:
        raise index_failure(f"SystemExit: {error}", "") from error
