"""A storage account, or an identity endpoint, that is busy or silent: how often it is asked, and for how long."""

from __future__ import annotations

import importlib
import json
import pkgutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from azure.core.exceptions import HttpResponseError, ServiceResponseError, ServiceResponseTimeoutError
from hostile_server import Conversation, HostileServer, answer
from support import FakeClock, settings_with

from local.desk import ROOT
from shared import app as app_module
from shared import functions
from shared.app import App, once
from shared.errors import Defer, SourcesFailed, Unreachable
from shared.functions.sources import NO_STORAGE, SIDE_BY_SIDE, each_source
from shared.net import identity
from shared.net.identity import Tokens, managed_identity
from shared.settings import DataStorage
from shared.state import storage as limits
from shared.state.names import Container, Queue, StateTable
from shared.state.storage import Storage, pooled_transport

OPERATIONS: dict[str, Callable[[Storage], object]] = {
    "blob read": lambda storage: storage.blobs.delete(Container.RAW, "some"),
    "blob written": lambda storage: storage.blobs.put(Container.RAW, "some", b"content"),
    "entity read": lambda storage: storage.table(StateTable.CHECKPOINTS).get("partition", "row"),
    "queue measured": lambda storage: storage.queues.length(Queue.PUBLISH_DAY),
}
KNOWN_TO_BE_SHORT = 0.2  # as a read timeout: it decides how long the test waits, not what comes of it


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that the SDKs would make; they sleep by themselves, past every transport."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


@contextmanager
def an_account(
    conversation: Conversation, read_timeout_s: float = limits.READ_TIMEOUT_S
) -> Iterator[tuple[Storage, HostileServer]]:
    server = HostileServer(conversation)
    try:
        yield Storage(DataStorage(account_at(server)), None, lambda: pooled_transport(read_timeout_s)), server
    finally:
        server.stop()


def account_at(server: HostileServer) -> str:
    ends = (f"{service}Endpoint={server.origin}/account" for service in ("Blob", "Queue", "Table"))
    return ";".join(("DefaultEndpointsProtocol=http", "AccountName=account", "AccountKey=a2V5", *ends))


def busy(*headers: str) -> Conversation:
    return lambda peer: peer.send(answer(b"", *headers, "Connection: close", status="503 Server Busy"))


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_busy_account_is_asked_four_times_with_growing_pauses(name: str, pauses: list[float]) -> None:
    with an_account(busy()) as (storage, server):
        with pytest.raises(HttpResponseError):
            OPERATIONS[name](storage)
        assert len(server.heads) == 1 + limits.RETRIES["retry_total"] == 4
        assert 6 <= sum(pauses) <= 18.5
        assert pauses == sorted(pauses)


@pytest.mark.parametrize("header", ["Retry-After: 300", "retry-after-ms: 300000", "Retry-After: tomorrow"])
def test_a_pause_that_the_account_asks_for_is_cut_short(header: str, pauses: list[float]) -> None:
    with an_account(busy(header)) as (storage, server):
        with pytest.raises(HttpResponseError):
            OPERATIONS["entity read"](storage)
        assert len(server.heads) == 4
        assert pauses == [limits.LONGEST_PAUSE_S] * 3


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_silent_account_is_asked_twice(name: str, pauses: list[float]) -> None:
    with an_account(lambda peer: peer.trickle(b"H", 3600), KNOWN_TO_BE_SHORT) as (storage, server):
        with pytest.raises(ServiceResponseError):
            OPERATIONS[name](storage)
        assert len(server.heads) == 1 + limits.RETRIES["retry_read"] == 2
        assert sum(pauses) <= 3.5


def test_the_timeouts_reach_the_connections() -> None:
    """The SDKs take them as options too, and then leave them aside where a transport is given."""
    config = pooled_transport().connection_config
    assert (config.timeout, config.read_timeout) == (limits.CONNECT_TIMEOUT_S, limits.READ_TIMEOUT_S)


def test_a_silent_identity_endpoint_is_asked_twice(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> None:
    server = HostileServer(lambda peer: peer.trickle(b"H", 3600))
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"{server.origin}/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "x")
    try:
        tokens = Tokens(lambda: managed_identity("", KNOWN_TO_BE_SHORT))
        with pytest.raises(Defer, match="gives no token"):
            tokens.get("https://example.org/.default")
    finally:
        server.stop()
    assert len(server.heads) == 1 + identity.READ_RETRIES
    twice_s = 2 * len(server.heads) * (identity.CONNECT_TIMEOUT_S + identity.READ_TIMEOUT_S)
    assert twice_s + sum(pauses) <= limits.LONGEST_OPERATION_S


def test_the_host_waits_for_each_function_as_long_as_storage_may_take_after_its_deadline() -> None:
    waits_s = 2 * limits.READ_TIMEOUT_S + 2 * limits.CONNECT_TIMEOUT_S
    pauses_s = 3 + 5 + 9 + 3 * limits.RETRIES["random_jitter_range"]
    assert waits_s + pauses_s <= limits.LONGEST_OPERATION_S
    hours, minutes, seconds = map(int, json.loads((ROOT / "host.json").read_text())["functionTimeout"].split(":"))
    modules = (
        importlib.import_module(f"shared.functions.{one.name}") for one in pkgutil.iter_modules(functions.__path__)
    )
    deadlines_s = [module.DEADLINE_S for module in modules if hasattr(module, "DEADLINE_S")]
    assert len(deadlines_s) >= 5
    left_s = hours * 3600 + minutes * 60 + seconds - max(deadlines_s)
    assert left_s >= 4 * limits.LONGEST_OPERATION_S


class Silenced(App):
    """An app that found its containers, tables and queues before its storage fell silent."""

    @once
    def storage(self) -> Storage:
        return Storage(self.settings.storage, None, lambda: pooled_transport(KNOWN_TO_BE_SHORT))


@pytest.mark.usefixtures("pauses")
def test_where_storage_falls_silent_no_further_source_is_begun() -> None:
    begun: list[str] = []
    server = HostileServer(lambda peer: peer.trickle(b"H", 3600))
    try:
        app = Silenced(settings_with(DataStorage=account_at(server)), FakeClock())
        names = [f"source {number}" for number in range(40)]
        works = {name: lambda _deadline, _tally, name=name: begun.append(name) for name in names}
        with pytest.raises(SourcesFailed) as failed:
            each_source(app, "poll_flow_sessions", works, app.deadline(240))
    finally:
        server.stop()
    assert len(begun) <= 2 * SIDE_BY_SIDE
    assert set(failed.value.failures) == set(names)
    assert sum(text == NO_STORAGE for text in failed.value.failures.values()) == len(names) - len(begun)


@pytest.mark.usefixtures("pauses")
def test_messages_that_come_together_do_not_wait_for_silent_storage_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert app_module.LONGEST_TURN_S == limits.LONGEST_OPERATION_S
    monkeypatch.setattr(app_module, "LONGEST_TURN_S", KNOWN_TO_BE_SHORT)
    server = HostileServer(lambda peer: peer.trickle(b"H", 3600))
    try:
        settings = settings_with(DataStorage=account_at(server))
        app = App(settings, FakeClock(), storage_transport=lambda: pooled_transport(10 * KNOWN_TO_BE_SHORT))
        with ThreadPoolExecutor(6) as pool:
            ended = [one.exception() for one in [pool.submit(lambda: app.checkpoints) for _ in range(6)]]
    finally:
        server.stop()
    assert Counter(map(type, ended)) == {ServiceResponseTimeoutError: 1, Unreachable: 5}
