"""Receives queue messages and settles them, as the storage extension (5.x) of Azure Functions does."""

import asyncio
import base64
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueClient
from azure.storage.queue import QueueMessage as StoredMessage

from local.host.events import EventStream
from local.host.functions import Function, QueueTrigger
from local.host.invoker import Invoker
from local.host.settings import QueueOptions
from local.host.timer_listener import sleep
from local.host.trigger_data import QueueMessage, queue_input

POISON_SUFFIX = "-poison"
FIRST_POLL_DELAY_S = 0.1
OUTAGE_DELAY_S = 2.0
# Azure: ten minutes. Shorter, because a desk's host is stopped and started often, and what it held must come back
LEASE_S = 60.0
NEVER_EXPIRES = -1

T = TypeVar("T")
log = logging.getLogger("host")


@dataclass(frozen=True)
class Polling:
    """How often to look for messages: `fixed_s`, or a random exponential back-off up to `longest_s`."""

    longest_s: float
    fixed_s: float | None = None

    def delay_s(self, empty_polls: int) -> float:
        if self.fixed_s is not None:
            return self.fixed_s
        backoff_s = FIRST_POLL_DELAY_S * 2.0 ** min(empty_polls, 30) * random.uniform(0.8, 1.2)
        return min(self.longest_s, backoff_s)


class QueueListener:
    """One queue-triggered function: up to batch size plus new-batch threshold messages at once."""

    def __init__(
        self,
        function: Function,
        options: QueueOptions,
        invoker: Invoker,
        events: EventStream,
        *,
        poll_s: float | None = None,
        lease_s: float = LEASE_S,
    ) -> None:
        if not isinstance(function.trigger, QueueTrigger):
            raise TypeError(f"{function.name} has no queue trigger")
        self._function = function
        self._options = options
        self._invoker = invoker
        self._events = events
        self._polling = Polling(options.max_polling_interval_s, poll_s)
        self._lease_s = lease_s
        name, connection = function.trigger.queue, function.trigger.connection
        self._queue = connection.queue(name)
        # a poison queue has none of its own: what fails there stays, invisible for the length of a lease
        is_poison = name.endswith(POISON_SUFFIX)
        self._poison = None if is_poison else connection.queue(name + POISON_SUFFIX)

    async def run(self, stopping: asyncio.Event) -> None:
        """Polls until the host stops, then waits for the messages in hand."""
        await self._until_it_works(self._create_queues, stopping)
        processing: set[asyncio.Task[None]] = set()
        empty_polls = 0
        while not stopping.is_set():
            messages = await self._until_it_works(self._receive, stopping) or []
            processing |= {asyncio.create_task(self._process(message)) for message in messages}
            if messages:
                empty_polls = 0
                processing = await _wait_for_room(processing, self._options.new_batch_threshold)
            else:
                await sleep(self._polling.delay_s(empty_polls), stopping)
                empty_polls += 1
                processing = {task for task in processing if not task.done()}
        if processing:
            await asyncio.wait(processing)

    async def _until_it_works(self, call: Callable[[], T], stopping: asyncio.Event) -> T | None:
        told = False
        while not stopping.is_set():
            try:
                return await asyncio.to_thread(call)
            except AzureError as error:
                if not told:
                    log.warning(
                        "%s: queue %s: %s", self._function.name, self._queue.queue_name, _first_line(error)
                    )
                told = True
                await sleep(OUTAGE_DELAY_S, stopping)
        return None

    def _create_queues(self) -> None:
        for queue in filter(None, (self._queue, self._poison)):
            with contextlib.suppress(ResourceExistsError):
                queue.create_queue()

    def _receive(self) -> list[StoredMessage]:
        batch_size, lease_s = self._options.batch_size, round(self._lease_s)
        pages = self._queue.receive_messages(messages_per_page=batch_size, visibility_timeout=lease_s).by_page()
        try:
            return list(next(pages, ()))
        except ResourceNotFoundError:  # somebody deleted the queue
            self._create_queues()
            return []

    async def _process(self, stored: StoredMessage) -> None:
        # a fault of the storage service is no fault of the message: it becomes visible again when its lease ends
        try:
            await self._settle(stored)
        except AzureError as error:
            log.warning("%s: message %s: %s", self._function.name, stored.id, _first_line(error))

    async def _settle(self, stored: StoredMessage) -> None:
        count = stored.dequeue_count or 1
        if count > self._options.max_dequeue_count:
            return await self._to_poison(stored, "dequeued too often")
        body = _decode(stored.content) if self._options.base64 else stored.content
        if body is None:
            # the extension does not wait for further attempts here: decoding would fail again
            return await self._to_poison(stored, "not base64")
        async with self._renewed(stored):
            given = queue_input(_message(stored), body)
            invocation = await self._invoker.invoke(self._function, given, dequeue_count=count)
        if invocation.ok:
            await asyncio.to_thread(self._queue.delete_message, stored)
        elif self._poison is None:
            pass
        elif count >= self._options.max_dequeue_count:
            await self._to_poison(stored, invocation.error or "failed")
        else:
            await asyncio.to_thread(self._hide, stored, self._options.visibility_timeout_s)
        return None

    @contextlib.asynccontextmanager
    async def _renewed(self, stored: StoredMessage) -> AsyncIterator[None]:
        renewal = asyncio.create_task(self._renew(stored))
        try:
            yield
        finally:
            renewal.cancel()
            # a renewal under way changes the pop receipt: wait for it
            with contextlib.suppress(asyncio.CancelledError):
                await renewal

    async def _renew(self, stored: StoredMessage) -> None:
        while True:
            await asyncio.sleep(self._lease_s / 2)
            try:
                await _uninterrupted(asyncio.to_thread(self._hide, stored, self._lease_s))
            except AzureError as error:
                log.warning("%s: lease of message %s: %s", self._function.name, stored.id, _first_line(error))

    def _hide(self, stored: StoredMessage, seconds: float) -> None:
        updated = self._queue.update_message(stored, visibility_timeout=round(seconds))
        stored.pop_receipt = updated.pop_receipt

    async def _to_poison(self, stored: StoredMessage, reason: str) -> None:
        if self._poison is None:
            return
        await asyncio.to_thread(self._move, stored, self._poison)
        queue = self._poison.queue_name
        log.error("message %s moved to %s: %s", stored.id, queue, reason, extra={"function": self._function.name})
        self._events.emit(
            "poisoned",
            function=self._function.name,
            queue=queue,
            message_id=stored.id,
            dequeue_count=stored.dequeue_count,
            error=reason,
        )

    def _move(self, stored: StoredMessage, poison: QueueClient) -> None:
        self._create_queues()
        poison.send_message(stored.content, time_to_live=NEVER_EXPIRES)
        self._queue.delete_message(stored)


async def _wait_for_room(processing: set[asyncio.Task[None]], at_most: int) -> set[asyncio.Task[None]]:
    while len(processing) > at_most:
        _, processing = await asyncio.wait(processing, return_when=asyncio.FIRST_COMPLETED)
    return processing


async def _uninterrupted(call: Coroutine[Any, Any, None]) -> None:
    """Awaits the call to its end even where this task is cancelled meanwhile."""
    task = asyncio.create_task(call)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _decode(text: str) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace")
    except ValueError:
        return None


def _message(stored: StoredMessage) -> QueueMessage:
    now = datetime.now(UTC)
    return QueueMessage(
        id=stored.id,
        text=stored.content,
        pop_receipt=stored.pop_receipt or "",
        dequeue_count=stored.dequeue_count or 1,
        inserted=stored.inserted_on or now,
        expires=stored.expires_on or now,
        next_visible=stored.next_visible_on or now,
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
