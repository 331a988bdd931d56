"""Queues: messages out as the Functions host expects them."""

from __future__ import annotations

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.storage.queue import QueueServiceClient, TextBase64DecodePolicy, TextBase64EncodePolicy

from shared.state.names import Queue

FOR_EVER = -1
LONGEST_DELAY_S = 7 * 24 * 3600 - 60


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

    def peek(self, queue: str, most: int = 32) -> list[str]:
        """The first messages, left where they are."""
        client = self._client.get_queue_client(queue, message_decode_policy=TextBase64DecodePolicy())
        try:
            return [message.content for message in client.peek_messages(max_messages=most)]
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
