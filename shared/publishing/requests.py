"""Messages of the queue `publish-day`: one file, or one day of one table, to be published."""

from __future__ import annotations

from datetime import date

import msgspec

from shared.errors import Unreadable
from shared.publishing.staging import Destination
from shared.schema import TABLES


class PublishRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    table: str
    day: date | None = None


def body_for(destination: Destination) -> str:
    return msgspec.json.encode(PublishRequest(destination.table.name, destination.day)).decode()


def read_destination(body: str) -> Destination:
    """The destination in a message.

    Raises:
        Unreadable: it is none that this app wrote.
    """
    try:
        request = msgspec.json.decode(body, type=PublishRequest)
        return Destination(TABLES[request.table], request.day)
    except (msgspec.DecodeError, KeyError) as error:
        raise Unreadable(f"This message names nothing to publish: {error}") from error
