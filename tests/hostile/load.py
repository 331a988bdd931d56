"""Works off a whole tenant with the whole app in one process, and tells as it goes: a JSON line for each lot.

python tests/hostile/load.py   with the app's settings in the environment
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[:3]]

from azure.storage.queue import (  # noqa: E402 - the path comes first
    QueueClient,
    QueueServiceClient,
    TextBase64DecodePolicy,
    TextBase64EncodePolicy,
)

from shared.app import App  # noqa: E402
from shared.settings import load_settings  # noqa: E402
from shared.state.names import Queue  # noqa: E402

AT_ONCE = 8  # messages in work at a time, as host.json has it
LOT = 32
ROUNDS = 60
DAYS_OF_OWN_LOG = 2  # each round writes into the ingest log, which is published as well
FUNCTIONS = {Queue.ADDITIONAL_CONTEXT: "decode_additional_context", Queue.PUBLISH_DAY: "publish_day"}
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Lot:
    """Where the work stands; `backlog` counts messages, those that come later too."""

    what: str
    at_s: float
    rss_mib: float
    backlog: int
    failures: int


class Load:
    def __init__(self, app: App, account: str) -> None:
        self.app = app
        self.failures: list[str] = []
        self._began_s = time.monotonic()
        service = QueueServiceClient.from_connection_string(account)
        policies: dict[str, Any] = {
            "message_encode_policy": TextBase64EncodePolicy(),
            "message_decode_policy": TextBase64DecodePolicy(),
        }
        self._queues: dict[Queue, QueueClient] = {
            queue: service.get_queue_client(queue, **policies) for queue in Queue
        }

    def all_of_it(self) -> Iterator[Lot]:
        """Rounds of every function, until one finds nothing left to do."""
        yield self._timer("sync_inventory")
        for _ in range(ROUNDS):
            yield self._timer("poll_flow_sessions")
            yield self._timer("poll_audit_content")
            logs = yield from self._messages(Queue.ADDITIONAL_CONTEXT)
            yield self._timer("publish")
            days = yield from self._messages(Queue.PUBLISH_DAY)
            if not logs and days <= DAYS_OF_OWN_LOG:
                return

    def once(self, function: str) -> Lot:
        return self._timer(function)

    def _timer(self, function: str) -> Lot:
        self._attempt(function)
        return self._lot(function)

    def _messages(self, queue: Queue) -> Generator[Lot, None, int]:
        worked = 0
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while lot := list(self._queues[queue].receive_messages(max_messages=LOT, visibility_timeout=600)):
                done = pool.map(lambda message: self._attempt(FUNCTIONS[queue], message.content, 1), lot)
                for message, succeeded in zip(lot, done, strict=True):
                    if succeeded:
                        self._queues[queue].delete_message(message)
                    else:
                        self._queues[queue].update_message(message, visibility_timeout=1)
                worked += len(lot)
                yield self._lot(str(queue))
        return worked

    def _attempt(self, function: str, *arguments: Any) -> bool:
        try:
            importlib.import_module(f"shared.functions.{function}").run(self.app, *arguments)
        except Exception as error:  # noqa: BLE001 - the host goes on whatever its functions raise
            self.failures.append(f"{function}: {error}")
            return False
        return True

    def _lot(self, what: str) -> Lot:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        backlog = sum(self.app.storage.queues.length(queue) for queue in Queue)
        at_s = time.monotonic() - self._began_s
        return Lot(what, round(at_s, 1), round(pages * PAGE_BYTES / 2**20, 1), backlog, len(self.failures))


def main() -> None:
    logging.disable(logging.CRITICAL)
    load = Load(App(load_settings(os.environ)), os.environ["DataStorage"])  # noqa: SIM112 - its name
    for lot in load.all_of_it():
        print(json.dumps(asdict(lot)), flush=True)  # noqa: T201 - this is what it is for
    for failure in load.failures[:10]:
        print(failure, file=sys.stderr)  # noqa: T201 - for the person who looks


if __name__ == "__main__":
    main()
