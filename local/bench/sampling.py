"""Where threads are busy, by looking at their stacks again and again."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from types import FrameType
from typing import Self

EVERY_S = 0.01
STORAGE, SERVICES, IMPORTS = "storage client", "requests to the services", "imports"
ROWS, DECODING, REST = "rows and Parquet", "decoding", "the rest"
LAYERS = (STORAGE, SERVICES, DECODING, ROWS, IMPORTS, REST)
IDLE_FILES = ("/threading.py", "/selectors.py", "/concurrent/futures/thread.py", "/concurrent/futures/_base.py")
IDLE_NAMES = frozenset({"readinto", "recv_into", "sleep", "accept", "create_connection"})
OF_ROWS = ("/shared/publishing/", "/shared/dataverse/actions.py", "/shared/dataverse/nesting.py")
OF_DECODING = ("/shared/audit/", "/shared/dataverse/action_log.py", "/shared/dataverse/values.py", "/flow_logs.py")


class Sampler:
    """Counts, while it is entered, how often threads were seen busy in each layer."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        own = threading.get_ident()
        while not self._end.wait(EVERY_S):
            for thread, frame in sys._current_frames().items():  # noqa: SLF001 - there is no other way to all stacks
                if thread != own and (layer := layer_of(frame)):
                    self.seen[layer] += 1


def layer_of(frame: FrameType) -> str | None:
    """The layer in which a stack is busy; `None` where it waits."""
    if frame.f_code.co_filename.endswith(IDLE_FILES) or frame.f_code.co_name in IDLE_NAMES:
        return None
    files = _files(frame)
    if any("importlib" in file for file in files):
        return IMPORTS
    if any("/site-packages/azure/" in file for file in files):
        return STORAGE
    if any("/site-packages/urllib3/" in file or "/shared/net/" in file for file in files):
        return SERVICES
    innermost = next((file for file in files if "/shared/" in file), "")
    if any(part in innermost for part in OF_ROWS):
        return ROWS
    return DECODING if any(part in innermost for part in OF_DECODING) else REST


def _files(frame: FrameType | None) -> list[str]:
    files: list[str] = []
    while frame is not None:
        files.append(frame.f_code.co_filename.replace("\\", "/"))
        frame = frame.f_back
    return files
