"""The queue service in memory: messages, visibility, pop receipts and dequeue counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from html import unescape
from itertools import count, islice
from xml.sax.saxutils import escape

from crash.wire import Answer, Call, http_date, refusal

TEXT = re.compile(rb"<MessageText>(.*?)</MessageText>", re.DOTALL)


@dataclass(frozen=True)
class Message:
    message_id: str
    text: str
    inserted: datetime
    visible: datetime
    receipt: str
    dequeue_count: int = 0


Queues = dict[str, dict[str, Message]]


class MemoryQueues:
    """Messages come in the order in which they were put; the real service promises none."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.queues: Queues = {}
        self.now = now
        self._numbers = count(1)

    def snapshot(self) -> Queues:
        return {name: dict(messages) for name, messages in self.queues.items()}

    def restore(self, kept: Queues) -> None:
        self.queues = {name: dict(messages) for name, messages in kept.items()}

    def show_taken(self) -> None:
        """Let messages that somebody took be seen again; those that were sent to be seen later stay hidden."""
        for messages in self.queues.values():
            messages.update(
                {key: replace(one, visible=one.inserted) for key, one in messages.items() if one.dequeue_count}
            )

    def __call__(self, call: Call) -> Answer:
        queue, _, rest = call.path.partition("/")
        if not queue:
            return self._list()
        if not rest and call.method == "PUT" and not call.query:
            return self._create(queue)
        if queue not in self.queues:
            return refusal(404, "QueueNotFound")
        if not rest:
            return self._metadata(queue) if call.query.get("comp") == "metadata" else Answer(501)
        message_id = rest.removeprefix("messages").lstrip("/")
        return self._message(call, queue, message_id) if message_id else self._messages(call, queue)

    def _list(self) -> Answer:
        names = "".join(f"<Queue><Name>{name}</Name></Queue>" for name in sorted(self.queues))
        return _xml(200, f"<EnumerationResults><Queues>{names}</Queues><NextMarker/></EnumerationResults>")

    def _create(self, queue: str) -> Answer:
        there = queue in self.queues
        self.queues.setdefault(queue, {})
        return Answer(204 if there else 201)

    def _metadata(self, queue: str) -> Answer:
        return Answer(200, headers={"x-ms-approximate-messages-count": str(len(self.queues[queue]))})

    def _messages(self, call: Call, queue: str) -> Answer:
        hidden = timedelta(seconds=int(call.query.get("visibilitytimeout", "30")))
        if call.method == "POST":
            return self._send(queue, call.body, timedelta(seconds=int(call.query.get("visibilitytimeout", "0"))))
        if call.method != "GET":
            return Answer(501)
        most = int(call.query.get("numofmessages", "1"))
        now = self.now()
        found = list(islice((one for one in self.queues[queue].values() if one.visible <= now), most))
        if call.query.get("peekonly") != "true":
            found = [self._taken(queue, message, hidden) for message in found]
        return _messages(200, found)

    def _send(self, queue: str, body: bytes, hidden: timedelta) -> Answer:
        text = TEXT.search(body)
        number, now = next(self._numbers), self.now()
        content = unescape(text[1].decode()) if text else ""
        message = Message(f"m{number}", content, now, now + hidden, f"r{number}")
        self.queues[queue][message.message_id] = message
        return _messages(201, [message])

    def _taken(self, queue: str, message: Message, hidden: timedelta) -> Message:
        taken = replace(
            message,
            visible=self.now() + hidden,
            receipt=f"r{next(self._numbers)}",
            dequeue_count=message.dequeue_count + 1,
        )
        self.queues[queue][message.message_id] = taken
        return taken

    def _message(self, call: Call, queue: str, message_id: str) -> Answer:
        message = self.queues[queue].get(message_id)
        if message is None:
            return refusal(404, "MessageNotFound")
        if call.query.get("popreceipt") != message.receipt:
            return refusal(400, "PopReceiptMismatch")
        if call.method == "DELETE":
            del self.queues[queue][message_id]
            return Answer(204)
        if call.method != "PUT":
            return Answer(501)
        hidden = timedelta(seconds=int(call.query["visibilitytimeout"]))
        changed = replace(message, visible=self.now() + hidden, receipt=f"r{next(self._numbers)}")
        self.queues[queue][message_id] = changed
        shown = {"x-ms-popreceipt": changed.receipt, "x-ms-time-next-visible": http_date(changed.visible)}
        return Answer(204, headers=shown)


def _messages(status: int, messages: Iterable[Message]) -> Answer:
    listed = "".join(
        f"<QueueMessage><MessageId>{message.message_id}</MessageId>"
        f"<InsertionTime>{http_date(message.inserted)}</InsertionTime>"
        "<ExpirationTime>Fri, 31 Dec 9999 23:59:59 GMT</ExpirationTime>"
        f"<PopReceipt>{message.receipt}</PopReceipt>"
        f"<TimeNextVisible>{http_date(message.visible)}</TimeNextVisible>"
        f"<DequeueCount>{message.dequeue_count}</DequeueCount>"
        f"<MessageText>{escape(message.text)}</MessageText></QueueMessage>"
        for message in messages
    )
    return _xml(status, f"<QueueMessagesList>{listed}</QueueMessagesList>")


def _xml(status: int, text: str) -> Answer:
    body = f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode()
    return Answer(status, body, {"Content-Type": "application/xml"})
