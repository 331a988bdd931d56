"""Works off a whole tenant with the whole app in one process, and tells as it goes: a JSON line for each lot.

python tests/hostile/load.py          with the app's settings in the environment
python tests/hostile/load.py beside   another instance, which only takes messages, until its standard input ends
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[:3]]

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError  # noqa: E402 - the path comes first
from azure.storage.queue import (  # noqa: E402 - the path comes first
    QueueClient,
    QueueMessage,
    QueueServiceClient,
    TextBase64DecodePolicy,
    TextBase64EncodePolicy,
)

from shared.app import App  # noqa: E402
from shared.settings import load_settings  # noqa: E402
from shared.state.names import Queue  # noqa: E402

AT_ONCE = 12  # messages in work at a time: `batchSize` and `newBatchThreshold` of host.json
MOST_DEQUEUES = 5
ROUNDS = 60
PAUSE_S = 0.5
SAMPLED_S = 2.0
HIDDEN_S = 900
DAYS_OF_OWN_LOG = 2  # each round writes into the ingest log, which is published as well
FUNCTIONS = {Queue.ADDITIONAL_CONTEXT: "decode_additional_context", Queue.PUBLISH_DAY: "publish_day"}
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Lot:
    """Where the work stands; `backlog` counts messages, later ones too; `peak_mib` is the most until then."""

    what: str
    at_s: float
    rss_mib: float
    peak_mib: float
    backlog: int
    failures: int


class Load:
    def __init__(self, app: App, account: str) -> None:
        self.app = app
        self.failures: list[str] = []
        self.at_once = AT_ONCE
        self._began_s = time.monotonic()
        self._service = QueueServiceClient.from_connection_string(account)
        self._policies: dict[str, Any] = {
            "message_encode_policy": TextBase64EncodePolicy(),
            "message_decode_policy": TextBase64DecodePolicy(),
        }
        self._queues: dict[Queue, QueueClient] = {
            queue: self._service.get_queue_client(queue, **self._policies) for queue in Queue
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
            if not logs and days <= DAYS_OF_OWN_LOG and not self._backlog():
                return

    def beside(self, over: threading.Event) -> Iterator[Lot]:
        """Messages of all queues as they come."""
        while not over.wait(PAUSE_S):
            for queue in Queue:
                yield from self._messages(queue)

    def once(self, function: str) -> Lot:
        return self._timer(function)

    def work_off(self, queue: Queue) -> None:
        for _ in self._messages(queue):
            pass

    @contextmanager
    def side_by_side(self, *timers: str) -> Iterator[None]:
        """Each timer's function again and again and messages as they come, all at once, until the block ends."""
        over = threading.Event()

        def again_and_again(work: Callable[[], object]) -> None:
            while not over.wait(PAUSE_S):
                work()

        works = [partial(self._attempt, timer) for timer in timers] + [
            partial(self.work_off, one) for one in Queue
        ]
        with ThreadPoolExecutor(len(works)) as pool:
            done = [pool.submit(again_and_again, work) for work in works]
            try:
                yield
            finally:
                over.set()
        for one in done:
            one.result()

    def _timer(self, function: str) -> Lot:
        self._attempt(function)
        return self.lot(function)

    def _messages(self, queue: Queue) -> Generator[Lot, None, int]:
        """All of a queue, always as many messages in work as the host would have."""
        with ThreadPoolExecutor(self.at_once) as pool:
            working = [pool.submit(self._one_by_one, queue) for _ in range(self.at_once)]
            while wait(working, SAMPLED_S).not_done:
                yield self.lot(str(queue))
        worked = sum(one.result() for one in working)
        if worked:
            yield self.lot(str(queue))
        return worked

    def _one_by_one(self, queue: Queue) -> int:
        worked = 0
        while message := self._received(queue):
            self._settle(queue, message)
            worked += 1
        return worked

    def _received(self, queue: Queue) -> QueueMessage | None:
        with suppress(ResourceNotFoundError):  # it is there as soon as the app has come as far
            return self._queues[queue].receive_message(visibility_timeout=HIDDEN_S)
        return None

    def _settle(self, queue: Queue, message: QueueMessage) -> None:
        """As the host does with a message after its function; only that it is seen again at once."""
        client = self._queues[queue]
        if self._attempt(FUNCTIONS[queue], message.content, message.dequeue_count or 1):
            client.delete_message(message)
        elif (message.dequeue_count or 1) < MOST_DEQUEUES:
            client.update_message(message, visibility_timeout=1)
        else:
            self._poison(queue).send_message(message.content, time_to_live=-1)
            client.delete_message(message)

    def _poison(self, queue: Queue) -> QueueClient:
        client = self._service.get_queue_client(queue.poison, **self._policies)
        with suppress(ResourceExistsError):
            client.create_queue()
        return client

    def _backlog(self) -> int:
        return sum(map(self._waiting, Queue))

    def _waiting(self, queue: Queue) -> int:
        with suppress(ResourceNotFoundError):
            return self._queues[queue].get_queue_properties().approximate_message_count or 0
        return 0

    def _attempt(self, function: str, *arguments: Any) -> bool:
        try:
            importlib.import_module(f"shared.functions.{function}").run(self.app, *arguments)
        except Exception as error:  # noqa: BLE001 - the host goes on whatever its functions raise
            self.failures.append(f"{function}: {error}")
            return False
        return True

    def lot(self, what: str) -> Lot:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Lot(
            what,
            at_s=round(time.monotonic() - self._began_s, 1),
            rss_mib=round(pages * PAGE_BYTES / 2**20, 1),
            peak_mib=round(peak_kib / 2**10, 1),
            backlog=self._backlog(),
            failures=len(self.failures),
        )


def end_of_input() -> threading.Event:
    over = threading.Event()

    def wait_for_it() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait_for_it, daemon=True).start()
    return over


def main() -> None:
    logging.disable(logging.CRITICAL)
    load = Load(App(load_settings(os.environ)), os.environ["DataStorage"])  # noqa: SIM112 - its name
    for lot in load.beside(end_of_input()) if sys.argv[1:] == ["beside"] else load.all_of_it():
        print(json.dumps(asdict(lot)), flush=True)  # noqa: T201 - this is what it is for
    for failure in load.failures[:10]:
        print(failure, file=sys.stderr)  # noqa: T201 - for the person who looks


if __name__ == "__main__":
    main()
