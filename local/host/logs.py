"""Log records on standard error, one readable line each: time (UTC), level, function, message."""

import logging
import re
import time
from collections.abc import Callable

FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(function)-24s %(message)s"
# the SDKs tell of each request, and the worker library of each step, at INFO
SILENCED = {"azure": logging.WARNING, "azure.functions": logging.CRITICAL, "urllib3": logging.WARNING}
FRAME_OF_HOST = re.compile(
    r'  File "[^"]*(?:azure_functions_runtime|concurrent.futures|importlib|local.host.direct)[^"]*", line .*\n'
    r"(?:    .*\n)*"
)


def write_logs(running_function: Callable[[], str | None]) -> None:
    """Sends all log records to standard error; `running_function` names the function that logs."""
    handler = logging.StreamHandler()
    formatter = logging.Formatter(FORMAT, datefmt="%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(_name_function(running_function))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name, level in SILENCED.items():
        logging.getLogger(name).setLevel(level)


def _name_function(running_function: Callable[[], str | None]) -> Callable[[logging.LogRecord], bool]:
    def name(record: logging.LogRecord) -> bool:
        if not hasattr(record, "function"):
            record.function = "host" if record.name == "host" else running_function() or "-"
        return True

    return name


def failure_text(error: str, stack_trace: str) -> str:
    """The error in the first line, then, indented, the frames of the app."""
    before_error, found, _ = FRAME_OF_HOST.sub("", stack_trace).rpartition(error)
    frames = before_error.splitlines()[: -1 if found and not before_error.endswith("\n") else None]
    if not any(line.startswith('  File "') for line in frames):
        return error
    return "\n    ".join([error, *frames])
