"""The pages of a search as content blobs: what their events and the files in `raw` are named after."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

from shared.audit.feed import ContentBlob
from shared.state.ledger import row_of
from shared.times import MILLISECOND, epoch_ms, to_millisecond

CONTENT_TYPE = "Audit.General"
SEARCHED = "search-"
"""What `content_id` begins with where an event came through a search; the id of the query follows."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KEPT = re.compile(rf"({SEARCHED}.+)-[0-9a-f]{{12}}(?:-([0-9]{{13}}))?")


def searched_blob(query_id: str, asked: datetime) -> ContentBlob:
    """The blob that events of a query came in, which became available when the query was sent."""
    return _blob(f"{SEARCHED}{row_of(query_id)}", to_millisecond(asked))


def link_digest(link: str) -> str:
    return hashlib.sha256(link.encode()).hexdigest()[:12]


def as_kept(blob: ContentBlob, digest: str) -> ContentBlob:
    """A page of a query as it is named in `raw`: by the time of the query, too, which is kept nowhere else."""
    return replace(blob, content_id=f"{blob.content_id}-{digest}-{epoch_ms(blob.created)}")


def read_kept(name: str, day: date) -> ContentBlob | None:
    """The blob whose events a file in `raw` holds; `None` where it is none of a search.

    One of an older version doesn't tell when its query was sent. It counts from the end of that day, so that its
    events give way to all that they gave way to at first.
    """
    known = KEPT.fullmatch(name)
    if known is None:
        return None
    end = datetime.combine(day, time(), UTC) + timedelta(days=1)
    return _blob(known[1], EPOCH + int(known[2]) * MILLISECOND if known[2] else end)


def _blob(content_id: str, created: datetime) -> ContentBlob:
    return ContentBlob(content_id, CONTENT_TYPE, "", created, created)
