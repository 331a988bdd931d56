"""What happens in the host, for programs: one JSON object per event."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

Event = dict[str, Any]


class EventStream:
    """Counts invocations and hands each event on, from any thread and one at a time."""

    def __init__(self, receive: Callable[[Event], None] | None = None) -> None:
        self._receive = receive
        self._lock = threading.Lock()
        self._invocations: Counter[tuple[str, bool]] = Counter()

    def emit(self, event: str, **fields: Any) -> None:
        with self._lock:
            if event == "invoked":
                self._invocations[fields["function"], fields["ok"]] += 1
            if self._receive:
                self._receive({"event": event, **fields})

    def invocations(self) -> dict[str, dict[str, int]]:
        """By function: how many invocations ended ok and how many failed."""
        with self._lock:
            counts: dict[str, dict[str, int]] = {}
            for (function, ok), count in sorted(self._invocations.items()):
                counts.setdefault(function, {"ok": 0, "failed": 0})["ok" if ok else "failed"] = count
            return counts


def write_lines(stream: IO[str]) -> Callable[[Event], None]:
    """A receiver that writes each event as a line of JSON."""

    def write(event: Event) -> None:
        # who reads may be gone; that is no reason to stop the app
        with suppress(OSError, ValueError):
            stream.write(json.dumps(event, default=str) + "\n")
            stream.flush()

    return write
