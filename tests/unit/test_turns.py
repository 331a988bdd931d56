"""Large publications of one process wait for each other, with their leases alive; small ones don't."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from crash.stand import Account
from integration.stage import StageClock
from support import settings_with

from local.bench.cases.publishing import app_over
from shared.app import App
from shared.errors import Conflict
from shared.publishing.parquet import rows_of
from shared.publishing.publisher import LARGE_BYTES, Publisher
from shared.publishing.staging import Destination, Staging
from shared.publishing.turns import Turns
from shared.schema import FACT_FLOW_ACTION, FACT_MACHINE_HOUR
from shared.state.names import Container

DAYS = [date(2026, 5, 19) + timedelta(days=number) for number in range(2)]
MOMENT_S = 0.01


class Lease:
    """Tells at its first renewal that somebody waits with it."""

    def __init__(self, renewed: Callable[[], object] = lambda: None) -> None:
        self.waits = threading.Event()
        self._renewed = renewed

    def renew(self) -> None:
        self.waits.set()
        self._renewed()


def stage(staging: Staging, day: date, size: int) -> None:
    """Text that no compression makes smaller."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    row = {"session_id": "a", "seq": 0, "inputs": Random(7).randbytes(size // 2).hex(), "created_utc": noon}
    staging.put(Destination(FACT_FLOW_ACTION, day), [rows_of(FACT_FLOW_ACTION, [row])], [str(size)])


def test_one_waits_until_the_other_is_done() -> None:
    turns, lease, order = Turns(look_s=MOMENT_S), Lease(), list[str]()

    def second() -> None:
        with turns.one(lease):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with turns.one(Lease()):
            waiting = pool.submit(second)
            assert lease.waits.wait(60)
            order.append("first")
        waiting.result(60)
    assert order == ["first", "second"]


def test_a_turn_that_failed_is_over() -> None:
    turns = Turns()
    with pytest.raises(OSError, match="no space"), turns.one(Lease()):
        raise OSError("no space")
    with turns.one(Lease()):
        pass


def test_nobody_waits_for_ever() -> None:
    turns = Turns(longest_wait_s=3 * MOMENT_S, look_s=MOMENT_S)
    with turns.one(Lease()), pytest.raises(Conflict, match="take longer"), turns.one(Lease()):
        pytest.fail("two have the turn")


def test_who_loses_the_lease_waits_no_longer() -> None:
    def lost() -> None:
        raise Conflict("somebody else has it")

    turns = Turns(look_s=MOMENT_S)
    with turns.one(Lease()), pytest.raises(Conflict, match="somebody else"), turns.one(Lease(lost)):
        pytest.fail("two have the turn")


def test_a_day_that_is_small_only_while_it_is_staged_waits_as_well(tmp_path: Path) -> None:
    app, turns = app_over(tmp_path, "day"), Turns(longest_wait_s=MOMENT_S, look_s=MOMENT_S)
    publisher, place = replace(app.publisher, turns=turns), Destination(FACT_FLOW_ACTION, DAYS[0])
    row = {"session_id": "a", "inputs": "the same " * 100_000}
    log = [rows_of(FACT_FLOW_ACTION, [{**row, "seq": 10 * part + n} for n in range(10)]) for part in range(3)]
    app.staging.put(place, log, ["a log of several parts"])
    (item,) = app.staging.waiting_for(place)
    assert item.size < LARGE_BYTES
    with turns.one(Lease()), pytest.raises(Conflict, match="take longer"):
        publisher.publish(place)
    assert publisher.publish(place).rows_new == 30


def test_large_days_and_derived_ones_wait_and_small_ones_do_not(tmp_path: Path) -> None:
    """What waits too long stays staged."""
    app, turns = app_over(tmp_path, "day"), Turns(longest_wait_s=MOMENT_S, look_s=MOMENT_S)
    publisher = replace(app.publisher, turns=turns)
    large, small = (Destination(FACT_FLOW_ACTION, day) for day in DAYS)
    derived = Destination(FACT_MACHINE_HOUR, DAYS[0])
    stage(app.staging, DAYS[0], 2 * LARGE_BYTES)
    stage(app.staging, DAYS[1], LARGE_BYTES // 2)
    app.staging.mark(derived, "a test")
    with turns.one(Lease()):
        assert publisher.publish(small).rows_new == 1
        for waits in (large, derived):
            with pytest.raises(Conflict, match="take longer"):
                publisher.publish(waits)
    assert set(app.staging.waiting()) >= {large, derived}
    assert publisher.publish(large).rows_new == 1
    assert app.storage.blobs.get(Container.POWERBI, f"{large.folder}part-0.parquet")


def test_what_the_functions_of_a_worker_share_is_made_once() -> None:
    """Also where all messages of a new worker come in the same moment."""
    account = Account(StageClock())
    app = App(
        settings_with(DataStorage=account.connection_string),
        storage_transport=lambda: cast("Any", account.transport),
    )
    ready = threading.Barrier(12)

    def publisher(_: int) -> Publisher:
        ready.wait(60)
        return app.publisher

    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(publisher, range(12)))
    assert len({id(one.turns) for one in made}) == 1
    assert len({id(one.blobs) for one in made}) == 1
