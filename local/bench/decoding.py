"""How many runs' action logs one instance fetches, decodes and stages a second, and what of a core that takes.

The tenant and the storage emulator run in processes of their own, so the CPU time is the app's alone. Dataverse
allows 6,000 requests in 300 s to one environment, which is 20 runs a second where each takes one request.

    python -m local.bench.decoding [--runs 600] [--latency-s 0.02]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from azure.storage.queue import QueueServiceClient, TextBase64DecodePolicy

from local.azurite import Azurite
from shared.app import App
from shared.functions import decode_additional_context, poll_flow_sessions
from shared.settings import load_settings
from shared.state.names import Queue

SIDE_BY_SIDE = 8  # `batchSize` of host.json: messages that one instance works on at a time
LIMIT_PER_S = 20.0


def main() -> None:
    options = _options()
    with (
        tempfile.TemporaryDirectory() as folder,
        Azurite(Path(folder)) as azurite,
        _tenant(options.runs, options.latency_s) as settings,
    ):
        os.environ.update({name: value for name, value in settings.items() if name.startswith("IDENTITY_")})
        history = (datetime.now(UTC) - timedelta(days=30)).date().isoformat()
        app = App(load_settings({**settings, **azurite.app_settings(), "HISTORY_START": history}))
        polled = cost_of(lambda: poll_flow_sessions.run(app))
        bodies = _messages(azurite.connection_string)
        print(f"poll: {polled.line(options.runs, 'runs')}")
        decoded = cost_of(lambda: _decode(app, bodies))
        runs = sum(len(json.loads(body)["session_ids"]) for body in bodies)
        print(f"decode, {SIDE_BY_SIDE} messages at a time, {options.latency_s * 1000:g} ms latency: ", end="")
        print(decoded.line(runs, "logs"))
        print(
            f"the service allows {LIMIT_PER_S:g} a second: {runs / decoded.wall_s / LIMIT_PER_S:.1f} times that;"
        )
        print(f"at that rate the app takes {LIMIT_PER_S * decoded.cpu_s / runs:.2f} of a core")


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds that something took."""

    wall_s: float
    cpu_s: float

    def line(self, count: int, what: str) -> str:
        each_ms = self.cpu_s / count * 1000
        return (
            f"{count} {what} in {self.wall_s:.1f} s, {count / self.wall_s:.0f} a second, {each_ms:.1f} ms CPU each"
        )


def cost_of(work: Callable[[], object]) -> Cost:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def _decode(app: App, bodies: list[str]) -> None:
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(lambda body: decode_additional_context.run(app, body, 1), bodies))


def _messages(account: str) -> list[str]:
    queues = QueueServiceClient.from_connection_string(account)
    queue = queues.get_queue_client(Queue.ADDITIONAL_CONTEXT, message_decode_policy=TextBase64DecodePolicy())
    return [message.content for message in queue.receive_messages(messages_per_page=32, visibility_timeout=3600)]


@contextmanager
def _tenant(runs: int, latency_s: float) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "local.tenant", "--environments", "1", "--sessions", str(runs)]
    command += ["--blobs", "0", "--live-s", "0", "--latency-s", str(latency_s)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout  # noqa: S101 - it is a pipe
        yield json.loads(process.stdout.readline())["app_settings"]
    finally:
        process.communicate()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.bench.decoding", description=__doc__)
    parser.add_argument("--runs", type=int, default=600)
    parser.add_argument("--latency-s", type=float, default=0.02)
    return parser.parse_args()


if __name__ == "__main__":
    main()
