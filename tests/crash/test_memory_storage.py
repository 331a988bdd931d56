"""The storage in memory against Azurite: the same operations, refusals included, and the same scenario."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.data.tables import EdmType, EntityProperty, TableServiceClient, TableTransactionError, UpdateMode
from azure.storage.blob import BlobBlock, BlobLeaseClient, BlobServiceClient
from azure.storage.queue import QueueServiceClient
from integration.stage import ANCHOR

from crash.lives import one_after_another
from crash.proof import same
from crash.scenario import A_DAY_AND_A_HALF, Scenario
from crash.stand import Account, Stand, StillClock
from crash.upkeep import UPKEEP
from shared.state.names import Container
from shared.state.storage import PART_BYTES, PARTS, pooled_transport

DELAY = re.compile(r"visibilitytimeout=([0-9]+)")
AT = datetime(2026, 5, 19, 12, tzinfo=UTC)


class AzuriteAccount:
    """The same for Azurite: what was sent to be seen later can be seen when the stand's clock says so."""

    def __init__(self, connection_string: str, clock: StillClock) -> None:
        self.connection_string = connection_string
        self.transport = self
        self._clock = clock
        self._inner: Any = pooled_transport()
        self._queues = QueueServiceClient.from_connection_string(connection_string)
        self._hidden: list[tuple[datetime, str, str, str]] = []

    def send(self, request: Any, **options: Any) -> Any:
        response = self._inner.send(request, **options)
        delay = DELAY.search(request.url)
        if request.method == "POST" and delay and int(delay[1]):
            answer = response.internal_response.text
            message_id, receipt = (
                re.findall(f"<{name}>([^<]+)<", answer)[0] for name in ("MessageId", "PopReceipt")
            )
            due = self._clock.at + timedelta(seconds=int(delay[1]))
            self._hidden.append((due, urlsplit(request.url).path.split("/")[2], message_id, receipt))
        return response

    def show_due(self) -> None:
        for due, queue, message_id, receipt in self._hidden:
            if due <= self._clock.at:
                self._queues.get_queue_client(queue).update_message(message_id, receipt, visibility_timeout=0)
        self._hidden = [hidden for hidden in self._hidden if hidden[0] > self._clock.at]

    def published(self) -> dict[str, bytes]:
        service = BlobServiceClient.from_connection_string(self.connection_string)
        container = service.get_container_client(Container.POWERBI)
        return {name: container.download_blob(name).readall() for name in container.list_blob_names()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def played(scenario: Scenario, stand: Stand, show_due: Callable[[], None]) -> dict[str, bytes]:
    for turn in scenario.schedule:
        stand.clock.at = ANCHOR + turn.at
        show_due()
        more: Any = True
        while more:
            process = stand.process(settings=turn.settings)
            more = turn.run(process) and turn.is_queue
            assert not process.failures
    return stand.account.published()


@pytest.mark.parametrize(
    ("scenario", "different"),
    [(A_DAY_AND_A_HALF, []), (UPKEEP, ["fact_gap/fact_gap.parquet"])],
    ids=["a day and a half", "upkeep"],
)
def test_the_scenario_publishes_the_same_files_on_azurite(
    scenario: Scenario, different: list[str], account: str
) -> None:
    """Only when a message came that can't be read is told by the queue service's own clock."""
    clock = StillClock(ANCHOR)
    with one_after_another(), Stand(scenario.world(), clock) as stand:
        scenario.prepare(stand.tenant)
        beginning = stand.snapshot()
        in_memory = played(scenario, stand, lambda: None)
        stand.restore(beginning)
        azurite = AzuriteAccount(account, clock)
        stand.account = azurite
        on_azurite = played(scenario, stand, azurite.show_due)
    assert in_memory.keys() == on_azurite.keys()
    assert [name for name, content in in_memory.items() if not same(content, on_azurite[name])] == different


def outcome(work: Callable[[], Any]) -> Any:
    """What an operation gives, or how it is refused."""
    try:
        return work()
    except TableTransactionError as error:
        return error.status_code, error.index
    except HttpResponseError as error:
        return type(error).__name__, error.status_code


def blob_operations(transport: Any, connection_string: str) -> Iterator[Any]:
    service = BlobServiceClient.from_connection_string(
        connection_string, transport=transport, retry_total=0, **PARTS
    )
    blob: Any = service.get_blob_client("powerbi", "a/date=2026-05-19/ü & <b>.parquet")
    only_if: Any = {"match_condition": MatchConditions.IfNotModified}
    yield outcome(lambda: blob.upload_blob(b"lost"))
    yield outcome(lambda: service.create_container("powerbi").container_name)
    yield outcome(lambda: service.create_container("powerbi"))
    yield outcome(lambda: list(service.get_container_client("nowhere").list_blob_names()))
    yield outcome(lambda: blob.download_blob().readall())
    yield outcome(blob.delete_blob)
    first = blob.upload_blob(b"0123456789")["etag"]
    yield outcome(lambda: blob.upload_blob(b"other"))
    yield outcome(lambda: blob.upload_blob(b"other", overwrite=True, etag='"0x0"', **only_if))
    second = blob.upload_blob(b"abc", overwrite=True, etag=first, **only_if)["etag"]
    yield first != second
    yield outcome(lambda: blob.download_blob(etag=first, **only_if).readall())
    yield outcome(lambda: blob.download_blob().readall())
    yield outcome(lambda: blob.download_blob(offset=1, length=1).readall())
    yield outcome(lambda: (blob.get_blob_properties().etag == second, blob.get_blob_properties().size))
    yield outcome(lambda: blob.delete_blob(etag=first, **only_if))
    service.get_blob_client("powerbi", "empty").upload_blob(b"")
    yield outcome(lambda: service.get_blob_client("powerbi", "empty").download_blob().readall())
    for number in range(5):
        service.get_blob_client("powerbi", f"b/{number}").upload_blob(b"x" * number)
    container = service.get_container_client("powerbi")
    yield [
        [(item.name, item.size) for item in page] for page in container.list_blobs(results_per_page=2).by_page()
    ]
    yield [item.name for item in container.list_blobs(name_starts_with="b/")]
    yield from block_operations(service)
    yield from lease_operations(service)
    yield outcome(lambda: blob.delete_blob(etag=second, **only_if))
    yield outcome(blob.get_blob_properties)


def block_operations(service: BlobServiceClient) -> Iterator[Any]:
    """What the SDK makes of a large upload; blocks that were put and not named are no blob."""
    large: Any = service.get_blob_client("powerbi", "large")
    for number in range(3):
        large.stage_block(f"{number:08d}", f"<{number}>".encode())
    yield outcome(large.get_blob_properties)
    ids = [BlobBlock(block_id=f"{number:08d}") for number in (2, 0)]
    etag = large.commit_block_list(ids)["etag"]
    yield outcome(lambda: large.download_blob().readall())
    yield outcome(lambda: large.commit_block_list([BlobBlock(block_id=f"{9:08d}")]))
    large.stage_block(f"{0:08d}", b"new")
    wrong: Any = {"etag": '"0x0"', "match_condition": MatchConditions.IfNotModified}
    yield outcome(lambda: large.commit_block_list(ids[1:], **wrong))
    yield outcome(lambda: large.commit_block_list(ids[1:], match_condition=MatchConditions.IfMissing))
    yield (
        large.commit_block_list(ids[1:], etag=etag, match_condition=MatchConditions.IfNotModified)["etag"] != etag
    )
    yield outcome(lambda: large.download_blob().readall())
    content = bytes(range(256)) * (PART_BYTES // 256) + b"the end"
    service.get_blob_client("powerbi", "larger").upload_blob(io.BytesIO(content))
    yield service.get_blob_client("powerbi", "larger").download_blob().readall() == content


def lease_operations(service: BlobServiceClient) -> Iterator[Any]:
    lock = service.get_blob_client("powerbi", "lock")
    yield outcome(lambda: lock.acquire_lease(lease_duration=30))
    etag = lock.upload_blob(b"")["etag"]
    lease = lock.acquire_lease(lease_duration=30)
    yield outcome(lambda: lock.acquire_lease(lease_duration=30))
    yield outcome(lambda: lock.upload_blob(b"", overwrite=True))
    yield outcome(lambda: lock.upload_blob(b"", overwrite=False))
    yield outcome(lock.delete_blob)
    yield outcome(lambda: lock.get_blob_properties().etag == etag)
    yield outcome(lease.renew)
    stranger = BlobLeaseClient(lock, lease_id="11111111-1111-1111-1111-111111111111")
    yield outcome(stranger.renew)
    yield outcome(stranger.release)
    ended = BlobLeaseClient(lock, lease_id=lease.id)
    yield outcome(lease.release)
    yield outcome(ended.renew)
    yield outcome(lambda: lock.acquire_lease(lease_duration=30).release())


def table_operations(transport: Any, connection_string: str) -> Iterator[Any]:
    service = TableServiceClient.from_connection_string(connection_string, transport=transport, retry_total=0)
    table = service.get_table_client("gaps")
    yield outcome(lambda: table.get_entity("p", "1"))
    yield outcome(lambda: service.create_table("gaps").table_name)
    yield outcome(lambda: service.create_table("gaps"))
    yield [found.name for found in service.list_tables()]
    first = table.create_entity(entity("1"))["etag"]
    yield outcome(lambda: table.create_entity(entity("1")))
    yield shown(table.get_entity("p", "1"))
    yield outcome(lambda: table.get_entity("p", "none"))
    guard: dict[str, Any] = {"mode": UpdateMode.REPLACE, "match_condition": MatchConditions.IfNotModified}
    second = table.update_entity(entity("1", status="done"), etag=first, **guard)["etag"]
    yield first != second, table.get_entity("p", "1").metadata["etag"] == second
    yield outcome(lambda: table.update_entity(entity("1"), etag=first, **guard))
    yield outcome(lambda: table.update_entity(entity("2"), etag=first, **guard))
    yield outcome(lambda: table.delete_entity("p", "none"))
    odd = {"PartitionKey": "it's", "RowKey": "a%b ü"}
    yield outcome(lambda: "etag" in table.upsert_entity(odd, mode=UpdateMode.REPLACE))
    yield shown(table.get_entity("it's", "a%b ü"))
    yield from transactions(table, first)
    yield from queries(table)
    yield outcome(lambda: table.delete_entity("p", "1"))
    yield outcome(lambda: table.get_entity("p", "1"))


def transactions(table: Any, stale: str) -> Iterator[Any]:
    guard = {"etag": stale, "match_condition": MatchConditions.IfNotModified, "mode": UpdateMode.REPLACE}
    created = [("create", entity(f"{number}")) for number in range(2, 8)]
    yield outcome(lambda: len(table.submit_transaction(created)))
    yield outcome(lambda: table.submit_transaction([("create", entity("8")), ("create", entity("2"))]))
    yield outcome(lambda: table.submit_transaction([("create", entity("8")), ("update", entity("1"), guard)]))
    yield outcome(lambda: table.get_entity("p", "8"))
    mixed = [("upsert", entity("3", status="lost"), {"mode": UpdateMode.REPLACE}), ("delete", entity("7"))]
    yield outcome(lambda: len(table.submit_transaction(mixed)))


def queries(table: Any) -> Iterator[Any]:
    filters = (
        "PartitionKey eq 'p'",
        "PartitionKey eq 'it''s'",
        "PartitionKey ge 'p' and RowKey gt '2' and RowKey lt '5'",
        "PartitionKey eq 'p' and (status eq 'done' or status eq 'lost')",
        "number gt 3L and flag eq true",
        "status ne 'pending'",
        "missing eq 'x'",
    )
    for filter_ in filters:
        yield filter_, [shown(found) for found in table.query_entities(filter_)]
    after = table.query_entities("at gt @since", parameters={"since": AT + timedelta(hours=4)})
    yield [shown(found) for found in after]
    pages = table.query_entities(
        "PartitionKey eq 'p'", results_per_page=2, select=["PartitionKey", "RowKey"]
    ).by_page()
    yield [[shown(found) for found in page] for page in pages]
    odd = "o$d%24d ü"
    for row in ("1$a", "1%24b", "2'c", "3 d&e=f", "4+g"):
        table.create_entity({"PartitionKey": odd, "RowKey": row})
    pages = table.query_entities("PartitionKey eq @odd", parameters={"odd": odd}, results_per_page=1).by_page()
    yield [[shown(found) for found in page] for page in pages]


def entity(row: str, **more: Any) -> dict[str, Any]:
    number = int(row)
    return {
        "PartitionKey": "p",
        "RowKey": row,
        "status": "pending",
        "number": EntityProperty(number, EdmType.INT64),
        "at": AT + timedelta(hours=number),
        "flag": number % 2 == 0,
        "bytes": bytes(range(number)),
        **more,
    }


def shown(found: Any) -> dict[str, Any]:
    return {name: value.value if isinstance(value, EntityProperty) else value for name, value in found.items()}


def queue_operations(transport: Any, connection_string: str) -> Iterator[Any]:
    service = QueueServiceClient.from_connection_string(connection_string, transport=transport, retry_total=0)
    queue = service.get_queue_client("publish-day")
    yield outcome(lambda: queue.send_message("lost"))
    yield outcome(lambda: queue.create_queue() is not None)
    yield [found.name for found in service.list_queues()]
    queue.send_message("a & <b> ü", time_to_live=-1)
    queue.send_message("later", visibility_timeout=3600, time_to_live=-1)
    yield queue.get_queue_properties().approximate_message_count
    yield [message.content for message in queue.peek_messages(5)]
    (taken,) = queue.receive_messages(max_messages=5, visibility_timeout=600)
    yield taken.content, taken.dequeue_count, list(queue.receive_messages())
    moved = queue.update_message(taken, visibility_timeout=0)
    yield outcome(lambda: queue.delete_message(taken.id, taken.pop_receipt))
    again = queue.receive_message(visibility_timeout=600)
    assert again is not None
    yield again.content, again.dequeue_count, again.pop_receipt != moved.pop_receipt
    yield outcome(lambda: queue.delete_message(again))
    yield outcome(lambda: queue.delete_message(again))
    yield queue.get_queue_properties().approximate_message_count


@pytest.mark.parametrize("operations", [blob_operations, table_operations, queue_operations])
def test_every_operation_is_answered_as_by_azurite(account: str, operations: Callable[..., Iterator[Any]]) -> None:
    memory = Account(StillClock(AT))
    assert list(operations(memory.transport, memory.connection_string)) == list(
        operations(pooled_transport(), account)
    )
