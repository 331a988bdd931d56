"""Queues: messages out as the Functions host expects them, and what it has given up taken in hand."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueMessage, QueueServiceClient, TextBase64EncodePolicy

from shared.state.names import Queue

FOR_EVER = -1
MOST_PEEKED = 32
LONGEST_DELAY_S = 7 * 24 * 3600 - 60
MOST_AT_ONCE = 32


@dataclass(frozen=True)
class TakenMessage:
    """A message in hand: nobody else sees it for a while; `content` is what the queue holds, in base64 or not."""

    message_id: str
    receipt: str
    content: str
    inserted_utc: datetime

    @property
    def body(self) -> str:
        """What was meant to be sent; somebody may have put it by hand, without base64."""
        try:
            return base64.b64decode(self.content, validate=True).decode()
        except ValueError:
            return self.content


class Queues:
    def __init__(self, client: QueueServiceClient) -> None:
        self._client = client

    def send(self, queue: Queue, body: str, delay_s: float = 0) -> None:
        """Put a message, invisible for `delay_s` seconds, that never expires.

        In base64, which the host expects: a plain message would end in the poison queue without a word.
        """
        client = self._client.get_queue_client(queue, message_encode_policy=TextBase64EncodePolicy())
        delay = min(max(0, int(delay_s)), LONGEST_DELAY_S)
        client.send_message(body, visibility_timeout=delay, time_to_live=FOR_EVER)

    def length(self, queue: str) -> int:
        """About how many messages it holds; none if it does not exist."""
        try:
            return self._client.get_queue_client(queue).get_queue_properties().approximate_message_count or 0
        except ResourceNotFoundError:
            return 0

    def take(self, queue: str, hidden_s: int) -> Iterator[TakenMessage]:
        """The messages, the oldest first, each hidden from everybody else for `hidden_s` seconds."""
        client: Any = self._client.get_queue_client(queue)  # the SDK leaves its messages untyped
        messages = client.receive_messages(messages_per_page=MOST_AT_ONCE, visibility_timeout=hidden_s)
        for message in messages:
            yield TakenMessage(message.id, message.pop_receipt, message.content, message.inserted_on)

    def delete(self, queue: str, message: TakenMessage) -> None:
        """Delete a message in hand; one that came back meanwhile stays."""
        with suppress(ResourceNotFoundError):
            self._client.get_queue_client(queue).delete_message(message.message_id, message.receipt)

    def let_go(self, queue: str, message: TakenMessage) -> None:
        """Let everybody see a message in hand again."""
        with suppress(ResourceNotFoundError):
            client = self._client.get_queue_client(queue)
            client.update_message(message.message_id, message.receipt, visibility_timeout=0)

    def oldest(self, queue: str) -> datetime | None:
        """When the oldest of the messages in front was sent; none if none is there to be taken now."""
        sent = (message.inserted_on for message in self._in_front(queue))
        return min(filter(None, sent), default=None)

    def room(self, queue: str, most: int) -> int:
        """How many more messages may be sent before `most` are there; while few can be taken now, all of them.

        Those that wait for later keep nobody waiting.
        """
        return most - (self.length(queue) if len(self._in_front(queue)) >= MOST_PEEKED else 0)

    def _in_front(self, queue: str) -> Sequence[QueueMessage]:
        try:
            return self._client.get_queue_client(queue).peek_messages(max_messages=MOST_PEEKED)
        except ResourceNotFoundError:
            return []

    def create_missing(self, queues: tuple[Queue, ...]) -> None:
        present = {queue.name for queue in self._client.list_queues()}
        for name in queues:
            if name not in present:
                self._create(name)

    def _create(self, name: Queue) -> None:
        try:
            self._client.create_queue(name)
        except ResourceExistsError:
            return
