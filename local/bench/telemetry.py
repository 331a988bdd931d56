"""How much a quiet day writes to the log: every tick of every timer, with nothing new anywhere.

    python -m local.bench.telemetry [--environments 5]

The app runs against a simulated tenant and Azurite, on a clock that jumps from tick to tick. Counted are the
records of the app itself and the bytes of their messages; what the Functions host and Application Insights add is
not.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from unittest import mock

from azure.storage.queue import QueueServiceClient, TextBase64DecodePolicy

from local.azurite import Azurite, install_azurite
from local.tenant import Tenant, World, generate
from shared.app import App
from shared.entry import take, tick
from shared.health.lateness import QUEUE_FUNCTIONS, TIMERS, schedule_of
from shared.schedules import read_schedule
from shared.settings import load_settings
from shared.state.names import Queue

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=1)
DAY = timedelta(days=1)
GIGABYTE = 1e9


class TickClock:
    """Stands where the last tick put it."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Tally(logging.Handler):
    """Counts the app's log records by the word that they begin with."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.records: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        kind = text.split(" ", 1)[0] if text.startswith("flowtrail.") else "plain text"
        self.records[kind] += 1
        self.bytes[kind] += len(text.encode())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local.bench.telemetry")
    parser.add_argument("--environments", type=int, default=5)
    environments = parser.parse_args(arguments).environments
    install_azurite()
    clock = TickClock(NOON - DAY)
    with Azurite() as azurite, Tenant(quiet_world(environments), clock=clock) as tenant:
        settings = {**tenant.app_settings(), "DataStorage": azurite.connection_string}
        with mock.patch.dict(os.environ, settings):
            app = App(load_settings(settings), clock=clock)
            for timer in TIMERS:  # the first ticks have everything to learn
                tick(app, timer)
            tally = counted(app, clock)
    show(tally, environments)
    return 0


def quiet_world(environments: int) -> World:
    """Environments without runs, and a feed without blobs."""
    world = generate(
        seed=1, anchor=NOON, environments=environments, sessions_per_environment=1, blobs=1, history_days=1
    )
    return replace(world, environments=tuple(replace(one, sessions=()) for one in world.environments), blobs=())


def counted(app: App, clock: TickClock) -> Tally:
    tally, log = Tally(), logging.getLogger("flowtrail")
    log.setLevel(logging.INFO)
    log.addHandler(tally)
    run_day(app, clock)
    log.removeHandler(tally)
    return tally


def run_day(app: App, clock: TickClock) -> None:
    end = clock.at + DAY
    for at, timer in sorted(ticks(app, clock.at, end)):
        clock.at = max(clock.at, at)
        tick(app, timer)
        for function, queue in QUEUE_FUNCTIONS.items():
            for body in taken(app, queue):
                take(app, function, body, 1)
    clock.at = end


def taken(app: App, queue: Queue) -> Iterator[str]:
    account = QueueServiceClient.from_connection_string(app.settings.storage.connection_string)
    client = account.get_queue_client(queue, message_decode_policy=TextBase64DecodePolicy())
    for message in client.receive_messages():
        client.delete_message(message)
        yield message.content


def ticks(app: App, begin: datetime, end: datetime) -> Iterator[tuple[datetime, str]]:
    for timer in TIMERS:
        schedule = read_schedule(schedule_of(timer, app.settings.schedules))
        for at in takewhile(lambda at: at <= end, schedule.after(begin)):
            yield at, timer


def show(tally: Tally, environments: int) -> None:
    print(f"A quiet day of {environments} environments:")
    for kind, records in sorted(tally.records.items()):
        print(f"  {kind:22} {records:7,} records {tally.bytes[kind]:12,} bytes")
    records, size = tally.records.total(), tally.bytes.total()
    print(f"  {'together':22} {records:7,} records {size:12,} bytes, {30 * size / GIGABYTE:.3f} GB a month")


if __name__ == "__main__":
    sys.exit(main())
