"""A publisher whose lease runs out while it uploads: what others do meanwhile stays done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from integration.stage import ANCHOR, StageClock, run_id
from support import settings_with

from crash.lives import Effect, Life
from crash.stand import Account, GatedStorage
from local.forgetting import Forgetting
from local.reconciliation import PublishedTables
from shared.app import App
from shared.errors import Conflict
from shared.publishing.parquet import rows_of
from shared.publishing.staging import Destination
from shared.schema import FACT_FLOW_ACTION, FACT_FLOW_SESSION, Table
from shared.state import blobs
from shared.state.names import FORGOTTEN

DAY = ANCHOR.replace(hour=0) - timedelta(days=1)
ANNA = "anna@contoso.com"
Rows = Sequence[dict[str, Any]]


@pytest.fixture
def account() -> Account:
    return Account(StageClock())


def app_on(account: Account, life: Life | None = None, grain: str = "day") -> App:
    storage = cast("Any", GatedStorage(account.transport, life or Life()))
    settings = settings_with(DataStorage=account.connection_string, PUBLISH_GRAIN=grain)
    return App(settings, clock=account.blobs._now, storage_transport=lambda: storage)  # type: ignore[arg-type]


def at_first_upload(account: Account, meanwhile: Callable[[], object]) -> Life:
    """A life in which others go on while a published file is sent: by then the lease has run out."""
    seen: list[Effect] = []

    def gate(_number: int, effect: Effect) -> None:
        if effect.method == "PUT" and "/powerbi/" in effect.target and not seen:
            seen.append(effect)
            account.let_time_pass()
            meanwhile()

    return Life(at_gate=gate)


def stage(app: App, table: Table, rows: Rows) -> Destination:
    app.clock.advance(seconds=2)  # type: ignore[attr-defined] - files are told apart by their time
    destination = Destination(table, DAY.date())
    app.staging.put(destination, [rows_of(table, list(rows))], [repr(rows)])
    return destination


def publish_all(app: App) -> None:
    while waiting := app.staging.waiting():
        for destination in waiting:
            app.publisher.publish(destination)


def action(run: int, seq: int = 0, at: datetime = DAY) -> dict[str, Any]:
    return {"session_id": run_id(run), "seq": seq, "created_utc": at}


def read(app: App, table: Table) -> list[dict[str, Any]]:
    return PublishedTables(app).read(table).to_pylist()


@pytest.mark.parametrize("published", [0, 12], ids=["a new day", "a published day"])
def test_a_day_that_another_instance_moves_to_hours_stays_whole(account: Account, published: int) -> None:
    before, hourly = app_on(account), app_on(account, grain="hour")
    if published:
        stage(before, FACT_FLOW_ACTION, [action(run, 0, DAY + timedelta(hours=run)) for run in range(published)])
        publish_all(before)

    def meanwhile() -> None:
        stage(hourly, FACT_FLOW_ACTION, [action(101, 0, DAY + timedelta(hours=5))])
        hourly.publisher.publish(destination)

    late = app_on(account, at_first_upload(account, meanwhile))
    destination = stage(late, FACT_FLOW_ACTION, [action(100, 0, DAY + timedelta(hours=7))])
    with suppress(Conflict):
        late.publisher.publish(destination)
    stage(hourly, FACT_FLOW_ACTION, [action(102, 0, DAY + timedelta(hours=9))])
    publish_all(hourly)
    runs = sorted(row["session_id"] for row in read(hourly, FACT_FLOW_ACTION))
    assert runs == sorted(run_id(run) for run in (*range(published), 100, 101, 102))


def test_an_older_look_at_a_log_does_not_replace_a_newer_one(account: Account) -> None:
    other = app_on(account)
    stage(other, FACT_FLOW_ACTION, [action(2)])
    publish_all(other)

    def meanwhile() -> None:
        stage(other, FACT_FLOW_ACTION, [action(1, seq) for seq in range(3)])
        other.publisher.publish(destination)

    late = app_on(account, at_first_upload(account, meanwhile))
    destination = stage(late, FACT_FLOW_ACTION, [action(1)])
    with pytest.raises(Conflict):
        late.publisher.publish(destination)
    publish_all(other)
    assert [row["seq"] for row in read(other, FACT_FLOW_ACTION) if row["session_id"] == run_id(1)] == [0, 1, 2]


def test_who_was_forgotten_meanwhile_stays_forgotten(account: Account) -> None:
    other = app_on(account)
    stage(other, FACT_FLOW_SESSION, [{"session_id": run_id(1), "user_id": ANNA, "created_utc": DAY}])
    publish_all(other)
    late = app_on(account, at_first_upload(account, Forgetting(other.storage, ANNA, apply=True).run))
    destination = stage(late, FACT_FLOW_SESSION, [{"session_id": run_id(2), "user_id": ANNA, "created_utc": DAY}])
    with pytest.raises(Conflict):
        late.publisher.publish(destination)
    publish_all(other)
    users = [row["user_id"] for row in read(other, FACT_FLOW_SESSION)]
    assert len(users) == 2
    assert all(user.startswith(FORGOTTEN) for user in users)


def test_the_lease_is_renewed_while_a_file_is_sent(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "RENEW_AFTER_S", 0)
    monkeypatch.setattr(blobs, "RENEW_EVERY_S", 0.01)
    sending, renewed = threading.Event(), threading.Event()

    def gate(_number: int, effect: Effect) -> None:
        if effect.method == "PUT" and "/powerbi/" in effect.target:
            sending.set()
            assert renewed.wait(60)
        elif sending.is_set() and "comp=lease" in effect.target:
            renewed.set()

    app = app_on(account, Life(at_gate=gate))
    destination = stage(app, FACT_FLOW_ACTION, [action(1)])
    assert app.publisher.publish(destination).files_written == 1
    assert renewed.is_set()
